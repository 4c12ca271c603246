//! Photos made for a test out of real ones.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, Frame, ImageFormat};

use super::photo;

/// A decoded photo of `dev/photos`.
pub fn open(name: &str) -> DynamicImage {
    image::open(photo(name)).unwrap()
}

pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// A JPEG whose pixels are turned so that the EXIF orientation (1 to 8) turns them back.
pub fn turned_jpeg(picture: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut turned = picture.clone();
    // 6 and 8 are each other's inverse, all others their own.
    let inverse = match orientation {
        6 => 8,
        8 => 6,
        same => same,
    };
    turned.apply_orientation(Orientation::from_exif(inverse).unwrap());
    let jpeg = encode(&turned, ImageFormat::Jpeg);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend(exif_segment(orientation));
    bytes.extend(&jpeg[2..]);
    bytes
}

/// An APP1 segment with nothing but the orientation (EXIF 2.3, little endian).
fn exif_segment(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend([1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut segment = vec![0xFF, 0xE1];
    let length = u16::try_from(2 + 6 + tiff.len()).unwrap();
    segment.extend(length.to_be_bytes());
    segment.extend(b"Exif\0\0");
    segment.extend(tiff);
    segment
}

/// A GIF of two frames; the second one is blank.
pub fn animated_gif(picture: &DynamicImage) -> Vec<u8> {
    let first = picture.to_rgba8();
    let blank = image::RgbaImage::from_pixel(first.width(), first.height(), image::Rgba([255; 4]));
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    encoder.encode_frames([Frame::new(first), Frame::new(blank)]).unwrap();
    drop(encoder);
    bytes
}

/// The beginning of a PNG that declares `width` x `height` pixels.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    // A real encoder's output for one pixel, with another size and its checksum written over it.
    let pixel = DynamicImage::new_rgb8(1, 1);
    let mut bytes = encode(&pixel, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

/// `count` photos that differ in a few pixels, so that each has its own hash and the same faces.
pub fn variants(name: &str, count: u32) -> impl Iterator<Item = Vec<u8>> {
    variants_of_size(name, 320, count)
}

/// The same with so many pixels on the long side.
pub fn variants_of_size(name: &str, side: u32, count: u32) -> impl Iterator<Item = Vec<u8>> {
    let picture = open(name)
        .resize(side, side, image::imageops::FilterType::Triangle)
        .to_rgb8();
    (0..count).map(move |number| {
        let mut changed = picture.clone();
        for (at, byte) in number.to_le_bytes().into_iter().enumerate() {
            changed.put_pixel(at as u32, 0, image::Rgb([byte; 3]));
        }
        encode(&DynamicImage::ImageRgb8(changed), ImageFormat::Png)
    })
}
