//! The target: a photo and the faces of it that are asked about.

use std::path::Path;

use facedex_face::image::{ImageError, Limits, read};
use facedex_face::select::FaceChoice;
use facedex_face::{DecodedPhoto, Face, FaceEngine, Photo};
use image::RgbImage;

use super::QueryError;

/// A decoded photo with all of its faces.
pub struct QueryPhoto {
    /// Its name, for messages.
    pub path: String,
    /// Upright pixels.
    pub pixels: RgbImage,
    /// All faces, ordered by (y, x).
    pub faces: Vec<Face>,
}

impl QueryPhoto {
    /// Reads a photo and finds its faces.
    pub fn load(engine: &mut FaceEngine, path: &Path, limits: &Limits) -> Result<Self, QueryError> {
        let named = |source: ImageError| QueryError::Image {
            path: path.display().to_string(),
            source,
        };
        let bytes = read(path, limits).map_err(named)?;
        Self::decode(engine, &path.display().to_string(), &bytes, limits)
    }

    /// The same with a photo that has been read.
    pub fn decode(engine: &mut FaceEngine, name: &str, bytes: &[u8], limits: &Limits) -> Result<Self, QueryError> {
        let decoded = DecodedPhoto::new(bytes, limits, |_| Ok(()));
        let (decoded, ()) = decoded.map_err(|source| QueryError::Image {
            path: name.to_owned(),
            source,
        })?;
        Self::of(engine, name.to_owned(), decoded)
    }

    /// The same with one that has been decoded.
    pub fn of(engine: &mut FaceEngine, path: String, decoded: DecodedPhoto) -> Result<Self, QueryError> {
        let Photo { pixels, faces, .. } = decoded.faces(engine)?;
        Ok(Self { path, pixels, faces })
    }

    /// The ordinals of the chosen faces, at least one.
    pub fn choose(&self, choice: FaceChoice) -> Result<Vec<usize>, QueryError> {
        if self.faces.is_empty() {
            return Err(QueryError::NoFace {
                path: self.path.clone(),
            });
        }
        let ordinals = choice.ordinals(&self.faces, self.pixels.width(), self.pixels.height());
        match (choice, ordinals.is_empty()) {
            (FaceChoice::Ordinal(choice), true) => Err(QueryError::NoSuchFace {
                path: self.path.clone(),
                choice,
                found: self.faces.len(),
            }),
            _ => Ok(ordinals),
        }
    }
}
