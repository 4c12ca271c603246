//! The one table of error codes.

use axum::http::StatusCode;

/// A kind of failure, as clients may tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each code's meaning is its row in the table below")]
pub enum Code {
    BadRequest,
    Unauthorised,
    Forbidden,
    ForeignOrigin,
    NotReachable,
    NotFound,
    NoCollection,
    NotACollection,
    NoSuchStoredFace,
    NoThumbnail,
    NoSuchPerson,
    MethodNotAllowed,
    SlowBody,
    Conflict,
    OtherEngine,
    WrongSpace,
    CollectionInDoubt,
    NewerIndex,
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
    IndexClosed,
    IndexBlocked,
    NotAllReached,
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
    pub const ALL: [Self; 37] = [
        Self::BadRequest,
        Self::Unauthorised,
        Self::Forbidden,
        Self::ForeignOrigin,
        Self::NotReachable,
        Self::NotFound,
        Self::NoCollection,
        Self::NotACollection,
        Self::NoSuchStoredFace,
        Self::NoThumbnail,
        Self::NoSuchPerson,
        Self::MethodNotAllowed,
        Self::SlowBody,
        Self::Conflict,
        Self::OtherEngine,
        Self::WrongSpace,
        Self::CollectionInDoubt,
        Self::NewerIndex,
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
        Self::IndexClosed,
        Self::IndexBlocked,
        Self::NotAllReached,
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
            Self::NotReachable => (
                "not_reachable",
                403,
                "this part of elasticsearch is not reachable through facedex",
                "the message names what serves instead",
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
                "the name stands for no collection of facedex's, or for a part of one",
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
            Self::SlowBody => (
                "slow_body",
                408,
                "the request's body did not come, or too slowly",
                "send it again over a faster connection, or a smaller photo",
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
            Self::CollectionInDoubt => (
                "collection_in_doubt",
                409,
                "several indices claim to be this collection, or its aliases disagree",
                "an operator says which one it is with `facedex collection adopt`",
            ),
            Self::NewerIndex => (
                "newer_index",
                409,
                "a newer facedex has written to this collection",
                "use the newer facedex for changes",
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
            Self::IndexClosed => (
                "index_closed",
                503,
                "the collection's index is closed",
                "an operator opens it: POST /INDEX/_open",
            ),
            Self::IndexBlocked => (
                "index_blocked",
                503,
                "an index of the collection, or of the deleted faces, takes no such requests: it is blocked",
                "an operator lifts the block that the details name",
            ),
            Self::NotAllReached => (
                "not_all_reached",
                503,
                "not every index that may hold faces of the collection could be looked at",
                "mend what the details name, then send it again; what could be reached was changed",
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
                "send a smaller photo, see whether elasticsearch is slow (/readyz), or raise --timeout",
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
