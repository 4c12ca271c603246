//! One picture of a search: the photo with its boxes, and the matches' faces beside it.

use std::path::Path;

use embedded_graphics::pixelcolor::Rgb888;
use facedex_face::image::{Limits, decode, read};
use facedex_face::{Rect, thumbnail};
use image::{RgbImage, imageops};
use url::Url;

use super::query::Answer;
use crate::canvas::Canvas;
use crate::error::Error;
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

fn draw(photo: &QueryPhoto, answer: &Answer<SearchResult>) -> Canvas {
    let (width, height) = photo.pixels.dimensions();
    let scale = (PHOTO as f32 / height as f32).min(1.5 * PHOTO as f32 / width as f32);
    let shown = |length: u32| ((length as f32 * scale) as u32).max(1);
    let (photo_width, photo_height) = (shown(width), shown(height));
    let row_height = TILE + CAPTION + GAP;
    let rows = answer.faces.len() as u32;
    let most = answer.faces.iter().map(|face| face.result.hits.len()).max();
    let columns = most.unwrap_or_default().clamp(1, MATCHES) as u32;
    let mut canvas = Canvas::new(
        GAP + photo_width + GAP + columns * (TILE + GAP),
        2 * GAP + photo_height.max(rows * row_height),
    );
    let small = imageops::resize(&photo.pixels, photo_width, photo_height, imageops::FilterType::Triangle);
    canvas.lay(&small, GAP, GAP);
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
            if let Some(tile) = hit.bbox.as_ref().and_then(|bbox| stored_face(&hit.image, bbox)) {
                canvas.lay(&tile, left, top);
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
