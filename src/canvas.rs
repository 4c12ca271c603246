//! Pixels to draw on: frames, text and tiles for pictures of results, and a backend for plots.

use std::convert::Infallible;

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_9X15;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use facedex_face::Rect;
use image::{RgbImage, imageops};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform};

/// Paper.
pub const BACKGROUND: Rgb888 = Rgb888::new(250, 250, 248);
const INK: Rgb888 = Rgb888::new(40, 40, 40);
/// A character's width and height in pixels.
pub const CHARACTER: (u32, u32) = (9, 15);

/// A picture that is being drawn.
pub struct Canvas(pub RgbImage);

impl Canvas {
    /// An empty one.
    pub fn new(width: u32, height: u32) -> Self {
        let paper = image::Rgb([BACKGROUND.r(), BACKGROUND.g(), BACKGROUND.b()]);
        Self(RgbImage::from_pixel(width, height, paper))
    }

    /// Lays a picture onto it.
    pub fn lay(&mut self, picture: &RgbImage, left: u32, top: u32) {
        imageops::replace(&mut self.0, picture, left.into(), top.into());
    }

    /// The outline of a box.
    pub fn frame(&mut self, rect: &Rect, colour: Rgb888) {
        let corner = Point::new(rect.x as i32, rect.y as i32);
        let size = Size::new(rect.width.max(1.0) as u32, rect.height.max(1.0) as u32);
        let Ok(()) = Rectangle::new(corner, size)
            .into_styled(PrimitiveStyle::with_stroke(colour, 3))
            .draw(self);
    }

    /// One line of text.
    pub fn text(&mut self, text: &str, left: u32, top: u32) {
        let place = Point::new(left as i32, top as i32);
        let style = MonoTextStyle::new(&FONT_9X15, INK);
        let Ok(_) = Text::with_baseline(text, place, style, Baseline::Top).draw(self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Self::Color>>,
    {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                pixel.0 = [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}

/// Plots are rasterised by the backend's own routines; only text is ours, since no font file need be there.
impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
        {
            let ink = [color.rgb.0, color.rgb.1, color.rgb.2];
            for (old, new) in pixel.0.iter_mut().zip(ink) {
                let mixed = f64::from(*old) * (1.0 - color.alpha) + f64::from(new) * color.alpha;
                *old = mixed.round() as u8;
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let (width, height) = extent(text);
        let (dx, dy) = (
            match style.anchor().h_pos {
                HPos::Left => 0,
                HPos::Center => -(width as i32) / 2,
                HPos::Right => -(width as i32),
            },
            match style.anchor().v_pos {
                VPos::Top => 0,
                VPos::Center => -(height as i32) / 2,
                VPos::Bottom => -(height as i32),
            },
        );
        if matches!(style.transform(), FontTransform::None) {
            self.text(text, (x + dx).max(0) as u32, (y + dy).max(0) as u32);
            return Ok(());
        }
        // The label of an upright axis: written flat, then turned.
        let mut label = Canvas::new(width.max(1), height);
        label.text(text, 0, 0);
        let upright = imageops::rotate270(&label.0);
        let top = (y + dx).max(0) as u32;
        self.lay(&upright, (x + dy).max(0) as u32, top);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok(extent(text))
    }
}

fn extent(text: &str) -> (u32, u32) {
    (text.chars().count() as u32 * CHARACTER.0, CHARACTER.1)
}
