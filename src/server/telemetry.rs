//! What can be seen of the server from outside: request ids, traces handed on, metrics with OpenTelemetry's names.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use facedex_elastic::transport::trace;
use tracing::Instrument as _;

use super::events;
use super::state::App;

/// Names a request in its answer, in the log and in the audit log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OPAQUE_ID: HeaderName = HeaderName::from_static("x-opaque-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of a request, by which its answer and the lines of the logs are found. Every request has it as an extension.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// What is counted and measured, for Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, kind)], app.metrics.render())
}

/// Gives the request its id, measures it, tells the events index, and hands its trace on to Elasticsearch.
pub async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id(request.headers());
    let method = method(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str)
        .map(str::to_owned);
    let carried = carried(request.headers(), &id);
    request.extensions_mut().insert(RequestId(id.clone()));
    // At the level of the log's default, so that a warning has the id.
    let span = tracing::error_span!("request", id, method, route);
    let mut response = trace::carrying(carried, next.run(request)).instrument(span).await;
    let status = response.status().as_u16().to_string();
    let took = start.elapsed();
    tracing::info!(id, method, route, status, ms = took.as_secs_f64() * 1e3, "answered");
    if let Some(route) = route.as_deref().filter(|_| app.events.are_kept())
        && let Some(event) = events::of(&app, method, route, &id, &response, took)
    {
        app.events.send(&event);
    }
    let mut labels = vec![
        ("http_request_method", method.to_owned()),
        ("http_response_status_code", status),
    ];
    // Paths that are no route have none: each would be a series of its own.
    labels.extend(route.map(|route| ("http_route", route)));
    metrics::histogram!("http_server_request_duration_seconds", &labels).record(took.as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The client's own id if it can stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:/+=".contains(&c))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given
        .filter(is_sane)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// The method's name; what is none of HTTP's own is counted as one, as OpenTelemetry has it.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

/// What Elasticsearch gets to know of the request.
fn carried(from: &HeaderMap, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(OPAQUE_ID, value);
    }
    if let Some(parent) = from.get(TRACE_PARENT).filter(|value| is_trace_parent(value.as_bytes())) {
        headers.insert(TRACE_PARENT, parent.clone());
        if let Some(state) = from.get(TRACE_STATE).filter(|value| value.len() <= 512) {
            headers.insert(TRACE_STATE, state.clone());
        }
    }
    headers
}

/// `version-trace_id-parent_id-flags`, in lowercase hexadecimal digits (W3C Trace Context).
fn is_trace_parent(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> = value.split(|c| *c == b'-').collect();
    let is_hex = |part: &[u8]| part.iter().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(c));
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_zero = |part: &[u8]| part.iter().all(|c| *c == b'0');
    lengths == [2, 32, 16, 2]
        && parts.iter().all(|part| is_hex(part))
        && parts[0] != b"ff"
        && !is_zero(parts[1])
        && !is_zero(parts[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(given).unwrap());
        request_id(&headers)
    }

    #[test]
    fn an_id_that_could_forge_a_log_is_replaced() {
        assert_eq!(id_for("abc-1"), "abc-1");
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert_ne!(id_for(bad), bad);
        }
    }

    #[test]
    fn only_whole_trace_parents_are_handed_on() {
        assert!(is_trace_parent(
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        for bad in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_trace_parent(bad));
        }
    }
}
