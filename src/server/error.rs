//! The error that every route answers with; its codes are one table.

mod codes;

use std::time::Duration;

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use facedex_elastic::ElasticError;
use facedex_elastic::error::block;
use facedex_face::FaceError;
use facedex_face::image::ImageError;
use serde_json::{Map, Value, json};

pub use self::codes::{Code, Row};
use crate::query::QueryError;

/// What a route answers when it cannot do what was asked.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The kind.
    pub code: Code,
    /// For people: what was wrong and what to do.
    pub message: String,
    /// For programs: the names and numbers of the message.
    pub details: Map<String, Value>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
        }
    }

    /// An error whose message is the table's.
    pub fn plain(code: Code) -> Self {
        let row = code.row();
        Self::new(code, format!("{}; {}", row.meaning, row.remedy))
    }

    /// A parameter that cannot be used.
    pub fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(Code::BadRequest, format!("{name}: {reason}")).with("parameter", name)
    }

    /// Adds a detail.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Sets when to try again.
    pub fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// The body.
    pub fn json(&self) -> Value {
        json!({"error": {"code": self.code.row().code, "message": self.message, "details": self.details}})
    }
}

/// What was refused, as an extension of the answer, whatever its shape.
#[derive(Debug, Clone, Copy)]
pub struct Refused(pub Code);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let row = self.code.row();
        tracing::debug!(code = row.code, message = self.message, "refused");
        let mut response = (row.status, Json(self.json())).into_response();
        if self.code == Code::Unauthorised {
            let scheme = "ApiKey realm=\"facedex\", header=\"X-API-Key\"";
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        if let Some(pause) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds(pause));
        }
        response.extensions_mut().insert(Refused(self.code));
        // Under /es/ it is given another shape.
        response.extensions_mut().insert(self);
        response
    }
}

/// A pause for `Retry-After`: whole seconds, rounded up.
pub fn seconds(pause: Duration) -> HeaderValue {
    let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// A client that found Elasticsearch away is asked to come back after this.
const ELASTIC_PAUSE: Duration = Duration::from_secs(5);

impl From<ElasticError> for ApiError {
    fn from(error: ElasticError) -> Self {
        use ElasticError as E;
        let message = error.to_string();
        match error {
            E::NoCollection { name } => Self::plain(Code::NoCollection).with("collection", name),
            E::NotACollection { name, .. } => Self::new(Code::NotACollection, message).with("collection", name),
            E::PartOfCollection { name, .. } => Self::new(Code::NotACollection, message).with("collection", name),
            E::Split {
                name, read, written, ..
            } => Self::new(Code::CollectionInDoubt, message)
                .with("collection", name)
                .with("indices", vec![read, written]),
            E::Copies { name, index, copies } => Self::new(Code::CollectionInDoubt, message)
                .with("collection", name)
                .with("indices", vec![index, copies]),
            E::Restored { name, index, .. } => Self::new(Code::CollectionInDoubt, message)
                .with("collection", name)
                .with("indices", vec![index]),
            E::NewerIndex { index, .. } => Self::new(Code::NewerIndex, message).with("index", index),
            E::Hidden { index } => Self::new(Code::IndexBlocked, message)
                .with("index", index)
                .with("block", "index.blocks.metadata"),
            E::Closed { index } => Self::new(Code::IndexClosed, message).with("index", index),
            E::Unreached { .. } | E::PartlyVisible => Self::new(Code::NotAllReached, message),
            E::BadName { .. } => Self::parameter("collection", message),
            E::UnknownField { .. } | E::UnknownLabel { .. } => Self::parameter("filter", message),
            E::WrongSpace { name, stored, wanted } => Self::plain(Code::WrongSpace)
                .with("collection", name)
                .with("stored", stored)
                .with("wanted", wanted),
            E::Blocked { index, setting } => Self::new(Code::IndexBlocked, message)
                .with("index", index)
                .with("block", setting),
            E::GaveUp { reason, .. } | E::Refused { reason, .. } if block(&reason).is_some() => {
                tracing::warn!(reason = message, "an index is blocked");
                let (setting, remedy) = block(&reason).unwrap_or_default();
                // Trying again helps nobody until an operator has done something.
                Self::plain(Code::IndexBlocked)
                    .with("block", setting)
                    .with("remedy", remedy)
            }
            // Addresses and Elasticsearch's words are for the operator: they stay in the log.
            E::GaveUp { .. } => {
                tracing::warn!(reason = message, "elasticsearch is unavailable");
                Self::plain(Code::ElasticsearchUnavailable).after(ELASTIC_PAUSE)
            }
            error if error.is_transient() => {
                tracing::warn!(reason = message, "elasticsearch is unavailable");
                Self::plain(Code::ElasticsearchUnavailable).after(ELASTIC_PAUSE)
            }
            E::Refused { status, kind, .. } => {
                tracing::error!(reason = message, "elasticsearch refused a request");
                Self::plain(Code::ElasticsearchRefused)
                    .with("status", status)
                    .with("type", kind)
            }
            _ => {
                tracing::error!(reason = message, "elasticsearch cannot be used");
                Self::plain(Code::ElasticsearchRefused)
            }
        }
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let message = error.to_string();
        match error {
            ImageError::TooManyBytes { limit } => Self::new(Code::TooLarge, message).with("limit", limit),
            ImageError::TooManyPixels { width, height, limit } => Self::new(Code::TooManyPixels, message)
                .with("width", width)
                .with("height", height)
                .with("limit", limit),
            ImageError::NotAnImage => Self::new(Code::NotAnImage, message),
            ImageError::Empty => Self::parameter("photo", message),
            ImageError::Panicked => {
                tracing::error!(reason = message, "looking at a photo panicked");
                Self::plain(Code::Internal)
            }
            ImageError::NoPixels { .. }
            | ImageError::Truncated { .. }
            | ImageError::Corrupt { .. }
            | ImageError::Io(_) => Self::new(Code::DamagedImage, message),
        }
    }
}

impl From<FaceError> for ApiError {
    fn from(error: FaceError) -> Self {
        tracing::error!(reason = error.to_string(), "the face engine failed");
        Self::plain(Code::Internal)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Image { path, source } => Self::from(source).with("photo", path),
            QueryError::NoFace { path } => Self::new(Code::NoFace, message).with("photo", path),
            QueryError::NoSuchFace { path, choice, found } => Self::new(Code::NoSuchFace, message)
                .with("photo", path)
                .with("face", choice)
                .with("faces", found),
            QueryError::NotCalibrated { .. } => Self::parameter("min_similarity", message),
            QueryError::BadRate { name, .. } => Self::parameter(&name.replace('-', "_"), message),
            QueryError::Face(error) => error.into(),
            QueryError::Elastic(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_all_in_the_table() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.row().code).collect();
        // The last one of the enum: a code that is added and not listed changes this number.
        assert_eq!(codes.len(), Code::Timeout as usize + 1);
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
    }

    #[test]
    fn elasticsearch_s_address_stays_in_the_log() {
        let error: ApiError = ElasticError::Unreachable {
            nodes: "http://10.0.0.1:9200".to_owned(),
            reason: "refused".to_owned(),
        }
        .into();
        assert!(!error.json().to_string().contains("10.0.0.1"));
        assert_eq!(error.into_response().headers()[RETRY_AFTER], "5");
    }
}
