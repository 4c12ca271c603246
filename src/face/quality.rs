//! Measures of how usable a face is. They are stored with each face; none of them decides anything yet.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::align::Similarity;
use super::geometry::{Landmarks, Rect};

/// What can be said of a face's picture besides who it shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quality {
    /// Shorter side of the box, in photo pixels.
    pub size: f32,
    /// Variance of the Laplacian of the aligned crop's luma (0..255): low is blurred.
    pub sharpness: f32,
    /// Mean luma of the aligned crop, 0 (black) to 1 (white).
    pub brightness: f32,
    /// Standard deviation of the aligned crop's luma, 0 to 0.5.
    pub contrast: f32,
    /// Turn of the head from the landmarks: 0 is frontal, -1 and 1 are profiles.
    pub yaw: f32,
    /// In-plane rotation of the face, in degrees: 0 is upright.
    pub roll: f32,
    /// Share of the box that lies inside the photo, 0 to 1.
    pub visible: f32,
}

/// Measures one face.
pub fn assess(
    photo: &RgbImage,
    bbox: &Rect,
    landmarks: &Landmarks,
    alignment: &Similarity,
    crop: &RgbImage,
) -> Quality {
    let frame = Rect {
        x: 0.0,
        y: 0.0,
        width: photo.width() as f32,
        height: photo.height() as f32,
    };
    let luma: Vec<f32> = crop
        .pixels()
        .map(|pixel| {
            let [r, g, b] = pixel.0.map(f32::from);
            0.299 * r + 0.587 * g + 0.114 * b
        })
        .collect();
    let (mean, variance) = moments(luma.iter().copied());
    Quality {
        size: bbox.width.min(bbox.height),
        sharpness: moments(laplacian(&luma, crop.width() as usize)).1,
        brightness: mean / 255.0,
        contrast: variance.sqrt() / 255.0,
        yaw: yaw(&landmarks.map(|p| alignment.apply(p))),
        roll: -alignment.rotation() as f32,
        visible: bbox.intersection(&frame) / bbox.area(),
    }
}

/// Where the nose tip lies between the eyes, on aligned landmarks: -1 on the left eye, 0 in the middle, 1 on the right.
fn yaw(aligned: &Landmarks) -> f32 {
    let [left, right, nose, ..] = aligned;
    let half = (right.x - left.x) / 2.0;
    if half <= 0.0 {
        return 0.0;
    }
    ((nose.x - (left.x + right.x) / 2.0) / half).clamp(-1.0, 1.0)
}

fn laplacian(luma: &[f32], width: usize) -> impl Iterator<Item = f32> + Clone {
    let rows = luma.len() / width;
    (1..rows - 1).flat_map(move |row| {
        (1..width - 1).map(move |column| {
            let at = row * width + column;
            luma[at - 1] + luma[at + 1] + luma[at - width] + luma[at + width] - 4.0 * luma[at]
        })
    })
}

/// Mean and variance.
fn moments(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (mut count, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    for value in values {
        count += 1.0;
        sum += f64::from(value);
        squares += f64::from(value) * f64::from(value);
    }
    let mean = sum / count;
    (mean as f32, (squares / count - mean * mean).max(0.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Point;

    #[test]
    fn a_blurred_crop_is_less_sharp() {
        let sharp = RgbImage::from_fn(112, 112, |x, y| {
            image::Rgb([if (x / 8 + y / 8) % 2 == 0 { 20 } else { 220 }; 3])
        });
        let blurred = image::imageops::blur(&sharp, 3.0);
        let landmarks = [[38.0, 51.0], [73.0, 51.0], [56.0, 71.0], [41.0, 92.0], [70.0, 92.0]].map(Point::from);
        let bbox = Rect {
            x: -56.0,
            y: 0.0,
            width: 112.0,
            height: 112.0,
        };
        let identity = Similarity::between(&landmarks, &landmarks).unwrap();
        let (a, b) = (
            assess(&sharp, &bbox, &landmarks, &identity, &sharp),
            assess(&sharp, &bbox, &landmarks, &identity, &blurred),
        );
        assert!(a.sharpness > 10.0 * b.sharpness);
        assert!((a.visible - 0.5).abs() < 1e-6);
        assert!(a.yaw.abs() < 0.1 && a.roll.abs() < 1e-3 && a.size == 112.0);
        assert!((a.brightness - 120.0 / 255.0).abs() < 0.02);
    }
}
