//! Rewriting a photo that is stored already, so that being cut off at any moment loses no name and leaves no face behind.
//!
//! Documents of one photo depend on one another: a new face may take the id of an old one whose name belongs elsewhere.
//! So every document that is written also carries what the photo's old faces were called (`image.previous`), until all
//! of them are in place; whatever the moment, the names are in some document. Writes are conditional on the version that
//! was read: who changes a face meanwhile makes the photo be read again.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use facedex_base::Rect;
use facedex_base::geometry::same_faces;
use serde_json::json;

use super::{Outcome, PhotoRecord, Stored, Versioned, WriteMode, compare, lacks};
use crate::schema::document::{FaceDocument, Known, StoredFace, face_id};
use crate::schema::embedding::Form;
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Action, Operation, Verdict, Version};
use crate::wire::mget::Doc;
use crate::wire::reply::{MAX_HITS, Reply, STRICT};
use crate::{Destination, ElasticError};

/// A photo that changes under our hands this often is left to whoever changes it.
const ATTEMPTS: usize = 8;

/// Rewrites one photo as the mode says, or leaves it where the mode says so.
pub(super) async fn rewrite(to: &Destination, mode: WriteMode, photo: &PhotoRecord) -> Result<Stored, ElasticError> {
    let form = Form::of(&*to.versions().await?);
    let mut removed = 0;
    for attempt in 0..ATTEMPTS {
        let old = stored_faces(to, &photo.hash).await?;
        if is_settled(mode, photo, &old) {
            return Ok(Stored {
                outcomes: leave(photo, &old, attempt > 0),
                removed,
                written: attempt > 0,
            });
        }
        if let Some(refused) = misplaced(photo, &old) {
            return Ok(refused);
        }
        let plan = Plan::new(mode, photo, &old);
        let unfinished = !plan.previous.is_empty() || !old.is_empty();
        let operations = plan.operations(photo, &old, unfinished, form)?;
        let verdicts = bulk::execute(to, &operations).await?;
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken { .. })) {
            continue;
        }
        let removals = &verdicts[photo.faces.len()..];
        let is_gone = |verdict: &&Verdict| matches!(verdict, Verdict::Done(_) | Verdict::Missing);
        removed += removals.iter().filter(is_gone).count();
        let mut outcomes = plan.outcomes;
        for (outcome, verdict) in outcomes.iter_mut().zip(&verdicts) {
            if let Verdict::Rejected { status, kind, reason } = verdict {
                *outcome = Outcome::Rejected {
                    reason: format!("{status} {kind}: {reason}"),
                };
            }
        }
        // A face that could not be written or removed leaves the photo unfinished, for the next run to see.
        if let Some(Verdict::Rejected { status, kind, reason }) = removals
            .iter()
            .find(|verdict| matches!(verdict, Verdict::Rejected { .. }))
        {
            let stays = Outcome::Rejected {
                reason: format!("an old face cannot be removed: {status} {kind}: {reason}"),
            };
            match outcomes.first_mut() {
                Some(first) => *first = stays,
                None => outcomes.push(stays),
            }
        }
        let rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { .. });
        if unfinished && !outcomes.iter().any(rejected) {
            let finish = finish(&plan.documents, photo, &verdicts, form)?;
            let verdicts = bulk::execute(to, &finish).await?;
            if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken { .. })) {
                // Changed in between: the next look finishes it.
                continue;
            }
        }
        return Ok(Stored {
            outcomes,
            removed,
            written: true,
        });
    }
    let busy = Outcome::Rejected {
        reason: "the photo's faces were changed by somebody else all the time; run again".to_owned(),
    };
    Ok(Stored {
        outcomes: vec![busy; photo.faces.len().max(1)],
        removed,
        written: true,
    })
}

/// The refusal of a photo with a stored face that would lose what was given to it.
fn misplaced(photo: &PhotoRecord, old: &BTreeMap<String, Versioned>) -> Option<Stored> {
    let (id, _) = old.iter().find(|(_, (face, _))| is_misplaced(face))?;
    let refused = Outcome::Rejected {
        reason: format!(
            "the stored face {id} has a person, labels or a cluster, and no box that can be read, so that these would be lost; mend or delete it (`facedex collection check` names it)"
        ),
    };
    Some(Stored {
        outcomes: vec![refused; photo.faces.len().max(1)],
        ..Stored::default()
    })
}

/// Whether the photo is to be left as it is.
fn is_settled(mode: WriteMode, photo: &PhotoRecord, old: &BTreeMap<String, Versioned>) -> bool {
    let faces = || old.values().map(|(face, _)| face);
    if faces().any(|face| face.image.unfinished) {
        return false;
    }
    let complete =
        old.len() == photo.faces.len() && (0..photo.faces.len()).all(|place| old.contains_key(&photo.id(place)));
    match mode {
        WriteMode::Create | WriteMode::Name => true,
        // Another copy of the photo in this run has written it: it is compared like any other.
        WriteMode::Overwrite => complete && faces().all(|face| face.ingest.run == photo.run),
        WriteMode::Replace => {
            let lacks = |place: usize| {
                old.get(&photo.id(place))
                    .is_none_or(|(face, _)| lacks(photo, place, face))
            };
            complete && faces().all(|face| face.image.engine == photo.engine) && !(0..photo.faces.len()).any(lacks)
        }
    }
}

/// What [`rewrite`] would do, or what a look at the stored faces says where the mode leaves them.
pub(super) async fn rehearse(to: &Destination, mode: WriteMode, photo: &PhotoRecord) -> Result<Stored, ElasticError> {
    let old = stored_faces(to, &photo.hash).await?;
    let rewrites = matches!(mode, WriteMode::Replace | WriteMode::Overwrite);
    if rewrites && !is_settled(mode, photo, &old) {
        if let Some(refused) = misplaced(photo, &old) {
            return Ok(refused);
        }
        let plan = Plan::new(mode, photo, &old);
        let is_kept = |id: &&String| (0..photo.faces.len()).any(|place| photo.id(place) == **id);
        return Ok(Stored {
            removed: old.len() - old.keys().filter(is_kept).count(),
            outcomes: plan.outcomes,
            written: false,
        });
    }
    let outcome = |place: usize| match old.get(&photo.id(place)) {
        None => Outcome::Indexed,
        Some((face, _)) => match compare(photo, place, face, false) {
            Outcome::Unnamed { .. } if mode == WriteMode::Name => Outcome::Unnamed { named: true },
            other => other,
        },
    };
    let mut outcomes: Vec<Outcome> = (0..photo.faces.len()).map(outcome).collect();
    // One photo's faces come from one engine.
    let other = outcomes
        .iter()
        .find(|outcome| matches!(outcome, Outcome::OtherEngine { .. }));
    if let Some(other) = other.cloned() {
        outcomes.fill(other);
    }
    Ok(Stored {
        outcomes,
        ..Stored::default()
    })
}

/// The outcomes of a photo that is left as it is. After an attempt of ours, a face that this run wrote is one whose answer
/// was lost: it counts as written.
fn leave(photo: &PhotoRecord, old: &BTreeMap<String, Versioned>, attempted: bool) -> Vec<Outcome> {
    (0..photo.faces.len())
        .filter_map(|place| {
            let (stored, _) = old.get(&photo.id(place))?;
            Some(compare(photo, place, stored, attempted))
        })
        .collect()
}

/// What a photo will look like.
struct Plan {
    documents: Vec<FaceDocument>,
    outcomes: Vec<Outcome>,
    previous: Vec<Known>,
}

impl Plan {
    fn new(mode: WriteMode, photo: &PhotoRecord, old: &BTreeMap<String, Versioned>) -> Self {
        let mut documents = photo.faces.clone();
        let mut outcomes = vec![Outcome::Indexed; documents.len()];
        let mut previous = known_faces(old);
        // A picture is large: it is remembered only where the document that has it goes to another face.
        let mut is_moved = vec![false; previous.len()];
        // Each old face gives its name to one new face, the nearest pairs first.
        for (ordinal, known) in pairs(&documents, &previous) {
            is_moved[known] = previous[known].id != Some(photo.id(ordinal));
            if let Some(outcome) = carry_over(mode, photo, &mut documents[ordinal], &previous[known]) {
                outcomes[ordinal] = outcome;
            }
        }
        for (known, is_moved) in previous.iter_mut().zip(is_moved) {
            known.thumbnail = known.thumbnail.take().filter(|_| is_moved);
        }
        previous.retain(Known::has_something);
        Self {
            documents,
            outcomes,
            previous,
        }
    }

    /// The photo's faces in order, then the removal of those that are no more.
    fn operations(
        &self,
        photo: &PhotoRecord,
        old: &BTreeMap<String, Versioned>,
        unfinished: bool,
        form: Form,
    ) -> Result<Vec<Operation>, ElasticError> {
        let mut operations = Vec::new();
        for (place, document) in self.documents.iter().enumerate() {
            let mut document = document.clone();
            document.image.unfinished = unfinished;
            document.image.previous.clone_from(&self.previous);
            let id = photo.id(place);
            let source = document.encode(form)?;
            let action = match old.get(&id) {
                Some((_, version)) => Action::Replace(source, *version),
                None => Action::Create(source),
            };
            operations.push(Operation { id, action });
        }
        for (id, (face, version)) in old {
            if (0..self.documents.len()).any(|place| photo.id(place) == *id) {
                continue;
            }
            tracing::warn!(
                id,
                person = face.person.as_ref().map(|person| &person.id),
                image = face.image.uri,
                "removes a face that is not found any more"
            );
            operations.push(Operation::delete(id.clone(), *version));
        }
        Ok(operations)
    }
}

/// The same documents once more, without what only an unfinished rewrite needs.
fn finish(
    documents: &[FaceDocument],
    photo: &PhotoRecord,
    written: &[Verdict],
    form: Form,
) -> Result<Vec<Operation>, ElasticError> {
    let versions = written.iter().map(|verdict| match verdict {
        Verdict::Done(version) => *version,
        _ => None,
    });
    let mut operations = Vec::with_capacity(documents.len());
    for ((place, document), version) in documents.iter().enumerate().zip(versions) {
        let version: Version =
            version.ok_or_else(|| ElasticError::unexpected("rewrite a face", "a write without a version"))?;
        operations.push(Operation {
            id: photo.id(place),
            action: Action::Replace(document.encode(form)?, version),
        });
    }
    Ok(operations)
}

/// The faces with a person, labels, a cluster or a picture that a photo has, and those that it had before a rewrite that was cut off.
fn known_faces(old: &BTreeMap<String, Versioned>) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    for (id, (face, _)) in old {
        known.extend(face.face.as_ref().map(|stored| Known {
            bbox: stored.bbox,
            person: face.person.clone(),
            labels: face.labels.clone(),
            cluster: face.cluster.id.clone(),
            thumbnail: stored.thumbnail.clone(),
            id: Some(id.clone()),
        }));
    }
    // What is remembered was carried over to whatever is in that place by now, and may have been changed since.
    for remembered in old.values().flat_map(|(face, _)| &face.image.previous) {
        let mut there = known.iter_mut();
        match there.find(|known| known.bbox.is_same_face(&remembered.bbox)) {
            Some(known) => {
                known.person = known.person.take().or_else(|| remembered.person.clone());
                known.cluster = known.cluster.take().or_else(|| remembered.cluster.clone());
                known.thumbnail = known.thumbnail.take().or_else(|| remembered.thumbnail.clone());
            }
            None => known.push(remembered.clone()),
        }
    }
    known.retain(Known::has_something);
    known
}

/// Whether something that was given to a stored face would be lost: where it lies in the photo cannot be read.
fn is_misplaced(face: &StoredFace) -> bool {
    let has_something = face.person.is_some() || !face.labels.is_empty() || face.cluster.id.is_some();
    face.face.is_none() && has_something
}

/// Which new face is which known one. Of known faces in one place, a person goes before one that has labels only.
fn pairs(documents: &[FaceDocument], known: &[Known]) -> Vec<(usize, usize)> {
    let new: Vec<Option<Rect>> = documents.iter().map(|document| Some(document.face.bbox)).collect();
    let old: Vec<Rect> = known.iter().map(|known| known.bbox).collect();
    same_faces(&new, &old, |at| known[at].person.is_some())
}

/// Gives a rewritten face what it had and is not given now. Who it is stays, unless the mode is to overwrite that; says so where
/// another person was asked for.
fn carry_over(mode: WriteMode, photo: &PhotoRecord, document: &mut FaceDocument, known: &Known) -> Option<Outcome> {
    let mut labels = known.labels.clone();
    labels.append(&mut document.labels.clone());
    document.set_labels(labels);
    document.cluster.clone_from(&known.cluster);
    document.face.thumbnail = document.face.thumbnail.take().or_else(|| known.thumbnail.clone());
    let stored = known.person.clone()?;
    let Some(asked) = document.person.clone() else {
        document.person = Some(stored);
        return None;
    };
    if asked.id == stored.id {
        // What a folder is called is no name that somebody gave.
        let is_better = asked.name.is_some() && !(photo.name_is_folders && stored.name.is_some());
        document.person = Some(if is_better { asked } else { stored });
        return None;
    }
    if mode == WriteMode::Overwrite {
        tracing::warn!(
            id = face_id(&photo.hash, document.ordinal),
            image = document.image.uri,
            before = stored.id,
            now = asked.id,
            "gives a face to another person"
        );
        return Some(Outcome::Renamed { stored: stored.id });
    }
    let conflict = Outcome::Conflict {
        stored: stored.id.clone(),
    };
    document.person = Some(stored);
    Some(conflict)
}

/// All stored faces of a photo, by id, with their versions.
async fn stored_faces(to: &Destination, hash: &str) -> Result<BTreeMap<String, Versioned>, ElasticError> {
    to.refresh().await?;
    let body = json!({
        "query": {"term": {"image.hash": hash}},
        "size": MAX_HITS,
        "seq_no_primary_term": true,
        "_source": ["person", "image", "face.box", "face.score", "face.thumbnail", "labels", "cluster", "ingest.run"],
    });
    let path = format!("/{}/_search", to.collection);
    let reply: Reply<Doc<StoredFace>> = to
        .json(
            "read a photo's stored faces",
            Method::Post,
            &path,
            &STRICT,
            Payload::Json(&body),
        )
        .await?;
    Ok(reply.hits.hits.into_iter().filter_map(Doc::versioned).collect())
}
