//! Embedding spaces: which vectors may be compared, and how.

use serde::{Deserialize, Serialize};

/// How two vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// By the cosine of their angle; vectors have unit length.
    #[default]
    Cosine,
    /// By their Euclidean distance d; vectors are as the model gives them, and the similarity is 1 - d^2 / 2, which for
    /// vectors of unit length is the cosine.
    Euclidean,
}

/// An embedding space: only vectors of the same one may be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Its name.
    pub name: String,
    /// How many numbers a vector has.
    pub dims: usize,
    /// How vectors are compared.
    pub metric: Metric,
}
