//! What a question about a photo is answered with, by every command and route.

use std::time::Instant;

use facedex_face::Face;
use serde::Serialize;
use utoipa::ToSchema;

/// The answer for one face.
#[derive(Debug, Serialize)]
pub struct FaceAnswer<T> {
    /// The face's number in the photo, from 0.
    pub ordinal: usize,
    /// The face; absent where an embedding was given instead of a photo.
    #[serde(flatten)]
    pub face: Option<Face>,
    /// What was found.
    #[serde(flatten)]
    pub result: T,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Took {
    /// Reading, decoding, detecting and embedding.
    pub photo_ms: f64,
    /// Elasticsearch: counting and the kNN searches.
    pub search_ms: f64,
}

/// Milliseconds since then, to a hundredth.
pub fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 100.0
}
