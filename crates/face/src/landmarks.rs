//! Landmark refinement by MTCNN's output network (Zhang et al., 2016, "Joint face detection and alignment using
//! multi-task cascaded convolutional networks"): two passes over a square crop around the detector's box.

use std::time::Duration;

use image::RgbImage;

use crate::FaceError;
use crate::align::square;
use crate::detect::Detection;
use crate::geometry::{Landmarks, Point, Rect};
use crate::models::catalog::Model;
use crate::models::runtime::{Network, Runtime};

/// Side of the network's input, in pixels.
const INPUT: u32 = 48;
/// Below this face probability the detector's own landmarks are kept.
const MIN_PROBABILITY: f32 = 0.7;

/// Improves a detection's landmarks.
pub struct Refiner {
    network: Network,
}

struct Pass {
    probability: f32,
    calibrated: Rect,
    landmarks: Landmarks,
}

impl Refiner {
    /// Loads the refiner that the catalog describes.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model's file is missing, is not the one of the catalog, or cannot be loaded.
    pub fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        Ok(Self {
            network: runtime.load(model, threads)?,
        })
    }

    /// The time that the model ran since this was last asked.
    pub fn take_running(&mut self) -> Duration {
        self.network.take_running()
    }

    /// The refined landmarks, or the detector's own where the second pass sees no face in its crop.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model fails.
    pub fn refine(&mut self, photo: &RgbImage, detection: &Detection) -> Result<Landmarks, FaceError> {
        let first = self.pass(photo, &detection.bbox)?;
        if !is_usable(&first) {
            return Ok(detection.landmarks);
        }
        let second = self.pass(photo, &first.calibrated)?;
        if second.probability >= MIN_PROBABILITY && is_usable(&second) {
            Ok(second.landmarks)
        } else {
            Ok(detection.landmarks)
        }
    }

    fn pass(&mut self, photo: &RgbImage, region: &Rect) -> Result<Pass, FaceError> {
        let centre = region.centre();
        let side = region.width.max(region.height);
        let crop = crop(photo, centre, side);
        self.network.fill_from(&crop);
        let outputs = self.network.run([1, 3, INPUT as usize, INPUT as usize])?;
        let (probability, calibration, points) = (outputs.of("prob")?, outputs.of("reg")?, outputs.of("lmk")?);
        let (left, top) = (centre.x - side / 2.0, centre.y - side / 2.0);
        Ok(Pass {
            probability: probability[1],
            calibrated: Rect {
                x: left + calibration[0] * side,
                y: top + calibration[1] * side,
                width: side * (1.0 + calibration[2] - calibration[0]),
                height: side * (1.0 + calibration[3] - calibration[1]),
            },
            landmarks: std::array::from_fn(|i| Point {
                x: left + points[i] * side,
                y: top + points[i + 5] * side,
            }),
        })
    }
}

/// A box that collapsed, or points that coincide, would break the next step.
fn is_usable(pass: &Pass) -> bool {
    let spread = |axis: fn(&Point) -> f32| {
        let values = pass.landmarks.iter().map(axis);
        values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
    };
    pass.calibrated.width > 1.0 && pass.calibrated.height > 1.0 && spread(|p| p.x).max(spread(|p| p.y)) > 1.0
}

/// The square around a face at the network's size. A large face is sampled at twice the size and averaged, since a
/// plain bilinear sample would alias.
fn crop(photo: &RgbImage, centre: Point, side: f32) -> RgbImage {
    let oversampling = if side < 2.0 * INPUT as f32 { 1 } else { 2 };
    square(photo, centre, side, INPUT, oversampling)
}
