//! The connection: addresses, credentials, certificates, a timeout on every call, and the next node when one is dead.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::Method;
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{ElasticError, trace};
use crate::address::{is_loopback, without_login};
use crate::error::chain;

/// How to reach Elasticsearch.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The nodes' addresses; one that does not answer is passed over.
    pub urls: Vec<Url>,
    /// Who asks.
    pub credentials: Option<Login>,
    /// A PEM file of the authorities that signed the nodes' certificates, where the public ones did not.
    pub ca_file: Option<PathBuf>,
    /// The longest that one request may take.
    pub timeout: Duration,
}

/// Credentials.
#[derive(Debug, Clone)]
pub enum Login {
    /// An API key as Elasticsearch shows it once: base64 of id:key.
    ApiKey(SecretString),
    /// User and password.
    Basic(String, SecretString),
}

/// A client for one cluster. Cheap to share by reference; every method may be called from many tasks at once.
pub struct Client {
    nodes: Vec<Node>,
    next: AtomicUsize,
    timeout: Duration,
}

struct Node {
    url: Url,
    transport: Transport,
    /// For requests of others: it has no credentials, follows no redirect and leaves bodies as they are.
    plain: reqwest::Client,
    health: Mutex<Health>,
}

/// What is remembered of a node that did not answer.
#[derive(Debug, Default)]
struct Health {
    failures: u32,
    avoid_until: Option<Instant>,
}

/// A node that did not answer is asked last for this long, twice as long with every further failure.
const FIRST_AVOIDANCE: Duration = Duration::from_secs(1);
const LONGEST_AVOIDANCE: Duration = Duration::from_secs(60);

impl Node {
    fn is_avoided(&self) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.avoid_until.is_some_and(|until| until > Instant::now())
    }

    fn answered(&self) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
    }

    fn failed(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = FIRST_AVOIDANCE.saturating_mul(2u32.saturating_pow(health.failures));
        health.failures += 1;
        health.avoid_until = Some(Instant::now() + pause.min(LONGEST_AVOIDANCE));
    }

    /// The address, for messages.
    fn shown(&self) -> String {
        without_login(&self.url).into()
    }
}

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
    pub fn new(connection: &Connection) -> Result<Self, ElasticError> {
        let validation = match &connection.ca_file {
            // Read anew for each node below: the client's certificate type cannot be copied.
            Some(path) => Some(read_authorities(path).map_err(ElasticError::Setup)?),
            None => None,
        };
        if let Some(Login::ApiKey(key)) = &connection.credentials
            && HeaderValue::from_str(key.expose_secret()).is_err()
        {
            let reason = "the API key has characters that no header can hold; give it as Elasticsearch shows it";
            return Err(ElasticError::Setup(reason.to_owned()));
        }
        let nodes = connection
            .urls
            .iter()
            .map(|url| {
                let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.clone()));
                builder = builder.timeout(connection.timeout);
                if is_loopback(url) {
                    // A proxy could not reach it, and would see what goes there.
                    builder = builder.disable_proxy();
                }
                if let Some(login) = &connection.credentials {
                    builder = builder.auth(login.into());
                }
                if let Some(pem) = &validation {
                    let certificate =
                        Certificate::from_pem(pem).map_err(|error| ElasticError::Setup(error.to_string()))?;
                    builder = builder.cert_validation(CertificateValidation::Full(certificate));
                }
                let transport = builder
                    .build()
                    .map_err(|error| ElasticError::Setup(error.to_string()))?;
                Ok(Node {
                    url: url.clone(),
                    transport,
                    plain: plain(url, connection.timeout, validation.as_deref())
                        .map_err(|error| ElasticError::Setup(chain(&error)))?,
                    health: Mutex::default(),
                })
            })
            .collect::<Result<Vec<_>, ElasticError>>()?;
        if nodes.is_empty() {
            return Err(ElasticError::Setup("no address was given".to_owned()));
        }
        Ok(Self {
            nodes,
            next: AtomicUsize::new(0),
            timeout: connection.timeout,
        })
    }

    /// Sends a request and waits for the whole answer, whatever its status. Nodes that do not answer are passed over,
    /// so a request may reach two of them: everything sent through here must be safe to repeat.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Reply, ElasticError> {
        let mut reason = String::new();
        for (turn, node) in self.in_order().into_iter().enumerate() {
            match self.send_to(node, method, path, query, payload).await {
                Ok(reply) => {
                    node.answered();
                    return Ok(Reply {
                        repeated: turn > 0,
                        ..reply
                    });
                }
                Err(error) => {
                    node.failed();
                    reason = chain(&error);
                    tracing::debug!(node = node.shown(), reason, "no answer");
                }
            }
        }
        Err(ElasticError::Unreachable {
            nodes: self.addresses(),
            reason,
        })
    }

    /// Passes a request on and gives the answer as soon as its head is there. Nodes that do not answer are passed over, so
    /// the request must be safe to repeat, as every search is.
    pub async fn pass_on(&self, request: &Foreign) -> Result<reqwest::Response, ElasticError> {
        // What the caller says for those who follow the request goes before what we would.
        let mut headers = trace::headers();
        headers.extend(request.headers.clone());
        let mut reason = String::new();
        for node in self.in_order() {
            let mut url = without_login(&node.url);
            let path = format!("{}{}", url.path().trim_end_matches('/'), request.path);
            url.set_path(&path);
            url.set_query(Some(request.query.as_str()).filter(|query| !query.is_empty()));
            let sent = node
                .plain
                .request(request.method.clone(), url)
                .headers(headers.clone())
                .body(request.body.clone())
                .send();
            match sent.await {
                Ok(response) => {
                    node.answered();
                    return Ok(response);
                }
                Err(error) => {
                    node.failed();
                    reason = chain(&error.without_url());
                    tracing::debug!(node = node.shown(), reason, "no answer");
                }
            }
        }
        Err(ElasticError::Unreachable {
            nodes: self.addresses(),
            reason,
        })
    }

    /// All nodes, each time from another one on, and last those that did not answer lately.
    fn in_order(&self) -> Vec<&Node> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..self.nodes.len()).map(|turn| &self.nodes[(first + turn) % self.nodes.len()]);
        let (avoided, mut order): (Vec<_>, Vec<_>) = in_turn.partition(|node| node.is_avoided());
        order.extend(avoided);
        order
    }

    async fn send_to(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Reply, elasticsearch::Error> {
        let mut headers = trace::headers();
        if matches!(payload, Payload::Ndjson(_)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        }
        let query = (!query.is_empty()).then_some(query);
        let body = payload.bytes()?;
        let response = node
            .transport
            .send(method, path, headers, query, body, Some(self.timeout))
            .await?;
        let status = response.status_code().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Ok(Reply {
            status,
            retry_after,
            repeated: false,
            body: response.bytes().await?,
        })
    }

    /// Sends a request and reads the JSON of a success; anything else is an error that names `operation`.
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
    pub async fn json_and_pause<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> (Result<T, ElasticError>, Option<Duration>) {
        let reply = match self.send(method, path, query, payload).await {
            Ok(reply) => reply,
            Err(error) => return (Err(error), None),
        };
        let answer = if (200..300).contains(&reply.status) {
            serde_json::from_slice(&reply.body).map_err(|error| {
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
        } else {
            Err(ElasticError::from_reply(operation, reply.status, &reply.body))
        };
        (answer, reply.retry_after)
    }

    /// Name, UUID and version of the cluster, from `GET /`; an error where something else than Elasticsearch answers.
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
        let shown: Vec<String> = self.nodes.iter().map(Node::shown).collect();
        shown.join(", ")
    }
}

impl Payload<'_> {
    fn bytes(&self) -> Result<Option<Bytes>, elasticsearch::Error> {
        Ok(match self {
            Payload::None => None,
            Payload::Json(value) => Some(serde_json::to_vec(value)?.into()),
            Payload::Ndjson(lines) => Some(Bytes::clone(lines)),
        })
    }
}

impl From<&Login> for Credentials {
    fn from(login: &Login) -> Self {
        match login {
            Login::ApiKey(key) => Self::EncodedApiKey(key.expose_secret().to_owned()),
            Login::Basic(user, password) => Self::Basic(user.clone(), password.expose_secret().to_owned()),
        }
    }
}

/// A PEM file of the authorities that signed certificates; an error where it has none.
pub(crate) fn read_authorities(path: &Path) -> Result<Vec<u8>, String> {
    let named = |reason: String| format!("CA file {}: {reason}", path.display());
    let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    Certificate::from_pem(&pem).map_err(|error| named(error.to_string()))?;
    Ok(pem)
}

/// A client without credentials for one address: for requests of others, since the elasticsearch crate's own adds credentials
/// and waits for whole bodies, and for Kibana.
pub(crate) fn plain(url: &Url, timeout: Duration, ca: Option<&[u8]>) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        // To wherever a redirect points, credentials would go along.
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip();
    if is_loopback(url) {
        // A proxy could not reach it, and would see what goes there.
        builder = builder.no_proxy();
    }
    if let Some(pem) = ca {
        for certificate in reqwest::Certificate::from_pem_bundle(pem)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build()
}
