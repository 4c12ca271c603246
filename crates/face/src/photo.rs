//! A photo's road from its bytes to its faces, the same for whoever asks. Photos come from anywhere: a decoder or a model
//! that panics on one of them is an error of this photo, and takes nothing else with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::RgbImage;

use crate::image::{Encoded, ImageError, Limits, read};
use crate::{Face, FaceEngine, FaceError};

/// A photo's pixels, in which no face has been looked for.
#[derive(Debug)]
pub struct DecodedPhoto {
    /// Upright pixels.
    pub pixels: RgbImage,
    /// EXIF's orientation, 1 to 8, by which they were turned.
    pub orientation: u8,
}

/// A photo with all of its faces.
#[derive(Debug)]
pub struct Photo {
    /// Upright pixels.
    pub pixels: RgbImage,
    /// EXIF's orientation, 1 to 8, by which they were turned.
    pub orientation: u8,
    /// Every face, ordered by (y, x) of their boxes: a face's place is its ordinal.
    pub faces: Vec<Face>,
}

/// Why a photo has no faces to give.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// It cannot be read or decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The models failed on it.
    #[error(transparent)]
    Face(#[from] FaceError),
}

impl Photo {
    /// Reads a photo under the usual [`Limits`] and finds its faces.
    ///
    /// # Errors
    ///
    /// [`PhotoError::Image`] where the file cannot be read or is no picture, [`PhotoError::Face`] where a model fails. A photo
    /// without a face is no error.
    pub fn open(path: &Path, engine: &mut FaceEngine) -> Result<Self, PhotoError> {
        let limits = Limits::default();
        let bytes = read(path, &limits)?;
        let (decoded, ()) = DecodedPhoto::new(&bytes, &limits, |_| Ok::<_, ImageError>(()))?;
        Ok(decoded.faces(engine)?)
    }
}

impl DecodedPhoto {
    /// Decodes a photo. `room` is asked for the bytes of memory that this takes, before they are taken: it may wait, or
    /// refuse. What it gives is handed back and stands for that memory until the caller drops it.
    ///
    /// # Errors
    ///
    /// What [`decode`](crate::image::decode) refuses, [`ImageError::Panicked`], and what `room` answers.
    pub fn new<R, E: From<ImageError>>(
        bytes: &[u8],
        limits: &Limits,
        room: impl FnOnce(u64) -> Result<R, E>,
    ) -> Result<(Self, R), E> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut encoded = Encoded::open(bytes, limits)?;
            let orientation = encoded.orientation();
            Ok((encoded, orientation))
        }));
        let (encoded, orientation) = opened.unwrap_or(Err(ImageError::Panicked))?;
        let room = room(encoded.memory())?;
        let pixels = catch_unwind(AssertUnwindSafe(|| encoded.decode())).unwrap_or(Err(ImageError::Panicked))?;
        Ok((Self { pixels, orientation }, room))
    }

    /// Finds the photo's faces and embeds them.
    ///
    /// # Errors
    ///
    /// What [`FaceEngine::faces`] answers, and [`FaceError::Panicked`].
    pub fn faces(self, engine: &mut FaceEngine) -> Result<Photo, FaceError> {
        let found = catch_unwind(AssertUnwindSafe(|| engine.faces(&self.pixels)));
        let faces = found.unwrap_or(Err(FaceError::Panicked))?;
        Ok(Photo {
            pixels: self.pixels,
            orientation: self.orientation,
            faces,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_taken_that_is_refused() {
        let mut png = Vec::new();
        let picture = image::DynamicImage::new_rgb8(40, 30);
        picture
            .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
            .unwrap();
        let limits = Limits::default();
        let refused = DecodedPhoto::new(&png, &limits, |bytes| {
            assert_eq!(bytes, 40 * 30 * 3);
            Err::<(), _>(ImageError::Empty)
        });
        assert!(matches!(refused, Err(ImageError::Empty)));
        let (photo, room) = DecodedPhoto::new(&png, &limits, |_| Ok::<_, ImageError>("room")).unwrap();
        assert_eq!(
            (photo.pixels.dimensions(), photo.orientation, room),
            ((40, 30), 1, "room")
        );
    }
}
