//! Face detection by YuNet (Wu et al., 2023, "YuNet: a tiny millisecond-level face detector"): boxes, five landmarks
//! and a score, at more than one scale, merged by non-maximum suppression.

use std::cmp::Ordering;
use std::time::Duration;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::FaceError;
use super::geometry::{Landmarks, Point, Rect};
use crate::models::catalog::Model;
use crate::models::runtime::{Network, Outputs, Runtime};

/// The detector's feature-map strides, in pixels.
const STRIDES: [u32; 3] = [8, 16, 32];
/// Candidates below this score are no faces (the value of the published reference).
const MIN_SCORE: f32 = 0.6;
/// Boxes that overlap a better one by more than this are the same face.
const MAX_IOU: f32 = 0.3;
/// Long side, in pixels, of the pass that finds small faces. The detector sees faces of about 10 to 300 pixels.
const FINE: u32 = 1280;
/// Long side, in pixels, of the pass that finds faces too large for the fine one.
const COARSE: u32 = 320;

/// Names the rule of [`scales`] in an engine's fingerprint; change it when the rule changes.
pub const SCALE_POLICY: &str = "1280+320";

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
}

impl Detector {
    /// Loads the detector that the catalog describes.
    pub fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        Ok(Self {
            network: runtime.load(model, threads)?,
        })
    }

    /// The time that the model ran since this was last asked.
    pub fn take_running(&mut self) -> Duration {
        self.network.take_running()
    }

    /// All faces of the photo, ordered by (y, x) of their boxes.
    pub fn detect(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        let mut candidates = Vec::new();
        for scale in scales(photo.width(), photo.height()) {
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
    pub fn detect_at_native_size(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        Ok(in_order(suppress(self.candidates(photo)?)))
    }

    /// The same before suppression.
    fn candidates(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        let (width, height) = (photo.width().next_multiple_of(32), photo.height().next_multiple_of(32));
        self.network.fill_padded(photo, width, height);
        let outputs = self.network.run([1, 3, height as usize, width as usize])?;
        let mut found = Vec::new();
        for stride in STRIDES {
            decode_stride(&outputs, stride, width / stride, &mut found)?;
        }
        Ok(found)
    }
}

/// Turns one stride's feature maps into candidates.
fn decode_stride(
    outputs: &Outputs<'_>,
    stride: u32,
    columns: u32,
    found: &mut Vec<Detection>,
) -> Result<(), FaceError> {
    let class = outputs.of(&format!("cls_{stride}"))?;
    let object = outputs.of(&format!("obj_{stride}"))?;
    let boxes = outputs.of(&format!("bbox_{stride}"))?;
    let points = outputs.of(&format!("kps_{stride}"))?;
    let size = stride as f32;
    for (cell, (class, object)) in class.iter().zip(object).enumerate() {
        let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
        // NaN fails the comparison as well.
        if !matches!(score.partial_cmp(&MIN_SCORE), Some(Ordering::Greater | Ordering::Equal)) {
            continue;
        }
        let (column, row) = ((cell as u32 % columns) as f32, (cell as u32 / columns) as f32);
        let offsets = &boxes[4 * cell..4 * cell + 4];
        let (width, height) = (offsets[2].exp() * size, offsets[3].exp() * size);
        let bbox = Rect {
            x: (column + offsets[0]) * size - width / 2.0,
            y: (row + offsets[1]) * size - height / 2.0,
            width,
            height,
        };
        let landmarks = std::array::from_fn(|i| Point {
            x: (points[10 * cell + 2 * i] + column) * size,
            y: (points[10 * cell + 2 * i + 1] + row) * size,
        });
        found.push(Detection { bbox, landmarks, score });
    }
    Ok(())
}

/// The factors (at most 1) by which a photo is scaled before detection: small photos are seen once as they are, larger
/// ones at a fine and a coarse size, so that faces from a thirtieth to the whole of the long side lie in the detector's
/// range.
fn scales(width: u32, height: u32) -> Vec<f32> {
    let long = width.max(height);
    if long <= COARSE {
        return vec![1.0];
    }
    vec![(FINE as f32 / long as f32).min(1.0), COARSE as f32 / long as f32]
}

/// The photo at `scale` (below 1), area-averaged.
fn shrink(photo: &RgbImage, scale: f32) -> RgbImage {
    let side = |length: u32| ((length as f32 * scale).round() as u32).max(1);
    let (width, height) = (side(photo.width()), side(photo.height()));
    let mut small = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
    let resized =
        fast_image_resize::images::ImageRef::new(photo.width(), photo.height(), photo.as_raw(), PixelType::U8x3)
            .map_err(|error| error.to_string())
            .and_then(|source| {
                Resizer::new()
                    .resize(&source, &mut small, &options)
                    .map_err(|error| error.to_string())
            });
    if let Err(reason) = resized {
        // Only a mismatch of buffer and size can get here; the slower path has no such failure.
        tracing::debug!(reason, "fast resize refused the photo");
        return image::imageops::resize(photo, width, height, image::imageops::FilterType::Triangle);
    }
    RgbImage::from_raw(width, height, small.into_vec()).unwrap_or_else(|| RgbImage::new(width, height))
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
fn suppress(mut candidates: Vec<Detection>) -> Vec<Detection> {
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

        #[test]
        fn every_photo_is_seen_within_the_limits(width in 1u32..20_000, height in 1u32..20_000) {
            for scale in scales(width, height) {
                prop_assert!(scale > 0.0 && scale <= 1.0);
                prop_assert!(width.max(height) as f32 * scale <= FINE as f32 + 1.0);
            }
        }
    }

    #[test]
    fn a_small_photo_is_seen_once_as_it_is() {
        assert_eq!(scales(250, 250), [1.0]);
        assert_eq!(scales(640, 480), [1.0, 0.5]);
        assert_eq!(scales(2560, 100), [0.5, 0.125]);
    }

    #[test]
    fn shrinking_averages_areas() {
        let photo = RgbImage::from_fn(8, 4, |x, _| image::Rgb([if x % 2 == 0 { 0 } else { 100 }; 3]));
        let small = shrink(&photo, 0.5);
        assert_eq!(small.dimensions(), (4, 2));
        assert!(small.pixels().all(|p| p.0 == [50; 3]), "{small:?}");
    }
}
