//! The connection: addresses, credentials, certificates, a timeout on every call, and the next node when one is dead.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

use super::ElasticError;

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
            Some(path) => {
                let setup = |reason: String| ElasticError::Setup(format!("CA file {}: {reason}", path.display()));
                let pem = std::fs::read(path).map_err(|error| setup(error.to_string()))?;
                // Read anew for each node below: the client's certificate type cannot be copied.
                Certificate::from_pem(&pem).map_err(|error| setup(error.to_string()))?;
                Some(pem)
            }
            None => None,
        };
        let nodes = connection
            .urls
            .iter()
            .map(|url| {
                let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.clone()));
                builder = builder.timeout(connection.timeout);
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
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut reason = String::new();
        for turn in 0..self.nodes.len() {
            let node = &self.nodes[(first + turn) % self.nodes.len()];
            match self.send_to(node, method, path, query, payload).await {
                Ok(reply) => {
                    return Ok(Reply {
                        repeated: turn > 0,
                        ..reply
                    });
                }
                Err(error) => {
                    reason = chain(&error);
                    tracing::debug!(node = %node.url, reason, "no answer");
                }
            }
        }
        Err(ElasticError::Unreachable {
            nodes: self.addresses(),
            reason,
        })
    }

    async fn send_to(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Reply, elasticsearch::Error> {
        let mut headers = HeaderMap::new();
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

    /// Name and version of the cluster, from `GET /`.
    pub async fn info(&self) -> Result<Value, ElasticError> {
        self.json("tell its version", Method::Get, "/", &[], Payload::None)
            .await
    }

    /// The addresses, without credentials, for messages.
    pub fn addresses(&self) -> String {
        let shown = self.nodes.iter().map(|node| {
            let mut url = node.url.clone();
            // Only a URL without a host refuses this, and such a one has no credentials either.
            let _ = url.set_password(None).and_then(|()| url.set_username(""));
            url.to_string()
        });
        shown.collect::<Vec<_>>().join(", ")
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

/// An error with its causes: the outer one alone says only that a request failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
