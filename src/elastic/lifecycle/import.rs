//! Faces with vectors from elsewhere into a collection. What is there stays, so that an import that was cut off is repeated.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::LifecycleError;
use crate::elastic::bulk::{self, Action, Operation, Verdict};
use crate::elastic::{Destination, ElasticError};
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
    /// Faces that cannot be stored.
    pub failed: u64,
}

/// The ids of a request, and what became of them.
type Landed = (Vec<String>, Vec<Verdict>);

/// Takes faces and writes them. Without a destination they are looked at and counted.
pub struct Import<'t> {
    to: Option<&'t Destination>,
    space: Space,
    batch: Vec<Operation>,
    in_air: JoinSet<Result<Landed, ElasticError>>,
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
        let source =
            serde_json::to_vec(&record.source).map_err(|error| ElasticError::unexpected("encode a document", error))?;
        self.batch.push(Operation {
            id: record.id,
            action: Action::Create(Bytes::from(source)),
        });
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
        let operations = std::mem::take(&mut self.batch);
        if let (Some(to), false) = (self.to, operations.is_empty()) {
            let to = to.clone();
            self.in_air.spawn(async move {
                let verdicts = bulk::execute(&to, &operations).await?;
                Ok((operations.into_iter().map(|operation| operation.id).collect(), verdicts))
            });
        }
        Ok(())
    }

    async fn land(&mut self) -> Result<(), LifecycleError> {
        let Some(landed) = self.in_air.join_next().await else {
            return Ok(());
        };
        let (ids, verdicts) = landed.map_err(|error| ElasticError::unexpected("import faces", error))??;
        for (id, verdict) in ids.iter().zip(verdicts) {
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
