//! Embedding: an aligned crop becomes a vector of unit length whose cosine with another says how alike two faces are.

use std::time::Duration;

use image::RgbImage;

use super::FaceError;
use super::align::{Similarity, warp};
use super::geometry::{Landmarks, Point};
use crate::models::catalog::{Embedder as Facts, Model};
use crate::models::runtime::{Network, Runtime, RuntimeError};

/// Turns aligned faces into vectors.
pub struct Embedder {
    network: Network,
    facts: Facts,
    template: Landmarks,
}

impl Embedder {
    /// Loads the embedder that the catalog describes.
    pub fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        let facts = model
            .embedder
            .clone()
            .ok_or_else(|| RuntimeError::WrongRole(model.name.clone()))?;
        Ok(Self {
            network: runtime.load(model, threads)?,
            template: facts.template.map(Point::from),
            facts,
        })
    }

    /// The time that the model ran since this was last asked.
    pub fn take_running(&mut self) -> Duration {
        self.network.take_running()
    }

    /// What the catalog says of this embedder: space, dimensions, false-match rates.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The transform that aligns these landmarks with the embedder's template; `None` where they coincide.
    pub fn alignment(&self, landmarks: &Landmarks) -> Option<Similarity> {
        Similarity::between(landmarks, &self.template)
    }

    /// The aligned crop, at the embedder's input size.
    pub fn crop(&self, photo: &RgbImage, alignment: &Similarity) -> RgbImage {
        warp(photo, alignment, self.facts.size)
    }

    /// The L2-normalised embedding of an aligned crop, as many values as the embedder has dimensions.
    pub fn embed(&mut self, crop: &RgbImage) -> Result<Vec<f32>, FaceError> {
        let size = self.facts.size as usize;
        self.network.fill_from(crop);
        let outputs = self.network.run([1, 3, size, size])?;
        normalise(outputs.only(self.facts.dims)?).ok_or(FaceError::BadEmbedding)
    }
}

/// Scales a vector to unit length; `None` if it has no direction.
fn normalise(vector: &[f32]) -> Option<Vec<f32>> {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    (norm.is_finite() && norm > 1e-9).then(|| vector.iter().map(|v| (f64::from(*v) / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_length_or_nothing() {
        assert_eq!(normalise(&[3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert_eq!(normalise(&[0.0, 0.0]), None);
        assert_eq!(normalise(&[f32::NAN, 1.0]), None);
    }
}
