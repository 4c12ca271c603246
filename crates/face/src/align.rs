//! Alignment: the similarity transform that lays five landmarks onto the embedder's template, and the warp by it.

use image::{Rgb, RgbImage};

use crate::geometry::{Landmarks, Point};

/// A similarity transform (rotation, uniform scale, translation; no reflection) from photo to crop pixels:
/// `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    a: f64,
    b: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// The least-squares transform that takes `from` to `to` (Umeyama, 1991, without reflection).
    ///
    /// In two dimensions it has a closed form: with points as complex numbers about their means,
    /// `a + ib = sum(conj(from) * to) / sum(|from|^2)`. `None` where the points of either side coincide.
    pub fn between(from: &Landmarks, to: &Landmarks) -> Option<Self> {
        let (from_mean, to_mean) = (mean(from), mean(to));
        let (mut real, mut imaginary, mut spread) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (f64::from(p.x) - from_mean.0, f64::from(p.y) - from_mean.1);
            let (qx, qy) = (f64::from(q.x) - to_mean.0, f64::from(q.y) - to_mean.1);
            real += px * qx + py * qy;
            imaginary += px * qy - py * qx;
            spread += px * px + py * py;
        }
        let (a, b) = (real / spread, imaginary / spread);
        // Also false for NaN: landmarks that are not finite have no transform either.
        (a * a + b * b > 1e-12 && spread > 1e-6).then_some(Self {
            a,
            b,
            tx: to_mean.0 - a * from_mean.0 + b * from_mean.1,
            ty: to_mean.1 - b * from_mean.0 - a * from_mean.1,
        })
    }

    /// The transform that maps the square of side `side` around `centre` onto a crop of `size` pixels.
    ///
    /// `side` must be positive. There is no half-pixel shift: the square's corner lands on pixel (0, 0), which is the
    /// convention that the landmark model's published preprocessing has.
    fn square(centre: Point, side: f32, size: u32) -> Self {
        let a = f64::from(size) / f64::from(side);
        Self {
            a,
            b: 0.0,
            tx: -a * (f64::from(centre.x) - f64::from(side) / 2.0),
            ty: -a * (f64::from(centre.y) - f64::from(side) / 2.0),
        }
    }

    /// Where a photo position lands in the crop.
    pub fn apply(&self, point: Point) -> Point {
        let (x, y) = (f64::from(point.x), f64::from(point.y));
        Point {
            x: (self.a * x - self.b * y + self.tx) as f32,
            y: (self.b * x + self.a * y + self.ty) as f32,
        }
    }

    /// The opposite transform, from crop to photo pixels.
    pub fn inverse(&self) -> Self {
        let norm = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / norm, -self.b / norm);
        Self {
            a,
            b,
            tx: -(a * self.tx - b * self.ty),
            ty: -(b * self.tx + a * self.ty),
        }
    }

    /// Crop pixels a photo pixel.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// Rotation of the crop against the photo, in degrees, -180 to 180.
    pub fn rotation(&self) -> f64 {
        self.b.atan2(self.a).to_degrees()
    }
}

fn mean(points: &Landmarks) -> (f64, f64) {
    let sum = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + f64::from(p.x), y + f64::from(p.y)));
    (sum.0 / 5.0, sum.1 / 5.0)
}

/// Samples the photo bilinearly into a square crop of `size` pixels; what lies outside the photo is black.
///
/// In fixed point: positions along a row by addition, and two of a pixel's values in one integer. Positions are rounded to
/// 4096ths of a pixel; at 32nds, as OpenCV 4 rounds them, some landmarks of the refiner move by half a pixel.
pub fn warp(photo: &RgbImage, transform: &Similarity, size: u32) -> RgbImage {
    let back = transform.inverse();
    let mut crop = RgbImage::new(size, size);
    // Nearer, no position overflows; farther there is no photo, and what is no number is nowhere.
    let is_near = [back.tx, back.ty].iter().all(|offset| offset.abs() < FARTHEST)
        && [back.a, back.b].iter().all(|step| step.abs() < LONGEST_STEP);
    if !is_near {
        return crop;
    }
    let (right, down) = (Fixed::of(back.a), Fixed::of(back.b));
    let half_step = Fixed::of(0.5 / f64::from(STEPS));
    for (row, pixels) in crop.rows_mut().enumerate() {
        let v = row as f64;
        let mut x = Fixed::of(back.tx - back.b * v).plus(half_step);
        let mut y = Fixed::of(back.ty + back.a * v).plus(half_step);
        for pixel in pixels {
            *pixel = sample(photo, x, y);
            (x, y) = (x.plus(right), y.plus(down));
        }
    }
    crop
}

/// The square of side `side` (positive) around `centre` as a crop of `size` pixels, each of them the mean of
/// `oversampling` x `oversampling` bilinear samples.
pub fn square(photo: &RgbImage, centre: Point, side: f32, size: u32, oversampling: u32) -> RgbImage {
    let fine = warp(
        photo,
        &Similarity::square(centre, side, size * oversampling),
        size * oversampling,
    );
    if oversampling == 1 {
        return fine;
    }
    let samples = oversampling * oversampling;
    RgbImage::from_fn(size, size, |x, y| {
        let mut sum = [samples / 2; 3];
        for at in 0..samples {
            let (dx, dy) = (at % oversampling, at / oversampling);
            let pixel = fine.get_pixel(x * oversampling + dx, y * oversampling + dy);
            for (sum, value) in sum.iter_mut().zip(pixel.0) {
                *sum += u32::from(value);
            }
        }
        Rgb(sum.map(|sum| u8::try_from(sum / samples).unwrap_or(u8::MAX)))
    })
}

/// Into how many steps a pixel's side is divided.
const STEPS: u32 = 1 << STEP_BITS;
const STEP_BITS: u32 = 12;
/// 255, weighed by two weights of so many bits and rounded, fits half of a `u64`.
const _: () = assert!((255 << (2 * STEP_BITS)) + Lanes::HALF < 1 << 32);

/// Photo pixels from a photo that a crop can begin.
const FARTHEST: f64 = (1u32 << 30) as f64;
/// Photo pixels a crop pixel; a crop has at most some hundred pixels a side.
const LONGEST_STEP: f64 = (1u32 << 18) as f64;

/// A coordinate in pixels, 32 bits of which are the fraction.
#[derive(Clone, Copy)]
struct Fixed(i64);

impl Fixed {
    fn of(value: f64) -> Self {
        Self((value * (1u64 << 32) as f64) as i64)
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The next pixel below, and how many steps further.
    #[inline]
    fn split(self) -> (i64, u64) {
        let steps = (self.0 as u64 >> (32 - STEP_BITS)) & u64::from(STEPS - 1);
        (self.0 >> 32, steps)
    }
}

/// A pixel's values, weighed: red and blue in the halves of one integer, green in another.
#[derive(Clone, Copy)]
struct Lanes {
    red_blue: u64,
    green: u64,
}

impl Lanes {
    const BLACK: Self = Self { red_blue: 0, green: 0 };
    /// A half of a value after two weights.
    const HALF: u64 = 1 << (2 * STEP_BITS - 1);

    #[inline]
    fn of([r, g, b]: [u8; 3]) -> Self {
        Self {
            red_blue: u64::from(r) | u64::from(b) << 32,
            green: g.into(),
        }
    }

    /// `at` steps of the way to `other`; what comes out weighs [`STEPS`] times as much.
    #[inline]
    fn towards(self, other: Self, at: u64) -> Self {
        let rest = u64::from(STEPS) - at;
        Self {
            red_blue: self.red_blue * rest + other.red_blue * at,
            green: self.green * rest + other.green * at,
        }
    }

    /// The values after two such ways, rounded, halves up.
    #[inline]
    fn values(self) -> Rgb<u8> {
        let red_blue = self.red_blue + (Self::HALF | Self::HALF << 32);
        let green = self.green + Self::HALF;
        Rgb([red_blue, green, red_blue >> 32].map(|lane| (lane >> (2 * STEP_BITS)) as u8))
    }
}

/// The bilinear blend of the four pixels around (x, y).
#[inline]
fn sample(photo: &RgbImage, x: Fixed, y: Fixed) -> Rgb<u8> {
    let ((left, fx), (top, fy)) = (x.split(), y.split());
    let [a, b, c, d] = inner(photo, left, top)
        .unwrap_or_else(|| [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| single(photo, left + dx, top + dy)));
    a.towards(b, fx).towards(c.towards(d, fx), fy).values()
}

/// The pixel at (left, top), its right neighbour and the two below them, if the photo has all four.
#[inline]
fn inner(photo: &RgbImage, left: i64, top: i64) -> Option<[Lanes; 4]> {
    let (left, top) = (usize::try_from(left).ok()?, usize::try_from(top).ok()?);
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    if left + 1 >= width || top + 1 >= height {
        return None;
    }
    let pair = |row: usize| {
        let [r, g, b, r2, g2, b2] = *photo.as_raw().get(3 * (row * width + left)..)?.first_chunk()?;
        Some([Lanes::of([r, g, b]), Lanes::of([r2, g2, b2])])
    };
    let ([a, b], [c, d]) = (pair(top)?, pair(top + 1)?);
    Some([a, b, c, d])
}

/// One pixel, black outside the photo.
#[cold]
fn single(photo: &RgbImage, x: i64, y: i64) -> Lanes {
    let at = u32::try_from(x).ok().zip(u32::try_from(y).ok());
    let pixel = at.and_then(|(x, y)| photo.get_pixel_checked(x, y));
    pixel.map_or(Lanes::BLACK, |pixel| Lanes::of(pixel.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEMPLATE: Landmarks = [
        Point { x: 38.2946, y: 51.6963 },
        Point { x: 73.5318, y: 51.5014 },
        Point { x: 56.0252, y: 71.7366 },
        Point { x: 41.5493, y: 92.3655 },
        Point { x: 70.7299, y: 92.2041 },
    ];

    fn residual(transform: &Similarity, from: &Landmarks, to: &Landmarks) -> f64 {
        from.iter()
            .zip(to)
            .map(|(p, q)| {
                let at = transform.apply(*p);
                f64::from(at.x - q.x).powi(2) + f64::from(at.y - q.y).powi(2)
            })
            .sum()
    }

    proptest! {
        #[test]
        fn recovers_a_known_transform(angle in -3.1f64..3.1, scale in 0.05f64..20.0, tx in -500.0f64..500.0, ty in -500.0f64..500.0) {
            let known = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx, ty };
            let moved = TEMPLATE.map(|p| known.apply(p));
            let found = Similarity::between(&TEMPLATE, &moved).unwrap();
            prop_assert!((found.scale() - scale).abs() < 1e-3 * scale);
            prop_assert!(residual(&found, &TEMPLATE, &moved) < 1e-2);
        }

        #[test]
        fn no_neighbouring_transform_fits_better(noise in prop::array::uniform10(-8.0f32..8.0), da in -0.05f64..0.05, db in -0.05f64..0.05, dx in -3.0f64..3.0, dy in -3.0f64..3.0) {
            let mut from = TEMPLATE;
            for (i, point) in from.iter_mut().enumerate() {
                point.x = point.x * 2.0 + noise[2 * i];
                point.y = point.y * 2.0 + noise[2 * i + 1];
            }
            let best = Similarity::between(&from, &TEMPLATE).unwrap();
            let other = Similarity { a: best.a + da, b: best.b + db, tx: best.tx + dx, ty: best.ty + dy };
            prop_assert!(residual(&best, &from, &TEMPLATE) <= residual(&other, &from, &TEMPLATE) + 1e-3);
        }

        #[test]
        fn inverse_undoes(angle in -3.1f64..3.1, scale in 0.05f64..20.0, x in -100.0f32..100.0, y in -100.0f32..100.0) {
            let transform = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx: 3.0, ty: -7.0 };
            let back = transform.inverse().apply(transform.apply(Point { x, y }));
            prop_assert!((back.x - x).abs() < 0.01 && (back.y - y).abs() < 0.01);
        }
    }

    /// The definition, pixel by pixel.
    fn blended(photo: &RgbImage, x: f64, y: f64) -> [f64; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let mut blend = [0.0; 3];
        for (dx, dy, weight) in [
            (0.0, 0.0, (1.0 - fx) * (1.0 - fy)),
            (1.0, 0.0, fx * (1.0 - fy)),
            (0.0, 1.0, (1.0 - fx) * fy),
            (1.0, 1.0, fx * fy),
        ] {
            let (px, py) = (left + dx, top + dy);
            if px >= 0.0 && py >= 0.0 && px < f64::from(photo.width()) && py < f64::from(photo.height()) {
                let pixel = photo.get_pixel(px as u32, py as u32);
                for (sum, value) in blend.iter_mut().zip(pixel.0) {
                    *sum += weight * f64::from(value);
                }
            }
        }
        blend
    }

    fn noise(seed: u64, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|c| (seed.rotate_left(x * 7 + y * 13 + c * 29) % 256) as u8))
        })
    }

    proptest! {
        #[test]
        fn samples_on_the_grid_are_the_definition_s(
            seed in any::<u64>(), width in 1u32..9, height in 1u32..9, x in -12_000i32..50_000, y in -12_000i32..50_000
        ) {
            let photo = noise(seed, width, height);
            let (x, y) = (f64::from(x) / f64::from(STEPS), f64::from(y) / f64::from(STEPS));
            let expected = blended(&photo, x, y).map(|value| (value + 0.5) as u8);
            prop_assert_eq!(sample(&photo, Fixed::of(x), Fixed::of(y)).0, expected);
        }

        #[test]
        fn a_warp_is_the_definition_at_positions_at_most_half_a_step_away(
            seed in any::<u64>(), angle in -3.1f64..3.1, scale in 0.2f64..5.0, tx in -9.0f64..9.0, ty in -9.0f64..9.0
        ) {
            let photo = noise(seed, 12, 10);
            let transform = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx, ty };
            let (crop, back) = (warp(&photo, &transform, 16), transform.inverse());
            // From one pixel to the next, and to the black outside, values differ by at most 255, in both directions.
            let most = 0.5 + 2.0 * 255.0 * 0.51 / f64::from(STEPS);
            for (u, v, pixel) in crop.enumerate_pixels() {
                let (u, v) = (f64::from(u), f64::from(v));
                let exact = blended(&photo, back.a * u - back.b * v + back.tx, back.b * u + back.a * v + back.ty);
                for (value, exact) in pixel.0.iter().zip(exact) {
                    prop_assert!((f64::from(*value) - exact).abs() <= most, "{} for {}", value, exact);
                }
            }
        }
    }

    #[test]
    fn a_crop_from_far_outside_is_black() {
        let photo = RgbImage::from_pixel(4, 4, Rgb([200; 3]));
        for far in [1e9, -1e9, 1e30, -1e30, f64::NAN] {
            let transform = Similarity {
                a: 1.0,
                b: 0.0,
                tx: far,
                ty: 0.0,
            };
            let crop = warp(&photo, &transform, 8);
            assert!(crop.pixels().all(|pixel| pixel.0 == [0; 3]), "{far}");
        }
    }

    #[test]
    fn coinciding_or_infinite_points_have_no_transform() {
        let same = [Point { x: 4.0, y: 4.0 }; 5];
        assert!(Similarity::between(&same, &TEMPLATE).is_none());
        let mut broken = TEMPLATE;
        broken[2].x = f32::NAN;
        assert!(Similarity::between(&broken, &TEMPLATE).is_none());
    }

    #[test]
    fn warp_blends_neighbours_and_is_black_outside() {
        let photo = RgbImage::from_fn(4, 1, |x, _| Rgb([x as u8 * 50; 3]));
        let shift = Similarity {
            a: 1.0,
            b: 0.0,
            tx: -0.5,
            ty: 0.0,
        };
        let crop = warp(&photo, &shift, 4);
        assert_eq!(crop.get_pixel(0, 0).0, [25; 3]);
        assert_eq!(crop.get_pixel(2, 0).0, [125; 3]);
        assert_eq!(crop.get_pixel(0, 2).0, [0; 3]);
    }
}
