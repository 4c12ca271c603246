//! More requests than the server can take: refused at once, and nothing else suffers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use image::ImageFormat;

use super::bytes;
use crate::harness::Space;
use crate::harness::api::{Answer, Api, send};
use crate::harness::images::{encode, variants_of_size};
use crate::harness::node::{self, pause, wait_until};
use crate::harness::proxy::{Fault, Kind, Proxy};

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
    // A node that answers nothing: what was asked of it is under way until its client leaves.
    let proxy = Proxy::start(node::shared(), |_| Some(Fault::HangBefore));
    let space = Space::at(&proxy.url);
    let api = Api::start(&space, &["--concurrency", "1"]);
    let before = proxy.count(Kind::Other);
    let mut slow = TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
    slow.write_all(b"GET /v1/collections HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    wait_until("it is under way", || proxy.count(Kind::Other) > before);
    let ask = || api.post_photo("/v1/represent", bytes("query/obama-3.jpg"));
    ask().refused(429, "overloaded");
    // Whoever watches the server is not refused.
    assert_eq!((api.get("/healthz").status, api.get("/metrics").status), (200, 200));
    drop(slow);
    wait_until("the place is free", || ask().status == 200);
}

#[test]
fn whoever_sends_slowly_keeps_nobody_out() {
    let space = Space::new();
    let api = Api::start(&space, &["--concurrency", "1"]);
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let begin = |request: String| {
        let mut client = TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        client
    };
    let slow: Vec<TcpStream> = ["/v1/search", "/es/any/_search"]
        .iter()
        .flat_map(|path| (0..20).map(|_| begin(head(path, 100) + "{")))
        .collect();
    let mut last = begin(head("/v1/represent", 2));
    for _ in 0..10 {
        api.post_photo("/v1/represent", bytes("query/obama-3.jpg")).expect(200);
    }
    last.write_all(b"{}").unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"HTTP/1.1 400", "what comes whole in the end is read");
    for mut client in slow {
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"HTTP/1.1 408");
    }
}

/// The most memory that the server ever had, in MiB.
fn most_memory(api: &Api) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", api.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn memory_has_a_bound_whatever_comes() {
    let space = Space::new();
    let limits = ["--threads", "4", "--memory", "300000000", "--max-body", "3000000"];
    let api = Api::start(&space, &limits);
    let small = variants_of_size("query/obama-3.jpg", 320, 1).next().unwrap();
    api.post_photo("/v1/represent", small.clone()).expect(200);
    let before = most_memory(&api);

    // 2,500 x 2,500 samples of 16 bits: 66 MiB while it is decoded.
    let wide = |side| encode(&image::DynamicImage::new_rgba16(side, side), ImageFormat::Png);
    let photo = wide(2_500);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| api.post_photo("/v1/represent", photo.clone())))
            .collect();
        for _ in 0..5 {
            api.post_photo("/v1/represent", small.clone()).expect(200);
        }
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for answer in answers {
        if answer.status != 200 {
            assert!(!answer.header("retry-after").is_empty());
            let error = answer.refused(429, "overloaded");
            assert!(error["message"].as_str().unwrap().contains("--memory"), "{error}");
        }
    }
    let error = api
        .post_photo("/v1/represent", wide(4_200))
        .refused(413, "too_many_pixels");
    assert!(error["message"].as_str().unwrap().contains("--memory"), "{error}");

    // Bodies that stop before their end hold what they sent.
    let head = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n";
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut client = TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
            client.write_all(head.as_bytes()).unwrap();
            // One that is refused is read no further.
            let _ = client.write_all(&vec![b' '; 2_900_000]);
            client
        })
        .collect();
    api.post_photo("/v1/represent", small.clone()).expect(200);
    drop(stalled);

    // Small ones that inflate.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"{").unwrap();
    gzip.write_all(&vec![b' '; 2_900_000]).unwrap();
    gzip.write_all(b"}").unwrap();
    let packed = gzip.finish().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let request = api.request("POST", &format!("/es/{}/_search", space.name));
                let request = request.header("content-type", "application/json");
                let answer = send(request.header("content-encoding", "gzip").body(packed.clone()));
                assert!([404, 429].contains(&answer.status), "{}", answer.text());
            });
        }
    });
    // The engines' own, and what the allocator has not given back yet, beside the budget of 286 MiB.
    let after = most_memory(&api);
    assert!(after < before + 286 + 100, "{before} MiB before, {after} at the most");
}

#[test]
fn too_little_memory_is_refused_at_the_start() {
    let space = Space::new();
    let ran = space
        .run(&["serve", "--listen", "127.0.0.1:0", "--memory", "100000000"])
        .expect(2);
    assert!(ran.stderr.contains("--max-body"), "{}", ran.stderr);
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
