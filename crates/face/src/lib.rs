//! Pixels to vectors: decode, detect, refine, align, assess, embed. Knows nothing of Elasticsearch.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut engine = facedex_face::FaceEngine::open(2)?;
//! for face in facedex_face::Photo::open("photo.jpg".as_ref(), &mut engine)?.faces {
//!     println!("{:?} {:?}", face.bbox, &face.embedding[..4]);
//! }
//! # Ok(())
//! # }
//! ```

#![warn(clippy::missing_errors_doc)]

pub mod align;
pub mod detect;
pub mod embed;
pub mod engine;
pub mod gate;
pub mod image;
pub mod landmarks;
pub mod likeness;
pub mod models;
pub mod photo;
pub mod quality;
pub mod recipe;
pub mod select;
pub mod thumbnail;

pub use engine::{Face, FaceEngine};
pub use facedex_base::geometry;
pub use facedex_base::{Landmarks, Point, Rect};
pub use photo::{DecodedPhoto, Photo, PhotoError};
pub use recipe::{Precision, Recipe};

use crate::models::catalog::CatalogError;
use crate::models::runtime::RuntimeError;

/// What can go wrong between decoded pixels and vectors.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// The list of models cannot be used, or lacks one that is asked for.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A model could not be loaded or run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The five landmarks coincide, so that no similarity transform exists.
    #[error("the landmarks of the face at {x:.0},{y:.0} coincide; the face cannot be aligned")]
    DegenerateLandmarks {
        /// Left edge of the face's box in pixels.
        x: f32,
        /// Top edge of the face's box in pixels.
        y: f32,
    },
    /// The embedder returned a zero or non-finite vector.
    #[error(
        "the embedder returned a vector without direction; the model file may be damaged: run `facedex models fetch`"
    )]
    BadEmbedding,
    /// A model, or what is around it, panicked.
    #[error("the face engine panicked on this photo")]
    Panicked,
}
