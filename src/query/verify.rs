//! Verification: are these two faces one person?

use serde::Serialize;

use super::identify::Decision;
use super::threshold::Threshold;

/// The answer for two faces.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Verification {
    /// Match, or unknown: a low similarity does not prove that they are two people.
    pub decision: Decision,
    /// Similarity of the two embeddings: their cosine.
    pub similarity: f64,
    /// What a match had to reach.
    pub threshold: Threshold,
}

/// Compares two embeddings of the same space.
pub fn verify(a: &[f32], b: &[f32], threshold: Threshold) -> Verification {
    let similarity = similarity(a, b);
    Verification {
        decision: if similarity >= threshold.similarity {
            Decision::Match
        } else {
            Decision::Unknown
        },
        similarity,
        threshold,
    }
}

/// How alike two vectors of a space are: `1 - d^2 / 2` of their Euclidean distance, which for vectors of unit length is
/// their cosine.
pub fn similarity(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    1.0 - a.iter().zip(b).map(square).sum::<f64>() / 2.0
}
