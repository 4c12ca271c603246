//! A contact sheet of the pairs that went most wrong.

use std::path::{Path, PathBuf};

use facedex_face::image::{Limits, decode, read};
use facedex_face::{Rect, thumbnail};
use serde::Serialize;

use super::EvalError;
use crate::canvas::{CHARACTER, Canvas};

const TILE: u32 = 160;
const GAP: u32 = 12;
const CAPTION: u32 = 40;
/// Pairs beside each other.
const COLUMNS: u32 = 3;

/// A pair that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct BadPair {
    /// One photo.
    pub a: PathBuf,
    /// The other.
    pub b: PathBuf,
    /// Whether they are said to show one person.
    pub same: bool,
    /// Absent where a face was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// Where the faces are.
    #[serde(skip)]
    pub boxes: [Option<Rect>; 2],
}

/// Draws the pairs side by side and saves the sheet; the format follows the file's name.
pub fn save(path: &Path, pairs: &[BadPair]) -> Result<(), EvalError> {
    let rows = (pairs.len() as u32).div_ceil(COLUMNS).max(1);
    let (width, height) = (2 * TILE + 2 * GAP, TILE + CAPTION + GAP);
    let mut canvas = Canvas::new(GAP + COLUMNS * width, GAP + rows * height);
    for (at, pair) in pairs.iter().enumerate() {
        let (left, top) = (GAP + at as u32 % COLUMNS * width, GAP + at as u32 / COLUMNS * height);
        for (side, (photo, bbox)) in [&pair.a, &pair.b].into_iter().zip(&pair.boxes).enumerate() {
            let left = left + side as u32 * TILE;
            if let Some(tile) = tile(photo, bbox.as_ref()) {
                canvas.lay(&tile, left, top);
            }
            let name = photo.file_stem().unwrap_or_default().to_string_lossy();
            let fits = (TILE / CHARACTER.0) as usize - 1;
            let short: String = name.chars().skip(name.chars().count().saturating_sub(fits)).collect();
            canvas.text(&short, left, top + TILE + 3);
        }
        let kind = if pair.same { "one person" } else { "two people" };
        let verdict = match pair.similarity {
            Some(similarity) => format!("{kind}, similarity {similarity:.3}"),
            None => format!("{kind}, no face found"),
        };
        canvas.text(&verdict, left, top + TILE + 20);
    }
    canvas.0.save(path).map_err(|error| EvalError::Draw {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The face, or the whole photo where none was found.
fn tile(path: &Path, bbox: Option<&Rect>) -> Option<image::RgbImage> {
    let limits = Limits::default();
    let photo = decode(&read(path, &limits).ok()?, &limits).ok()?;
    let whole = Rect {
        x: 0.0,
        y: 0.0,
        width: photo.width() as f32,
        height: photo.height() as f32,
    };
    Some(thumbnail::cut(&photo, bbox.unwrap_or(&whole), TILE))
}
