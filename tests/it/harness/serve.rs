//! `facedex serve` as a process of a test's own, and what lies between it and the node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running server. It ends when it is dropped.
pub struct Serve {
    /// Its address, without a slash at the end.
    pub url: String,
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Serve {
    /// Runs `facedex serve ..`, which must listen on port 0 of loopback, and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (found, url) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("listening on ") {
                    let _ = found.send(url.to_owned());
                }
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let url = url
            .recv_timeout(Duration::from_secs(120))
            .unwrap_or_else(|_| panic!("serve does not listen: {}", log.lock().unwrap()));
        Self { url, process, log }
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
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
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lies before a real node, lets everything through, and keeps what was asked.
pub struct Tee {
    pub port: u16,
    /// What came, connection by connection.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tee {
    pub fn start(node: &str) -> Self {
        let node = node.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&node).unwrap());
                let (from, to, all) = (client.try_clone().unwrap(), server.try_clone().unwrap(), all.clone());
                all.lock().unwrap().push(Vec::new());
                std::thread::spawn(move || {
                    pump(from, to, |bytes| all.lock().unwrap()[number].extend_from_slice(bytes))
                });
                std::thread::spawn(move || pump(server, client, |_| {}));
            }
        });
        Self { port, seen }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        const METHODS: [&str; 7] = ["GET /", "HEAD /", "POST /", "PUT /", "DELETE /", "PATCH /", "OPTIONS /"];
        let mut heads = Vec::new();
        for connection in self.seen.lock().unwrap().iter() {
            let mut rest = &*String::from_utf8_lossy(connection);
            // A request begins where the body before it ends.
            while let Some((before, _)) = rest.split_once(" HTTP/1.1\r\n") {
                let start = METHODS
                    .iter()
                    .filter_map(|method| before.rfind(method))
                    .max()
                    .unwrap_or(0);
                let end = rest[start..]
                    .find("\r\n\r\n")
                    .map_or(rest.len(), |length| start + length + 2);
                heads.push(rest[start..end].to_owned());
                rest = &rest[end..];
            }
        }
        heads
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut buffer)
        && length > 0
    {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
