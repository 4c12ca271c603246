//! The document: one a face. Field names and meanings are those of `mappings/faces.json`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::ElasticError;
use super::embedding::{Form, Written};
use crate::face::Rect;
use crate::face::geometry::Landmarks;
use crate::face::quality::Quality;

/// A face that is to be stored.
#[derive(Debug, Clone)]
pub struct FaceDocument {
    /// When the face was ingested, RFC 3339, UTC.
    pub timestamp: String,
    /// What the photo shows.
    pub face: FaceFields,
    /// Who it is; absent for a face without a label.
    pub person: Option<Person>,
    /// Where it was seen.
    pub image: ImageFields,
    /// The user's own keys, each of which can filter a search.
    pub labels: BTreeMap<String, String>,
    /// The same as `key=value`, which Kibana can aggregate.
    pub label_pairs: Vec<String>,
    /// Which vectors this one may be compared with.
    pub model: ModelFields,
    /// Which run wrote it.
    pub ingest: IngestFields,
    /// Its number among all faces of the photo, in order from the top; a part of its `_id`.
    pub ordinal: usize,
}

/// `face.*`
#[derive(Debug, Clone)]
pub struct FaceFields {
    /// L2-normalised.
    pub embedding: Vec<f32>,
    /// In photo pixels.
    pub bbox: Rect,
    /// In photo pixels.
    pub landmarks: Landmarks,
    /// Detection score, 0 to 1.
    pub score: f32,
    /// How usable the face is.
    pub quality: Quality,
    /// A JPEG in base64, where thumbnails were asked for.
    pub thumbnail: Option<String>,
}

/// The document as it goes over the wire.
#[derive(Serialize)]
struct Wire<'d> {
    #[serde(rename = "@timestamp")]
    timestamp: &'d str,
    face: WireFace<'d>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: &'d Option<Person>,
    image: &'d ImageFields,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'d BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    label_pairs: &'d [String],
    model: &'d ModelFields,
    ingest: &'d IngestFields,
}

#[derive(Serialize)]
struct WireFace<'d> {
    embedding: Written<'d>,
    #[serde(rename = "box")]
    bbox: Rect,
    landmarks: Landmarks,
    score: f32,
    quality: Quality,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: &'d Option<String>,
}

/// `person.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Person {
    /// What identifies the person in the collection.
    pub id: String,
    /// For people to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `image.*`
#[derive(Debug, Clone, Serialize)]
pub struct ImageFields {
    /// Where the photo was read, without credentials.
    pub uri: String,
    /// First 32 hexadecimal digits of the BLAKE3 of the photo's bytes.
    pub hash: String,
    /// The hash of the coded picture, without its metadata, for formats whose picture can be told from the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coded: Option<String>,
    /// The coarse hash of the pixels, 64 hexadecimal digits: what it looks like, to find copies that were saved again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likeness: Option<String>,
    /// EXIF's orientation, 1 to 8: how the coded picture was turned.
    #[serde(skip_serializing_if = "is_upright")]
    pub orientation: u8,
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
    /// How many faces of this photo are stored: whether all of them are there can be told from any one.
    pub faces: u32,
    /// Fingerprint of the engine that found the face.
    pub engine: String,
    /// Set while the photo is being rewritten: not all of its faces are known to be in place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// While the photo is being rewritten, the named or labelled faces that it had before, so that a rewrite that is cut
    /// off loses no name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Known>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_upright(orientation: &u8) -> bool {
    *orientation <= 1
}

/// Who a face was, and where it lay in its photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The face's box, in photo pixels.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// Who it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// The user's own keys.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "lenient_labels"
    )]
    pub labels: BTreeMap<String, String>,
}

/// `model.*`
#[derive(Debug, Clone, Serialize)]
pub struct ModelFields {
    /// The embedding space.
    pub space: String,
}

/// `ingest.*`
#[derive(Debug, Clone, Serialize)]
pub struct IngestFields {
    /// The run's UUID.
    pub run: String,
    /// The machine's name.
    pub host: String,
}

impl FaceDocument {
    /// The document as JSON, its vector in this form.
    pub fn encode(&self, form: Form) -> Result<Bytes, ElasticError> {
        let face = &self.face;
        let wire = Wire {
            timestamp: &self.timestamp,
            face: WireFace {
                embedding: form.written(&face.embedding),
                bbox: face.bbox,
                landmarks: face.landmarks,
                score: face.score,
                quality: face.quality,
                thumbnail: &face.thumbnail,
            },
            person: &self.person,
            image: &self.image,
            labels: &self.labels,
            label_pairs: &self.label_pairs,
            model: &self.model,
            ingest: &self.ingest,
        };
        serde_json::to_vec(&wire)
            .map(Bytes::from)
            .map_err(|error| ElasticError::unexpected("encode a document", error))
    }

    /// Sets the labels and their aggregatable twin.
    pub fn set_labels(&mut self, labels: BTreeMap<String, String>) {
        self.label_pairs = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.labels = labels;
    }
}

/// A label that can be stored and filtered by.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Refuses a label that could not be filtered by.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if key.is_empty() || key.len() > 255 || !key.chars().all(is_plain) {
        return Err("a label's key is 1 to 255 letters, digits, dots, dashes and underscores".to_owned());
    }
    if value.is_empty() || value.len() > 8000 {
        return Err("a label's value is 1 to 8000 bytes".to_owned());
    }
    Ok(())
}

/// A person's id or name, in the one spelling that all of its spellings have in common: composed characters (Unicode's NFC), no
/// blanks around it.
pub fn normal_name(text: &str) -> String {
    text.trim().nfc().collect()
}

/// The `_id` of a face: the same photo from two paths or two machines is the same document.
pub fn face_id(image_hash: &str, ordinal: usize) -> String {
    format!("{image_hash}-{ordinal}")
}

/// The photo's part of an id: the first 32 hexadecimal digits of the BLAKE3 of its bytes.
pub fn image_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

/// What a read of a stored face brings back; the vector is left out.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StoredFace {
    /// When it was stored, RFC 3339.
    #[serde(rename = "@timestamp", default)]
    pub timestamp: Option<String>,
    /// Who it is.
    pub person: Option<Person>,
    /// Where it was seen.
    #[serde(default)]
    pub image: StoredImage,
    /// What the photo shows.
    pub face: Option<StoredBox>,
    /// The user's own keys.
    #[serde(default, deserialize_with = "lenient_labels")]
    pub labels: BTreeMap<String, String>,
    /// Which run wrote it.
    #[serde(default)]
    pub ingest: StoredRun,
}

/// `image.*` of a stored face.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StoredImage {
    /// Where the photo was read.
    #[serde(default)]
    pub uri: String,
    /// The photo's hash.
    #[serde(default)]
    pub hash: String,
    /// The hash of its coded picture.
    #[serde(default)]
    pub coded: Option<String>,
    /// The coarse hash of its pixels.
    #[serde(default)]
    pub likeness: Option<String>,
    /// EXIF's orientation.
    #[serde(default)]
    pub orientation: u8,
    /// Upright width in pixels.
    #[serde(default)]
    pub width: u32,
    /// Upright height in pixels.
    #[serde(default)]
    pub height: u32,
    /// How many faces of this photo are stored.
    #[serde(default)]
    pub faces: u32,
    /// Fingerprint of the engine that found the face.
    #[serde(default)]
    pub engine: String,
    /// The photo was being rewritten when this was written.
    #[serde(default)]
    pub unfinished: bool,
    /// The named or labelled faces that the photo had before that.
    #[serde(default)]
    pub previous: Vec<Known>,
}

/// `face.*` of a stored face.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredBox {
    /// In photo pixels.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// Detection score, 0 to 1.
    #[serde(default)]
    pub score: f32,
}

/// `ingest.*` of a stored face.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StoredRun {
    /// The run's UUID.
    #[serde(default)]
    pub run: String,
}

/// Labels that others wrote may be numbers or nested: they read as text, and nested keys joined by dots.
pub(super) fn lenient_labels<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    fn flatten(prefix: &str, value: Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let name = if prefix.is_empty() {
                        key
                    } else {
                        format!("{prefix}.{key}")
                    };
                    flatten(&name, value, into);
                }
            }
            Value::String(text) => {
                into.insert(prefix.to_owned(), text);
            }
            Value::Null => {}
            other => {
                into.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let mut labels = BTreeMap::new();
    flatten("", Value::deserialize(deserializer)?, &mut labels);
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_others_read_as_text() {
        let stored: StoredFace =
            serde_json::from_str(r#"{"labels": {"year": 2026, "a": {"b": "c"}, "n": null}}"#).unwrap();
        let shown: Vec<_> = stored
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(shown, ["a.b=c", "year=2026"]);
    }
}
