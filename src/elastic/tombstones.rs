//! Faces that were deleted on request and must not come back when their photos are ingested again.
//!
//! They have an index of their own, outside of the template for faces: one document a photo and collection, with the
//! places in the photo where the deleted faces were. Places, since another engine may number the faces otherwise.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bulk::{self, Action, Operation, Verdict, Version};
use super::client::Payload;
use super::mget::mget;
use super::{Destination, ElasticError};
use crate::face::Rect;

/// The index.
pub const INDEX: &str = "facedex-tombstones";
/// What it is made with, as it goes over the wire.
const DEFINITION: &str = include_str!("../../mappings/tombstones.json");
/// The boxes of a face found twice overlap at least this much (intersection over union).
const SAME_FACE_IOU: f32 = 0.5;
/// Others who delete faces of the same photos this often are waited for.
const ATTEMPTS: usize = 20;

/// A deleted face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Its box, in photo pixels; without one every face of the photo is meant.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<Rect>,
}

impl Tombstone {
    /// Whether a face in this place is the deleted one.
    pub fn covers(&self, bbox: &Rect) -> bool {
        self.bbox.is_none_or(|deleted| deleted.iou(bbox) >= SAME_FACE_IOU)
    }
}

/// The tombstones of some photos, by hash.
pub type Tombstones = HashMap<String, Vec<Tombstone>>;

#[derive(Deserialize)]
struct Stored {
    faces: Vec<Tombstone>,
}

/// The collection's tombstones of these photos, as they are now: no refresh is needed to see them.
pub async fn of(to: &Destination, hashes: &[&str]) -> Result<Tombstones, ElasticError> {
    let found = read(to, hashes).await?;
    Ok(found.into_iter().map(|(hash, (faces, _))| (hash, faces)).collect())
}

/// Notes that these faces, each of the photo with this hash, are deleted. Comes back when that is acknowledged.
pub async fn add(to: &Destination, faces: &[(String, Tombstone)]) -> Result<(), ElasticError> {
    if faces.is_empty() {
        return Ok(());
    }
    make_index(to).await?;
    let mut by_photo: BTreeMap<&str, Vec<&Tombstone>> = BTreeMap::new();
    for (hash, tombstone) in faces {
        by_photo.entry(hash).or_default().push(tombstone);
    }
    change(to, by_photo.keys().copied().collect(), |hash, stored| {
        let mut all = stored.unwrap_or_default().to_vec();
        for tombstone in &by_photo[hash] {
            if !all.contains(tombstone) {
                all.push((*tombstone).clone());
            }
        }
        Some(all).filter(|all| Some(all.as_slice()) != stored)
    })
    .await
}

/// Takes the tombstones of these photos away: their faces may come back.
pub async fn lift(to: &Destination, hashes: &[&str]) -> Result<(), ElasticError> {
    change(to, hashes.to_vec(), |_, stored| stored.map(|_| Vec::new())).await
}

/// Changes the tombstones of photos as `wanted` says: `None` leaves them, an empty list takes them away.
async fn change(
    to: &Destination,
    mut hashes: Vec<&str>,
    wanted: impl Fn(&str, Option<&[Tombstone]>) -> Option<Vec<Tombstone>>,
) -> Result<(), ElasticError> {
    let index = to.at(INDEX);
    for _ in 0..ATTEMPTS {
        let stored = read(to, &hashes).await?;
        let mut changing = Vec::new();
        let mut operations = Vec::new();
        for hash in hashes {
            let known = stored.get(hash);
            let Some(faces) = wanted(hash, known.map(|(faces, _)| faces.as_slice())) else {
                continue;
            };
            let action = match known {
                Some((_, version)) if faces.is_empty() => Action::Delete(*version),
                Some((_, version)) => Action::Replace(body(to, hash, &faces)?, *version),
                None => Action::Create(body(to, hash, &faces)?),
            };
            changing.push(hash);
            operations.push(Operation {
                id: id(to, hash),
                action,
            });
        }
        let verdicts = bulk::execute(&index, &operations).await?;
        if let Some(Verdict::Rejected { status, kind, reason }) = verdicts
            .iter()
            .find(|verdict| matches!(verdict, Verdict::Rejected { .. }))
        {
            return Err(ElasticError::Refused {
                operation: "note deleted faces".to_owned(),
                status: *status,
                kind: kind.clone(),
                reason: reason.clone(),
            });
        }
        // Somebody else deletes, or lets back in, faces of the same photos: look again.
        let taken = |verdict: &Verdict| matches!(verdict, Verdict::Taken { .. });
        hashes = changing
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| taken(verdict))
            .map(|(hash, _)| hash)
            .collect();
        if hashes.is_empty() {
            return Ok(());
        }
    }
    Err(ElasticError::Refused {
        operation: "note deleted faces".to_owned(),
        status: 409,
        kind: "version_conflict_engine_exception".to_owned(),
        reason: "somebody else changes what is noted of the same photos all the time".to_owned(),
    })
}

async fn read(to: &Destination, hashes: &[&str]) -> Result<HashMap<String, (Vec<Tombstone>, Version)>, ElasticError> {
    let ids: Vec<String> = hashes.iter().map(|hash| id(to, hash)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let found: HashMap<String, (Stored, Version)> =
        match mget(&to.at(INDEX), "look up deleted faces", &ids, "faces").await {
            // Nothing was ever deleted on request.
            Err(ElasticError::NoCollection { .. }) => return Ok(HashMap::new()),
            found => found?,
        };
    let prefix = id(to, "").len();
    Ok(found
        .into_iter()
        .map(|(id, (stored, version))| (id[prefix..].to_owned(), (stored.faces, version)))
        .collect())
}

/// The collection's name, a dash, the photo's hash: unique, since all hashes are of one length.
fn id(to: &Destination, hash: &str) -> String {
    format!("{}-{hash}", to.collection)
}

fn body(to: &Destination, hash: &str, faces: &[Tombstone]) -> Result<Bytes, ElasticError> {
    let document = json!({
        "@timestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        "collection": to.collection,
        "image": {"hash": hash},
        "faces": faces,
    });
    Ok(document.to_string().into())
}

async fn make_index(to: &Destination) -> Result<(), ElasticError> {
    let definition: Value = serde_json::from_str(DEFINITION)
        .map_err(|error| ElasticError::unexpected("mappings/tombstones.json", error))?;
    let path = format!("/{INDEX}");
    let made: Result<Value, _> = to
        .json(
            "make the index of deleted faces",
            Method::Put,
            &path,
            &[],
            Payload::Json(&definition),
        )
        .await;
    match made {
        Err(ElasticError::Refused { kind, .. }) if kind == "resource_already_exists_exception" => Ok(()),
        made => made.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_covers_its_face_however_it_is_numbered() {
        let at = |x: f32| Rect {
            x,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        };
        let tombstone = Tombstone { bbox: Some(at(0.0)) };
        assert!(tombstone.covers(&at(1.0)) && !tombstone.covers(&at(9.0)));
        assert!(Tombstone { bbox: None }.covers(&at(9.0)));
    }

    #[test]
    fn the_definition_lets_no_other_field_in() {
        let definition: Value = serde_json::from_str(DEFINITION).unwrap();
        assert_eq!(definition["mappings"]["dynamic"], "strict");
    }
}
