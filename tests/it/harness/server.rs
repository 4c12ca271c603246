//! Servers that photos are fetched from.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::root;

/// Serves these contents by their paths, on loopback and until the process ends; anything else is a 404. Gives the URL.
pub fn serve(contents: HashMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(|line| line.ok().filter(|line| !line.is_empty()))
                .collect();
            let path = lines
                .first()
                .and_then(|line| line.split(' ').nth(1))
                .unwrap_or_default();
            let (status, body) = match contents.get(path) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &[][..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // The other side may have had enough.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    url
}

/// An S3 of a test's own: moto's server, which `dev/moto` fetches if need be. It ends when it is dropped.
pub struct Moto {
    pub url: String,
    process: Child,
}

impl Moto {
    pub fn start() -> Self {
        let mut process = Command::new(root().join("dev/moto"))
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("dev/moto does not run, python3 is needed: {error}"));
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let url = url.trim().to_owned();
        assert!(
            url.starts_with("http://"),
            "dev/moto did not start; it says why on standard error"
        );
        Self { url, process }
    }

    /// Makes a bucket (`/name`) or an object (`/name/key`).
    pub fn put(&self, path: &str, body: Vec<u8>) {
        let request = reqwest::blocking::Client::new().put(format!("{}{path}", self.url));
        let status = request.body(body).send().unwrap().status();
        assert!(status.is_success(), "{path}: {status}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
