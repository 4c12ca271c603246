//! Embedders: what their vectors mean, and what a similarity is worth.

pub use facedex_base::space::{Metric, Space};
use serde::{Deserialize, Serialize};

/// The aligned crop that an embedder takes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Side, in pixels.
    pub size: u32,
    /// Where the five landmarks lie in it.
    pub template: [[f32; 2]; 5],
}

/// An embedder's vectors: the space that they live in, and what a similarity is worth there.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Embedder {
    /// Only vectors of the same space may be compared.
    pub space: String,
    /// How many numbers a vector has.
    pub dims: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// Measured false-match rates, from the highest rate to the lowest; none for a model that was not calibrated.
    #[serde(default)]
    pub fmr: Vec<FmrPoint>,
    /// How many comparisons of different people those rates rest on.
    #[serde(default)]
    pub comparisons: u64,
    /// How they were measured.
    #[serde(default)]
    pub measured: String,
}

impl Embedder {
    /// The space of its vectors.
    pub fn embedding_space(&self) -> Space {
        Space {
            name: self.space.clone(),
            dims: self.dims,
            metric: self.metric,
        }
    }
}

/// One row of a false-match table.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FmrPoint {
    /// The share of comparisons of different people above the similarity.
    pub fmr: f64,
    /// The similarity.
    pub similarity: f64,
    /// 95 % interval of the similarity, people drawn again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Beyond what the comparisons show: drawn out from their tail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extrapolated: bool,
}

/// Several embedders as one: their vectors, each times the root of its weight, one after the other. The cosine of two such
/// vectors is the weighted mean of the members' cosines.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// The name by which commands know it.
    pub name: String,
    /// Its members.
    pub members: Vec<Member>,
    /// What a user should know before relying on it.
    pub notes: String,
    /// What its vectors mean.
    pub embedder: Embedder,
}

/// A member of an ensemble.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// An embedder's name.
    pub model: String,
    /// Its share of the similarity; all together are 1.
    pub weight: f64,
}
