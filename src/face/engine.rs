//! All stages as one call: pixels in, faces with embeddings out.

use std::time::{Duration, Instant};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::FaceError;
use super::detect::{Detector, SCALE_POLICY};
use super::embed::Embedder;
use super::geometry::{Landmarks, Rect};
use super::landmarks::Refiner;
use super::quality::{self, Quality};
use crate::models::catalog::{Catalog, Embedder as EmbedderFacts};
use crate::models::runtime::Runtime;

/// Raised when a change of the stages' code can move boxes, landmarks or vectors.
const REVISION: u32 = 1;

/// One face of a photo. This is the shape in which every command and route gives faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Face {
    /// The detector's box, in photo pixels.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// Left eye, right eye, nose tip, left and right mouth corner as they lie in the image, in photo pixels.
    #[schema(value_type = Vec<crate::face::Point>, min_items = 5, max_items = 5)]
    pub landmarks: Landmarks,
    /// Detection score, 0 to 1.
    pub score: f32,
    /// How usable the face is.
    pub quality: Quality,
    /// L2-normalised embedding; its cosine with another is the similarity, -1 to 1. Left out where nobody asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embedding: Vec<f32>,
}

/// The detector, the refiner and the embedder, loaded once. Sessions of ONNX Runtime need exclusive access, so every
/// worker owns an engine.
pub struct FaceEngine {
    detector: Detector,
    refiner: Refiner,
    embedder: Embedder,
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
    /// Loads the catalog's default models; each of them may use `threads` cores for one photo.
    pub fn load(runtime: &Runtime, catalog: &Catalog, threads: usize) -> Result<Self, FaceError> {
        let (detector, refiner, embedder) = (
            catalog.default_detector(),
            catalog.default_refiner(),
            catalog.default_embedder(),
        );
        let loaded = Embedder::load(runtime, embedder, threads)?;
        Ok(Self {
            fingerprint: fingerprint(&detector.name, &refiner.name, &loaded.facts().space),
            detector: Detector::load(runtime, detector, threads)?,
            refiner: Refiner::load(runtime, refiner, threads)?,
            embedder: loaded,
            spent: Spent::default(),
        })
    }

    /// Everything that can move faces or ordinals, as one string; stored with each photo's documents.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The facts of the embedder: space, dimensions and false-match rates.
    pub fn embedder(&self) -> &EmbedderFacts {
        self.embedder.facts()
    }

    /// How long the stages took for the last photo.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Every face of the photo, ordered by (y, x) of their boxes. Pure and deterministic.
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
            let mut landmarks = self.refiner.refine(photo, &detection)?;
            spent.refine += lap();
            let mut alignment = self.embedder.alignment(&landmarks);
            if alignment.is_none() {
                landmarks = detection.landmarks;
                alignment = self.embedder.alignment(&landmarks);
            }
            let bbox = detection.bbox;
            let alignment = alignment.ok_or(FaceError::DegenerateLandmarks { x: bbox.x, y: bbox.y })?;
            let crop = self.embedder.crop(photo, &alignment);
            let quality = quality::assess(photo, &bbox, &landmarks, &alignment, &crop);
            spent.align += lap();
            let embedding = self.embedder.embed(&crop)?;
            spent.embed += lap();
            faces.push(Face {
                quality,
                embedding,
                bbox,
                landmarks,
                score: detection.score,
            });
        }
        spent.inference = self.detector.take_running() + self.refiner.take_running() + self.embedder.take_running();
        self.spent = spent;
        Ok(faces)
    }
}

/// The fingerprint of an engine of the catalog's default models, without loading them.
pub fn fingerprint_of(catalog: &Catalog) -> String {
    let embedder = catalog.default_embedder().embedder.as_ref();
    let space = embedder.map_or("", |embedder| embedder.space.as_str());
    fingerprint(&catalog.default_detector().name, &catalog.default_refiner().name, space)
}

/// The engine's fingerprint from the names of its parts.
fn fingerprint(detector: &str, refiner: &str, space: &str) -> String {
    format!("{detector}:{SCALE_POLICY}/{refiner}/{space}/fp32/r{REVISION}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::face::Point;

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
