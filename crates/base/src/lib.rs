//! What facedex's face pipeline ([`facedex-face`]) and its Elasticsearch side ([`facedex-elastic`]) both speak of: boxes and
//! landmarks in a photo, a face's quality, a picture's likeness, how alike two embeddings are, the space that embeddings live in. A
//! program that uses one of the two takes none of the other's weight.
//!
//! [`facedex-face`]: https://docs.rs/facedex-face
//! [`facedex-elastic`]: https://docs.rs/facedex-elastic

#![warn(clippy::missing_errors_doc)]

pub mod address;
pub mod errors;
pub mod geometry;
pub mod likeness;
pub mod quality;
pub mod similarity;
pub mod space;

pub use geometry::{Landmarks, Point, Rect};
pub use likeness::Likeness;
pub use quality::Quality;
pub use space::{Metric, Space};
