//! Photos to documents that are there exactly once: ids that are taken are looked up and each face gets its outcome.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::bulk::{self, Action, Operation, Verdict, Version};
use super::client::Payload;
use super::document::{FaceDocument, StoredFace, face_id};
use super::search::MAX_CANDIDATES;
use super::{Destination, ElasticError};

/// The boxes of a face found twice overlap at least this much (intersection over union).
const SAME_FACE_IOU: f32 = 0.5;

/// What to do with a photo that is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// Leave it; report what differs.
    #[default]
    Create,
    /// Rewrite it where another engine stored it; persons and labels stay with the faces they belong to.
    Replace,
    /// Rewrite it with the labels given now.
    Overwrite,
}

/// A photo with all of its faces, in order of their ordinals.
#[derive(Debug, Clone)]
pub struct PhotoRecord {
    /// The photo's hash, the first part of its faces' ids.
    pub hash: String,
    /// The engine that found the faces.
    pub engine: String,
    /// The run that writes them.
    pub run: String,
    /// One a face.
    pub faces: Vec<FaceDocument>,
}

/// How a face ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written by this call, and acknowledged.
    Indexed,
    /// There from before, the same.
    Existing,
    /// There from before, as another person.
    Conflict {
        /// The person in the index; `None` for an unlabelled face.
        stored: Option<String>,
    },
    /// The photo is there from another engine.
    OtherEngine {
        /// The engine's fingerprint.
        stored: String,
    },
    /// Refused for good by Elasticsearch.
    Rejected {
        /// HTTP status, error type and reason.
        reason: String,
    },
}

/// Writes the photos' faces; one list of outcomes a photo, one outcome a face. Repeating it is safe.
pub async fn store(
    to: &Destination,
    mode: WriteMode,
    photos: &[PhotoRecord],
) -> Result<Vec<Vec<Outcome>>, ElasticError> {
    let writer = Writer { to };
    let mut outcomes = writer.create(photos).await?;
    let to_rewrite: Vec<usize> = (0..photos.len())
        .filter(|&at| match mode {
            WriteMode::Create => false,
            WriteMode::Replace => {
                photos[at].faces.is_empty() || outcomes[at].iter().any(|o| matches!(o, Outcome::OtherEngine { .. }))
            }
            WriteMode::Overwrite => outcomes[at].is_empty() || outcomes[at].iter().any(|o| *o != Outcome::Indexed),
        })
        .collect();
    if !to_rewrite.is_empty() {
        writer.rewrite(mode, photos, &to_rewrite, &mut outcomes).await?;
    }
    Ok(outcomes)
}

/// Whether all faces of a photo are stored as this engine sees them, and one of them as `person` if one is named.
/// A photo without a face leaves no trace and is never complete.
pub async fn is_complete(
    to: &Destination,
    hash: &str,
    engine: &str,
    person: Option<&str>,
) -> Result<bool, ElasticError> {
    let writer = Writer { to };
    let first = face_id(hash, 0);
    let Some(one) = writer.look_up(&[&first]).await?.remove(&first) else {
        return Ok(false);
    };
    let ids: Vec<String> = (0..one.image.faces as usize)
        .map(|ordinal| face_id(hash, ordinal))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let stored = writer.look_up(&ids).await?;
    let named = |face: &StoredFace| face.person.as_ref().map(|person| person.id.as_str()) == person;
    Ok(stored.len() == ids.len()
        && !ids.is_empty()
        && stored.values().all(|face| face.image.engine == engine)
        && (person.is_none() || stored.values().any(named)))
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
}

struct Writer<'d> {
    to: &'d Destination,
}

/// A face of a photo in the batch: which photo, which of its faces.
type Place = (usize, usize);

impl Writer<'_> {
    /// Creates what is not there and looks up what is.
    async fn create(&self, photos: &[PhotoRecord]) -> Result<Vec<Vec<Outcome>>, ElasticError> {
        let mut places: Vec<Place> = Vec::new();
        let mut operations = Vec::new();
        for (at, photo) in photos.iter().enumerate() {
            for (ordinal, document) in photo.faces.iter().enumerate() {
                places.push((at, ordinal));
                operations.push(Operation {
                    id: face_id(&photo.hash, ordinal),
                    action: Action::Create(encode(document)?),
                });
            }
        }
        let verdicts = bulk::execute(self.to, &operations).await?;
        let taken: Vec<&str> = verdicts
            .iter()
            .zip(&operations)
            .filter(|(verdict, _)| matches!(verdict, Verdict::Taken { .. }))
            .map(|(_, operation)| operation.id.as_str())
            .collect();
        let stored = self.look_up(&taken).await?;
        let mut outcomes: Vec<Vec<Outcome>> = photos.iter().map(|_| Vec::new()).collect();
        let mut written: HashMap<Place, Option<Version>> = HashMap::new();
        for ((&(at, ordinal), operation), verdict) in places.iter().zip(&operations).zip(verdicts) {
            let outcome = match verdict {
                Verdict::Done(version) => {
                    written.insert((at, ordinal), version);
                    Outcome::Indexed
                }
                Verdict::Taken { unanswered } => match stored.get(&operation.id) {
                    Some(stored) => compare(&photos[at], ordinal, stored, unanswered),
                    // Deleted between the two requests, which is somebody's decision: it is not ours to undo.
                    None => Outcome::Rejected {
                        reason: "the face was deleted by somebody else meanwhile; run again to write it".to_owned(),
                    },
                },
                Verdict::Missing => Outcome::Existing,
                Verdict::Rejected { status, kind, reason } => Outcome::Rejected {
                    reason: format!("{status} {kind}: {reason}"),
                },
            };
            outcomes[at].push(outcome);
        }
        self.take_back(photos, &mut outcomes, &written).await?;
        Ok(outcomes)
    }

    /// A photo of another engine is left as it was: faces that were free and have just been written are removed again,
    /// lest one photo's faces come from two engines.
    async fn take_back(
        &self,
        photos: &[PhotoRecord],
        outcomes: &mut [Vec<Outcome>],
        written: &HashMap<Place, Option<Version>>,
    ) -> Result<(), ElasticError> {
        let mut removals = Vec::new();
        for (at, faces) in outcomes.iter_mut().enumerate() {
            let Some(other) = faces.iter().find(|o| matches!(o, Outcome::OtherEngine { .. })).cloned() else {
                continue;
            };
            for (ordinal, outcome) in faces.iter_mut().enumerate() {
                if let Some(version) = written.get(&(at, ordinal)) {
                    removals.push(Operation {
                        id: face_id(&photos[at].hash, ordinal),
                        action: Action::Delete(*version),
                    });
                }
                *outcome = other.clone();
            }
        }
        bulk::execute(self.to, &removals).await?;
        Ok(())
    }

    /// Writes whole photos over what is stored of them, and removes faces that are no more.
    async fn rewrite(
        &self,
        mode: WriteMode,
        photos: &[PhotoRecord],
        chosen: &[usize],
        outcomes: &mut [Vec<Outcome>],
    ) -> Result<(), ElasticError> {
        let mut stored = self
            .stored_faces(chosen.iter().map(|&at| photos[at].hash.as_str()))
            .await?;
        let mut places: Vec<Place> = Vec::new();
        let mut operations = Vec::new();
        for &at in chosen {
            let photo = &photos[at];
            let old = stored.remove(&photo.hash).unwrap_or_default();
            outcomes[at] = vec![Outcome::Indexed; photo.faces.len()];
            for (ordinal, document) in photo.faces.iter().enumerate() {
                let mut document = document.clone();
                if mode == WriteMode::Replace
                    && let Some(known) = same_face(&document, &old)
                    && let Some(conflict) = carry_over(&mut document, known)
                {
                    outcomes[at][ordinal] = conflict;
                }
                places.push((at, ordinal));
                operations.push(Operation {
                    id: face_id(&photo.hash, ordinal),
                    action: Action::Index(encode(&document)?),
                });
            }
            for (id, face) in &old {
                if photo
                    .faces
                    .iter()
                    .enumerate()
                    .all(|(ordinal, _)| face_id(&photo.hash, ordinal) != *id)
                {
                    tracing::warn!(id, person = ?face.person.as_ref().map(|p| &p.id), image = face.image.uri, "removes a face that this engine does not find");
                    operations.push(Operation {
                        id: id.clone(),
                        action: Action::Delete(None),
                    });
                }
            }
        }
        let verdicts = bulk::execute(self.to, &operations).await?;
        // Removals have no place: they come after their photo's faces and end as done or missing.
        let mut places = places.into_iter();
        for (operation, verdict) in operations.iter().zip(verdicts) {
            if matches!(operation.action, Action::Delete(_)) {
                continue;
            }
            if let (Some((at, ordinal)), Verdict::Rejected { status, kind, reason }) = (places.next(), verdict) {
                outcomes[at][ordinal] = Outcome::Rejected {
                    reason: format!("{status} {kind}: {reason}"),
                };
            }
        }
        Ok(())
    }

    /// The stored faces of these ids (`_mget`: it sees writes that no refresh has made searchable yet).
    async fn look_up(&self, ids: &[&str]) -> Result<HashMap<String, StoredFace>, ElasticError> {
        #[derive(Deserialize)]
        struct Reply {
            docs: Vec<Doc>,
        }
        #[derive(Deserialize)]
        struct Doc {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_source")]
            source: Option<StoredFace>,
            /// The id's shard could not be asked: that is not the same as no such face.
            error: Option<ErrorBody>,
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = [(
            "_source_includes",
            "person,image.engine,image.uri,image.faces,ingest.run",
        )];
        let (path, body) = (format!("/{}/_mget", self.to.collection), json!({"ids": ids}));
        let operation = "look up stored faces";
        let all_answered = |reply: &Reply| match reply.docs.iter().find_map(|doc| doc.error.as_ref()) {
            None if reply.docs.len() == ids.len() => Ok(()),
            None => Err(ElasticError::Garbled {
                operation: operation.to_owned(),
                reason: format!("{} ids went out, {} documents came back", ids.len(), reply.docs.len()),
            }),
            Some(error) if error.kind == "index_not_found_exception" => Err(ElasticError::NoCollection {
                name: self.to.collection.clone(),
            }),
            Some(error) => Err(ElasticError::Refused {
                operation: operation.to_owned(),
                status: 503,
                kind: error.kind.clone(),
                reason: error.reason.clone().unwrap_or_default(),
            }),
        };
        let reply: Reply = self
            .to
            .json_checked(
                operation,
                Method::Post,
                &path,
                &query,
                Payload::Json(&body),
                all_answered,
            )
            .await?;
        Ok(reply
            .docs
            .into_iter()
            .filter_map(|doc| doc.source.map(|source| (doc.id, source)))
            .collect())
    }

    /// All stored faces of these photos, by photo hash and then by id.
    async fn stored_faces<'h>(
        &self,
        hashes: impl Iterator<Item = &'h str>,
    ) -> Result<HashMap<String, BTreeMap<String, StoredFace>>, ElasticError> {
        #[derive(Deserialize)]
        struct Reply {
            hits: Outer,
        }
        #[derive(Deserialize)]
        struct Outer {
            hits: Vec<Doc>,
        }
        #[derive(Deserialize)]
        struct Doc {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_source")]
            source: StoredFace,
        }
        self.to.refresh().await?;
        let path = format!("/{}/_search", self.to.collection);
        let mut stored: HashMap<String, BTreeMap<String, StoredFace>> = HashMap::new();
        for hash in hashes {
            let body = json!({
                "query": {"term": {"image.hash": hash}},
                "size": MAX_CANDIDATES,
                "_source": ["person", "image", "face.box", "face.score", "labels", "ingest.run"],
            });
            let strict = [("allow_partial_search_results", "false")];
            let reply: Reply = self
                .to
                .json(
                    "read a photo's stored faces",
                    Method::Post,
                    &path,
                    &strict,
                    Payload::Json(&body),
                )
                .await?;
            let faces = reply.hits.hits.into_iter().map(|doc| (doc.id, doc.source));
            stored.insert(hash.to_owned(), faces.collect());
        }
        Ok(stored)
    }
}

fn encode(document: &FaceDocument) -> Result<Bytes, ElasticError> {
    serde_json::to_vec(document)
        .map(Bytes::from)
        .map_err(|error| ElasticError::unexpected("encode a document", error))
}

/// What a stored face of the same id means for the one that was to be written.
fn compare(photo: &PhotoRecord, ordinal: usize, stored: &StoredFace, unanswered: bool) -> Outcome {
    let document = &photo.faces[ordinal];
    if stored.image.engine != photo.engine {
        return Outcome::OtherEngine {
            stored: stored.image.engine.clone(),
        };
    }
    // A face that comes without a person claims nothing, so whoever is stored may stay.
    let wanted = document.person.as_ref().map(|person| &person.id);
    let known = stored.person.as_ref().map(|person| &person.id);
    if wanted.is_some() && wanted != known {
        return Outcome::Conflict { stored: known.cloned() };
    }
    if unanswered && stored.ingest.run == photo.run && stored.image.uri == document.image.uri {
        return Outcome::Indexed;
    }
    Outcome::Existing
}

/// The stored face that lies where this one does.
fn same_face<'s>(document: &FaceDocument, stored: &'s BTreeMap<String, StoredFace>) -> Option<&'s StoredFace> {
    let overlap = |face: &StoredFace| {
        face.face
            .as_ref()
            .map_or(0.0, |stored| stored.bbox.iou(&document.face.bbox))
    };
    stored
        .values()
        .max_by(|a, b| overlap(a).total_cmp(&overlap(b)))
        .filter(|face| overlap(face) >= SAME_FACE_IOU)
}

/// Gives a rewritten face the person and labels that it had; says so where another person was asked for.
fn carry_over(document: &mut FaceDocument, known: &StoredFace) -> Option<Outcome> {
    let mut labels = known.labels.clone();
    labels.append(&mut document.labels.clone());
    document.set_labels(labels);
    let stored = known.person.clone()?;
    let asked = document.person.replace(stored.clone());
    asked.filter(|asked| asked.id != stored.id).map(|_| Outcome::Conflict {
        stored: Some(stored.id),
    })
}
