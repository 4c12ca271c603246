//! Another name, other labels, another id: in every index behind a collection.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::of_person;
use super::view::View;
use crate::schema::document::{Known, StoredFace};
use crate::schema::versioned::Versioned;
use crate::schema::versions::{self, ROUNDS, Reach, State, Version, Work, busy};
use crate::wire::bulk::{self, Action, Operation, Verdict};
use crate::{Destination, ElasticError};

const OPERATION: &str = "change a person";

/// What is to change about a person. `None` leaves it, `Some(None)` removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The id: the faces become those of the person with this one.
    pub id: Option<String>,
    /// The name for people to read.
    pub name: Option<Option<String>>,
    /// Labels of each of the person's faces.
    pub labels: BTreeMap<String, Option<String>>,
}

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// How many faces the person has in the collection's current index.
    pub faces: u64,
    /// How many different faces were changed.
    pub updated: u64,
    /// Whether that is all of the collection.
    #[serde(flatten)]
    pub reach: Reach,
    /// Their ids.
    #[serde(skip)]
    pub ids: BTreeSet<String>,
}

impl Change {
    /// The body of an `_update` that changes the face, or `None` where it is as wanted.
    fn update(&self, person: &str, face: &StoredFace) -> Option<Bytes> {
        let is_theirs = face.person.as_ref().is_some_and(|known| known.id == person);
        let mut changes = json!({});
        if is_theirs {
            let name = face.person.as_ref().and_then(|person| person.name.clone());
            if let Some(id) = self.id.as_ref().filter(|id| *id != person) {
                changes["person"]["id"] = json!(id);
            }
            if let Some(wanted) = self.name.as_ref().filter(|wanted| **wanted != name) {
                changes["person"]["name"] = json!(wanted);
            }
            let labels = self.labels(face);
            if labels != face.labels {
                let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                // An update merges objects: a key goes by being null, which a search takes as absent.
                changes["labels"] = json!(self.labels);
                changes["label_pairs"] = json!(pairs);
            }
        }
        // A rewrite that was cut off gives back what it remembers when it is taken up again.
        let previous: Vec<Known> = face
            .image
            .previous
            .iter()
            .map(|known| self.known(person, known))
            .collect();
        if previous != face.image.previous {
            changes["image"] = json!({"previous": previous});
        }
        let is_empty = changes.as_object().is_some_and(serde_json::Map::is_empty);
        (!is_empty).then(|| json!({"doc": changes}).to_string().into())
    }

    fn labels(&self, face: &StoredFace) -> BTreeMap<String, String> {
        let mut labels = face.labels.clone();
        for (key, value) in &self.labels {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
        labels
    }

    fn known(&self, person: &str, known: &Known) -> Known {
        let mut known = known.clone();
        if let Some(remembered) = known.person.as_mut().filter(|remembered| remembered.id == person) {
            if let Some(id) = &self.id {
                remembered.id.clone_from(id);
            }
            if let Some(name) = &self.name {
                remembered.name.clone_from(name);
            }
        }
        known
    }
}

/// Changes every face of a person, in every index behind the collection. Comes back when a refreshed look at all of them
/// finds nothing left to change. An index that cannot be looked at does not keep the others from being changed: what was
/// done and what was not is told in either case.
///
/// # Errors
///
/// Fails where nobody has this id, the change contradicts what is stored, or Elasticsearch fails. Indices that cannot be
/// reached are in the answer.
pub async fn change(to: &Destination, person: &str, change: &Change) -> Result<Changed, ElasticError> {
    let mut changing = Changing {
        to,
        person,
        change,
        done: Changed::default(),
    };
    let reach = versions::everywhere(to, OPERATION, &mut changing).await?;
    Ok(Changed {
        updated: changing.done.ids.len() as u64,
        reach,
        ..changing.done
    })
}

struct Changing<'d> {
    to: &'d Destination,
    person: &'d str,
    change: &'d Change,
    done: Changed,
}

impl Work for Changing<'_> {
    async fn within(&mut self, version: &Version) -> Result<bool, ElasticError> {
        let (at, ids) = (version.destination(self.to), &mut self.done.ids);
        let (faces, was_clean) = change_in(&at, self.person, self.change, ids).await?;
        if version.state == State::Live {
            self.done.faces = self.done.faces.max(faces);
        }
        Ok(was_clean)
    }
}

/// Changes the faces in one index until none is left to change. Gives the number of the person's faces at the first look,
/// and whether nothing was to change.
async fn change_in(
    at: &Destination,
    person: &str,
    change: &Change,
    changed: &mut BTreeSet<String>,
) -> Result<(u64, bool), ElasticError> {
    let mut first = None;
    for round in 0..ROUNDS {
        at.refresh().await?;
        let mut view = View::open(at).await?;
        let looked = one_look(at, &mut view, person, change, changed).await;
        view.close().await;
        let (faces, clean) = looked?;
        first.get_or_insert(faces);
        if clean {
            return Ok((first.unwrap_or_default(), round == 0));
        }
    }
    Err(busy(OPERATION))
}

/// Goes through all faces of a person, and all photos that are being rewritten, once. Gives the number of the former, and
/// whether nothing was left to change.
async fn one_look(
    at: &Destination,
    view: &mut View,
    person: &str,
    change: &Change,
    changed: &mut BTreeSet<String>,
) -> Result<(u64, bool), ElasticError> {
    let any = json!({"bool": {"should": [of_person(person), {"term": {"image.unfinished": true}}]}});
    let what = json!({"query": any, "_source": ["person", "labels", "image.previous"]});
    let (mut faces, mut after, mut clean) = (0, None, true);
    loop {
        let page: Vec<Versioned> = view.page(&what, after.take()).await?;
        let Some(last) = page.last() else {
            return Ok((faces, clean));
        };
        after = Some(last.sort.clone());
        let mut operations = Vec::new();
        for face in &page {
            let Some(stored) = &face.source else { continue };
            faces += u64::from(stored.person.as_ref().is_some_and(|known| known.id == person));
            if let Some(body) = change.update(person, stored) {
                operations.push(Operation {
                    id: face.id.clone(),
                    action: Action::Update(body, face.version()),
                });
            }
        }
        clean &= operations.is_empty();
        let verdicts = bulk::execute(at, &operations).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        let done = operations.into_iter().zip(verdicts);
        let done = done.filter(|(_, verdict)| matches!(verdict, Verdict::Done(_)));
        changed.extend(done.map(|(operation, _)| operation.id));
    }
}
