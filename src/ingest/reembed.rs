//! Photos of stored faces, read again and embedded anew: how a collection comes into another embedding space.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use facedex_elastic::ElasticError;
use facedex_elastic::lifecycle::LifecycleError;
use facedex_elastic::lifecycle::reconcile::Carrier;
use facedex_elastic::lifecycle::walk::{self, Photo};
use facedex_elastic::schema::document::image_hash;
use facedex_face::geometry::same_faces;
use facedex_face::image::{ImageError, Limits, read};
use facedex_face::{DecodedPhoto, Face, FaceEngine, Rect};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use url::Url;

use super::fetch::Fetcher;
use crate::budget::{Budget, ThreadBudget};

/// Embeds stored faces anew, under the guards that ingest has: limits of size, private addresses refused, a bound for the
/// memory of decoded photos. Only a photo that is still what it was counts.
pub struct ReEmbedder<'t> {
    /// One a core.
    pub engines: Vec<FaceEngine>,
    /// Fetches photos that are elsewhere.
    pub fetch: Arc<Fetcher>,
    /// What a photo may cost.
    pub limits: Limits,
    /// Memory for decoded photos, shared by all.
    pub pixels: ThreadBudget,
    /// Hears which photos cannot be taken along, and why.
    pub report: &'t (dyn Fn(&str) + Sync),
    /// Hashes of those photos: they are not read again, above all not while writers wait.
    pub failed: Mutex<HashSet<String>>,
}

impl Carrier for ReEmbedder<'_> {
    async fn carry(&mut self, photos: Vec<Photo>) -> Result<HashMap<String, Bytes>, LifecycleError> {
        let work = Work {
            tasks: Handle::current(),
            fetch: &self.fetch,
            limits: self.limits,
            pixels: &self.pixels,
            report: self.report,
            failed: &self.failed,
            photos: Mutex::new(photos),
            done: Mutex::new(HashMap::new()),
        };
        // The models take all of their threads' time; other tasks of this thread go elsewhere.
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                for engine in &mut self.engines {
                    scope.spawn(|| work.run(engine));
                }
            });
        });
        let done = work.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter()
            .map(|(id, document)| {
                let bytes = serde_json::to_vec(&document)
                    .map_err(|error| ElasticError::unexpected("encode a document", error))?;
                Ok((id, Bytes::from(bytes)))
            })
            .collect()
    }
}

/// Some photos, and the documents of those that are done.
struct Work<'w> {
    tasks: Handle,
    fetch: &'w Fetcher,
    limits: Limits,
    pixels: &'w ThreadBudget,
    report: &'w (dyn Fn(&str) + Sync),
    failed: &'w Mutex<HashSet<String>>,
    photos: Mutex<Vec<Photo>>,
    done: Mutex<HashMap<String, Value>>,
}

impl Work<'_> {
    fn run(&self, engine: &mut FaceEngine) {
        let next = || self.photos.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(photo) = next() {
            let first = photo.faces.first();
            let text = |field: &str| {
                first
                    .and_then(|face| face.source["image"][field].as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let (uri, hash) = (text("uri"), text("hash"));
            let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed().contains(&hash) {
                continue;
            }
            match self.photo(engine, &uri, &hash, &photo) {
                Ok(documents) => self
                    .done
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(documents),
                Err(reason) => {
                    (self.report)(&format!("{uri}: {reason}"));
                    failed().insert(hash);
                }
            }
        }
    }

    /// The photo's documents with new vectors; all of its faces or none, so that they are of one engine.
    fn photo(
        &self,
        engine: &mut FaceEngine,
        uri: &str,
        hash: &str,
        photo: &Photo,
    ) -> Result<Vec<(String, Value)>, String> {
        let bytes = self.bytes(uri)?;
        if image_hash(&bytes) != hash {
            return Err("the file there is another one than was ingested".to_owned());
        }
        let reserve = |bytes| Ok::<_, ImageError>(self.pixels.reserve(bytes));
        let (decoded, _room) = DecodedPhoto::new(&bytes, &self.limits, reserve).map_err(|error| error.to_string())?;
        let found = decoded.faces(engine).map_err(|error| error.to_string())?.faces;
        let pairs = pairs(photo, &found);
        if pairs.len() < photo.faces.len() {
            return Err(format!(
                "{} of {} stored faces are found again",
                pairs.len(),
                photo.faces.len()
            ));
        }
        pairs
            .into_iter()
            .map(|(stored, found)| {
                let document = renewed(&stored.source, found, engine).ok_or("a stored document is no face's")?;
                Ok((stored.id.clone(), document))
            })
            .collect()
    }

    fn bytes(&self, uri: &str) -> Result<Bytes, String> {
        let url = Url::parse(uri).map_err(|_| "it has no address from which it can be read again".to_owned())?;
        match url.scheme() {
            "file" if url.fragment().is_none() => {
                let path = url
                    .to_file_path()
                    .map_err(|()| "it is no path of this machine".to_owned())?;
                read(&path, &self.limits)
                    .map(Bytes::from)
                    .map_err(|error| error.to_string())
            }
            "http" | "https" | "s3" => {
                // One photo at a time a thread: the budget has room for it.
                let budget = Budget::new(self.limits.max_bytes);
                let fetched = self.tasks.block_on(self.fetch.fetch(&url, &self.limits, &budget));
                fetched.map(|held| held.bytes)
            }
            _ => Err("photos in archives and uploads cannot be read again; ingest them again".to_owned()),
        }
    }
}

/// Each stored face with the face that is found in its place.
fn pairs<'p>(photo: &'p Photo, found: &'p [Face]) -> Vec<(&'p walk::Face, &'p Face)> {
    let bbox = |stored: &walk::Face| serde_json::from_value(stored.source["face"]["box"].clone()).ok();
    let stored: Vec<Option<Rect>> = photo.faces.iter().map(bbox).collect();
    let boxes: Vec<Rect> = found.iter().map(|face| face.bbox).collect();
    same_faces(&stored, &boxes, |_| false)
        .into_iter()
        .map(|(at, other)| (&photo.faces[at], &found[other]))
        .collect()
}

/// The stored document with what the engine sees now; whose face it is stays.
fn renewed(stored: &Value, found: &Face, engine: &FaceEngine) -> Option<Value> {
    let mut document = stored.clone();
    // By way of text, in which a number of single precision is as short as in any other document.
    let seen: Value = serde_json::from_slice(&serde_json::to_vec(found).ok()?).ok()?;
    document
        .get_mut("face")?
        .as_object_mut()?
        .extend(seen.as_object()?.clone());
    document["image"]["engine"] = json!(engine.fingerprint());
    document["model"]["space"] = json!(engine.embedder().space);
    Some(document)
}
