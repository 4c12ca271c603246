//! A photo to an answer: the decisions. The wire is `read/search.rs` of facedex-elastic's.

pub mod answer;
pub mod cluster;
pub mod exact;
pub mod identify;
pub mod photo;
pub mod search;
pub mod threshold;
pub mod verify;

use facedex_elastic::ElasticError;
use facedex_face::FaceError;
use facedex_face::image::ImageError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The photo cannot be used.
    #[error("{path}: {source}")]
    Image {
        /// The photo.
        path: String,
        /// Why.
        source: ImageError,
    },
    /// No face where one is needed.
    #[error("{path}: no face found; faces need at least about 10 pixels between their edges")]
    NoFace {
        /// The photo.
        path: String,
    },
    /// The chosen face is not there.
    #[error("{path}: there is no face {choice}; the photo has {found}, counted from 0")]
    NoSuchFace {
        /// The photo.
        path: String,
        /// What was asked for.
        choice: usize,
        /// How many there are.
        found: usize,
    },
    /// A limit is outside its range.
    #[error("{name} must lie between 0 and 1, without them; got {value}")]
    BadRate {
        /// Which rate.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// The embedder has no false-match table.
    #[error(
        "no error rates are known for {space}: measure them with `facedex eval calibrate`, or give a similarity with --min-similarity"
    )]
    NotCalibrated {
        /// The embedding space.
        space: String,
    },
    /// The models do not load or run.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// Elasticsearch does not answer the question.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
}
