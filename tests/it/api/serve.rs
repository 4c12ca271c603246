//! The server itself: ready, watched, described, stopped; TLS.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::{bytes, own, served};
use crate::harness::api::{Api, http, send};
use crate::harness::images::variants_of_size;
use crate::harness::node::{pause, wait_until};
use crate::harness::{Space, root};

#[test]
fn ready_with_a_collection_and_not_without() {
    let (space, api) = own(&[]);
    let ready = json!({"ready": true, "engine": "ok", "elasticsearch": "ok", "collection": "ok"});
    assert_eq!(api.get("/readyz").expect(200), ready);
    space.elastic("DELETE", &format!("/{}", space.index()), None);
    let error = api.get("/readyz").refused(503, "not_ready");
    assert_eq!(
        (&error["details"]["elasticsearch"], &error["details"]["collection"]),
        (&json!("ok"), &json!("no_collection"))
    );
}

#[test]
fn metrics_have_opentelemetry_s_names() {
    let served = served();
    let path = format!("/v1/search?collection={}", served.space.name);
    served.api.post_photo(&path, bytes("query/obama-3.jpg")).expect(200);
    served.api.get("/no/such/thing");
    let answer = served.api.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    let has = |parts: &[&str]| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    let count = "http_server_request_duration_seconds_count";
    let labels = [
        "http_request_method=\"POST\"",
        "http_route=\"/v1/search\"",
        "http_response_status_code=\"200\"",
    ];
    assert!(has(&[&[count], &labels[..]].concat()), "{text}");
    assert!(has(&["http_server_request_duration_seconds_bucket", "le=\"0.05\""]));
    for name in [
        "facedex_inference_queue_depth ",
        "facedex_inference_duration_seconds_count ",
        "facedex_inference_wait_seconds_count ",
        "facedex_decode_wait_seconds_count ",
        "facedex_knn_duration_seconds_count ",
    ] {
        assert!(has(&[name]), "{name}\n{text}");
    }
    assert!(!text.contains("no/such"), "a path of a client's became a label");
}

#[test]
fn a_request_keeps_its_id_and_a_bad_one_gets_another() {
    let api = &served().api;
    let id = |given: &str| {
        let answer = send(api.request("GET", "/healthz").header("x-request-id", given));
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(id("order-66/a"), "order-66/a");
    let (one, two) = (id("a b"), api.get("/nowhere").header("x-request-id").to_owned());
    assert!(one.len() == 36 && two.len() == 36 && one != two, "{one} {two}");
}

/// What Elasticsearch would get: the heads of the requests that come, one after the other.
fn listener() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heads, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 8192];
            let length = stream.read(&mut head).unwrap_or(0);
            let _ = heads.send(String::from_utf8_lossy(&head[..length]).to_lowercase());
            let _ = stream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, seen)
}

#[test]
fn a_trace_is_handed_on_to_elasticsearch() {
    let (url, seen) = listener();
    let space = Space::at(&url);
    let api = Api::start(&space, &[]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask = |parent: &str| {
        let request = api.request("GET", "/v1/collections").header("traceparent", parent);
        send(request.header("x-request-id", "r1")).refused(503, "elasticsearch_unavailable");
        // A read is asked more than once.
        seen.try_iter().last().unwrap()
    };
    let head = ask(parent);
    assert!(head.contains(&format!("traceparent: {parent}\r\n")), "{head}");
    assert!(head.contains("x-opaque-id: r1\r\n"), "{head}");
    assert!(!ask("00-zz").contains("traceparent"));
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let space = Space::new();
    let mut api = Api::start(&space, &["--threads", "1"]);
    let photo = variants_of_size("query/obama-3.jpg", 1280, 1).next().unwrap();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| api.post_photo("/v1/represent", photo.clone()).status))
            .collect();
        wait_until("photos wait", || {
            let text = api.get("/metrics").text();
            text.lines().any(|line| line == "facedex_inference_queue_depth 2")
        });
        api.signal("TERM");
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers, [200; 4]);
    assert!(api.said().contains("stopping"), "{}", api.said());
    wait_until("the server has ended", || api.process.try_wait().unwrap().is_some());
    assert_eq!(api.process.wait().unwrap().code(), Some(0));
}

#[test]
fn https_with_a_certificate() {
    let space = Space::new();
    let (key, certificate) = (space.path("key.pem"), space.path("cert.pem"));
    make_certificate(&certificate, &key);
    let api = Api::start(&space, &["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(api.url.starts_with("https://"), "{}", api.url);
    let healthy = format!("{}/healthz", api.url);
    assert!(http().get(&healthy).send().is_err(), "nobody signed this certificate");
    let trusting = |file: &str| {
        let trusted = reqwest::Certificate::from_pem(&std::fs::read(file).unwrap()).unwrap();
        let client = reqwest::blocking::Client::builder().add_root_certificate(trusted);
        client.build().unwrap()
    };
    assert_eq!(send(trusting(&certificate).get(&healthy)).text(), "ok\n");

    // One that cannot be used leaves the old one in use; a renewed one is taken up.
    let old = space.path("old.pem");
    std::fs::copy(&certificate, &old).unwrap();
    std::fs::write(&certificate, "no certificate").unwrap();
    wait_until("the bad certificate is reported", || {
        api.said().contains("the renewed certificate cannot be used")
    });
    assert_eq!(send(trusting(&old).get(&healthy)).text(), "ok\n");
    make_certificate(&certificate, &key);
    wait_until("the renewed certificate is served", || {
        trusting(&certificate).get(&healthy).send().is_ok()
    });
    assert!(trusting(&old).get(&healthy).send().is_err());
    drop(api);
    let bad = space
        .run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            &key,
            "--tls-key",
            &key,
        ])
        .expect(2);
    assert!(bad.stderr.contains("--tls-cert"), "{bad:?}");
}

/// A certificate for 127.0.0.1 that nobody but itself has signed.
fn make_certificate(certificate: &str, key: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            key,
            "-out",
            certificate,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = Space::new().run(&["serve", "--listen", &address]).expect(2);
    assert!(
        ran.stderr.contains(&address) && ran.stderr.contains("--listen"),
        "{ran:?}"
    );
}

#[test]
fn a_client_that_never_ends_its_head_is_let_go() {
    let api = &served().api;
    let mut slow = std::net::TcpStream::connect(api.url.trim_start_matches("http://")).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").unwrap();
    slow.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    pause(1);
}

#[test]
fn the_checked_in_description_is_the_served_one() {
    let api = &served().api;
    let served = api.get("/openapi.json");
    let file = root().join("openapi.json");
    if std::env::var_os("FACEDEX_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &served.body).unwrap();
    }
    let checked_in = std::fs::read_to_string(&file).unwrap();
    assert!(
        checked_in == served.text(),
        "openapi.json is not the server's: FACEDEX_WRITE_OPENAPI=1 cargo test --test it checked_in_description writes it"
    );
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = HashSet::new();
    fn walk(value: &Value, found: &mut HashSet<String>) {
        match value {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(name, value)| match (name.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => {
                        found.insert(target.to_owned());
                    }
                    _ => walk(value, found),
                }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    walk(&document, &mut names);
    for name in names {
        assert!(document.pointer(&name[1..]).is_some(), "{name} is nowhere");
    }
    let page = api.get("/docs");
    let text = page.text();
    assert!(text.contains("/v1/persons/{id}") && text.contains("elasticsearch_unavailable"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!text.contains(outside), "the page asks for {outside}");
    }
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
}
