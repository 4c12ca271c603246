//! MTCNN (Zhang et al., 2016, "Joint face detection and alignment using multi-task cascaded convolutional networks"):
//! proposals over an image pyramid, then two networks that each look closer at what is left. Faces from 20 pixels on.

use std::time::Duration;

use image::RgbImage;

use super::{Detection, shrink};
use crate::FaceError;
use crate::align::square;
use crate::geometry::{Point, Rect};
use crate::models::catalog::Model;
use crate::models::runtime::{Network, Runtime};

/// Side of what the first network sees at once, in pixels of its level.
const CELL: f32 = 12.0;
/// Pixels of a level between two cells.
const STRIDE: f32 = 2.0;
/// The smallest face, in pixels.
const SMALLEST: f32 = 20.0;
/// From one level of the pyramid to the next.
const FACTOR: f32 = 0.709;
/// The least face probability after each network (the published values).
const MIN_PROBABILITY: [f32; 3] = [0.6, 0.7, 0.7];
/// Boxes that overlap a better one by more than this are the same face: within a level, and of all.
const MAX_IOU: [f32; 2] = [0.5, 0.7];

/// The three networks.
pub(super) struct Mtcnn {
    proposal: Network,
    refine: Network,
    output: Network,
}

#[derive(Debug, Clone)]
struct Candidate {
    bbox: Rect,
    probability: f32,
    /// Where the network says that the box should rather be: shifts of its edges, as shares of its sides.
    shifts: [f32; 4],
    landmarks: Option<[Point; 5]>,
}

impl Candidate {
    /// The box moved by its shifts and made square about its middle.
    fn calibrated(&self) -> Rect {
        let moved = self.moved();
        let (side, centre) = (moved.width.max(moved.height), moved.centre());
        Rect {
            x: centre.x - side / 2.0,
            y: centre.y - side / 2.0,
            width: side,
            height: side,
        }
    }

    fn moved(&self) -> Rect {
        let (bbox, [left, top, right, bottom]) = (&self.bbox, self.shifts);
        Rect {
            x: bbox.x + left * bbox.width,
            y: bbox.y + top * bbox.height,
            width: bbox.width * (1.0 + right - left),
            height: bbox.height * (1.0 + bottom - top),
        }
    }
}

impl Mtcnn {
    pub(super) fn load(runtime: &Runtime, models: [&Model; 3], threads: usize) -> Result<Self, FaceError> {
        let [proposal, refine, output] = models;
        Ok(Self {
            proposal: runtime.load(proposal, threads)?,
            refine: runtime.load(refine, threads)?,
            output: runtime.load(output, threads)?,
        })
    }

    pub(super) fn take_running(&mut self) -> Duration {
        self.proposal.take_running() + self.refine.take_running() + self.output.take_running()
    }

    /// Candidates that may overlap.
    pub(super) fn candidates(&mut self, photo: &RgbImage) -> Result<Vec<Detection>, FaceError> {
        let mut found = Vec::new();
        let mut scale = CELL / SMALLEST;
        while photo.width().min(photo.height()) as f32 * scale >= CELL {
            found.extend(suppress(self.proposals(photo, scale)?, MAX_IOU[0]));
            scale *= FACTOR;
        }
        let found = suppress(found, MAX_IOU[1]);
        let found = look_closer(&mut self.refine, photo, &found, 24, MIN_PROBABILITY[1])?;
        let found = suppress(found, MAX_IOU[1]);
        let found = look_closer(&mut self.output, photo, &found, 48, MIN_PROBABILITY[2])?;
        let faces = found.into_iter().filter_map(|face| {
            Some(Detection {
                bbox: face.moved(),
                landmarks: face.landmarks?,
                score: face.probability,
            })
        });
        Ok(faces.collect())
    }

    /// What may be a face at one level of the pyramid.
    fn proposals(&mut self, photo: &RgbImage, scale: f32) -> Result<Vec<Candidate>, FaceError> {
        let level = shrink(photo, scale);
        let (width, height) = (level.width() as usize, level.height() as usize);
        if width.min(height) < CELL as usize {
            return Ok(Vec::new());
        }
        self.proposal.fill_from(&level);
        let outputs = self.proposal.run([1, 3, height, width])?;
        let (probabilities, shifts) = (outputs.of("prob")?, outputs.of("reg")?);
        let cells = probabilities.len() / 2;
        // A convolution of 3, pooling that rounds up, and two more of 3.
        let columns = (width - 2).div_ceil(2) - 4;
        let mut found = Vec::new();
        for cell in 0..cells {
            let probability = probabilities[cells + cell];
            if probability < MIN_PROBABILITY[0] {
                continue;
            }
            let place = |at: usize| (STRIDE * at as f32 + 1.0) / scale;
            found.push(Candidate {
                bbox: Rect {
                    x: place(cell % columns),
                    y: place(cell / columns),
                    width: (CELL - 1.0) / scale,
                    height: (CELL - 1.0) / scale,
                },
                probability,
                shifts: std::array::from_fn(|edge| shifts[edge * cells + cell]),
                landmarks: None,
            });
        }
        Ok(found)
    }
}

/// Gives each candidate's calibrated square to the next network, and keeps those that it takes for faces.
fn look_closer(
    network: &mut Network,
    photo: &RgbImage,
    candidates: &[Candidate],
    size: u32,
    least: f32,
) -> Result<Vec<Candidate>, FaceError> {
    let mut kept = Vec::new();
    for candidate in candidates {
        let bbox = candidate.calibrated();
        // Also false for NaN.
        if !(bbox.width >= 1.0 && bbox.width.is_finite()) {
            continue;
        }
        let oversampling = (bbox.width / size as f32).ceil().clamp(1.0, 4.0) as u32;
        network.fill_from(&square(photo, bbox.centre(), bbox.width, size, oversampling));
        let outputs = network.run([1, 3, size as usize, size as usize])?;
        let (probabilities, shifts) = (outputs.of("prob")?, outputs.of("reg")?);
        if probabilities[1] < least {
            continue;
        }
        // Only the last network has landmarks.
        let landmarks = outputs.of("lmk").ok().map(|points| {
            std::array::from_fn(|i| Point {
                x: bbox.x + points[i] * bbox.width,
                y: bbox.y + points[i + 5] * bbox.height,
            })
        });
        kept.push(Candidate {
            bbox,
            probability: probabilities[1],
            shifts: std::array::from_fn(|edge| shifts[edge]),
            landmarks,
        });
    }
    Ok(kept)
}

/// Greedy non-maximum suppression of boxes before they are calibrated.
fn suppress(mut candidates: Vec<Candidate>, most: f32) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.iter().all(|better| better.bbox.iou(&candidate.bbox) <= most) {
            kept.push(candidate);
        }
    }
    kept
}
