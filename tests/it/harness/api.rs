//! `facedex serve` as a process of its own, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use serde_json::Value;

use super::Space;

/// A server of a test's own, on a free port. It ends when it is dropped.
pub struct Api {
    pub url: String,
    pub process: Child,
    said: Arc<Mutex<String>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks status and code of a failure, and that its body has the promised shape.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        let error = &body["error"];
        assert_eq!(error["code"], code, "{body}");
        assert!(
            !error["message"].as_str().unwrap().is_empty() && error["details"].is_object(),
            "{body}"
        );
        error.clone()
    }
}

pub fn http() -> &'static Client {
    static HTTP: OnceLock<Client> = OnceLock::new();
    HTTP.get_or_init(|| Client::builder().timeout(Duration::from_secs(120)).build().unwrap())
}

pub fn send(request: RequestBuilder) -> Answer {
    let reply = request.send().unwrap();
    Answer {
        status: reply.status().as_u16(),
        headers: reply.headers().clone(),
        body: reply.bytes().unwrap().to_vec(),
    }
}

/// The form's own separator; no option and no photo has it.
const BOUNDARY: &str = "facedex-8f1e0b5a-boundary";

/// A form of options and photos.
fn form(options: &[(&str, &str)], photos: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut part = |head: String, content: &[u8]| {
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; {head}\r\n\r\n");
        body.extend(head.as_bytes());
        body.extend(content);
        body.extend(b"\r\n");
    };
    for (name, text) in options {
        part(format!("name=\"{name}\""), text.as_bytes());
    }
    for (name, bytes) in photos {
        part(format!("name=\"{name}\"; filename=\"photo\""), bytes);
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

impl Api {
    /// Runs `facedex serve` with these arguments and waits until it listens.
    pub fn start(space: &Space, arguments: &[&str]) -> Self {
        let all: Vec<&str> = ["serve", "--listen", "127.0.0.1:0"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        Self::run(space.command(&all))
    }

    /// The same with a whole command, which must listen on a port of the system's choice.
    pub fn run(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (found, url) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("listening on ") {
                    let _ = found.send(url.to_owned());
                }
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let url = url
            .recv_timeout(Duration::from_secs(120))
            .unwrap_or_else(|_| panic!("serve does not listen: {}", said.lock().unwrap()));
        Self { url, process, said }
    }

    /// Sends these bytes over a connection of their own, and gives what comes back until it closes.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The server may have seen enough and closed.
        let _ = stream.write_all(request);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// What the server wrote to standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        http().request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path))
    }

    pub fn delete(&self, path: &str) -> Answer {
        send(self.request("DELETE", path))
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body))
    }

    pub fn post_form(&self, path: &str, options: &[(&str, &str)], photos: &[(&str, Vec<u8>)]) -> Answer {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = self.request("POST", path).header("content-type", kind);
        send(request.body(form(options, photos)))
    }

    /// A photo as the whole body; the options are in the path.
    pub fn post_photo(&self, path: &str, photo: Vec<u8>) -> Answer {
        send(
            self.request("POST", path)
                .header("content-type", "image/jpeg")
                .body(photo),
        )
    }

    /// SIGTERM or SIGINT.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
