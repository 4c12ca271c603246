//! Verification: are these two faces one person?

use serde::Serialize;

use super::identify::Decision;
use super::threshold::Threshold;

/// The answer for two faces.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Verification {
    /// Match, or unknown: a low similarity does not prove that they are two people.
    pub decision: Decision,
    /// Cosine of the two embeddings.
    pub similarity: f64,
    /// What a match had to reach.
    pub threshold: Threshold,
}

/// Compares two L2-normalised embeddings of the same space.
pub fn verify(a: &[f32], b: &[f32], threshold: Threshold) -> Verification {
    let similarity = cosine(a, b);
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

/// The dot product of two unit vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
