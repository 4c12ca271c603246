//! Bytes to upright RGB pixels, with limits that hold before memory is taken.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError as Codec, ImageFormat, ImageReader, Pixel,
    Primitive, RgbImage, Rgba,
};

/// What a photo may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Largest width x height, in pixels.
    pub max_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_pixels: 100_000_000,
        }
    }
}

/// Why a photo cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than [`Limits::max_bytes`].
    #[error("the file has more than {limit} bytes; raise --max-image-bytes to accept it")]
    TooManyBytes {
        /// The limit that was passed.
        limit: u64,
    },
    /// The header declares more pixels than [`Limits::max_pixels`].
    #[error("{width} x {height} pixels are more than the {limit} allowed; raise --max-image-pixels to accept it")]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit that was passed.
        limit: u64,
    },
    /// The header declares no width or no height.
    #[error("the {format} has no pixels")]
    NoPixels {
        /// The format found.
        format: &'static str,
    },
    /// No known image format begins with these bytes.
    #[error("not an image (JPEG, PNG, WebP, GIF, BMP and TIFF are read, by content)")]
    NotAnImage,
    /// The data ends early.
    #[error("truncated {format}: the image data ends before the picture does")]
    Truncated {
        /// The format found.
        format: &'static str,
    },
    /// The data breaks its format's rules, or uses a part of it that is not supported.
    #[error("unreadable {format}: {reason}")]
    Corrupt {
        /// The format found.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The decoder panicked.
    #[error("the decoder panicked on this file")]
    Panicked,
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads a photo's bytes, at most [`Limits::max_bytes`] of them.
///
/// # Errors
///
/// `ImageError::Io` where the file cannot be read, `ImageError::TooManyBytes` where it is larger than the limit.
pub fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ImageError::Io(std::io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > limits.max_bytes {
        return Err(ImageError::TooManyBytes {
            limit: limits.max_bytes,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // The length in the metadata is a hint (pipes have none, files grow): the reader is bounded as well.
    file.take(limits.max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(ImageError::TooManyBytes {
            limit: limits.max_bytes,
        });
    }
    Ok(bytes)
}

/// The image format that these bytes begin with, if it is one that [`decode`] reads.
pub fn sniff(head: &[u8]) -> Option<ImageFormat> {
    image::guess_format(head).ok().filter(|format| format.reading_enabled())
}

/// Decodes a photo to upright 8-bit RGB: format by content, the first frame of an animation, EXIF orientation applied,
/// transparency flattened onto white, greyscale, CMYK and 16-bit samples converted.
///
/// # Errors
///
/// As for [`Encoded::open`] and [`Encoded::decode`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, ImageError> {
    Encoded::open(bytes, limits)?.decode()
}

/// A photo whose header was read and whose pixels were not.
pub struct Encoded<'b> {
    decoder: Box<dyn ImageDecoder + 'b>,
    format: ImageFormat,
    pixels: u64,
}

impl<'b> Encoded<'b> {
    /// Reads the header and holds it against the limits.
    ///
    /// # Errors
    ///
    /// Every [`ImageError`] that a header shows: no bytes, too many, no known format, no pixels, too many, a JPEG without its end.
    pub fn open(bytes: &'b [u8], limits: &Limits) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        if bytes.len() as u64 > limits.max_bytes {
            return Err(ImageError::TooManyBytes {
                limit: limits.max_bytes,
            });
        }
        let format = sniff(bytes).ok_or(ImageError::NotAnImage)?;
        let name = format_name(format);
        if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
            return Err(ImageError::Truncated { format: name });
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut codec_limits = image::Limits::default();
        // 8 bytes a pixel hold 16-bit RGBA, the widest samples that are accepted; the decoders need some room of their own.
        codec_limits.max_alloc = Some(limits.max_pixels.saturating_mul(8).saturating_add(64 << 20));
        reader.limits(codec_limits);
        let decoder = reader.into_decoder().map_err(|error| broken(name, error))?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { format: name });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: limits.max_pixels,
            });
        }
        Ok(Self {
            decoder: Box::new(decoder),
            format,
            pixels,
        })
    }

    /// EXIF's orientation, 1 to 8: how the pixels are turned when they are decoded.
    pub fn orientation(&mut self) -> u8 {
        self.decoder
            .orientation()
            .map_or(1, |orientation| orientation.to_exif())
    }

    /// The bytes of memory that decoding takes, about: the samples as the file has them, what its decoder holds meanwhile,
    /// and the result.
    pub fn memory(&self) -> u64 {
        let samples = self.decoder.total_bytes();
        let held = match self.format {
            // A progressive one's coefficients.
            ImageFormat::Jpeg => self.pixels.saturating_mul(6),
            // A frame in its own colours.
            ImageFormat::WebP => self.pixels.saturating_mul(4),
            // A picture besides the one that is handed out.
            ImageFormat::Gif | ImageFormat::Tiff => samples,
            _ => 0,
        };
        let is_result = self.decoder.color_type() == ColorType::Rgb8;
        let result = if is_result { 0 } else { self.pixels.saturating_mul(3) };
        samples.saturating_add(held).saturating_add(result)
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    ///
    /// As for [`Encoded::open`] and [`Encoded::decode`].
    pub fn decode(mut self) -> Result<RgbImage, ImageError> {
        // A damaged EXIF block is no reason to refuse the picture: viewers show it unrotated too.
        let orientation = self
            .decoder
            .orientation()
            .unwrap_or(image::metadata::Orientation::NoTransforms);
        let picture = DynamicImage::from_decoder(self.decoder);
        let picture = picture.map_err(|error| broken(format_name(self.format), error))?;
        // Turned last: that takes a second copy, and now each is as small as it gets.
        let mut picture = DynamicImage::ImageRgb8(flatten(picture));
        picture.apply_orientation(orientation);
        Ok(picture.into_rgb8())
    }
}

fn broken(format: &'static str, error: Codec) -> ImageError {
    if let Codec::IoError(io) = &error
        && io.kind() == std::io::ErrorKind::UnexpectedEof
    {
        return ImageError::Truncated { format };
    }
    ImageError::Corrupt {
        format,
        reason: error.to_string(),
    }
}

/// Drops the alpha channel by laying the picture over white, as a page would show it.
fn flatten(picture: DynamicImage) -> RgbImage {
    match picture {
        picture if !picture.color().has_alpha() => picture.into_rgb8(),
        // Without a copy of the picture in between: these are the largest.
        DynamicImage::ImageRgba16(picture) => over_white(&picture, |sample| {
            // The nearest of 256 steps: 65,535 is 255 x 257.
            u8::try_from((u32::from(sample) + 128) / 257).unwrap_or(u8::MAX)
        }),
        picture => over_white(&picture.into_rgba8(), |sample| sample),
    }
}

fn over_white<S: Primitive>(picture: &ImageBuffer<Rgba<S>, Vec<S>>, to_8_bits: impl Fn(S) -> u8) -> RgbImage
where
    Rgba<S>: Pixel<Subpixel = S>,
{
    let (width, height) = picture.dimensions();
    let mut rgb = RgbImage::new(width, height);
    for (to, from) in rgb.pixels_mut().zip(picture.pixels()) {
        let [r, g, b, a] = from.0.map(|sample| u32::from(to_8_bits(sample)));
        to.0 = [r, g, b].map(|sample| u8::try_from((sample * a + 255 * (255 - a) + 127) / 255).unwrap_or(u8::MAX));
    }
    rgb
}

/// Whether the scan data of a JPEG reaches an end-of-image marker (ITU T.81, B.1.1.3).
///
/// The decoder is lenient and would fill the missing part with grey, so that half a face would be stored as a face.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    let mut at = 2;
    // Walk the segments up to the first scan: an end marker inside a thumbnail in EXIF does not count.
    while let (Some(&mark), Some(&kind)) = (bytes.get(at), bytes.get(at + 1)) {
        if mark != 0xFF {
            // Not a segment: leave the verdict to the decoder.
            return true;
        }
        match kind {
            START_OF_SCAN => {
                return bytes[at..].windows(2).rev().any(|pair| pair == END_OF_IMAGE);
            }
            // Fill bytes and markers without a length.
            0xFF => at += 1,
            0x01 | 0xD0..=0xD9 => at += 2,
            _ => {
                let (Some(&high), Some(&low)) = (bytes.get(at + 2), bytes.get(at + 3)) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}

fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_samples_are_laid_over_white_as_eight_bit_ones_are() {
        let wide = ImageBuffer::from_fn(256, 256, |x, y| {
            let sample = u16::try_from((x * 257 + y).min(65_535)).unwrap();
            Rgba([sample, u16::MAX - sample, 128, u16::try_from(y * 256).unwrap()])
        });
        let wide = DynamicImage::ImageRgba16(wide);
        let narrow = DynamicImage::ImageRgba8(wide.to_rgba8());
        assert_eq!(flatten(wide), flatten(narrow));
    }
}
