//! The client: every request has a timeout, goes to the next node when one is dead, and may be repeated.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::http::Method;
use facedex_base::errors::chain;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ElasticError;
use crate::transport::connection::Connection;
use crate::transport::node::{Failure, Node, Request, Turn};
use crate::transport::node_versions::Heard;
use crate::transport::trace;

/// A client for one cluster. Cheap to share by reference; every method may be called from many tasks at once.
pub struct Client {
    nodes: Vec<Node>,
    next: AtomicUsize,
    pub(crate) timeout: Duration,
    pub(crate) heard: Heard,
}

/// How often a read is tried again, each time at another node, and how long before: a cluster that has just lost a node
/// needs a moment to notice.
const READ_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// After so long without an answer to a read, a node is asked whether it is there.
const SLOW: Duration = Duration::from_secs(3);
/// So long it may take to say so: a node that has too much to do answers late, and elasticsearch's own clients give up after 10 s.
const DEAD: Duration = Duration::from_secs(6);

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The pause that the server asked for.
    pub retry_after: Option<Duration>,
    /// Another node was asked before and did not answer; it may have done the work all the same.
    pub repeated: bool,
    /// The body.
    pub body: Bytes,
}

/// A request of somebody else's, which is passed on with their headers and without our credentials.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The method.
    pub method: reqwest::Method,
    /// The path, from the root of the cluster.
    pub path: String,
    /// Query parameters, encoded; may be empty.
    pub query: String,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub enum Payload<'b> {
    /// No body.
    None,
    /// One JSON document.
    Json(&'b Value),
    /// Newline-delimited JSON, as `_bulk` takes it.
    Ndjson(&'b Bytes),
}

impl Client {
    /// Sets the connection up; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Fails where the certificate, the fingerprint or the credentials cannot be used.
    pub fn new(connection: &Connection) -> Result<Self, ElasticError> {
        let nodes: Result<Vec<_>, _> = connection.urls.iter().map(|url| Node::new(url, connection)).collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(ElasticError::Setup("no address was given".to_owned()));
        }
        Ok(Self {
            nodes,
            next: AtomicUsize::new(0),
            timeout: connection.timeout,
            heard: Heard::default(),
        })
    }

    /// Sends a request and waits for the whole answer, whatever its status. Nodes that do not answer are passed over,
    /// so a request may reach two of them: everything sent through here must be safe to repeat.
    ///
    /// # Errors
    ///
    /// [`ElasticError::Unreachable`] where no node answers.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Reply, ElasticError> {
        let request = Request {
            method,
            path,
            query,
            payload,
        };
        let mut reason = String::new();
        for (turn, node) in self.in_order().into_iter().enumerate() {
            let sent = Instant::now();
            let answer = match request.is_read() {
                true => watched(node, node.send(request)).await,
                false => node.send(request).await,
            };
            match answer {
                Ok(reply) => {
                    node.answered();
                    return Ok(Reply {
                        repeated: turn > 0,
                        ..reply
                    });
                }
                Err(error) => reason = no_answer(node, sent, &error),
            }
        }
        Err(self.unreachable(reason))
    }

    /// Passes a search of somebody else's on and gives the answer as soon as its head is there. Nodes that do not answer,
    /// or say that they cannot, are passed over.
    ///
    /// # Errors
    ///
    /// [`ElasticError::Unreachable`] where no node answers.
    pub async fn pass_on(&self, request: &Foreign) -> Result<reqwest::Response, ElasticError> {
        // What the caller says for those who follow the request goes before what we would.
        let mut headers = trace::headers();
        headers.extend(request.headers.clone());
        let (mut reason, mut refusal) = (String::new(), None);
        for node in self.in_order() {
            let sent = Instant::now();
            match node.pass_on(request, headers.clone()).await {
                Ok(response) => {
                    node.answered();
                    if !lies_with_the_node(response.status().as_u16()) {
                        return Ok(response);
                    }
                    metrics::counter!("facedex_elasticsearch_read_retries_total").increment(1);
                    refusal = Some(response);
                }
                Err(error) => reason = no_answer(node, sent, &error),
            }
        }
        refusal.ok_or_else(|| self.unreachable(reason))
    }

    /// All nodes: first one that may be back, then the others, each time from another one on, and last those that did not
    /// answer lately.
    fn in_order(&self) -> Vec<&Node> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let in_turn = (0..self.nodes.len()).map(|turn| &self.nodes[(first + turn) % self.nodes.len()]);
        let mut order: Vec<(Turn, &Node)> = in_turn.map(|node| (node.turn(now), node)).collect();
        order.sort_by_key(|(turn, _)| *turn);
        order.into_iter().map(|(_, node)| node).collect()
    }

    fn unreachable(&self, reason: String) -> ElasticError {
        ElasticError::Unreachable {
            nodes: self.addresses(),
            reason,
        }
    }

    /// [`Client::json`] for what only reads: where a node cannot answer at this time, another one is asked, for as long as
    /// one request may take.
    ///
    /// # Errors
    ///
    /// As for [`Client::json`].
    pub async fn read<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<T, ElasticError> {
        let start = Instant::now();
        let mut pauses = READ_PAUSES.iter();
        loop {
            let answer = self.json(operation, method, path, query, payload).await;
            let is_passing = match &answer {
                Err(ElasticError::Unreachable { .. }) => start.elapsed() < SLOW,
                Err(ElasticError::Garbled { .. }) => true,
                Err(ElasticError::Refused { status, .. }) => lies_with_the_node(*status),
                _ => false,
            };
            match pauses.next() {
                Some(pause) if is_passing && start.elapsed() < self.timeout => {
                    metrics::counter!("facedex_elasticsearch_read_retries_total").increment(1);
                    // Not all at once: others have lost the same node.
                    tokio::time::sleep(pause.mul_f64(rand::random::<f64>())).await;
                }
                _ => return answer,
            }
        }
    }

    /// Sends a request and reads the JSON of a success; anything else is an error that names `operation`.
    ///
    /// # Errors
    ///
    /// [`ElasticError::Unreachable`] where no node answers, [`ElasticError::Refused`] for a status that is no success, and
    /// [`ElasticError::Unexpected`] for an answer of another form.
    pub async fn json<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<T, ElasticError> {
        self.json_and_pause(operation, method, path, query, payload).await.0
    }

    /// The same, with the pause that the server asked for.
    ///
    /// # Errors
    ///
    /// As for [`Client::json`].
    pub async fn json_and_pause<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> (Result<T, ElasticError>, Option<Duration>) {
        let (body, pause) = self.bytes_and_pause(operation, method, path, query, payload).await;
        let answer = body.and_then(|body| {
            serde_json::from_slice(&body).map_err(|error| {
                let reason = error.to_string();
                if error.is_data() {
                    ElasticError::unexpected(operation, reason)
                } else {
                    ElasticError::Garbled {
                        operation: operation.to_owned(),
                        reason,
                    }
                }
            })
        });
        (answer, pause)
    }

    /// The same for a success that is read elsewhere.
    pub(crate) async fn bytes_and_pause(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> (Result<Bytes, ElasticError>, Option<Duration>) {
        match self.send(method, path, query, payload).await {
            Ok(reply) if (200..300).contains(&reply.status) => (Ok(reply.body), reply.retry_after),
            Ok(reply) => {
                let error = ElasticError::from_reply(operation, reply.status, &reply.body);
                (Err(error), reply.retry_after)
            }
            Err(error) => (Err(error), None),
        }
    }

    /// Name, UUID and version of the cluster, from `GET /`; an error where something else than Elasticsearch answers.
    ///
    /// # Errors
    ///
    /// Fails where no node answers, or something else than Elasticsearch does.
    pub async fn info(&self) -> Result<Value, ElasticError> {
        let reply = self.send(Method::Get, "/", &[], Payload::None).await?;
        let info: Option<Value> = serde_json::from_slice(&reply.body).ok();
        match info {
            Some(info) if info["version"]["number"].is_string() => Ok(info),
            Some(info) if info["error"].is_object() => {
                Err(ElasticError::from_reply("tell its version", reply.status, &reply.body))
            }
            _ if matches!(reply.status, 401 | 403) => {
                Err(ElasticError::from_reply("tell its version", reply.status, &reply.body))
            }
            _ => Err(ElasticError::Setup(format!(
                "{} answers (status {}), but not as elasticsearch does; check the address",
                self.addresses(),
                reply.status
            ))),
        }
    }

    /// The addresses, without credentials, for messages.
    pub fn addresses(&self) -> String {
        let shown: Vec<&str> = self.nodes.iter().map(Node::shown).collect();
        shown.join(", ")
    }
}

/// Waits for a read as long as its node is there at all: one that hangs answers nothing, however long it is waited for.
async fn watched(node: &Node, answer: impl Future<Output = Result<Reply, Failure>>) -> Result<Reply, Failure> {
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(SLOW) => {
                // The answer may come while it is looked for.
                tokio::select! {
                    answer = &mut answer => return answer,
                    is_there = node.is_there(DEAD) => if !is_there {
                        return Err(format!("it answers nothing, not even a request for its name, for {} s", DEAD.as_secs()).into());
                    },
                }
            }
        }
    }
}

fn no_answer(node: &Node, sent: Instant, error: &Failure) -> String {
    node.failed(sent);
    let reason = chain(error.as_ref());
    tracing::debug!(node = node.shown(), reason, "no answer");
    reason
}

/// Whether another node may answer what this one could not: it lost a shard's node in the middle, sees no master, or is
/// going down.
fn lies_with_the_node(status: u16) -> bool {
    matches!(status, 500 | 502..=504)
}

impl Payload<'_> {
    /// Content type and bytes.
    pub(crate) fn encode(&self) -> Option<(&'static str, Bytes)> {
        match self {
            Payload::None => None,
            Payload::Json(value) => Some(("application/json", value.to_string().into())),
            Payload::Ndjson(lines) => Some(("application/x-ndjson", Bytes::clone(lines))),
        }
    }
}
