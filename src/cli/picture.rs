//! One picture of a search: the photo with its boxes, and the matches' faces beside it.

use std::path::Path;

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_9X15;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::{RgbImage, imageops};
use url::Url;

use super::query::Answer;
use crate::error::Error;
use crate::face::image::{Limits, decode, read};
use crate::face::{Rect, thumbnail};
use crate::query::photo::QueryPhoto;
use crate::query::search::SearchResult;

/// Height of the photo's place, in pixels; a wider photo is made to fit its width as well.
const PHOTO: u32 = 480;
const TILE: u32 = 128;
const GAP: u32 = 16;
/// Room for two lines of text under a tile.
const CAPTION: u32 = 36;
/// Most matches that are shown of each face.
const MATCHES: usize = 4;
const BACKGROUND: Rgb888 = Rgb888::new(250, 250, 248);
const INK: Rgb888 = Rgb888::new(40, 40, 40);
/// Box and frame colours, one a face.
const COLOURS: [Rgb888; 6] = [
    Rgb888::new(0, 114, 178),
    Rgb888::new(213, 94, 0),
    Rgb888::new(0, 158, 115),
    Rgb888::new(204, 121, 167),
    Rgb888::new(230, 159, 0),
    Rgb888::new(86, 180, 233),
];

/// Draws and saves the picture; the format follows the file's name.
pub(super) fn save(path: &Path, photo: &QueryPhoto, answer: &Answer<SearchResult>) -> Result<(), Error> {
    draw(photo, answer).0.save(path).map_err(|error| Error::Picture {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Refuses a name that tells no format, before anything is searched.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    image::ImageFormat::from_path(path)
        .map(drop)
        .map_err(|error| Error::Picture {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
}

struct Canvas(RgbImage);

fn draw(photo: &QueryPhoto, answer: &Answer<SearchResult>) -> Canvas {
    let (width, height) = photo.pixels.dimensions();
    let scale = (PHOTO as f32 / height as f32).min(1.5 * PHOTO as f32 / width as f32);
    let shown = |length: u32| ((length as f32 * scale) as u32).max(1);
    let (photo_width, photo_height) = (shown(width), shown(height));
    let row_height = TILE + CAPTION + GAP;
    let rows = answer.faces.len() as u32;
    let most = answer.faces.iter().map(|face| face.result.hits.len()).max();
    let columns = most.unwrap_or_default().clamp(1, MATCHES) as u32;
    let mut canvas = Canvas(RgbImage::from_pixel(
        GAP + photo_width + GAP + columns * (TILE + GAP),
        2 * GAP + photo_height.max(rows * row_height),
        image::Rgb([BACKGROUND.r(), BACKGROUND.g(), BACKGROUND.b()]),
    ));
    let small = imageops::resize(&photo.pixels, photo_width, photo_height, imageops::FilterType::Triangle);
    imageops::replace(&mut canvas.0, &small, GAP.into(), GAP.into());
    for (row, face) in answer.faces.iter().enumerate() {
        let colour = COLOURS[row % COLOURS.len()];
        if let Some(seen) = &face.face {
            canvas.frame(&shifted(&seen.bbox.scaled(scale), GAP as f32), colour);
        }
        let top = GAP + row as u32 * row_height;
        if face.result.hits.is_empty() {
            canvas.text("no match", GAP + photo_width + GAP, top + TILE / 2);
        }
        for (column, hit) in face.result.hits.iter().take(MATCHES).enumerate() {
            let left = GAP + photo_width + GAP + column as u32 * (TILE + GAP);
            if let Some(tile) = stored_face(&hit.image, &hit.bbox) {
                imageops::replace(&mut canvas.0, &tile, left.into(), top.into());
            }
            let place = Rect {
                x: left as f32,
                y: top as f32,
                width: TILE as f32,
                height: TILE as f32,
            };
            canvas.frame(&place, colour);
            let person = hit
                .person
                .as_ref()
                .map_or("(no name)", |p| p.name.as_deref().unwrap_or(&p.id));
            canvas.text(&person.chars().take(15).collect::<String>(), left, top + TILE + 3);
            canvas.text(&format!("{:.3}", hit.similarity), left, top + TILE + 19);
        }
    }
    canvas
}

fn shifted(rect: &Rect, by: f32) -> Rect {
    Rect {
        x: rect.x + by,
        y: rect.y + by,
        ..*rect
    }
}

/// The face cut from its photo, if that is a file that can still be read here.
fn stored_face(uri: &str, bbox: &Rect) -> Option<RgbImage> {
    let path = Url::parse(uri).ok()?.to_file_path().ok()?;
    let limits = Limits::default();
    let photo = decode(&read(&path, &limits).ok()?, &limits).ok()?;
    Some(thumbnail::cut(&photo, bbox, TILE))
}

impl Canvas {
    fn frame(&mut self, rect: &Rect, colour: Rgb888) {
        let corner = Point::new(rect.x as i32, rect.y as i32);
        let size = Size::new(rect.width.max(1.0) as u32, rect.height.max(1.0) as u32);
        let Ok(()) = Rectangle::new(corner, size)
            .into_styled(PrimitiveStyle::with_stroke(colour, 3))
            .draw(self);
    }

    fn text(&mut self, text: &str, left: u32, top: u32) {
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
    type Error = std::convert::Infallible;

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
