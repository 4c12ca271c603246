//! Embedding: an aligned crop becomes a vector; how alike two vectors are says how alike two faces are.

use std::time::Duration;

use image::RgbImage;
use image::imageops::flip_horizontal;

use crate::FaceError;
use crate::align::{Similarity, warp};
use crate::geometry::{Landmarks, Point};
use crate::models::catalog::{Metric, Model};
use crate::models::runtime::{Network, Runtime, RuntimeError};

/// Turns aligned faces into vectors.
pub struct Embedder {
    network: Network,
    size: u32,
    dims: usize,
    metric: Metric,
    template: Landmarks,
}

impl Embedder {
    /// Loads the embedder that the catalog describes.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model's file is missing, is not the one of the catalog, or cannot be loaded.
    pub fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        let (Some(facts), Some(crop)) = (&model.embedder, &model.crop) else {
            return Err(RuntimeError::WrongRole(model.name.clone()).into());
        };
        Ok(Self {
            network: runtime.load(model, threads)?,
            size: crop.size,
            dims: facts.dims,
            metric: facts.metric,
            template: crop.template.map(Point::from),
        })
    }

    /// The time that the model ran since this was last asked.
    pub fn take_running(&mut self) -> Duration {
        self.network.take_running()
    }

    /// The transform that aligns these landmarks with the embedder's template; `None` where they coincide.
    pub fn alignment(&self, landmarks: &Landmarks) -> Option<Similarity> {
        Similarity::between(landmarks, &self.template)
    }

    /// The aligned crop, at the embedder's input size.
    pub fn crop(&self, photo: &RgbImage, alignment: &Similarity) -> RgbImage {
        warp(photo, alignment, self.size)
    }

    /// The embedding of an aligned crop, as many values as the embedder has dimensions; L2-normalised where vectors are
    /// compared by cosine.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model fails, `FaceError::BadEmbedding` where its vector has no direction.
    pub fn embed(&mut self, crop: &RgbImage) -> Result<Vec<f32>, FaceError> {
        let vector = self.run(crop)?;
        self.finish(&vector)
    }

    /// The mean of the embeddings of a crop and of its mirror image.
    ///
    /// # Errors
    ///
    /// As for `embed`; also where the two vectors cancel each other out.
    pub fn embed_mirrored(&mut self, crop: &RgbImage) -> Result<Vec<f32>, FaceError> {
        let (plain, mirrored) = (self.embed(crop)?, self.embed(&flip_horizontal(crop))?);
        let mean: Vec<f32> = plain.iter().zip(&mirrored).map(|(a, b)| (a + b) / 2.0).collect();
        self.finish(&mean)
    }

    fn run(&mut self, crop: &RgbImage) -> Result<Vec<f32>, FaceError> {
        let size = self.size as usize;
        self.network.fill_from(crop);
        let outputs = self.network.run([1, 3, size, size])?;
        Ok(outputs.only(self.dims)?.to_vec())
    }

    fn finish(&self, vector: &[f32]) -> Result<Vec<f32>, FaceError> {
        let unit = normalise(vector).ok_or(FaceError::BadEmbedding)?;
        Ok(match self.metric {
            Metric::Cosine => unit,
            Metric::Euclidean => vector.to_vec(),
        })
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
