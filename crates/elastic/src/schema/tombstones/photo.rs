//! What tells a photo, for its tombstones: its file, its coded picture, what it looks like.

use facedex_base::Rect;
use facedex_base::likeness::Likeness;
use serde::{Deserialize, Serialize};

use super::Tombstone;
use crate::schema::document::{ImageFields, StoredImage};

/// A photo's keys, and its size: a copy may have another one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhotoKeys {
    /// The hash of the file, the first part of its faces' ids.
    pub hash: String,
    /// The hash of the coded picture (`coded` in facedex-face's `likeness`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coded: Option<String>,
    /// The coarse hash of the pixels, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likeness: Option<String>,
    /// Upright width in pixels; 0 where an earlier release noted it.
    #[serde(skip_serializing_if = "is_zero")]
    pub width: u32,
    /// Upright height in pixels.
    #[serde(skip_serializing_if = "is_zero")]
    pub height: u32,
    /// EXIF's orientation, 1 to 8; 0 or 1 where the picture is shown as it is coded.
    #[serde(skip_serializing_if = "is_upright")]
    pub orientation: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_upright(orientation: &u8) -> bool {
    *orientation <= 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<&ImageFields> for PhotoKeys {
    fn from(image: &ImageFields) -> Self {
        Self {
            hash: image.hash.clone(),
            coded: image.coded.clone(),
            likeness: image.likeness.clone(),
            width: image.width,
            height: image.height,
            orientation: image.orientation,
        }
    }
}

impl From<&StoredImage> for PhotoKeys {
    fn from(image: &StoredImage) -> Self {
        Self {
            hash: image.hash.clone(),
            coded: image.coded.clone(),
            likeness: image.likeness.clone(),
            width: image.width,
            height: image.height,
            orientation: image.orientation,
        }
    }
}

impl PhotoKeys {
    /// One of which only the file is known.
    pub fn of_file(hash: &str) -> Self {
        Self {
            hash: hash.to_owned(),
            ..Self::default()
        }
    }

    /// By what an index finds the photo's copies.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let coded = self.coded.iter().map(|coded| format!("c:{coded}"));
        let parts = self.hash_of_pixels().into_iter().flat_map(Likeness::parts);
        let parts = parts.enumerate().map(|(at, part)| format!("l{at}:{part:x}"));
        coded.chain(parts)
    }

    fn hash_of_pixels(&self) -> Option<Likeness> {
        self.likeness.as_deref().and_then(Likeness::from_hex)
    }

    fn has_the_code_of(&self, other: &Self) -> bool {
        self.coded.is_some() && self.coded == other.coded
    }

    /// Whether another file shows the same picture.
    pub(super) fn shows(&self, other: &Self) -> bool {
        let looks_alike = match (self.hash_of_pixels(), other.hash_of_pixels()) {
            (Some(one), Some(two)) => one.is_same(two),
            _ => false,
        };
        self.hash != other.hash && (self.has_the_code_of(other) || looks_alike)
    }

    /// Faces of this photo, in the pixels of a copy of it. Each is marked as a copy's.
    pub(super) fn seen_in(&self, faces: &[Tombstone], copy: &Self) -> Vec<Tombstone> {
        let is_known = self.width > 0 && self.height > 0 && self.hash != copy.hash;
        let at = |face: &Tombstone| Tombstone {
            bbox: face.bbox.map(|bbox| match is_known {
                true => self.moved(bbox, copy),
                false => bbox,
            }),
            of: face.of.clone(),
            is_copy: self.hash != copy.hash,
        };
        faces.iter().map(at).collect()
    }

    /// A box of this photo in the copy's pixels.
    fn moved(&self, bbox: Rect, copy: &Self) -> Rect {
        let (width, height) = (self.width as f32, self.height as f32);
        // From 0 to 1.
        let mut part = Rect {
            x: bbox.x / width,
            y: bbox.y / height,
            width: bbox.width / width,
            height: bbox.height / height,
        };
        // The same coded picture may be shown otherwise: its metadata say which side is up.
        if self.has_the_code_of(copy) && self.orientation != copy.orientation {
            part = shown(coded(part, self.orientation), copy.orientation);
        }
        let (width, height) = (copy.width as f32, copy.height as f32);
        Rect {
            x: part.x * width,
            y: part.y * height,
            width: part.width * width,
            height: part.height * height,
        }
    }

    /// Takes over what this one lacks: an earlier release noted less.
    pub(super) fn fill(&mut self, other: &Self) {
        self.coded = self.coded.take().or_else(|| other.coded.clone());
        self.likeness = self.likeness.take().or_else(|| other.likeness.clone());
        if self.width == 0 || self.height == 0 {
            (self.width, self.height, self.orientation) = (other.width, other.height, other.orientation);
        }
    }
}

/// Where a part of the coded picture is shown, by EXIF's orientation (1 to 8; anything else is 1).
fn shown(part: Rect, orientation: u8) -> Rect {
    let Rect { x, y, width, height } = part;
    let (right, bottom) = (1.0 - x - width, 1.0 - y - height);
    let at = |x, y| Rect { x, y, width, height };
    let turned = |x, y| Rect {
        x,
        y,
        width: height,
        height: width,
    };
    match orientation {
        2 => at(right, y),
        3 => at(right, bottom),
        4 => at(x, bottom),
        5 => turned(y, x),
        6 => turned(bottom, x),
        7 => turned(bottom, right),
        8 => turned(y, right),
        _ => part,
    }
}

/// The other way round.
fn coded(part: Rect, orientation: u8) -> Rect {
    // All are their own opposites but the quarter turns.
    let opposite = match orientation {
        6 => 8,
        8 => 6,
        same => same,
    };
    shown(part, opposite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_is_found_in_a_copy_of_its_photo() {
        let photo = PhotoKeys {
            hash: "a".to_owned(),
            coded: Some("c".to_owned()),
            likeness: Some("0".repeat(64)),
            width: 200,
            height: 100,
            orientation: 1,
        };
        let face = Tombstone {
            bbox: Some(Rect {
                x: 20.0,
                y: 10.0,
                width: 40.0,
                height: 50.0,
            }),
            of: None,
            is_copy: false,
        };
        let half = PhotoKeys {
            hash: "b".to_owned(),
            coded: None,
            width: 100,
            height: 50,
            ..photo.clone()
        };
        assert!(photo.shows(&half));
        let seen = photo.seen_in(std::slice::from_ref(&face), &half);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].bbox.map(|bbox| (bbox.x, bbox.height)), Some((10.0, 25.0)));
        // A quarter turn to the right, as an EXIF block may say: x becomes the distance from the bottom.
        let turned = PhotoKeys {
            hash: "b".to_owned(),
            width: 100,
            height: 200,
            orientation: 6,
            ..photo.clone()
        };
        let upright = Rect {
            x: 40.0,
            y: 20.0,
            width: 50.0,
            height: 40.0,
        };
        let seen = photo.seen_in(std::slice::from_ref(&face), &turned);
        assert!(seen[0].covers(&upright) && seen[0].is_copy, "{seen:?}");
        // And back, from any of the eight.
        for orientation in 1..=8 {
            let (width, height) = if orientation > 4 { (100, 200) } else { (200, 100) };
            let turned = PhotoKeys {
                orientation,
                width,
                height,
                ..turned.clone()
            };
            let there = photo.seen_in(std::slice::from_ref(&face), &turned);
            let back = turned.seen_in(&there, &photo);
            let iou = back[0].bbox.unwrap().iou(&face.bbox.unwrap());
            assert!(iou > 0.999, "{orientation}: {back:?}");
        }
        // Another edit of the metadata leaves the neighbour in the mirrored place alone.
        let edited = PhotoKeys {
            hash: "b".to_owned(),
            ..photo.clone()
        };
        let neighbour = Rect {
            x: 140.0,
            y: 10.0,
            width: 40.0,
            height: 50.0,
        };
        assert!(
            photo
                .seen_in(&[face], &edited)
                .iter()
                .all(|seen| !seen.covers(&neighbour))
        );
        let other = PhotoKeys {
            hash: "c".to_owned(),
            likeness: Some("f".repeat(64)),
            ..PhotoKeys::default()
        };
        assert!(!photo.shows(&other) && !photo.shows(&photo));
        assert_eq!(photo.keys().count(), 10);
    }
}
