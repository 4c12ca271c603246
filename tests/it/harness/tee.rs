//! What lies between a server and its node, to see what is asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

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
