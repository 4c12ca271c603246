//! Photos to documents that are there exactly once: ids that are taken are looked up and each face gets its outcome.

mod deleted;
mod name;
mod photo;
mod rewrite;

use std::collections::HashMap;

use self::deleted::Deleted;
pub(crate) use self::deleted::take_back_deleted;
pub use self::photo::{PhotoFacts, PhotoRecord};
use crate::schema::collection;
use crate::schema::document::{StoredFace, face_id};
use crate::schema::embedding::Form;
use crate::schema::make;
use crate::wire::bulk::{self, Action, Operation, Verdict, Version};
use crate::wire::mget::mget;
use crate::{Destination, ElasticError};

/// What to do with a photo that is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// Leave it; report what differs.
    #[default]
    Create,
    /// Leave it, but name faces that are stored without a person.
    Name,
    /// Rewrite it where another engine stored it, or where it lacks what is given now; people stay who they are.
    Replace,
    /// Rewrite it, with the people given now. What is not given stays as it is.
    Overwrite,
}

/// How a face ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written by this call, and acknowledged.
    Indexed,
    /// Written by this call, and somebody else before.
    Renamed {
        /// The person before.
        stored: String,
    },
    /// There from before, the same.
    Existing {
        /// Without something that was given now: a label, a name for people to read, a picture.
        other_labels: bool,
    },
    /// There from before, without a person, and now a person was given: it was named, or left so.
    Unnamed {
        /// Whether it has the person now.
        named: bool,
    },
    /// There from before, as another person.
    Conflict {
        /// The person in the index.
        stored: String,
    },
    /// Deleted on request before, and not stored again.
    Deleted,
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

impl Outcome {
    /// Whether this call wrote the face.
    pub fn is_written(&self) -> bool {
        matches!(self, Self::Indexed | Self::Renamed { .. })
    }
}

/// What became of a photo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// One a face.
    pub outcomes: Vec<Outcome>,
    /// Faces that the photo had and has no more.
    pub removed: usize,
    /// Whether a rewrite wrote any face, whatever its outcome.
    pub written: bool,
}

impl Stored {
    /// Whether this call wrote the face in this place.
    fn has_written(&self, place: usize) -> bool {
        self.outcomes.get(place).is_some_and(|outcome| {
            // A face that is to be another person was rewritten as the one that it is.
            outcome.is_written() || (self.written && matches!(outcome, Outcome::Conflict { .. }))
        })
    }
}

/// Writes the photos' faces, but for those that were deleted on request. Repeating it is safe. All are of one embedding
/// space; where the collection has come into another one, nothing is written.
///
/// # Errors
///
/// Fails where going on makes no sense: the account may not write, the collection is gone or of another space, the policy's time
/// is over. What was written until then stays; repeating it is safe.
pub async fn store(to: &Destination, mode: WriteMode, photos: &[PhotoRecord]) -> Result<Vec<Stored>, ElasticError> {
    let deleted = Deleted::before(to, photos).await?;
    let kept = deleted.without(photos);
    let written = write_within_space(to, mode, &kept).await;
    let now = deleted.since(to, photos, &kept, &written).await?;
    let mut stored = written?;
    deleted.note(&now, &kept, &mut stored);
    deleted.tell(photos, &mut stored);
    Ok(stored)
}

/// Writes by the alias that names the space of the photos' vectors.
async fn write_within_space(
    to: &Destination,
    mode: WriteMode,
    photos: &[PhotoRecord],
) -> Result<Vec<Stored>, ElasticError> {
    let Some(face) = photos.iter().find_map(|photo| photo.faces.first()) else {
        return write(to, mode, photos).await;
    };
    let space = &face.model.space;
    let within = to.through(&collection::write_alias(&to.collection, space));
    match write(&within, mode, photos).await {
        Err(error) if matches!(error, ElasticError::NoCollection { .. }) || error.is_not_found() => {
            to.patiently(|| make::claim(&to.client, &to.collection, space)).await?;
            write(&within, mode, photos).await
        }
        other => other,
    }
}

async fn write(to: &Destination, mode: WriteMode, photos: &[PhotoRecord]) -> Result<Vec<Stored>, ElasticError> {
    match mode {
        WriteMode::Create => create(to, photos).await,
        WriteMode::Name => {
            let mut stored = create(to, photos).await?;
            name::name(to, photos, &mut stored).await?;
            Ok(stored)
        }
        WriteMode::Replace | WriteMode::Overwrite => {
            let mut stored = Vec::with_capacity(photos.len());
            for photo in photos {
                stored.push(rewrite::rewrite(to, mode, photo).await?);
            }
            Ok(stored)
        }
    }
}

/// What [`store`] would do, as far as the photos' faces are stored as they are now. Nothing is written.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn rehearse(
    to: &Destination,
    mode: WriteMode,
    restore_deleted: bool,
    photos: &[PhotoRecord],
) -> Result<Vec<Stored>, ElasticError> {
    let deleted = match restore_deleted {
        true => Deleted::default(),
        false => Deleted::before(to, photos).await?,
    };
    let kept = deleted.without(photos);
    let mut stored = Vec::with_capacity(photos.len());
    for photo in kept.iter() {
        stored.push(rewrite::rehearse(to, mode, photo).await?);
    }
    deleted.tell(photos, &mut stored);
    Ok(stored)
}

/// Whether all faces of a photo are stored as this engine sees them, and one of them as `person` if one is named.
/// A photo without a face leaves no trace and is never complete.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn is_complete(
    to: &Destination,
    hash: &str,
    engine: &str,
    person: Option<&str>,
) -> Result<bool, ElasticError> {
    let first = face_id(hash, 0);
    let Some((one, _)) = look_up(to, &[&first]).await?.remove(&first) else {
        return Ok(false);
    };
    let ids: Vec<String> = (0..one.image.faces as usize)
        .map(|ordinal| face_id(hash, ordinal))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let stored = look_up(to, &ids).await?;
    let named = |face: &StoredFace| face.person.as_ref().map(|person| person.id.as_str()) == person;
    Ok(stored.len() == ids.len()
        && !ids.is_empty()
        && stored
            .values()
            .all(|(face, _)| face.image.engine == engine && !face.image.unfinished)
        && (person.is_none() || stored.values().any(|(face, _)| named(face))))
}

/// A face of a photo in the batch: which photo, and its place among the photo's faces here.
type Place = (usize, usize);

/// Creates what is not there and looks up what is.
async fn create(to: &Destination, photos: &[PhotoRecord]) -> Result<Vec<Stored>, ElasticError> {
    let form = Form::of(&*to.versions().await?);
    let mut places: Vec<Place> = Vec::new();
    let mut operations = Vec::new();
    for (at, photo) in photos.iter().enumerate() {
        for (place, document) in photo.faces.iter().enumerate() {
            places.push((at, place));
            operations.push(Operation {
                id: photo.id(place),
                action: Action::Create(document.encode(form)?),
            });
        }
    }
    let verdicts = bulk::execute(to, &operations).await?;
    let taken: Vec<&str> = verdicts
        .iter()
        .zip(&operations)
        .filter(|(verdict, _)| matches!(verdict, Verdict::Taken { .. }))
        .map(|(_, operation)| operation.id.as_str())
        .collect();
    let found = look_up_with(to, &taken, have_pictures(photos)).await?;
    let mut stored = vec![Stored::default(); photos.len()];
    let mut written: HashMap<Place, Version> = HashMap::new();
    for ((&(at, place), operation), verdict) in places.iter().zip(&operations).zip(verdicts) {
        let outcome = match verdict {
            Verdict::Done(version) => {
                written.extend(version.map(|version| ((at, place), version)));
                Outcome::Indexed
            }
            Verdict::Taken { unanswered } => match found.get(&operation.id) {
                Some((face, version)) => {
                    let outcome = compare(&photos[at], place, face, unanswered);
                    if unanswered && is_ours(&photos[at], place, face) {
                        written.insert((at, place), *version);
                    }
                    outcome
                }
                // Deleted between the two requests, which is somebody's decision: it is not ours to undo.
                None => Outcome::Rejected {
                    reason: "the face was deleted by somebody else meanwhile; run again to write it".to_owned(),
                },
            },
            Verdict::Missing => Outcome::Existing { other_labels: false },
            Verdict::Rejected { status, kind, reason } => Outcome::Rejected {
                reason: format!("{status} {kind}: {reason}"),
            },
        };
        stored[at].outcomes.push(outcome);
    }
    take_back(to, photos, &mut stored, &written).await?;
    Ok(stored)
}

/// A photo of another engine is left as it was: faces that were free and have just been written are removed again, lest
/// one photo's faces come from two engines.
async fn take_back(
    to: &Destination,
    photos: &[PhotoRecord],
    stored: &mut [Stored],
    written: &HashMap<Place, Version>,
) -> Result<(), ElasticError> {
    let mut removals: HashMap<String, (Place, Version)> = HashMap::new();
    for (at, Stored { outcomes, .. }) in stored.iter_mut().enumerate() {
        let Some(other) = outcomes
            .iter()
            .find(|o| matches!(o, Outcome::OtherEngine { .. }))
            .cloned()
        else {
            continue;
        };
        for (place, outcome) in outcomes.iter_mut().enumerate() {
            if let Some(version) = written.get(&(at, place)) {
                removals.insert(photos[at].id(place), ((at, place), *version));
            }
            *outcome = other.clone();
        }
    }
    while !removals.is_empty() {
        let operations: Vec<Operation> = removals
            .iter()
            .map(|(id, (_, version))| Operation::delete(id.clone(), *version))
            .collect();
        let verdicts = bulk::execute(to, &operations).await?;
        let ids = operations.iter().map(|operation| operation.id.as_str());
        let stale: Vec<&str> = ids
            .zip(verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Taken { .. }))
            .map(|(id, _)| id)
            .collect();
        // The collection may have moved to another index in between, where the face has another version.
        let found = look_up(to, &stale).await?;
        removals = removals
            .into_iter()
            .filter_map(|(id, (place, _))| {
                let (face, version) = found.get(&id)?;
                is_ours(&photos[place.0], place.1, face).then_some((id, (place, *version)))
            })
            .collect();
    }
    Ok(())
}

type Versioned = (StoredFace, Version);

/// The stored faces of these ids, as they are now.
async fn look_up(to: &Destination, ids: &[&str]) -> Result<HashMap<String, Versioned>, ElasticError> {
    look_up_with(to, ids, false).await
}

/// Whether pictures of some of the faces were asked for.
fn have_pictures(photos: &[PhotoRecord]) -> bool {
    let mut faces = photos.iter().flat_map(|photo| &photo.faces);
    faces.any(|face| face.face.thumbnail.is_some())
}

/// The same, with their pictures where these matter.
async fn look_up_with(
    to: &Destination,
    ids: &[&str],
    pictures: bool,
) -> Result<HashMap<String, Versioned>, ElasticError> {
    let fields = match pictures {
        true => "person,image,ingest.run,labels,face.box,face.thumbnail",
        false => "person,image,ingest.run,labels",
    };
    mget(to, "look up stored faces", ids, fields).await
}

/// Whether this very run wrote the stored face from this very photo file.
fn is_ours(photo: &PhotoRecord, place: usize, stored: &StoredFace) -> bool {
    stored.ingest.run == photo.run && stored.image.uri == photo.faces[place].image.uri
}

/// What a stored face of the same id means for the one that was to be written.
fn compare(photo: &PhotoRecord, place: usize, stored: &StoredFace, unanswered: bool) -> Outcome {
    let document = &photo.faces[place];
    if stored.image.engine != photo.engine {
        return Outcome::OtherEngine {
            stored: stored.image.engine.clone(),
        };
    }
    // A face that comes without a person claims nothing, so whoever is stored may stay.
    let wanted = document.person.as_ref().map(|person| &person.id);
    let known = stored.person.as_ref().map(|person| &person.id);
    match (wanted, known) {
        (Some(_), None) => return Outcome::Unnamed { named: false },
        (Some(wanted), Some(known)) if wanted != known => return Outcome::Conflict { stored: known.clone() },
        _ => {}
    }
    if unanswered && is_ours(photo, place, stored) {
        return Outcome::Indexed;
    }
    Outcome::Existing {
        other_labels: lacks(photo, place, stored),
    }
}

/// Whether a stored face lacks a label, a picture or, for the same person, a name that was given.
fn lacks(photo: &PhotoRecord, place: usize, stored: &StoredFace) -> bool {
    let document = &photo.faces[place];
    let mut labels = document.labels.iter();
    let has_name = match (&document.person, &stored.person) {
        (Some(given), Some(stored)) if given.id == stored.id => {
            // What a folder is called is no name that somebody gave.
            given.name.is_none() || given.name == stored.name || (photo.name_is_folders && stored.name.is_some())
        }
        // Who it is is another question.
        _ => true,
    };
    let thumbnail = stored.face.as_ref().and_then(|face| face.thumbnail.as_ref());
    labels.any(|(key, value)| stored.labels.get(key) != Some(value))
        || !has_name
        || (document.face.thumbnail.is_some() && thumbnail.is_none())
}
