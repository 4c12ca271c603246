//! Faces that were deleted on request and must not come back when their photos are ingested again.
//!
//! They have an index of their own, outside of the template for faces: one document a photo and collection, with the
//! places in the photo where the deleted faces were. Places, since another engine may number the faces otherwise. They belong
//! to the collection's id, so that they follow it when it is renamed, and a collection that is made anew is free of them.
//! Releases before 0.2 noted them by the collection's name: these are bound to the collection that has the name when it is
//! first opened to be changed.

mod again;
mod all;
mod photo;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::again::{brought_back, stored_again};
use self::all::{Found, PAGE, own, page};
pub(crate) use self::all::{count, forget, leave_to_the_former, next_page, prepare};
use facedex_base::Rect;

pub use self::photo::PhotoKeys;
use crate::schema::document::{StoredFace, TIMESTAMP, normal_name};
use crate::schema::mapping::{self, TOMBSTONES};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Action, Operation, Verdict, Version};
use crate::wire::mget::mget;
use crate::wire::reply::STRICT;
use crate::{Destination, ElasticError};

/// The index.
pub const INDEX: &str = "facedex-tombstones";
const OPERATION: &str = "note deleted faces";
/// Photos, or people, that one query asks for: a query may have some ten thousand terms, and a photo has ten keys.
const BATCH: usize = 1000;
/// Others who delete faces of the same photos this often are waited for.
const ATTEMPTS: usize = 20;

/// A deleted face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Its box, in photo pixels; without one every face of the photo is meant.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<Rect>,
    /// The digest of the person's id, where the face had one: see [`digest`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Whether it is of another file that shows the same picture.
    #[serde(skip)]
    pub is_copy: bool,
}

impl Tombstone {
    /// Whether a face in this place is the deleted one.
    pub fn covers(&self, bbox: &Rect) -> bool {
        self.bbox.is_none_or(|deleted| deleted.is_same_face(bbox))
    }
}

/// The fields of a stored face that [`of_face`] reads.
pub(crate) const NOTED: [&str; 4] = ["image", "face.box", "face.score", "person"];

/// The tombstone of a stored face, and its photo.
pub(crate) fn of_face(to: &Destination, id: &str, stored: Option<&StoredFace>) -> (PhotoKeys, Tombstone) {
    let mut photo: PhotoKeys = stored.map(|stored| (&stored.image).into()).unwrap_or_default();
    if photo.hash.is_empty() {
        // The id begins with it, also where others wrote the document.
        photo.hash = id.split('-').next().unwrap_or_default().to_owned();
    }
    let person = stored.and_then(|stored| stored.person.as_ref());
    let tombstone = Tombstone {
        bbox: stored.and_then(|stored| stored.face.as_ref()).map(|face| face.bbox),
        of: person.map(|person| digest(to, &person.id)),
        is_copy: false,
    };
    (photo, tombstone)
}

/// The tombstones of some photos, by hash; their boxes are in the pixels of these photos.
pub type Tombstones = HashMap<String, Vec<Tombstone>>;

/// A digest of a person's id, keyed by the collection: who has an id can ask whether it was deleted, and nobody can read from it
/// whose it is.
pub fn digest(to: &Destination, person: &str) -> String {
    let key = blake3::hash(to.id.as_bytes());
    blake3::keyed_hash(key.as_bytes(), normal_name(person).as_bytes()).to_hex()[..32].to_owned()
}

/// The deleted faces of a photo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedFaces {
    /// The photo.
    #[serde(default)]
    pub image: PhotoKeys,
    /// Where in it.
    pub faces: Vec<Tombstone>,
}

/// The collection's tombstones of these photos, whatever the photo's bytes: also of one that was saved again. As they are now:
/// no refresh is needed to see them.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn of(to: &Destination, photos: &[PhotoKeys]) -> Result<Tombstones, ElasticError> {
    let hashes: Vec<&str> = photos.iter().map(|photo| photo.hash.as_str()).collect();
    let (own, alike) = tokio::try_join!(read(to, &hashes), alike(to, photos))?;
    let own = own.into_iter().map(|(hash, (stored, _))| (hash, stored.faces));
    let mut all: Tombstones = own.collect();
    for (photo, found) in alike {
        let faces = found.source.image.seen_in(&found.source.faces, &photos[photo]);
        all.entry(photos[photo].hash.clone()).or_default().extend(faces);
    }
    Ok(all)
}

/// The same of a collection that faces were exported from, by its id, and by its name as earlier releases noted them.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub(crate) async fn of_former(
    to: &Destination,
    id: &str,
    name: &str,
    photos: &[PhotoKeys],
) -> Result<Tombstones, ElasticError> {
    let former = |id: &str| Destination {
        id: id.to_owned(),
        ..to.clone()
    };
    let mut all = of(&former(id), photos).await?;
    let hashes: Vec<&str> = photos.iter().map(|photo| photo.hash.as_str()).collect();
    for (hash, (noted, _)) in read(&former(name), &hashes).await? {
        all.entry(hash).or_default().extend(noted.faces);
    }
    Ok(all)
}

/// Notes that these faces, each of its photo, are deleted. Comes back when that is acknowledged, and searches see it.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn add(to: &Destination, faces: &[(PhotoKeys, Tombstone)]) -> Result<(), ElasticError> {
    if faces.is_empty() {
        return Ok(());
    }
    make_index(to).await?;
    add_to_index(to, faces).await
}

async fn add_to_index(to: &Destination, faces: &[(PhotoKeys, Tombstone)]) -> Result<(), ElasticError> {
    let mut by_photo: BTreeMap<&str, (PhotoKeys, Vec<&Tombstone>)> = BTreeMap::new();
    for (photo, tombstone) in faces {
        let (keys, tombstones) = by_photo
            .entry(&photo.hash)
            .or_insert_with(|| (photo.clone(), Vec::new()));
        keys.fill(photo);
        tombstones.push(tombstone);
    }
    let index = to.at(INDEX);
    let mut hashes: Vec<&str> = by_photo.keys().copied().collect();
    for _ in 0..ATTEMPTS {
        let stored = read(to, &hashes).await?;
        let mut changing = Vec::new();
        let mut operations = Vec::new();
        for hash in hashes {
            let (photo, wanted) = &by_photo[hash];
            let known = stored.get(hash);
            let mut all = known.map(|(known, _)| known.faces.clone()).unwrap_or_default();
            let before = all.len();
            for tombstone in wanted {
                if !all.contains(tombstone) {
                    all.push((*tombstone).clone());
                }
            }
            if all.len() == before {
                continue;
            }
            let mut photo = photo.clone();
            if let Some((known, _)) = known {
                photo.fill(&known.image);
            }
            let document = body(to, &photo, &all);
            let action = match known {
                Some((_, version)) => Action::Replace(document, *version),
                None => Action::Create(document),
            };
            changing.push(hash);
            operations.push(Operation {
                id: id(to, hash),
                action,
            });
        }
        let verdicts = bulk::execute(&index, &operations).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        // Somebody else deletes, or lets back in, faces of the same photos: look again.
        let taken = |verdict: &Verdict| matches!(verdict, Verdict::Taken { .. });
        hashes = changing
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| taken(verdict))
            .map(|(hash, _)| hash)
            .collect();
        if hashes.is_empty() {
            return index.refresh().await;
        }
    }
    Err(busy())
}

/// Faces that may come back.
#[derive(Debug, Clone)]
pub struct Lifted {
    /// Of this photo.
    pub photo: PhotoKeys,
    /// Where they are.
    pub boxes: Vec<Rect>,
    /// Also those that were nobody's when they were deleted.
    pub unnamed: bool,
}

impl Lifted {
    fn is_meant(&self, tombstone: &Tombstone) -> bool {
        (self.unnamed && tombstone.of.is_none()) || self.boxes.iter().any(|bbox| tombstone.covers(bbox))
    }
}

/// Takes the tombstones of these faces away: they may come back. Others of the same photos stay.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn lift(to: &Destination, wanted: &[Lifted]) -> Result<(), ElasticError> {
    let photos: Vec<PhotoKeys> = wanted.iter().map(|lifted| lifted.photo.clone()).collect();
    let hashes: Vec<&str> = photos.iter().map(|photo| photo.hash.as_str()).collect();
    for _ in 0..ATTEMPTS {
        let mut left: HashMap<String, (PhotoKeys, Vec<Tombstone>, Version)> = HashMap::new();
        let mut lift_from = |id: String, stored: &DeletedFaces, version: Version, lifted: &Lifted| {
            let (_, faces, _) = left
                .entry(id)
                .or_insert_with(|| (stored.image.clone(), stored.faces.clone(), version));
            faces.retain(|face| {
                let seen = stored.image.seen_in(std::slice::from_ref(face), &lifted.photo);
                !seen.iter().any(|face| lifted.is_meant(face))
            });
        };
        let own = read(to, &hashes).await?;
        for lifted in wanted {
            if let Some((stored, version)) = own.get(&lifted.photo.hash) {
                lift_from(id(to, &lifted.photo.hash), stored, *version, lifted);
            }
        }
        for (photo, found) in alike(to, &photos).await? {
            lift_from(found.id.clone(), &found.source, found.version(), &wanted[photo]);
        }
        let operations: Vec<Operation> = left
            .into_iter()
            .map(|(id, (photo, faces, version))| Operation {
                action: match faces.is_empty() {
                    true => Action::Delete(version),
                    false => Action::Replace(body(to, &photo, &faces), version),
                },
                id,
            })
            .collect();
        if operations.is_empty() {
            return Ok(());
        }
        let verdicts = bulk::execute(&to.at(INDEX), &operations).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        to.at(INDEX).refresh().await?;
        if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken { .. })) {
            return Ok(());
        }
    }
    Err(busy())
}

fn busy() -> ElasticError {
    ElasticError::Refused {
        operation: OPERATION.to_owned(),
        status: 409,
        kind: "version_conflict_engine_exception".to_owned(),
        reason: "somebody else changes what is noted of the same photos all the time".to_owned(),
    }
}

async fn read(to: &Destination, hashes: &[&str]) -> Result<HashMap<String, (DeletedFaces, Version)>, ElasticError> {
    let ids: Vec<String> = hashes.iter().map(|hash| id(to, hash)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let found: HashMap<String, (DeletedFaces, Version)> =
        match mget(&to.at(INDEX), "look up deleted faces", &ids, "faces,image").await {
            // Nothing was ever deleted on request.
            Err(ElasticError::NoCollection { .. }) => return Ok(HashMap::new()),
            found => found?,
        };
    let prefix = id(to, "").len();
    Ok(found
        .into_iter()
        .map(|(id, found)| (id[prefix..].to_owned(), found))
        .collect())
}

/// The tombstones of other files that show the same pictures as some of these photos, each with the photo's place.
async fn alike(to: &Destination, photos: &[PhotoKeys]) -> Result<Vec<(usize, Found)>, ElasticError> {
    let mut all = Vec::new();
    for (batch, some) in photos.chunks(BATCH).enumerate() {
        for tombstone in alike_of(to, some).await? {
            let places = some.iter().enumerate();
            let places = places.filter(|(_, photo)| tombstone.source.image.shows(photo));
            all.extend(places.map(|(place, _)| (batch * BATCH + place, tombstone.clone())));
        }
    }
    Ok(all)
}

/// The tombstones with a key of one of these photos.
async fn alike_of(to: &Destination, photos: &[PhotoKeys]) -> Result<Vec<Found>, ElasticError> {
    let keys: Vec<String> = photos.iter().flat_map(PhotoKeys::keys).collect();
    let mut all = Vec::new();
    if keys.is_empty() {
        return Ok(all);
    }
    let query = json!({"bool": {"filter": [own(to), {"terms": {"keys": keys}}]}});
    let mut after: Option<Vec<Value>> = None;
    loop {
        let found = to.patiently(|| page(&to.client, &query, after.as_ref())).await?;
        let is_last = found.len() < PAGE;
        after = found.last().map(|last| last.sort.clone());
        all.extend(found);
        if is_last {
            return Ok(all);
        }
    }
}

/// Which of these digests of ids are of somebody who was deleted.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn deleted_names(to: &Destination, digests: &[String]) -> Result<HashSet<String>, ElasticError> {
    let mut all = HashSet::new();
    for some in digests.chunks(BATCH) {
        all.extend(deleted_of(to, some).await?);
    }
    Ok(all)
}

async fn deleted_of(to: &Destination, digests: &[String]) -> Result<HashSet<String>, ElasticError> {
    let body = json!({
        "query": {"bool": {"filter": [own(to), {"terms": {"of": digests}}]}}, "size": 0,
        "aggs": {"of": {"terms": {"field": "of", "include": digests, "size": digests.len()}}},
    });
    let path = format!("/{INDEX}/_search");
    let reply: Result<Value, _> = to
        .json(
            "look for deleted people",
            Method::Post,
            &path,
            &STRICT,
            Payload::Json(&body),
        )
        .await;
    let reply = match reply {
        Err(error) if error.is_not_found() => return Ok(HashSet::new()),
        reply => reply?,
    };
    let buckets = reply["aggregations"]["of"]["buckets"].as_array().into_iter().flatten();
    Ok(buckets
        .filter_map(|bucket| bucket["key"].as_str().map(str::to_owned))
        .collect())
}

/// The collection's id, a dash, the photo's hash: unique, since all hashes are of one length.
fn id(to: &Destination, hash: &str) -> String {
    format!("{}-{hash}", to.id)
}

fn body(to: &Destination, photo: &PhotoKeys, faces: &[Tombstone]) -> Bytes {
    let of: BTreeSet<&str> = faces.iter().filter_map(|face| face.of.as_deref()).collect();
    let document = json!({
        "@timestamp": jiff::Timestamp::now().strftime(TIMESTAMP).to_string(),
        "collection": to.collection,
        "collection_id": to.id,
        "image": photo,
        "keys": photo.keys().collect::<Vec<_>>(),
        "of": of,
        "faces": faces,
    });
    document.to_string().into()
}

async fn make_index(to: &Destination) -> Result<(), ElasticError> {
    let bring_up = || mapping::bring_up_if_there(&to.client, TOMBSTONES, INDEX);
    if to.patiently(bring_up).await? {
        return Ok(());
    }
    let path = format!("/{INDEX}");
    let made: Result<Value, _> = to
        .json(
            "make the index of deleted faces",
            Method::Put,
            &path,
            &[],
            Payload::Json(&TOMBSTONES.definition()?),
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
        let tombstone = Tombstone {
            bbox: Some(at(0.0)),
            of: None,
            is_copy: false,
        };
        assert!(tombstone.covers(&at(1.0)) && !tombstone.covers(&at(9.0)));
        let whole = Tombstone {
            bbox: None,
            ..tombstone
        };
        assert!(whole.covers(&at(9.0)));
    }
}
