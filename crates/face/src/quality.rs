//! Measures of how usable a face is. They are stored with each face; none of them decides anything yet.

pub use facedex_base::quality::Quality;
use image::RgbImage;

use crate::align::Similarity;
use crate::geometry::{Landmarks, Rect};

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
    let (pixels, _) = crop.as_raw().as_chunks::<3>();
    let luma: Vec<f32> = pixels
        .iter()
        .map(|pixel| {
            let [r, g, b] = pixel.map(f32::from);
            0.299 * r + 0.587 * g + 0.114 * b
        })
        .collect();
    let rows: Vec<&[f32]> = luma.chunks_exact(crop.width() as usize).collect();
    let mut all = Moments::default();
    rows.iter().for_each(|row| all.add(row));
    let (mean, variance) = all.mean_and_variance();
    Quality {
        size: bbox.width.min(bbox.height),
        sharpness: laplacian(&rows).mean_and_variance().1,
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

/// Moments of the Laplacian (the four neighbours less four times the pixel) of all pixels but the outermost.
fn laplacian(rows: &[&[f32]]) -> Moments {
    let mut moments = Moments::default();
    let mut values = Vec::new();
    for around in rows.windows(3) {
        let &[above, here, below] = around else { continue };
        values.clear();
        values.extend(
            here.windows(3)
                .zip(&above[1..])
                .zip(&below[1..])
                .map(|((side, above), below)| side[0] + side[2] + above + below - 4.0 * side[1]),
        );
        moments.add(&values);
    }
    moments
}

/// Sums of values that come row by row.
#[derive(Default)]
struct Moments {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// A row is summed in single precision, in lanes of its own so that they add side by side.
    fn add(&mut self, row: &[f32]) {
        let (mut sum, mut squares) = ([0.0f32; 8], [0.0f32; 8]);
        for values in row.chunks(8) {
            for ((sum, squares), value) in sum.iter_mut().zip(&mut squares).zip(values) {
                *sum += value;
                *squares += value * value;
            }
        }
        self.count += row.len();
        self.sum += f64::from(sum.iter().sum::<f32>());
        self.squares += f64::from(squares.iter().sum::<f32>());
    }

    fn mean_and_variance(&self) -> (f32, f32) {
        let count = self.count as f64;
        let mean = self.sum / count;
        (mean as f32, (self.squares / count - mean * mean).max(0.0) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;

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

    #[test]
    fn moments_are_those_of_the_definition() {
        // 11 columns: a row is no multiple of the lanes.
        let crop = RgbImage::from_fn(11, 7, |x, y| {
            image::Rgb([((x * 37 + y * 91 + x * y * 13) % 256) as u8; 3])
        });
        let luma = |x: u32, y: u32| f64::from(crop.get_pixel(x, y).0[0]);
        let variance = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
        };
        let inner = (1..6).flat_map(|y| (1..10).map(move |x| (x, y)));
        let edges = inner
            .map(|(x, y)| luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1) - 4.0 * luma(x, y))
            .collect();
        let all = (0..7)
            .flat_map(|y| (0..11).map(move |x| (x, y)))
            .map(|(x, y)| luma(x, y))
            .collect();
        let landmarks = [[4.0, 3.0], [7.0, 3.0], [5.0, 4.0], [4.0, 6.0], [7.0, 6.0]].map(Point::from);
        let bbox = Rect {
            x: 0.0,
            y: 0.0,
            width: 11.0,
            height: 7.0,
        };
        let identity = Similarity::between(&landmarks, &landmarks).unwrap();
        let quality = assess(&crop, &bbox, &landmarks, &identity, &crop);
        let close = |found: f32, exact: f64| assert!((f64::from(found) / exact - 1.0).abs() < 1e-4, "{found} {exact}");
        close(quality.sharpness, variance(edges));
        close(quality.contrast, variance(all).sqrt() / 255.0);
    }
}
