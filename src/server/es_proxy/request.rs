//! What comes in and what goes on: bodies, media types and headers.

use std::io::{Read, Write};
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use facedex_elastic::transport::client::Foreign;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::{GzDecoder, GzEncoder};
use futures_util::StreamExt;

use super::error::ProxyError;
use super::ids::Named;
use super::params::Params;
use super::path::Route;
use crate::server::arrival::too_large;
use crate::server::audit::Entry;
use crate::server::state::Place;

/// Headers that go on to Elasticsearch; no other does. Credentials are the caller's own.
static PASSED: [HeaderName; 11] = [
    ACCEPT,
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("es-client-authentication"),
    HeaderName::from_static("es-security-runas-user"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("user-agent"),
    HeaderName::from_static("x-elastic-client-meta"),
    HeaderName::from_static("x-opaque-id"),
];

/// JSON as Elasticsearch's clients call it.
const JSON: [&str; 2] = ["application/json", "application/vnd.elasticsearch+json"];

/// Headers of one connection, which end with it (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that may be answered.
pub(super) struct Incoming {
    pub(super) method: Method,
    pub(super) route: Route,
    pub(super) params: Params,
    /// All headers, as they came.
    pub(super) headers: HeaderMap,
    /// In place of the media types that they ask for.
    pub(super) accept: Option<HeaderValue>,
    pub(super) read: Content,
    pub(super) since: Instant,
}

/// What of a body is inflated at a time.
const INFLATED: u64 = 256 << 10;

/// A body, and how it came.
pub(super) struct Content {
    /// Decompressed.
    pub(super) body: Bytes,
    /// As it came, if that was in gzip.
    pub(super) packed: Option<Bytes>,
    /// The room that it takes, and that an answer to it may take.
    pub(super) place: Place,
}

/// Reads a body. What it inflates to has at most `max` bytes, and takes room as the body did.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    place: Place,
    max: usize,
) -> Result<Content, ProxyError> {
    let is_gzip = is_gzip(headers)?;
    let broken = |error| ProxyError::illegal(format!("the body cannot be read: {error}"));
    // Its own length is held against the limit as it comes in.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(broken)?;
    if !is_gzip || bytes.is_empty() {
        return Ok(Content {
            body: bytes,
            packed: None,
            place,
        });
    }
    off_thread(move || {
        Ok(Content {
            body: inflate(&bytes, &place, max)?,
            packed: Some(bytes),
            place,
        })
    })
    .await?
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, ProxyError> {
    let refused = || {
        ProxyError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "illegal_argument_exception",
            "bodies come as they are or with Content-Encoding: gzip",
        )
    };
    match one(headers, &CONTENT_ENCODING)?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(false),
        Some("gzip") => Ok(true),
        Some(_) => Err(refused()),
    }
}

fn inflate(bytes: &[u8], place: &Place, max: usize) -> Result<Bytes, ProxyError> {
    let mut whole = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes);
    loop {
        let before = whole.len();
        let read = reader.by_ref().take(INFLATED).read_to_end(&mut whole);
        read.map_err(|error| ProxyError::illegal(format!("the body is no gzip that can be read: {error}")))?;
        if whole.len() == before {
            return Ok(whole.into());
        }
        if whole.len() > max {
            return Err(ProxyError::of_the_request(
                too_large(max),
                StatusCode::PAYLOAD_TOO_LARGE,
            ));
        }
        place.grow(whole.len() - before)?;
    }
}

/// As small as a client would have made it.
fn deflate(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes)?;
    packed.finish().map(Bytes::from)
}

/// The value of a header that may come once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ProxyError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ProxyError::illegal(format!("the header {name} came twice")));
    }
    let text = first.map(|value| value.to_str().map(str::trim));
    text.transpose()
        .map_err(|_| ProxyError::illegal(format!("the header {name} has characters that it cannot have")))
}

/// What is asked of Elasticsearch as the answer's media type: JSON, which the audit log can read. `None` where the client
/// asks for nothing else; one that takes nothing of the kind is refused.
pub(super) fn accept(headers: &HeaderMap) -> Result<Option<HeaderValue>, ProxyError> {
    let texts: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .collect();
    let text = texts.join(",").to_ascii_lowercase();
    let kinds = || {
        text.split(',')
            .map(|part| part.split(';').next().unwrap_or_default().trim())
    };
    let is_json = |kind: &str| JSON.contains(&kind) || ["*/*", "application/*", ""].contains(&kind);
    if !kinds().any(is_json) {
        let shown: String = text.chars().take(80).collect();
        return Err(ProxyError::new(
            StatusCode::NOT_ACCEPTABLE,
            "media_type_header_exception",
            format!("answers are JSON here; the header Accept [{shown}] asks for something else"),
        ));
    }
    // Elasticsearch's own JavaScript client adds text/plain.
    let is_harmless = kinds().all(|kind| is_json(kind) || kind == "text/plain");
    Ok((!is_harmless).then(|| HeaderValue::from_static("application/json")))
}

/// Refuses bodies that are no JSON by their media type. Elasticsearch reads YAML, CBOR and SMILE as well; what is checked
/// here must be what it reads there.
pub(super) fn check_media_type(incoming: &Incoming) -> Result<(), ProxyError> {
    let given = one(&incoming.headers, &CONTENT_TYPE)?;
    if incoming.read.body.is_empty() {
        return Ok(());
    }
    let given = given.unwrap_or_default();
    let mut parts = given.split(';').map(|part| part.trim().to_ascii_lowercase());
    let is_known = match parts.next().unwrap_or_default().as_str() {
        kind if JSON.contains(&kind) => true,
        "application/x-ndjson" | "application/vnd.elasticsearch+x-ndjson" => {
            matches!(incoming.route, Route::MultiSearch(_))
        }
        _ => false,
    };
    let is_plain = |part: String| match part.split_once('=') {
        Some(("charset", value)) => value.trim_matches('"') == "utf-8",
        Some(("compatible-with", value)) => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
        _ => part.is_empty(),
    };
    if is_known && parts.all(is_plain) {
        return Ok(());
    }
    let shown: String = given.chars().take(80).collect();
    Err(ProxyError::new(
        StatusCode::NOT_ACCEPTABLE,
        "media_type_header_exception",
        format!(
            "the body's Content-Type [{shown}] is not accepted here; send application/json, or application/x-ndjson to _msearch"
        ),
    ))
}

impl Incoming {
    /// Whether no hits are asked for, where the path or its parameters say.
    pub(super) fn no_hits(&self) -> Option<bool> {
        match self.route {
            Route::Count(_) => Some(true),
            _ => self.params.no_hits,
        }
    }

    /// The request for Elasticsearch as it came: no larger than it was for us.
    pub(super) fn as_it_came(&self) -> Foreign {
        match &self.read.packed {
            Some(packed) => self.packed(packed.clone()),
            None => self.to_pass_on(self.read.body.clone()),
        }
    }

    /// The same with another body, in gzip if that is how it came.
    pub(super) async fn with_body(&self, body: Bytes) -> Result<Foreign, ProxyError> {
        if self.read.packed.is_none() || body.is_empty() {
            return Ok(self.to_pass_on(body));
        }
        let packed = off_thread(move || deflate(&body)).await?;
        let packed = packed.map_err(|error| ProxyError::illegal(format!("the body cannot be compressed: {error}")))?;
        Ok(self.packed(packed))
    }

    fn packed(&self, body: Bytes) -> Foreign {
        let mut foreign = self.to_pass_on(body);
        let gzip = HeaderValue::from_static("gzip");
        foreign.headers.insert(CONTENT_ENCODING, gzip);
        foreign
    }

    fn to_pass_on(&self, body: Bytes) -> Foreign {
        let mut headers = HeaderMap::new();
        for name in &PASSED {
            for value in self.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(accept) = &self.accept {
            headers.insert(ACCEPT, accept.clone());
        }
        // Answers are compressed so that the audit log can read them, or not at all.
        let accepted = headers.remove(ACCEPT_ENCODING);
        if accepted.is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("gzip"))) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Foreign {
            method: self.method.clone(),
            path: self.route.target(),
            query: self.params.encoded.clone(),
            headers,
            body,
        }
    }
}

/// Removes what belongs to the connection to the node.
fn end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The node's answer as ours: status, headers, and the body as it comes. What it names is noted as it passes.
pub(super) fn answer(mut reply: reqwest::Response, entry: &Entry) -> Response {
    let status = reply.status();
    let mut headers = std::mem::take(reply.headers_mut());
    end_to_end(&mut headers);
    let body = if entry.is_kept() {
        let is_gzip = headers.get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let mut log: Box<dyn Write + Send> = match is_gzip {
            true => Box::new(GzDecoder::new(Named::for_log(entry))),
            false => Box::new(Named::for_log(entry)),
        };
        Body::from_stream(reply.bytes_stream().inspect(move |piece| {
            if let Ok(piece) = piece {
                // A body that is no gzip after all names nothing that could be noted; it passes all the same.
                let _ = log.write_all(piece);
            }
        }))
    } else {
        Body::from_stream(reply.bytes_stream())
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The same with another body in place of the node's.
pub(super) fn answer_with(status: StatusCode, mut headers: HeaderMap, body: Vec<u8>) -> Response {
    end_to_end(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Runs work that takes long where it holds no other request up.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ProxyError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(reason = error.to_string(), "reading a body failed");
        ProxyError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "exception",
            "the body could not be read",
        )
    })
}
