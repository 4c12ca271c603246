//! YuNet (Wu et al., 2023, "YuNet: a tiny millisecond-level face detector"): candidates from one pass over the pixels as
//! they are, faces of about 10 to 300 pixels.

use std::cmp::Ordering;
use std::time::Duration;

use image::RgbImage;

use super::Detection;
use crate::FaceError;
use crate::geometry::{Point, Rect};
use crate::models::catalog::Model;
use crate::models::runtime::{Network, Outputs, Runtime};

/// The feature maps' strides, in pixels.
const STRIDES: [u32; 3] = [8, 16, 32];
/// Candidates below this score are no faces (the value of the published reference).
const MIN_SCORE: f32 = 0.6;

/// The network.
pub(super) struct YuNet {
    network: Network,
}

impl YuNet {
    pub(super) fn load(runtime: &Runtime, model: &Model, threads: usize) -> Result<Self, FaceError> {
        Ok(Self {
            network: runtime.load(model, threads)?,
        })
    }

    pub(super) fn take_running(&mut self) -> Duration {
        self.network.take_running()
    }

    /// Candidates that may overlap.
    pub(super) fn candidates(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
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
