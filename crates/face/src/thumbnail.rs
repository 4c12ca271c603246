//! A small picture of a face, cut from the photo with some room around the box.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use crate::align::square;
use crate::geometry::Rect;

/// The thumbnail's side compared with the longer side of the face's box.
const ROOM: f32 = 1.5;

/// The square around a face at `size` x `size` pixels; black where it reaches past the photo.
pub fn cut(photo: &RgbImage, bbox: &Rect, size: u32) -> RgbImage {
    let side = bbox.width.max(bbox.height) * ROOM;
    let oversampling = (side / size as f32).ceil().clamp(1.0, 8.0) as u32;
    square(photo, bbox.centre(), side, size, oversampling)
}

/// The same as a JPEG of quality 85.
///
/// # Errors
///
/// Fails where the JPEG cannot be encoded.
pub fn jpeg(photo: &RgbImage, bbox: &Rect, size: u32) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    cut(photo, bbox, size).write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 85))?;
    Ok(bytes)
}
