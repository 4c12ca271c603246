//! A proxy between facedex and a real node that breaks what passes through it, as planned. It answers nothing by itself
//! but the faults: whatever else comes back is the node's.

mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::wire::{Answer, Request, operations, read_head, reset};
use super::node::pause;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bulk,
    Mget,
    Refresh,
    Search,
    /// Looks for deleted faces, and what is noted of them.
    Tombstones,
    /// Versions of the nodes.
    Nodes,
    /// What the account may do.
    Privileges,
    Other,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub kind: Kind,
    /// Of its kind, from 0, repeated ones included.
    pub number: usize,
    pub bytes: usize,
    pub at: Instant,
    /// Ids in a bulk request or a look-up.
    pub ids: Vec<String>,
    /// What it met.
    pub fault: Option<&'static str>,
}

/// How a request fails.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered so, without the node.
    Status {
        code: u16,
        retry_after: Option<u64>,
        body: &'static str,
    },
    /// Done by the node, and answered so.
    StatusAfter { code: u16, body: &'static str },
    /// The connection is reset; the node never hears of it.
    ResetBefore,
    /// Done by the node, then the connection is reset.
    ResetAfter,
    /// No answer; the node never hears of it.
    HangBefore,
    /// Done by the node, and no answer.
    HangAfter,
    /// Done; the answer's connection closes half-way.
    TruncatedBody,
    /// Done; half of the answer comes as if it were the whole.
    TruncatedJson,
    /// Done; the answer trickles for so many milliseconds.
    Slow(u64),
    /// Items 0, n, 2n, .. are answered so without the node.
    Items {
        every: usize,
        code: u16,
        kind: &'static str,
        reason: &'static str,
    },
    /// Done; one item is missing from the answer.
    MissingItem,
    /// Done; the look-up's documents came back as failures of their shard.
    ShardFailure,
}

pub const HTML: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
pub const REJECTED: &str = r#"{"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"},"status":429}"#;
pub const BLOCKED: &str = r#"{"error":{"type":"cluster_block_exception","reason":"index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block]"},"status":403}"#;

impl Fault {
    pub fn status(code: u16, body: &'static str) -> Self {
        Self::Status {
            code,
            retry_after: None,
            body,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Status { code: 429, .. } => "429",
            Self::Status { code: 503, .. } => "503",
            Self::Status { .. } | Self::StatusAfter { .. } => "status",
            Self::ResetBefore => "reset before",
            Self::ResetAfter => "reset after",
            Self::HangBefore => "hang before",
            Self::HangAfter => "hang after",
            Self::TruncatedBody => "truncated body",
            Self::TruncatedJson => "truncated JSON",
            Self::Slow(_) => "slow",
            Self::Items { code: 400, .. } => "items 400",
            Self::Items { .. } => "items",
            Self::MissingItem => "missing item",
            Self::ShardFailure => "shard failure",
        }
    }
}

type Plan = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

struct State {
    plan: Plan,
    seen: Vec<Seen>,
    numbers: BTreeMap<Kind, usize>,
}

struct Shared {
    node: String,
    http: reqwest::blocking::Client,
    state: Mutex<State>,
    most_bytes: AtomicUsize,
    ended: AtomicBool,
}

/// Ends when it is dropped.
pub struct Proxy {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the node at `node`; `plan` is asked once a request.
    pub fn start(node: &str, plan: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            node: node.trim_end_matches('/').to_owned(),
            http: reqwest::blocking::Client::new(),
            state: Mutex::new(State {
                plan: Box::new(plan),
                seen: Vec::new(),
                numbers: BTreeMap::new(),
            }),
            most_bytes: AtomicUsize::new(usize::MAX),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ended.load(Ordering::Relaxed) {
                    return;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // An error is the client that has gone.
                    let _ = serving.converse(client);
                });
            }
        });
        Self {
            url: format!("http://{address}/"),
            address,
            shared,
        }
    }

    /// From now on larger bodies are answered with 413 before they are read, and the connection is closed.
    pub fn most_bytes(&self, limit: usize) {
        self.shared.most_bytes.store(limit, Ordering::Relaxed);
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Requests of this kind so far.
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.lock().numbers.get(&kind).copied().unwrap_or(0)
    }

    /// How many requests met a fault, by its name.
    pub fn injected(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for fault in self.shared.lock().seen.iter().filter_map(|seen| seen.fault) {
            *counts.entry(fault).or_default() += 1;
        }
        counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests of one connection.
    fn converse(&self, client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut client = client;
        while let Some((mut request, length)) = read_head(&mut reader)? {
            if length > self.most_bytes.load(Ordering::Relaxed) {
                client.write_all(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
                self.lock().seen.push(Seen {
                    kind: request.kind(),
                    number: 0,
                    bytes: length,
                    at: Instant::now(),
                    ids: Vec::new(),
                    fault: Some("early 413"),
                });
                // Read on for a moment: a client that is still sending would be reset before it has read the answer.
                client.set_read_timeout(Some(Duration::from_millis(200)))?;
                std::io::copy(&mut reader.by_ref().take(length as u64), &mut std::io::sink())?;
                return Ok(());
            }
            request.body.resize(length, 0);
            reader.read_exact(&mut request.body)?;
            let fault = self.meet(&request);
            let answer = match &fault {
                None => self.forward(&request),
                Some(fault) => {
                    let Some(answer) = self.spoil(&request, fault, &mut client)? else {
                        return Ok(());
                    };
                    Some(answer)
                }
            };
            // A node that is down: so are we.
            let Some(answer) = answer else { return Ok(()) };
            client.write_all(answer.head(answer.body.len()).as_bytes())?;
            client.write_all(&answer.body)?;
        }
        Ok(())
    }

    /// Writes the request down and asks the plan.
    fn meet(&self, request: &Request) -> Option<Fault> {
        let kind = request.kind();
        let ids = match kind {
            Kind::Bulk => operations(&request.body).into_iter().map(|(_, id, _)| id).collect(),
            Kind::Mget => {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let ids = body["ids"].as_array().unwrap();
                ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let state = &mut *self.lock();
        let number = state.numbers.entry(kind).or_default();
        let mut seen = Seen {
            kind,
            number: *number,
            bytes: request.body.len(),
            at: Instant::now(),
            ids,
            fault: None,
        };
        *number += 1;
        let fault = (state.plan)(&seen);
        seen.fault = fault.as_ref().map(Fault::name);
        state.seen.push(seen);
        fault
    }

    fn forward(&self, request: &Request) -> Option<Answer> {
        let reply = self
            .http
            .request(
                request.method.parse().unwrap(),
                format!("{}{}", self.node, request.path),
            )
            .header("content-type", &request.content_type)
            .body(request.body.clone())
            .timeout(Duration::from_secs(60))
            .send()
            .ok()?;
        let content_type = reply.headers().get("content-type");
        Some(Answer {
            status: reply.status().as_u16(),
            retry_after: None,
            content_type: content_type
                .map_or("text/plain", |value| value.to_str().unwrap())
                .to_owned(),
            body: reply.bytes().ok()?.to_vec(),
        })
    }

    /// Does what the fault says. `None` where the connection is to be closed.
    fn spoil(&self, request: &Request, fault: &Fault, client: &mut TcpStream) -> std::io::Result<Option<Answer>> {
        let json = |status: u16, body: Vec<u8>| Answer {
            status,
            retry_after: None,
            content_type: "application/json".to_owned(),
            body,
        };
        Ok(match fault {
            Fault::Status {
                code,
                retry_after,
                body,
            } => Some(Answer {
                status: *code,
                retry_after: *retry_after,
                content_type: if body.starts_with('<') {
                    "text/html"
                } else {
                    "application/json"
                }
                .to_owned(),
                body: body.as_bytes().to_vec(),
            }),
            Fault::StatusAfter { code, body } => {
                self.forward(request);
                return self.spoil(request, &Fault::status(*code, body), client);
            }
            Fault::ResetBefore => {
                reset(client);
                None
            }
            Fault::ResetAfter => {
                self.forward(request);
                reset(client);
                None
            }
            Fault::HangBefore | Fault::HangAfter => {
                if matches!(fault, Fault::HangAfter) {
                    self.forward(request);
                }
                // Until the client has enough of it.
                client.set_read_timeout(Some(Duration::from_secs(120)))?;
                let _ = client.read(&mut [0; 1]);
                None
            }
            Fault::TruncatedBody => {
                if let Some(answer) = self.forward(request) {
                    client.write_all(answer.head(answer.body.len()).as_bytes())?;
                    client.write_all(&answer.body[..answer.body.len() / 2])?;
                }
                None
            }
            Fault::TruncatedJson => self.forward(request).map(|answer| {
                let half = answer.body.len() / 2;
                json(answer.status, answer.body[..half].to_vec())
            }),
            Fault::Slow(milliseconds) => {
                if let Some(answer) = self.forward(request) {
                    client.write_all(answer.head(answer.body.len()).as_bytes())?;
                    const PIECES: usize = 10;
                    for piece in answer.body.chunks(answer.body.len().div_ceil(PIECES).max(1)) {
                        pause(milliseconds / PIECES as u64);
                        client.write_all(piece)?;
                    }
                }
                // Closed, so that a client that does not wait for the end is noticed too.
                None
            }
            Fault::Items {
                every,
                code,
                kind,
                reason,
            } => self
                .reject_items(request, *every, *code, kind, reason)
                .map(|body| json(200, body)),
            Fault::MissingItem => self.forward(request).map(|answer| {
                let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
                body["items"].as_array_mut().unwrap().pop();
                json(answer.status, serde_json::to_vec(&body).unwrap())
            }),
            Fault::ShardFailure => self.forward(request).map(|answer| {
                let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
                for doc in body["docs"].as_array_mut().into_iter().flatten() {
                    *doc = json!({"_index": doc["_index"], "_id": doc["_id"], "error": {
                        "type": "no_shard_available_action_exception",
                        "reason": "No shard available for [get [x][0]: routing [null]]",
                    }});
                }
                json(answer.status, serde_json::to_vec(&body).unwrap())
            }),
        })
    }

    /// Forwards all items but those that the fault takes, and puts the answer together.
    fn reject_items(&self, request: &Request, every: usize, code: u16, kind: &str, reason: &str) -> Option<Vec<u8>> {
        let all = operations(&request.body);
        let passed: Vec<u8> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| at % every != 0)
            .flat_map(|(_, (_, _, lines))| lines.clone())
            .collect();
        let mut answered = Vec::new();
        if !passed.is_empty() {
            let forwarded = Request {
                method: request.method.clone(),
                path: request.path.clone(),
                content_type: request.content_type.clone(),
                body: passed,
            };
            let body: Value = serde_json::from_slice(&self.forward(&forwarded)?.body).unwrap();
            answered = body["items"].as_array().unwrap().clone();
        }
        let mut answered = answered.into_iter();
        let items: Vec<Value> = all
            .iter()
            .enumerate()
            .map(|(at, (action, _, _))| match at % every {
                0 => json!({action: {"status": code, "error": {"type": kind, "reason": reason}}}),
                _ => answered.next().unwrap(),
            })
            .collect();
        Some(serde_json::to_vec(&json!({"errors": true, "items": items})).unwrap())
    }
}
