//! All stages as one call: pixels in, faces with embeddings out.

use std::time::{Duration, Instant};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::FaceError;
use crate::detect::Detector;
use crate::embed::Embedder;
use crate::geometry::{Landmarks, Rect};
use crate::landmarks::Refiner;
use crate::models::catalog::{Catalog, Embedder as EmbedderFacts, Provider};
use crate::models::runtime::Runtime;
use crate::quality::{self, Quality};
use crate::recipe::Recipe;

/// One face of a photo. This is the shape in which every command and route gives faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Face {
    /// The detector's box, in photo pixels.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// Left eye, right eye, nose tip, left and right mouth corner as they lie in the image, in photo pixels.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::Point>, min_items = 5, max_items = 5))]
    pub landmarks: Landmarks,
    /// Detection score, 0 to 1.
    pub score: f32,
    /// How usable the face is.
    pub quality: Quality,
    /// Embedding. Of unit length for embedders that are compared by cosine, which is then the similarity, -1 to 1. Left out
    /// where nobody asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embedding: Vec<f32>,
}

/// The models of a recipe, loaded once. Sessions of ONNX Runtime need exclusive access, so every worker owns an engine.
pub struct FaceEngine {
    detector: Detector,
    refiner: Option<Refiner>,
    /// With the roots of their weights.
    embedders: Vec<(Embedder, f32)>,
    facts: EmbedderFacts,
    mirrors: bool,
    fingerprint: String,
    spent: Spent,
}

/// How long the stages took for the last photo, all of its faces together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Finding boxes.
    pub detect: Duration,
    /// Improving landmarks.
    pub refine: Duration,
    /// Cutting the aligned crop and measuring its quality.
    pub align: Duration,
    /// Turning crops into vectors.
    pub embed: Duration,
    /// Of all these, what the models themselves ran.
    pub inference: Duration,
}

impl FaceEngine {
    /// Loads the default models, as `facedex models fetch` leaves them, on the processor. Each may use `threads` cores for one
    /// photo.
    ///
    /// # Errors
    ///
    /// [`FaceError::Runtime`] where ONNX Runtime or a model is not there; the message says how to fetch it.
    pub fn open(threads: usize) -> Result<Self, FaceError> {
        let catalog = Catalog::builtin()?;
        let runtime = Runtime::open(&catalog, None, Provider::Cpu)?;
        Self::load(&runtime, &Recipe::default_of(&catalog)?, threads)
    }

    /// Loads the models of a recipe; each of them may use `threads` cores for one photo.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model's file is missing, is not the one of the catalog, or cannot be loaded.
    pub fn load(runtime: &Runtime, recipe: &Recipe, threads: usize) -> Result<Self, FaceError> {
        let members = recipe.members.iter().map(|(model, weight)| {
            let embedder = Embedder::load(runtime, model, threads)?;
            Ok((embedder, weight.sqrt() as f32))
        });
        let refiner = recipe.refiner.as_ref();
        Ok(Self {
            embedders: members.collect::<Result<_, FaceError>>()?,
            detector: Detector::of(runtime, recipe, threads)?,
            refiner: refiner
                .map(|model| Refiner::load(runtime, model, threads))
                .transpose()?,
            facts: recipe.embedder.clone(),
            mirrors: recipe.precision.mirrors(),
            fingerprint: recipe.fingerprint(),
            spent: Spent::default(),
        })
    }

    /// Everything that can move faces or ordinals, as one string; stored with each photo's documents.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The facts of the embedder: space, dimensions and false-match rates.
    pub fn embedder(&self) -> &EmbedderFacts {
        &self.facts
    }

    /// How long the stages took for the last photo.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Every face of the photo, ordered by (y, x) of their boxes. Pure and deterministic.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where a model fails, `FaceError::DegenerateLandmarks` and `FaceError::BadEmbedding` where a face cannot
    /// be aligned or embedded. A photo without a face is no error.
    pub fn faces(&mut self, photo: &RgbImage) -> Result<Vec<Face>, FaceError> {
        let mut faces = Vec::new();
        let mut spent = Spent::default();
        let mut clock = Instant::now();
        let mut lap = || {
            let passed = clock.elapsed();
            clock += passed;
            passed
        };
        let detections = self.detector.detect(photo)?;
        spent.detect = lap();
        for detection in detections {
            let mut landmarks = match &mut self.refiner {
                Some(refiner) => refiner.refine(photo, &detection)?,
                None => detection.landmarks,
            };
            spent.refine += lap();
            let bbox = detection.bbox;
            let (mut embedding, mut quality) = (Vec::with_capacity(self.facts.dims), None);
            for (embedder, share) in &mut self.embedders {
                let mut alignment = embedder.alignment(&landmarks);
                if alignment.is_none() {
                    landmarks = detection.landmarks;
                    alignment = embedder.alignment(&landmarks);
                }
                let alignment = alignment.ok_or(FaceError::DegenerateLandmarks { x: bbox.x, y: bbox.y })?;
                let crop = embedder.crop(photo, &alignment);
                quality.get_or_insert_with(|| quality::assess(photo, &bbox, &landmarks, &alignment, &crop));
                spent.align += lap();
                let part = if self.mirrors {
                    embedder.embed_mirrored(&crop)?
                } else {
                    embedder.embed(&crop)?
                };
                embedding.extend(part.into_iter().map(|value| value * *share));
                spent.embed += lap();
            }
            let quality = quality.ok_or(FaceError::BadEmbedding)?;
            faces.push(Face {
                quality,
                embedding,
                bbox,
                landmarks,
                score: detection.score,
            });
        }
        let embedders = self.embedders.iter_mut().map(|(embedder, _)| embedder.take_running());
        spent.inference = self.detector.take_running() + embedders.sum::<Duration>();
        if let Some(refiner) = &mut self.refiner {
            spent.inference += refiner.take_running();
        }
        self.spent = spent;
        Ok(faces)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Point;

    /// A square face without content, for tests of what is done with faces.
    pub(crate) fn face_at(x: f32, y: f32, side: f32) -> Face {
        Face {
            bbox: Rect {
                x,
                y,
                width: side,
                height: side,
            },
            landmarks: [Point { x, y }; 5],
            score: 0.9,
            quality: Quality {
                size: side,
                sharpness: 1.0,
                brightness: 0.5,
                contrast: 0.1,
                yaw: 0.0,
                roll: 0.0,
                visible: 1.0,
            },
            embedding: vec![1.0, 0.0],
        }
    }
}
