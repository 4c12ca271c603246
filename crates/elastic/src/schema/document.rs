//! The document: one a face. Field names and meanings are those of `mappings/faces.json`.

use std::collections::BTreeMap;

use bytes::Bytes;
use facedex_base::Rect;
use facedex_base::geometry::Landmarks;
use facedex_base::quality::Quality;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use crate::ElasticError;
use crate::schema::embedding::{Form, Written};
use crate::schema::lenient;

/// How times are written, as [`jiff`] takes it: RFC 3339, UTC, milliseconds.
pub const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

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
    /// The cluster that it was put in.
    pub cluster: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<WireCluster<'d>>,
    model: &'d ModelFields,
    ingest: &'d IngestFields,
}

#[derive(Serialize)]
struct WireCluster<'d> {
    id: &'d str,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
        deserialize_with = "lenient::labels"
    )]
    pub labels: BTreeMap<String, String>,
    /// The cluster that it was put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Its picture, a JPEG in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// The document that it was read from; none where another one remembered it.
    #[serde(skip)]
    pub id: Option<String>,
}

impl Known {
    /// Whether there is anything to carry over.
    pub fn has_something(&self) -> bool {
        self.person.is_some() || !self.labels.is_empty() || self.cluster.is_some() || self.thumbnail.is_some()
    }
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

impl FaceFields {
    /// A face of which nothing is known but its embedding and its box.
    pub fn of(embedding: Vec<f32>, bbox: Rect) -> Self {
        Self {
            embedding,
            bbox,
            landmarks: [bbox.centre(); 5],
            score: 1.0,
            quality: Quality {
                size: bbox.width.min(bbox.height),
                ..Quality::default()
            },
            thumbnail: None,
        }
    }
}

impl FaceDocument {
    /// The document as JSON, its vector in this form.
    ///
    /// # Errors
    ///
    /// Fails where the document cannot be written as JSON.
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
            cluster: self.cluster.as_deref().map(|id| WireCluster { id }),
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
///
/// # Errors
///
/// Text without `=`, and what [`check_label`] refuses.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Refuses a label that could not be filtered by.
///
/// # Errors
///
/// The reason: an empty key or value, one that is too long, or a character that no filter could name.
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

/// The most characters of a person's id or name.
const MOST_OF_A_NAME: usize = 512;

/// Refuses an id that a person could not be found, shown or asked for by.
///
/// # Errors
///
/// The reason: empty, too long, outer blanks, or a control character.
pub fn check_person_id(id: &str) -> Result<(), String> {
    if matches!(id, "." | "..") {
        // A browser takes them out of an address.
        return Err("a person's id is not made of dots alone".to_owned());
    }
    check_words("a person's id", id)
}

/// Refuses a name that nobody could read.
///
/// # Errors
///
/// The reason: empty, too long, or a control character.
pub fn check_person_name(name: &str) -> Result<(), String> {
    check_words("a person's name", name)
}

fn check_words(what: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().count() > MOST_OF_A_NAME || text.chars().any(char::is_control) {
        return Err(format!(
            "{what} is 1 to {MOST_OF_A_NAME} characters, not all blank, without control characters"
        ));
    }
    Ok(())
}

/// An id for a person, of the command line.
///
/// # Errors
///
/// What [`check_person_id`] refuses.
pub fn parse_person_id(text: &str) -> Result<String, String> {
    check_person_id(text).map(|()| text.to_owned())
}

/// A name for a person, of the command line.
///
/// # Errors
///
/// What [`check_person_name`] refuses.
pub fn parse_person_name(text: &str) -> Result<String, String> {
    check_person_name(text).map(|()| text.to_owned())
}

impl Person {
    /// Refuses what could not be found or read again.
    ///
    /// # Errors
    ///
    /// What [`check_person_id`] and [`check_person_name`] refuse.
    pub fn check(&self) -> Result<(), String> {
        check_person_id(&self.id)?;
        self.name.as_deref().map_or(Ok(()), check_person_name)
    }
}

/// A person's id or name, in the one spelling that all of its spellings have in common: composed characters (Unicode's NFC), no
/// blanks around it.
pub(crate) fn normal_name(text: &str) -> String {
    text.trim().nfc().collect()
}

/// The `_id` of a face: the same photo from two paths or two machines is the same document.
pub fn face_id(image_hash: &str, ordinal: usize) -> String {
    format!("{image_hash}-{ordinal}")
}

/// The photo's part of an id: the first 32 hexadecimal digits of the BLAKE3 of its bytes.
///
/// ```
/// use facedex_elastic::schema::document::{face_id, image_hash};
///
/// let hash = image_hash(b"the file");
/// assert_eq!((hash.len(), face_id(&hash, 0)), (32, format!("{hash}-0")));
/// ```
pub fn image_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

/// What a read of a stored face brings back; the vector is left out. What others wrote may lack any part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StoredFace {
    /// When it was stored, RFC 3339.
    #[serde(rename = "@timestamp", deserialize_with = "lenient::moment")]
    pub timestamp: Option<String>,
    /// Who it is.
    #[serde(deserialize_with = "lenient::person")]
    pub person: Option<Person>,
    /// Where it was seen.
    #[serde(deserialize_with = "lenient::field")]
    pub image: StoredImage,
    /// What the photo shows.
    #[serde(deserialize_with = "lenient::field")]
    pub face: Option<StoredBox>,
    /// The user's own keys.
    #[serde(deserialize_with = "lenient::labels")]
    pub labels: BTreeMap<String, String>,
    /// The cluster that it was put in.
    #[serde(deserialize_with = "lenient::field")]
    pub cluster: StoredCluster,
    /// Which run wrote it.
    #[serde(deserialize_with = "lenient::field")]
    pub ingest: StoredRun,
}

/// `cluster.*` of a stored face.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StoredCluster {
    /// Its id.
    #[serde(deserialize_with = "lenient::some_text")]
    pub id: Option<String>,
}

/// `image.*` of a stored face.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StoredImage {
    /// Where the photo was read.
    #[serde(deserialize_with = "lenient::text")]
    pub uri: String,
    /// The photo's hash.
    #[serde(deserialize_with = "lenient::text")]
    pub hash: String,
    /// The hash of its coded picture.
    #[serde(deserialize_with = "lenient::some_text")]
    pub coded: Option<String>,
    /// The coarse hash of its pixels.
    #[serde(deserialize_with = "lenient::some_text")]
    pub likeness: Option<String>,
    /// EXIF's orientation.
    #[serde(deserialize_with = "lenient::field")]
    pub orientation: u8,
    /// Upright width in pixels.
    #[serde(deserialize_with = "lenient::field")]
    pub width: u32,
    /// Upright height in pixels.
    #[serde(deserialize_with = "lenient::field")]
    pub height: u32,
    /// How many faces of this photo are stored.
    #[serde(deserialize_with = "lenient::field")]
    pub faces: u32,
    /// Fingerprint of the engine that found the face.
    #[serde(deserialize_with = "lenient::text")]
    pub engine: String,
    /// The photo was being rewritten when this was written.
    #[serde(deserialize_with = "lenient::field")]
    pub unfinished: bool,
    /// The named or labelled faces that the photo had before that.
    #[serde(deserialize_with = "lenient::field")]
    pub previous: Vec<Known>,
}

/// `face.*` of a stored face.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredBox {
    /// In photo pixels.
    #[serde(rename = "box", deserialize_with = "lenient::rect")]
    pub bbox: Rect,
    /// Detection score, 0 to 1.
    #[serde(default, deserialize_with = "lenient::field")]
    pub score: f32,
    /// Its picture, a JPEG in base64, where that was asked for.
    #[serde(default, deserialize_with = "lenient::some_text")]
    pub thumbnail: Option<String>,
}

/// `ingest.*` of a stored face.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StoredRun {
    /// The run's UUID.
    #[serde(deserialize_with = "lenient::text")]
    pub run: String,
}

/// What of a stored document is not as facedex writes it, or could not be asked for again.
pub(crate) fn flaws(source: &Value) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut check = |field: &str, is_right: bool| {
        if !is_right {
            flaws.push(format!("{field} is not as facedex writes it"));
        }
    };
    check("@timestamp", source["@timestamp"].is_string());
    check("face.box", Rect::deserialize(&source["face"]["box"]).is_ok());
    for field in ["hash", "uri"] {
        let text = source["image"][field].as_str();
        check(&format!("image.{field}"), text.is_some_and(|text| !text.is_empty()));
    }
    flaws.extend(check_stored_person(&source["person"]).err());
    flaws
}

/// Refuses a document's person that could not be asked for; none is fine.
///
/// # Errors
///
/// What [`Person::check`] refuses.
pub(crate) fn check_stored_person(person: &Value) -> Result<(), String> {
    if person.is_null() {
        return Ok(());
    }
    let id = person["id"].as_str().ok_or("person.id is no text")?;
    check_person_id(id).map_err(|reason| format!("person.id: {reason}"))?;
    match &person["name"] {
        Value::Null | Value::String(_) => Ok(()),
        _ => Err("person.name is no text".to_owned()),
    }
}
