//! Points and rectangles in photo pixels: x to the right, y down, pixel centres at whole numbers.

use serde::{Deserialize, Serialize};

/// A position in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(from = "[f32; 2]", into = "[f32; 2]")]
pub struct Point {
    /// Pixels from the left edge.
    pub x: f32,
    /// Pixels from the top edge.
    pub y: f32,
}

impl From<[f32; 2]> for Point {
    fn from([x, y]: [f32; 2]) -> Self {
        Self { x, y }
    }
}

impl From<Point> for [f32; 2] {
    fn from(point: Point) -> Self {
        [point.x, point.y]
    }
}

/// Five facial landmarks in the detector's order: the eye, nose and mouth corners as they lie in the image
/// (left eye, right eye, nose tip, left mouth corner, right mouth corner).
pub type Landmarks = [Point; 5];

/// An axis-aligned box in pixels. It may reach past the photo's edges.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, positive.
    pub width: f32,
    /// Height, positive.
    pub height: f32,
}

impl Rect {
    /// The middle of the box.
    pub fn centre(&self) -> Point {
        Point {
            x: self.x + self.width / 2.0,
            y: self.y + self.height / 2.0,
        }
    }

    /// Width times height, in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// Square pixels that both boxes cover.
    pub fn intersection(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        width.max(0.0) * height.max(0.0)
    }

    /// Whether these are the boxes of one face that was found twice in a photo.
    pub fn is_same_face(&self, other: &Self) -> bool {
        self.iou(other) >= SAME_FACE_IOU
    }

    /// Intersection over union, 0 (apart) to 1 (equal).
    pub fn iou(&self, other: &Self) -> f32 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The box with every coordinate multiplied by `factor`.
    pub fn scaled(&self, factor: f32) -> Self {
        Self {
            x: self.x * factor,
            y: self.y * factor,
            width: self.width * factor,
            height: self.height * factor,
        }
    }
}
/// The boxes of a face found twice overlap at least this much (intersection over union).
const SAME_FACE_IOU: f32 = 0.5;

/// Which faces of a photo, found twice, are the same ones, as places in `a` and in `b`: the best overlaps first, each face at
/// most once. Of those of `b`, the ones that `goes_first` names are matched before all others. A face of `a` without a box is
/// like none.
pub fn same_faces(a: &[Option<Rect>], b: &[Rect], goes_first: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut all: Vec<(bool, f32, usize, usize)> = Vec::new();
    for (first, bbox) in a.iter().enumerate() {
        let Some(bbox) = bbox else { continue };
        for (second, other) in b.iter().enumerate() {
            if bbox.is_same_face(other) {
                all.push((goes_first(second), bbox.iou(other), first, second));
            }
        }
    }
    all.sort_by(|x, y| y.0.cmp(&x.0).then(y.1.total_cmp(&x.1)));
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (_, _, first, second) in all {
        if pairs.iter().all(|pair| pair.0 != first && pair.1 != second) {
            pairs.push((first, second));
        }
    }
    pairs
}
