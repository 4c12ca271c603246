//! Against a server of our own on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use super::*;

const LIMITS: Limits = Limits {
    max_bytes: 1000,
    max_pixels: 1,
};

/// Answers each request by its path; gives the URL, and the requests' first lines and authorization.
fn serve() -> (Url, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let (requests, seen) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let login = lines
                .by_ref()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .find(|line| line.starts_with("authorization"));
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let _ = requests.send(format!("{path} {}", login.unwrap_or_default()));
            let answer = |status: &str, headers: &str, body: &str| {
                format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}")
            };
            let moved = |to: &str| answer("302 Found", &format!("location: {to}\r\ncontent-length: 0\r\n"), "");
            let text = match path.as_str() {
                "/good" => answer("200 OK", "content-length: 4\r\n", "good"),
                "/unknown-length" => answer("200 OK", "", "good"),
                "/missing" => answer("404 Not Found", "content-length: 0\r\n", ""),
                "/busy" => answer("503 Busy", "retry-after: 0\r\ncontent-length: 0\r\n", ""),
                "/busy-at-first" if number == 0 => answer("429 Slow", "content-length: 0\r\n", ""),
                "/busy-at-first" => answer("200 OK", "content-length: 4\r\n", "good"),
                "/come-back-tomorrow" => answer("503 Busy", "retry-after: 86400\r\ncontent-length: 0\r\n", ""),
                "/loop" => moved("/loop"),
                "/moved" => moved("/good"),
                "/to-private" => moved("http://127.0.0.2/secret"),
                "/to-file" => moved("file:///etc/passwd"),
                "/large" => answer("200 OK", "content-length: 1001\r\n", ""),
                "/secretly-large" => answer("200 OK", "", &"x".repeat(1001)),
                "/lying" => answer("200 OK", "content-length: 900\r\n", "short"),
                "/slow" => {
                    stream
                        .write_all(answer("200 OK", "content-length: 9\r\n", "x").as_bytes())
                        .unwrap();
                    std::thread::spawn(move || {
                        let _ = lines.next();
                        drop(stream);
                    });
                    continue;
                }
                _ => answer("400 Bad Request", "", ""),
            };
            let _ = stream.write_all(text.as_bytes());
        }
    });
    (url, seen)
}

fn web(rule: Rule) -> Web {
    Web::new(rule, false, Duration::from_millis(600)).unwrap()
}

async fn fetch(rule: Rule, url: Url) -> Result<Vec<u8>, String> {
    let budget = Budget::new(1 << 20);
    let held = web(rule).fetch(&url, &LIMITS, &budget).await;
    held.map(|held| held.bytes.to_vec())
}

/// The server's own address counts as public here, and no other.
fn first_loopback(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1])
}

#[tokio::test]
async fn what_is_good_comes_and_what_is_not_is_named() {
    for (path, expected) in [
        ("good", Ok("good")),
        ("unknown-length", Ok("good")),
        ("moved", Ok("good")),
        ("busy-at-first", Ok("good")),
        ("missing", Err("404")),
        ("busy", Err("503 Service Unavailable (tried 3 times)")),
        ("come-back-tomorrow", Err("(tried 1 times)")),
        ("loop", Err("more than 5 redirects")),
        ("large", Err("more than 1000 bytes")),
        ("secretly-large", Err("more than 1000 bytes")),
        ("lying", Err("broke off")),
        ("slow", Err("not all of it came within")),
    ] {
        let (url, _) = serve();
        let found = fetch(first_loopback, url.join(path).unwrap()).await;
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected.as_bytes(), "{path}"),
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{path}: {reason}"),
            (found, _) => panic!("{path}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn private_addresses_are_refused_whichever_way_they_come() {
    let (url, seen) = serve();
    let reason = fetch(first_loopback, url.join("to-private").unwrap())
        .await
        .unwrap_err();
    assert!(reason.contains("127.0.0.2 is at the private address"), "{reason}");
    assert!(!reason.contains("tried"), "{reason}");
    assert!(fetch(first_loopback, url.join("to-file").unwrap()).await.is_err());
    assert_eq!(seen.try_iter().count(), 2);
    // Not even a connection is made.
    let port = url.port().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/good").parse().unwrap();
        let reason = fetch(super::super::address::is_public, url).await.unwrap_err();
        assert!(reason.contains("private address"), "{host}: {reason}");
    }
    assert_eq!(seen.try_iter().count(), 0);
}

#[tokio::test]
async fn a_login_in_the_url_is_used() {
    let (mut url, seen) = serve();
    url.set_path("good");
    url.set_username("ada").unwrap();
    url.set_password(Some("secret")).unwrap();
    assert!(fetch(first_loopback, url).await.is_ok());
    assert_eq!(seen.recv().unwrap(), "/good authorization: Basic YWRhOnNlY3JldA==");
}
