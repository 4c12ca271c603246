//! The one table of error codes, and the error that every route answers with.

use std::time::Duration;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::elastic::ElasticError;
use crate::face::FaceError;
use crate::face::image::ImageError;
use crate::query::QueryError;

/// A kind of failure, as clients may tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each code's meaning is its row in the table below")]
pub enum Code {
    BadRequest,
    Unauthorised,
    Forbidden,
    ForeignOrigin,
    NotFound,
    NoCollection,
    NotACollection,
    NoSuchStoredFace,
    NoThumbnail,
    NoSuchPerson,
    MethodNotAllowed,
    Conflict,
    OtherEngine,
    WrongSpace,
    TooLarge,
    TooManyPixels,
    UnsupportedType,
    NotAnImage,
    DamagedImage,
    NoFace,
    SeveralFaces,
    NoSuchFace,
    Overloaded,
    RateLimited,
    Internal,
    ElasticsearchRefused,
    ElasticsearchUnavailable,
    NotAudited,
    NotReady,
    Timeout,
}

/// What the table says of a code.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code as it goes over the wire.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl Code {
    /// All codes, in the order of their statuses.
    pub const ALL: [Self; 30] = [
        Self::BadRequest,
        Self::Unauthorised,
        Self::Forbidden,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::NoCollection,
        Self::NotACollection,
        Self::NoSuchStoredFace,
        Self::NoThumbnail,
        Self::NoSuchPerson,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::OtherEngine,
        Self::WrongSpace,
        Self::TooLarge,
        Self::TooManyPixels,
        Self::UnsupportedType,
        Self::NotAnImage,
        Self::DamagedImage,
        Self::NoFace,
        Self::SeveralFaces,
        Self::NoSuchFace,
        Self::Overloaded,
        Self::RateLimited,
        Self::Internal,
        Self::ElasticsearchRefused,
        Self::ElasticsearchUnavailable,
        Self::NotAudited,
        Self::NotReady,
        Self::Timeout,
    ];

    /// The code's row of the table.
    pub fn row(self) -> Row {
        let (code, status, meaning, remedy) = match self {
            Self::BadRequest => (
                "bad_request",
                400,
                "a parameter is missing, unknown, malformed or out of range",
                "correct the parameter that the message names",
            ),
            Self::Unauthorised => (
                "unauthorized",
                401,
                "no key was given, or one that is not known",
                "send a key in X-API-Key; `facedex keys create` makes one",
            ),
            Self::Forbidden => (
                "forbidden",
                403,
                "the key may not do this, or not in this collection",
                "use a key with the scope and the collection that the message names",
            ),
            Self::ForeignOrigin => (
                "foreign_origin",
                403,
                "the request's Host or Origin is not this server's own",
                "call the server by its own address; without keys only loopback is served",
            ),
            Self::NotFound => ("not_found", 404, "there is no such route", "see /docs for the routes"),
            Self::NoCollection => (
                "no_collection",
                404,
                "there is no such collection",
                "GET /v1/collections lists them; `facedex collection create` or an ingest makes one",
            ),
            Self::NotACollection => (
                "not_a_collection",
                404,
                "the name belongs to an index that facedex did not make",
                "name one of GET /v1/collections",
            ),
            Self::NoSuchStoredFace => (
                "face_not_found",
                404,
                "no stored face has this id",
                "take ids from a search or an enrolment; it may have been deleted",
            ),
            Self::NoThumbnail => (
                "no_thumbnail",
                404,
                "the face was stored without a picture",
                "enrol with thumbnail=true, or ingest with --thumbnails",
            ),
            Self::NoSuchPerson => (
                "person_not_found",
                404,
                "no stored face has this person",
                "check person.id; it is case-sensitive",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                405,
                "the route does not take this method",
                "see /docs for the methods",
            ),
            Self::Conflict => (
                "conflict",
                409,
                "this photo's face is stored as another person, or was changed at the same time",
                "look at the stored face that the details name; delete it first if it is wrong",
            ),
            Self::OtherEngine => (
                "other_engine",
                409,
                "this photo is stored as another version of the models saw it",
                "rewrite the photo with `facedex ingest --replace`",
            ),
            Self::WrongSpace => (
                "wrong_space",
                409,
                "the collection holds vectors of another embedding space",
                "choose another collection, or serve with the embedder that made it",
            ),
            Self::TooLarge => (
                "too_large",
                413,
                "the body or the photo has too many bytes",
                "send a smaller photo, or raise --max-body and --max-image-bytes",
            ),
            Self::TooManyPixels => (
                "too_many_pixels",
                413,
                "the photo has too many pixels",
                "send a smaller photo, or raise --max-image-pixels",
            ),
            Self::UnsupportedType => (
                "unsupported_type",
                415,
                "the body's Content-Type is none that this route takes",
                "send multipart/form-data, an image, or application/json",
            ),
            Self::NotAnImage => (
                "not_an_image",
                415,
                "the photo's bytes are no known image format",
                "send JPEG, PNG, WebP, GIF, BMP or TIFF",
            ),
            Self::DamagedImage => (
                "damaged_image",
                422,
                "the photo is cut off or breaks its format's rules",
                "send the photo again, or another copy of it",
            ),
            Self::NoFace => (
                "no_face",
                422,
                "no face was found in the photo",
                "send a photo in which faces have at least about 10 pixels between their edges",
            ),
            Self::SeveralFaces => (
                "several_faces",
                422,
                "the photo has several faces where one is wanted",
                "send a photo of one face, or say which: subject=central or subject=largest",
            ),
            Self::NoSuchFace => (
                "no_such_face",
                422,
                "the photo has no face of this number",
                "faces are counted from 0 in order from the top",
            ),
            Self::Overloaded => (
                "overloaded",
                429,
                "more requests are under way than the server takes at a time",
                "try again after the seconds in Retry-After",
            ),
            Self::RateLimited => (
                "rate_limited",
                429,
                "this key has used up its requests for now",
                "try again after the seconds in Retry-After",
            ),
            Self::Internal => (
                "internal",
                500,
                "the server failed; its log has the reason beside the request's id",
                "report it with the X-Request-Id of the answer",
            ),
            Self::ElasticsearchRefused => (
                "elasticsearch_refused",
                502,
                "elasticsearch refused what this server asked of it",
                "the server's log has elasticsearch's words beside the request's id",
            ),
            Self::ElasticsearchUnavailable => (
                "elasticsearch_unavailable",
                503,
                "elasticsearch does not answer, or takes no requests for now",
                "try again after the seconds in Retry-After",
            ),
            Self::NotAudited => (
                "not_audited",
                503,
                "the audit log cannot be written",
                "free space or mend the file of --audit-log; the server's log says what is wrong",
            ),
            Self::NotReady => (
                "not_ready",
                503,
                "a part that answers need is not there",
                "the details say which",
            ),
            Self::Timeout => (
                "timeout",
                504,
                "the request took longer than the server allows",
                "send a smaller photo, or raise --timeout",
            ),
        };
        Row {
            code,
            // The statuses above are all valid; the fallback keeps this free of panics.
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            meaning,
            remedy,
        }
    }
}

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
            E::NotACollection { name, .. } => Self::plain(Code::NotACollection).with("collection", name),
            E::BadName { .. } => Self::parameter("collection", message),
            E::UnknownField { .. } => Self::parameter("filter", message),
            E::WrongSpace { name, stored, wanted } => Self::plain(Code::WrongSpace)
                .with("collection", name)
                .with("stored", stored)
                .with("wanted", wanted),
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
