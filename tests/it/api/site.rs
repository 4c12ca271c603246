//! A server of a test's own, and requests as they go over the wire.

use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;

use crate::harness::Space;
use crate::harness::api::Api;

/// A server with a keys file, or without.
pub struct Site {
    pub space: Space,
    pub serve: Api,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Site {
    pub fn start(space: Space, arguments: &[&str]) -> Self {
        let all: Vec<&str> = ["serve", "--listen", "127.0.0.1:0"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let mut command = space.command(&all);
        command.env_remove("FACEDEX_COLLECTION");
        Self {
            serve: Api::run(command),
            space,
        }
    }

    /// Sends exactly this, on a connection of its own.
    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host" || *name == "no-host") {
            text += &format!("host: {}\r\n", self.host());
        }
        for (name, value) in headers.iter().filter(|(name, _)| *name != "no-host") {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
        }
        parse(&self.serve.raw(format!("{text}\r\n{body}").as_bytes()))
    }

    /// Sends JSON with a key.
    pub fn with(&self, key: &str, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask(
            method,
            target,
            &[("x-api-key", key), ("content-type", "application/json")],
            &body,
        )
    }

    pub fn host(&self) -> &str {
        self.serve.url.trim_start_matches("http://")
    }

    /// The lines of the audit log, of which there will be so many.
    pub fn audited(&self, lines: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.space.path("audit.ndjson")).unwrap_or_default();
            if text.lines().count() >= lines && text.ends_with('\n') || start.elapsed() > Duration::from_secs(10) {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            nap(50);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no task runs on a test's own thread")]
pub fn nap(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

pub fn parse(reply: &str) -> Answer {
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((reply, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Makes a key in the test's keys file.
pub fn key(space: &Space, name: &str, scope: &str, collection: &str, more: &[&str]) -> String {
    let file = space.path("keys.json");
    let base = [
        "keys", "create", name, "--scope", scope, "-c", collection, "--keys", &file,
    ];
    let all: Vec<&str> = base.iter().chain(more).copied().collect();
    space.run(&all).expect(0).stdout.trim().to_owned()
}

pub fn keyed(arguments: &[&str]) -> (Site, String) {
    let space = Space::new();
    let admin = key(&space, "admin", "admin", "*", &[]);
    let file = space.path("keys.json");
    let all: Vec<&str> = ["--keys", &file].iter().chain(arguments).copied().collect();
    (Site::start(space, &all), admin)
}

pub fn photo(name: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(std::fs::read(crate::harness::photo(name)).unwrap())
}
