//! Single stored faces: looked at, shown, deleted.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use elasticsearch::http::Method;
use facedex_base::Rect;
use facedex_base::geometry::Landmarks;
use facedex_base::quality::Quality;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::document::{Person, StoredFace};
use crate::schema::lenient;
use crate::schema::tombstones;
use crate::schema::versions::{self, Reach, Version, Work};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Operation};
use crate::wire::mget::mget;
use crate::{Client, Destination, ElasticError};

/// What is left out when a face is looked at: the vector, and the picture that has a route of its own.
pub(crate) const LEFT_OUT: &str = "face.embedding,face.thumbnail";

/// A stored face. What others wrote into the index may lack any part.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FaceRecord {
    /// The face's `_id`.
    pub id: String,
    /// When it was stored, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Who it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Where it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
    /// The face's box in that photo, in pixels.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<Rect>,
    /// Left eye, right eye, nose tip, left and right mouth corner, in photo pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<facedex_base::Point>>, min_items = 5, max_items = 5))]
    pub landmarks: Option<Landmarks>,
    /// Detection score, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// How usable the face is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The user's own keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The photo of a stored face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageRecord {
    /// Where the photo was read.
    #[serde(default, deserialize_with = "lenient::text")]
    pub uri: String,
    /// First 32 hexadecimal digits of the BLAKE3 of the photo's bytes.
    #[serde(default, deserialize_with = "lenient::text")]
    pub hash: String,
    /// Upright width in pixels.
    #[serde(default, deserialize_with = "lenient::field")]
    pub width: u32,
    /// Upright height in pixels.
    #[serde(default, deserialize_with = "lenient::field")]
    pub height: u32,
}

/// A face as an answer of Elasticsearch has it.
#[derive(Deserialize)]
pub(crate) struct RawFace {
    #[serde(rename = "_id")]
    pub(crate) id: String,
    #[serde(rename = "_source", default)]
    source: Source,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(rename = "@timestamp", deserialize_with = "lenient::moment")]
    timestamp: Option<String>,
    #[serde(deserialize_with = "lenient::person")]
    person: Option<Person>,
    #[serde(deserialize_with = "lenient::field")]
    image: Option<ImageRecord>,
    #[serde(deserialize_with = "lenient::field")]
    face: Fields,
    #[serde(deserialize_with = "lenient::labels")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "box", deserialize_with = "lenient::field")]
    bbox: Option<Rect>,
    #[serde(deserialize_with = "lenient::field")]
    landmarks: Option<Landmarks>,
    #[serde(deserialize_with = "lenient::field")]
    score: Option<f32>,
    #[serde(deserialize_with = "lenient::field")]
    quality: Option<Quality>,
}

impl From<RawFace> for FaceRecord {
    fn from(raw: RawFace) -> Self {
        let source = raw.source;
        Self {
            id: raw.id,
            timestamp: source.timestamp,
            person: source.person,
            image: source.image,
            bbox: source.face.bbox,
            landmarks: source.face.landmarks,
            score: source.face.score,
            quality: source.face.quality,
            labels: source.labels,
        }
    }
}

/// Whether this can be the `_id` of a face: others are not asked for, so that an id can be no other path.
pub fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(hash, ordinal)| {
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        hash.len() == 32
            && hash.bytes().all(is_hex)
            && (1..=10).contains(&ordinal.len())
            && ordinal.bytes().all(|c| c.is_ascii_digit())
    })
}

/// One face, as it is now: a write that no refresh has made searchable yet is seen.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn get(client: &Client, collection: &str, id: &str) -> Result<Option<FaceRecord>, ElasticError> {
    let query = [("_source_excludes", LEFT_OUT)];
    let raw: Option<RawFace> = read(client, collection, id, &query).await?;
    Ok(raw.map(FaceRecord::from))
}

/// The picture of a face: `None` without the face, `Some(None)` without a picture.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or what is stored is no base64.
pub async fn thumbnail(client: &Client, collection: &str, id: &str) -> Result<Option<Option<Vec<u8>>>, ElasticError> {
    let query = [("_source_includes", "face.thumbnail")];
    let raw: Option<Value> = read(client, collection, id, &query).await?;
    let Some(raw) = raw else {
        return Ok(None);
    };
    raw["_source"]["face"]["thumbnail"]
        .as_str()
        .map(|text| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| ElasticError::unexpected("read a thumbnail", error))
        })
        .transpose()
        .map(Some)
}

async fn read<T: serde::de::DeserializeOwned>(
    client: &Client,
    collection: &str,
    id: &str,
    query: &[(&str, &str)],
) -> Result<Option<T>, ElasticError> {
    if !is_id(id) {
        return Ok(None);
    }
    let path = format!("/{collection}/_doc/{id}");
    match client
        .read("read a face", Method::Get, &path, query, Payload::None)
        .await
    {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes one face from every index behind the collection; searches do not find it any more when this comes back. Says whether
/// it was there. With `forget` it is not stored again when its photo is ingested; otherwise this is a correction.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request. Indices that cannot be reached are in the answer.
pub async fn delete(to: &Destination, id: &str, forget: bool) -> Result<(bool, Reach), ElasticError> {
    let mut deleting = Deleting {
        to,
        id,
        forget,
        was_there: false,
    };
    let reach = versions::everywhere(to, OPERATION, &mut deleting).await?;
    Ok((deleting.was_there, reach))
}

struct Deleting<'d> {
    to: &'d Destination,
    id: &'d str,
    forget: bool,
    was_there: bool,
}

impl Work for Deleting<'_> {
    async fn within(&mut self, version: &Version) -> Result<bool, ElasticError> {
        let found = delete_from(self.to, version, self.id, self.forget).await?;
        self.was_there |= found;
        Ok(!found)
    }
}

const OPERATION: &str = "delete a face";

async fn delete_from(to: &Destination, version: &Version, id: &str, forget: bool) -> Result<bool, ElasticError> {
    if !is_id(id) {
        return Ok(false);
    }
    let (at, own) = (version.destination(to), to.at(&version.index));
    let mut was_there = false;
    loop {
        let mut found: HashMap<String, (StoredFace, bulk::Version)> =
            mget(&own, "look for a face", &[id], &tombstones::NOTED.join(",")).await?;
        let Some((stored, seen)) = found.remove(id) else {
            return Ok(was_there);
        };
        was_there = true;
        if forget {
            let noted = tombstones::of_face(to, id, Some(&stored));
            tombstones::add(to, &[noted]).await?;
        }
        let operation = Operation::delete(id.to_owned(), seen);
        let deleted = bulk::execute(&at, &[operation]).await?;
        bulk::expect_done(OPERATION, &deleted)?;
        at.refresh().await?;
        // One that was changed meanwhile, or whose collection has moved to another index, is for the next look.
        if !deleted.iter().any(|verdict| matches!(verdict, bulk::Verdict::Done(_))) {
            return Ok(was_there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_an_id_is_asked_for() {
        assert!(is_id("0123456789abcdef0123456789abcdef-12"));
        for text in [
            "",
            "0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef-",
            "0123456789ABCDEF0123456789abcdef-0",
            "0123456789abcdef0123456789abcdef-0/../_search",
            "../_search-0",
        ] {
            assert!(!is_id(text), "{text}");
        }
    }
}
