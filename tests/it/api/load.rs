//! More requests than the server can take: refused at once, and nothing else suffers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::bytes;
use crate::harness::Space;
use crate::harness::api::{Answer, Api};
use crate::harness::images::variants_of_size;
use crate::harness::node::{pause, wait_until};

/// The value of a series without labels.
fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let space = Space::new();
    let api = Api::start(&space, &["--threads", "1", "--queue", "2"]);
    let photo = variants_of_size("query/obama-3.jpg", 1280, 1).next().unwrap();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| api.post_photo("/v1/represent", photo.clone())))
            .collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let answered = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((3..16).contains(&answered), "{answered} of 16");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        answer.refused(429, "overloaded");
    }
    api.post_photo("/v1/represent", bytes("query/obama-3.jpg")).expect(200);
    assert!((metric(&api, "facedex_inference_queue_depth")).abs() < f64::EPSILON);
}

#[test]
fn too_many_requests_at_a_time_are_refused() {
    let space = Space::new();
    let api = Api::start(&space, &["--concurrency", "1"]);
    // A body that does not come holds the only place. The server asks for it once the place is taken: no other request can be
    // in it then.
    let mut slow = TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
    let head = "POST /v1/represent HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\ncontent-length: 100\r\n\
                expect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut asked = [0; 12];
    slow.read_exact(&mut asked).unwrap();
    assert_eq!(asked, *b"HTTP/1.1 100");
    let ask = || api.post_photo("/v1/represent", bytes("query/obama-3.jpg"));
    ask().refused(429, "overloaded");
    // Whoever watches the server is not refused.
    assert_eq!((api.get("/healthz").status, api.get("/metrics").status), (200, 200));
    drop(slow);
    wait_until("the place is free", || ask().status == 200);
}

#[test]
fn photos_of_clients_that_left_are_not_looked_at() {
    let space = Space::new();
    let api = Api::start(&space, &["--threads", "1", "--queue", "16"]);
    let photo = variants_of_size("query/obama-3.jpg", 1280, 1).next().unwrap();
    let head = format!(
        "POST /v1/represent HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n",
        photo.len()
    );
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
            client
                .write_all(head.as_bytes())
                .and_then(|()| client.write_all(&photo))
                .unwrap();
            client
        })
        .collect();
    wait_until("photos wait", || metric(&api, "facedex_inference_queue_depth") >= 4.0);
    drop(clients);
    wait_until("they are dropped", || {
        metric(&api, "facedex_inference_dropped_total") >= 3.0
    });
    pause(10);
    api.post_photo("/v1/represent", bytes("query/obama-3.jpg")).expect(200);
}
