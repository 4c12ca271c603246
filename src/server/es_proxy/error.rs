//! Errors as Elasticsearch's clients expect them.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use facedex_elastic::ElasticError;
use serde_json::{Value, json};

use super::splice::Refusal;
use crate::server::error::{ApiError, Code, Refused, seconds};

/// Clients refuse a server that does not send this.
const PRODUCT: (&str, &str) = ("x-elastic-product", "Elasticsearch");

/// An error in Elasticsearch's shape.
#[derive(Debug, Clone)]
pub(super) struct ProxyError {
    pub(super) status: StatusCode,
    kind: &'static str,
    reason: String,
    /// The nearest of facedex's own table.
    code: Code,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl ProxyError {
    pub(super) fn new(status: StatusCode, kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            reason: reason.into(),
            code: nearest(status),
            retry_after: None,
            allow: None,
        }
    }

    /// 400.
    pub(super) fn illegal(reason: impl Into<String>) -> Self {
        Refusal::illegal(reason).into()
    }

    /// 403 for everything of Elasticsearch that is not reachable: clients take a 404 for the absence of what was asked for.
    pub(super) fn unreachable(instead: &str) -> Self {
        let reason = format!(
            "not done through facedex, where there are COLLECTION/_search, COLLECTION/_count, COLLECTION/_msearch, _msearch, \
             HEAD of a collection and the root: {instead}"
        );
        Self::new(StatusCode::FORBIDDEN, "security_exception", reason)
    }

    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The refusal of a request as a whole, not of a photo in it.
    pub(super) fn of_the_request(error: ApiError, status: StatusCode) -> Self {
        let mut error = Self { status, ..error.into() };
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            error.kind = "content_too_long_exception";
        }
        error
    }

    /// The body; also an item of `_msearch`.
    pub(super) fn json(&self) -> Value {
        let error = json!({
            "root_cause": [{"type": self.kind, "reason": self.reason}],
            "type": self.kind,
            "reason": self.reason,
            "facedex_code": self.code.row().code,
        });
        json!({"error": error, "status": self.status.as_u16()})
    }

    /// The whole answer, of the media type that was asked for.
    pub(super) fn response(&self, asked: &HeaderMap) -> Response {
        let mut response = local(asked, self.status, self.json().to_string());
        response.extensions_mut().insert(Refused(self.code));
        let headers = response.headers_mut();
        if let Some(pause) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(pause));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}

/// What an error of the proxy's own is in facedex's table.
fn nearest(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::FORBIDDEN => Code::NotReachable,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedType,
        StatusCode::BAD_GATEWAY => Code::ElasticsearchRefused,
        status if status.is_server_error() => Code::Internal,
        _ => Code::BadRequest,
    }
}

/// An answer of our own.
pub(super) fn local(asked: &HeaderMap, status: StatusCode, body: impl Into<Body>) -> Response {
    // Clients of 8 and 9 ask for a media type of their own and may expect it in the answer.
    let asked = asked.get(ACCEPT).filter(|value| {
        let text = value.to_str().unwrap_or_default();
        text.starts_with("application/vnd.elasticsearch+json") && !text.contains(',')
    });
    let kind = asked.cloned().unwrap_or(HeaderValue::from_static("application/json"));
    let product = (PRODUCT.0, HeaderValue::from_static(PRODUCT.1));
    let mut response = (status, [product], body.into()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl From<Refusal> for ProxyError {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::BAD_REQUEST, refusal.kind, refusal.reason)
    }
}

impl From<ElasticError> for ProxyError {
    fn from(error: ElasticError) -> Self {
        match error {
            // The same for both: which other indices the cluster has is nobody's business here.
            ElasticError::NoCollection { name } | ElasticError::NotACollection { name, .. } => Self {
                code: Code::NoCollection,
                ..Self::new(
                    StatusCode::NOT_FOUND,
                    "index_not_found_exception",
                    format!("no facedex collection [{name}]; GET /v1/collections lists those that there are"),
                )
            },
            // Not absent: a client must not make it.
            error @ ElasticError::PartOfCollection { .. } => Self {
                code: Code::NotACollection,
                ..Self::new(StatusCode::BAD_REQUEST, "illegal_argument_exception", error.to_string())
            },
            error => ApiError::from(error).into(),
        }
    }
}

impl From<ApiError> for ProxyError {
    fn from(error: ApiError) -> Self {
        let kind = match error.code {
            Code::Unauthorised | Code::Forbidden | Code::ForeignOrigin | Code::NotReachable => "security_exception",
            Code::Overloaded | Code::RateLimited => "es_rejected_execution_exception",
            Code::ElasticsearchUnavailable => "no_node_available_exception",
            Code::Timeout | Code::SlowBody => "timeout_exception",
            Code::IndexClosed => "index_closed_exception",
            Code::Internal | Code::ElasticsearchRefused | Code::NotReady | Code::NotAudited | Code::NotAllReached => {
                "exception"
            }
            _ => "illegal_argument_exception",
        };
        let details = match error.details.is_empty() {
            true => String::new(),
            false => format!(" {}", Value::Object(error.details)),
        };
        // Some of Elasticsearch's clients take these for a sign that the node is ill, and go to another one.
        let status = match error.code.row().status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY => {
                StatusCode::BAD_REQUEST
            }
            status => status,
        };
        Self {
            code: error.code,
            retry_after: error.retry_after,
            ..Self::new(status, kind, error.message + &details)
        }
    }
}

/// Gives the errors of what stands before the proxy (keys, limits, panics) Elasticsearch's shape as well.
pub async fn shape(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/es" && !path.starts_with("/es/") {
        return next.run(request).await;
    }
    let mut asked = HeaderMap::new();
    if let Some(accept) = request.headers().get(ACCEPT) {
        asked.insert(ACCEPT, accept.clone());
    }
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions().get::<ApiError>() {
        let error = ProxyError::of_the_request(error.clone(), response.status());
        let (parts, body) = error.response(&asked).into_parts();
        // Others that came with it stay: a request's id, what a key would have to be.
        response.headers_mut().remove(CONTENT_LENGTH);
        for (name, value) in &parts.headers {
            response.headers_mut().insert(name, value.clone());
        }
        *response.body_mut() = body;
    }
    response
}
