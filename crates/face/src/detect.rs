//! Face detection: boxes, five landmarks and a score, at more than one scale, merged by non-maximum suppression. Each
//! family of detectors reads its outputs in a file of its own.

mod mtcnn;
mod yunet;

use std::time::Duration;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use mtcnn::Mtcnn;
use yunet::YuNet;

use crate::FaceError;
use crate::geometry::{Landmarks, Point, Rect};
use crate::models::catalog::{Family, Model};
use crate::models::runtime::{Runtime, RuntimeError};
use crate::recipe::{DetectionScales, Recipe};

/// Boxes that overlap a better one by more than this are the same face.
const MAX_IOU: f32 = 0.3;
/// One face as the detector sees it, in photo pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The face's box; it may reach past the photo's edges.
    pub bbox: Rect,
    /// Left eye, right eye, nose tip, left and right mouth corner, as they lie in the image.
    pub landmarks: Landmarks,
    /// Geometric mean of the class and objectness scores, 0 to 1.
    pub score: f32,
}

/// Finds faces in photos of any size.
pub struct Detector {
    network: Network,
    scales: DetectionScales,
}

enum Network {
    YuNet(YuNet),
    Mtcnn(Box<Mtcnn>),
}

impl Detector {
    /// Loads the detector of a recipe, with its later stages.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model's file is missing, is not the one of the catalog, or cannot be loaded.
    pub fn of(runtime: &Runtime, recipe: &Recipe, threads: usize) -> Result<Self, FaceError> {
        let model = &recipe.detector;
        let family = model.detector.as_ref().map(|facts| facts.family);
        let network = match (family, recipe.stages.as_slice()) {
            (Some(Family::Yunet), []) => Network::YuNet(YuNet::load(runtime, model, threads)?),
            (Some(Family::Mtcnn), [second, third]) => {
                Network::Mtcnn(Box::new(Mtcnn::load(runtime, [model, second, third], threads)?))
            }
            _ => return Err(RuntimeError::WrongRole(model.name.clone()).into()),
        };
        Ok(Self {
            network,
            scales: recipe.precision.detection_scales(),
        })
    }

    /// Loads a detector of one stage, which looks at photos as the default precision does.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model's file is missing, is not the one of the catalog, or cannot be loaded.
    pub fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        Ok(Self {
            network: Network::YuNet(YuNet::load(runtime, model, threads)?),
            scales: DetectionScales::default(),
        })
    }

    /// The time that the models ran since this was last asked.
    pub fn take_running(&mut self) -> Duration {
        match &mut self.network {
            Network::YuNet(network) => network.take_running(),
            Network::Mtcnn(network) => network.take_running(),
        }
    }

    /// All faces of the photo, ordered by (y, x) of their boxes.
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model fails.
    pub fn detect(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        let mut candidates = Vec::new();
        for scale in self.scales.for_size(photo.width(), photo.height()) {
            let found = if scale < 1.0 {
                self.candidates(&shrink(photo, scale))?
            } else {
                self.candidates(photo)?
            };
            let back = 1.0 / scale;
            candidates.extend(found.into_iter().map(|detection| Detection {
                bbox: detection.bbox.scaled(back),
                landmarks: detection.landmarks.map(|p| Point {
                    x: p.x * back,
                    y: p.y * back,
                }),
                score: detection.score,
            }));
        }
        Ok(in_order(suppress(candidates)))
    }

    /// One pass over the pixels as they are: all faces between about 10 and 300 pixels, ordered by (y, x).
    ///
    /// # Errors
    ///
    /// `FaceError::Runtime` where the model fails.
    pub fn detect_at_native_size(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        Ok(in_order(suppress(self.candidates(photo)?)))
    }

    /// The same before suppression.
    fn candidates(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        match &mut self.network {
            Network::YuNet(network) => network.candidates(photo),
            Network::Mtcnn(network) => network.candidates(photo),
        }
    }
}

/// The photo at `scale` (below 1), area-averaged.
pub fn shrink(photo: &RgbImage, scale: f32) -> RgbImage {
    let side = |length: u32| ((length as f32 * scale).round() as u32).max(1);
    let (width, height) = (side(photo.width()), side(photo.height()));
    let mut small = RgbImage::new(width, height);
    if let Err(reason) = average(photo, &mut small) {
        // Only a mismatch of buffer and size can get here; the slower path has no such failure.
        tracing::debug!(reason, "fast resize refused the photo");
        return image::imageops::resize(photo, width, height, image::imageops::FilterType::Triangle);
    }
    small
}

/// For this one kind of pixel: a resize that takes any kind is twenty times as much code, compiled in every crate that calls it.
fn average(photo: &RgbImage, small: &mut RgbImage) -> Result<(), String> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
    let (width, height) = small.dimensions();
    let source = TypedImageRef::<U8x3>::from_buffer(photo.width(), photo.height(), photo.as_raw())
        .map_err(|error| error.to_string())?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, small).map_err(|error| error.to_string())?;
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| error.to_string())
}

/// The order that ordinals count in.
fn in_order(mut faces: Vec<Detection>) -> Vec<Detection> {
    faces.sort_by(|a, b| {
        let corner = |face: &Detection| (face.bbox.y, face.bbox.x);
        let ((ay, ax), (by, bx)) = (corner(a), corner(b));
        ay.total_cmp(&by).then(ax.total_cmp(&bx))
    });
    faces
}

/// Greedy non-maximum suppression: keeps the best score, drops what overlaps it by more than [`MAX_IOU`], repeats.
pub(super) fn suppress(mut candidates: Vec<Detection>) -> Vec<Detection> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        if kept.iter().all(|better| better.bbox.iou(&candidate.bbox) <= MAX_IOU) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn detection(x: f32, y: f32, side: f32, score: f32) -> Detection {
        Detection {
            bbox: Rect {
                x,
                y,
                width: side,
                height: side,
            },
            landmarks: [Point { x, y }; 5],
            score,
        }
    }

    proptest! {
        #[test]
        fn suppression_keeps_no_overlap_and_loses_no_face(boxes in prop::collection::vec((0f32..200.0, 0f32..200.0, 5f32..80.0, 0.6f32..1.0), 0..40)) {
            let all: Vec<_> = boxes.into_iter().map(|(x, y, side, score)| detection(x, y, side, score)).collect();
            let kept = suppress(all.clone());
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[i + 1..] {
                    prop_assert!(a.bbox.iou(&b.bbox) <= MAX_IOU);
                    prop_assert!(a.score >= b.score);
                }
            }
            for dropped in &all {
                prop_assert!(kept.iter().any(|k| k == dropped
                    || (k.score >= dropped.score && k.bbox.iou(&dropped.bbox) > MAX_IOU)));
            }
        }
    }

    #[test]
    fn shrinking_averages_areas() {
        let photo = RgbImage::from_fn(8, 4, |x, _| image::Rgb([if x % 2 == 0 { 0 } else { 100 }; 3]));
        let small = shrink(&photo, 0.5);
        assert_eq!(small.dimensions(), (4, 2));
        assert!(small.pixels().all(|p| p.0 == [50; 3]), "{small:?}");
    }
}
