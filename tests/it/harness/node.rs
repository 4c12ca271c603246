//! Real Elasticsearch nodes for the tests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::root;

/// The URL of the node that all tests share: the one named in `FACEDEX_TEST_ELASTICSEARCH_URL`, else one that is started
/// now and ends with this process.
pub fn shared() -> &'static str {
    static NODE: OnceLock<(String, Option<Node>)> = OnceLock::new();
    let (url, _) = NODE.get_or_init(|| match std::env::var("FACEDEX_TEST_ELASTICSEARCH_URL") {
        Ok(url) if !url.is_empty() => (url, None),
        _ => {
            let folder = own_folder();
            let node = Node::start(&folder, 0);
            (node.url.clone(), Some(node))
        }
    });
    url
}

/// A folder under target/ for this process's node. Statics are not dropped, so folders of earlier processes are removed
/// here.
fn own_folder() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(base).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("node-")
            && !Path::new("/proc").join(pid).exists()
        {
            // Another process may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    base.join(format!("node-{}", std::process::id()))
}

/// A node of a test's own. It ends when it is dropped, and with the process: it watches its standard input.
pub struct Node {
    pub url: String,
    process: Child,
}

impl Node {
    /// Starts a node with its data in `folder`; port 0 is any free one.
    pub fn start(folder: &Path, port: u16) -> Self {
        Self::spawn(folder, port, &[], None).ready(folder)
    }

    /// One that compiles what it runs again and again as far as it goes: dearer to start, many times faster where graphs of tens of
    /// thousands of vectors are built.
    pub fn start_for_graphs(folder: &Path) -> Self {
        Self::run(folder, 0, &[]).ready(folder)
    }

    /// The same as `start` without waiting for it: the nodes of one cluster wait for each other.
    pub fn spawn(folder: &Path, port: u16, settings: &[String], version: Option<&str>) -> Self {
        // It has little to do: most of its work is its start.
        let mut options = vec!["--quick"];
        if let Some(version) = version {
            options.extend(["--es-version", version]);
        }
        options.extend(settings.iter().map(String::as_str));
        Self::run(folder, port, &options)
    }

    fn run(folder: &Path, port: u16, options: &[&str]) -> Self {
        let process = Command::new(root().join("dev/node"))
            .args(["run", "--heap", "512m", "--port", &port.to_string(), "--dir"])
            .arg(folder)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            url: String::new(),
            process,
        }
    }

    /// Waits until it answers.
    pub fn ready(mut self, folder: &Path) -> Self {
        let deadline = Instant::now() + Duration::from_secs(240);
        loop {
            // Written when the port is bound; `run` removes that of an earlier node first.
            if let Ok(url) = std::fs::read_to_string(folder.join("url"))
                && let Some((200, health)) =
                    try_request(url.trim(), "GET", "/_cluster/health?wait_for_status=yellow", None)
                && health["timed_out"] == false
            {
                self.url = url.trim().to_owned();
                return self;
            }
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join("logs/node.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                panic!("the node did not start ({ended:?}):\n{}", tail.join("\n"));
            }
            pause(100);
        }
    }

    pub fn port(&self) -> u16 {
        self.url
            .rsplit(':')
            .next()
            .unwrap()
            .trim_end_matches('/')
            .parse()
            .unwrap()
    }

    /// In an orderly way: it ends with its standard input.
    pub fn stop(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests poll other processes from ordinary threads"
)]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Asks until `condition` holds, for at most two minutes.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_as_long(Duration::from_secs(120), || what.to_owned(), condition);
}

/// Asks until `condition` holds, for at most so long; `what` tells what was waited for.
#[track_caller]
pub fn wait_as_long(most: Duration, what: impl FnOnce() -> String, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + most;
    while !condition() {
        if Instant::now() >= deadline {
            panic!("waited in vain until {}", what());
        }
        pause(50);
    }
}

/// A request that must be answered.
#[track_caller]
pub fn request(url: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    try_request(url, method, path, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

pub fn try_request(url: &str, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
    static HTTP: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    let http = HTTP.get_or_init(reqwest::blocking::Client::new);
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let mut request = http
        .request(method.parse().unwrap(), url)
        .timeout(Duration::from_secs(60));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let reply = request.send().ok()?;
    let status = reply.status().as_u16();
    Some((status, reply.json().unwrap_or(Value::Null)))
}
