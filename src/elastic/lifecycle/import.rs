//! Faces with vectors from elsewhere into a collection. What is there stays, so that an import that was cut off is repeated.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::LifecycleError;
use crate::elastic::bulk::{self, Action, Operation, Verdict};
use crate::elastic::embedding::Form;
use crate::elastic::tombstones::{self, Tombstone, Tombstones};
use crate::elastic::{Destination, ElasticError, collection};
use crate::face::Rect;
use crate::models::catalog::Space;

/// Faces a request.
const BATCH: usize = 500;
/// Requests that may be unanswered.
const IN_FLIGHT: usize = 4;
/// Elasticsearch's longest `_id`.
const LONGEST_ID: usize = 512;

/// A face to import.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its `_id`.
    pub id: String,
    /// Its document, with the vector.
    pub source: Value,
}

/// What became of the faces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Faces that were written.
    pub imported: u64,
    /// Faces whose ids were taken; they stay as they are.
    pub existing: u64,
    /// Faces that were deleted on request before; they are not stored again.
    pub deleted: u64,
    /// Faces that cannot be stored.
    pub failed: u64,
}

/// A face that can be stored.
struct Pending {
    operation: Operation,
    /// The photo that it is of, and where in it.
    hash: String,
    bbox: Option<Rect>,
}

/// What became of a face.
enum Landed {
    Verdict(Verdict),
    /// It was deleted on request.
    Deleted,
}

/// Takes faces and writes them. Without a destination they are looked at and counted.
pub struct Import<'t> {
    to: Option<&'t Destination>,
    space: Space,
    batch: Vec<Pending>,
    in_air: JoinSet<Result<Vec<(String, Landed)>, ElasticError>>,
    counts: Imported,
    told: &'t dyn Fn(&str),
}

impl<'t> Import<'t> {
    /// `told` hears of every face that cannot be stored.
    pub fn new(to: Option<&'t Destination>, space: Space, told: &'t dyn Fn(&str)) -> Self {
        Self {
            to,
            space,
            batch: Vec::new(),
            in_air: JoinSet::new(),
            counts: Imported::default(),
            told,
        }
    }

    /// Counts what is no face.
    pub fn fail(&mut self, reason: &str) {
        self.counts.failed += 1;
        (self.told)(reason);
    }

    /// Takes a face.
    pub async fn take(&mut self, record: Record) -> Result<(), LifecycleError> {
        if let Err(reason) = check(&record, &self.space) {
            self.fail(&format!("{:?}: {reason}", record.id));
            return Ok(());
        }
        if self.to.is_none() {
            self.counts.imported += 1;
            return Ok(());
        }
        let form = match self.to {
            Some(to) => Form::of(&*to.versions().await?),
            None => Form::Numbers,
        };
        self.batch.push(Pending::new(record, form)?);
        if self.batch.len() >= BATCH {
            self.send().await?;
        }
        Ok(())
    }

    /// Comes back when all faces are stored.
    pub async fn finish(mut self) -> Result<Imported, LifecycleError> {
        self.send().await?;
        while !self.in_air.is_empty() {
            self.land().await?;
        }
        if let Some(to) = self.to {
            to.refresh().await?;
        }
        Ok(self.counts)
    }

    async fn send(&mut self) -> Result<(), LifecycleError> {
        while self.in_air.len() >= IN_FLIGHT {
            self.land().await?;
        }
        let batch = std::mem::take(&mut self.batch);
        if let (Some(to), false) = (self.to, batch.is_empty()) {
            self.in_air.spawn(write(to.clone(), self.space.name.clone(), batch));
        }
        Ok(())
    }

    async fn land(&mut self) -> Result<(), LifecycleError> {
        let Some(landed) = self.in_air.join_next().await else {
            return Ok(());
        };
        for (id, landed) in landed.map_err(|error| ElasticError::unexpected("import faces", error))?? {
            let verdict = match landed {
                Landed::Verdict(verdict) => verdict,
                Landed::Deleted => {
                    self.counts.deleted += 1;
                    continue;
                }
            };
            match verdict {
                // An attempt whose answer was lost has probably written it.
                Verdict::Done(_) | Verdict::Taken { unanswered: true } => self.counts.imported += 1,
                Verdict::Taken { .. } | Verdict::Missing => self.counts.existing += 1,
                Verdict::Rejected { status, kind, reason } => self.fail(&format!("{id:?}: {status} {kind}: {reason}")),
            }
        }
        Ok(())
    }
}

impl Pending {
    fn new(mut record: Record, form: Form) -> Result<Self, ElasticError> {
        let numbers = record.source["face"]["embedding"].as_array();
        let vector: Option<Vec<f32>> =
            numbers.and_then(|all| all.iter().map(|one| Some(one.as_f64()? as f32)).collect());
        if let (Form::Base64, Some(vector)) = (form, vector) {
            record.source["face"]["embedding"] = json!(form.written(&vector));
        }
        let source = &record.source;
        let hash = source["image"]["hash"].as_str().filter(|hash| !hash.is_empty());
        // The id begins with it, also where others wrote the document.
        let hash = hash
            .unwrap_or_else(|| record.id.split('-').next().unwrap_or_default())
            .to_owned();
        let bbox = Rect::deserialize(&source["face"]["box"]).ok();
        let bytes = serde_json::to_vec(source).map_err(|error| ElasticError::unexpected("encode a document", error))?;
        Ok(Self {
            operation: Operation {
                id: record.id,
                action: Action::Create(Bytes::from(bytes)),
            },
            hash,
            bbox,
        })
    }

    fn is_deleted(&self, tombstones: &Tombstones) -> bool {
        let covers = |tombstone: &Tombstone| self.bbox.is_none_or(|bbox| tombstone.covers(&bbox));
        tombstones.get(&self.hash).is_some_and(|all| all.iter().any(covers))
    }
}

/// Writes faces as an ingest does: by the alias of their space, but for those that were deleted on request, and looks once
/// more for deletions when they are written (see `store`).
async fn write(to: Destination, space: String, batch: Vec<Pending>) -> Result<Vec<(String, Landed)>, ElasticError> {
    let hashes: Vec<&str> = batch.iter().map(|face| face.hash.as_str()).collect();
    let before = tombstones::of(&to, &hashes).await?;
    let (deleted, kept): (Vec<&Pending>, Vec<&Pending>) = batch.iter().partition(|face| face.is_deleted(&before));
    let operations: Vec<Operation> = kept.iter().map(|face| face.operation.clone()).collect();
    let within = to.at(&collection::write_alias(&to.collection, &space));
    let verdicts = match bulk::execute(&within, &operations).await {
        Err(error) if matches!(error, ElasticError::NoCollection { .. }) || error.is_not_found() => {
            collection::claim(&to.client, &to.collection, &space).await?;
            bulk::execute(&within, &operations).await?
        }
        other => other?,
    };
    let now = tombstones::of(&to, &hashes).await?;
    let (mut landed, mut back) = (Vec::with_capacity(batch.len()), Vec::new());
    for (face, verdict) in kept.into_iter().zip(verdicts) {
        let id = face.operation.id.clone();
        match verdict {
            Verdict::Done(Some(version)) if face.is_deleted(&now) => {
                back.push(Operation {
                    id: id.clone(),
                    action: Action::Delete(version),
                });
                landed.push((id, Landed::Deleted));
            }
            verdict => landed.push((id, Landed::Verdict(verdict))),
        }
    }
    bulk::execute(&to, &back).await?;
    landed.extend(
        deleted
            .into_iter()
            .map(|face| (face.operation.id.clone(), Landed::Deleted)),
    );
    Ok(landed)
}

/// Whether the face can be stored among the others.
fn check(record: &Record, space: &Space) -> Result<(), String> {
    if record.id.is_empty() || record.id.len() > LONGEST_ID {
        return Err(format!("an id has 1 to {LONGEST_ID} bytes"));
    }
    if record.source["model"]["space"] != space.name.as_str() {
        return Err(format!(
            "it is of the space {}, not of {}",
            record.source["model"]["space"], space.name
        ));
    }
    let Some(vector) = record.source["face"]["embedding"].as_array() else {
        return Err("it has no vector".to_owned());
    };
    if vector.len() != space.dims {
        return Err(format!("its vector has {} numbers, not {}", vector.len(), space.dims));
    }
    let squares: Option<f64> = vector
        .iter()
        .map(|value| value.as_f64().map(|value| value * value))
        .sum();
    match squares {
        Some(sum) if sum.is_finite() && sum > 0.0 => Ok(()),
        _ => Err("its vector has no direction".to_owned()),
    }
}
