//! Faces with vectors from elsewhere into a collection. What is there stays, so that an import that was cut off is repeated.

use bytes::Bytes;
use facedex_base::Rect;
use facedex_base::space::{Metric, Space};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::lifecycle::LifecycleError;
use crate::lifecycle::check::LENGTH_TOLERANCE;
use crate::schema::collection;
use crate::schema::document::check_stored_person;
use crate::schema::embedding::Form;
use crate::schema::make;
use crate::schema::tombstones::{self, DeletedFaces, PhotoKeys, Tombstone, Tombstones};
use crate::wire::bulk::{self, Action, Operation, Verdict};
use crate::write::store::take_back_deleted;
use crate::{Destination, ElasticError};

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
    /// Photos of which the file says that faces were deleted on request: they are kept out from now on.
    #[serde(skip_serializing_if = "is_zero")]
    pub noted: u64,
    /// Faces that cannot be stored.
    pub failed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A face that can be stored.
struct Pending {
    operation: Operation,
    /// The photo that it is of, and where in it.
    photo: PhotoKeys,
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
    /// Id and name of the collection that the faces were exported from, if that is another one: who was deleted from it stays
    /// deleted.
    former: Option<(String, String)>,
    space: Space,
    /// The import's id, which every face gets.
    run: String,
    batch: Vec<Pending>,
    notes: Vec<(PhotoKeys, Tombstone)>,
    in_air: JoinSet<Result<Vec<(String, Landed)>, ElasticError>>,
    counts: Imported,
    report: &'t dyn Fn(&str),
}

impl<'t> Import<'t> {
    /// `told` hears of every face that cannot be stored.
    pub fn new(to: Option<&'t Destination>, run: &str, space: Space, report: &'t dyn Fn(&str)) -> Self {
        Self {
            to,
            former: None,
            space,
            run: run.to_owned(),
            batch: Vec::new(),
            notes: Vec::new(),
            in_air: JoinSet::new(),
            counts: Imported::default(),
            report,
        }
    }

    /// The faces come from the collection with this id, which had this name.
    pub fn exported_from(mut self, id: &str, name: &str) -> Self {
        let is_other = self.to.is_some_and(|to| to.id != id);
        self.former = is_other.then(|| (id.to_owned(), name.to_owned()));
        self
    }

    /// Notes faces that were deleted on request where the file comes from.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch takes the tombstones neither now nor later.
    pub async fn note(&mut self, deleted: DeletedFaces) -> Result<(), LifecycleError> {
        self.counts.noted += 1;
        let faces = deleted.faces.into_iter();
        self.notes.extend(faces.map(|face| (deleted.image.clone(), face)));
        if self.notes.len() >= BATCH {
            self.write_notes().await?;
        }
        Ok(())
    }

    async fn write_notes(&mut self) -> Result<(), LifecycleError> {
        let notes = std::mem::take(&mut self.notes);
        if let Some(to) = self.to {
            tombstones::add(to, &notes).await?;
        }
        Ok(())
    }

    /// Counts what is no face.
    pub fn fail(&mut self, reason: &str) {
        self.counts.failed += 1;
        (self.report)(reason);
    }

    /// Takes a face.
    ///
    /// # Errors
    ///
    /// Fails where a batch cannot be written; a face that is refused is counted, and reported.
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
        self.batch.push(Pending::new(record, form, &self.run)?);
        if self.batch.len() >= BATCH {
            self.send().await?;
        }
        Ok(())
    }

    /// Comes back when all faces are stored.
    ///
    /// # Errors
    ///
    /// As for `take`.
    pub async fn finish(mut self) -> Result<Imported, LifecycleError> {
        self.write_notes().await?;
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
            let write = write(to.clone(), self.former.clone(), self.space.name.clone(), batch);
            self.in_air.spawn(write);
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
    fn new(mut record: Record, form: Form, run: &str) -> Result<Self, ElasticError> {
        record.source["ingest"]["import"] = json!(run);
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
        let mut photo = PhotoKeys::deserialize(&source["image"]).unwrap_or_default();
        photo.hash = hash;
        let bbox = Rect::deserialize(&source["face"]["box"]).ok();
        let bytes = serde_json::to_vec(source).map_err(|error| ElasticError::unexpected("encode a document", error))?;
        Ok(Self {
            operation: Operation {
                id: record.id,
                action: Action::Create(Bytes::from(bytes)),
            },
            photo,
            bbox,
        })
    }

    fn is_deleted(&self, tombstones: &Tombstones) -> bool {
        let covers = |tombstone: &Tombstone| self.bbox.is_none_or(|bbox| tombstone.covers(&bbox));
        tombstones
            .get(&self.photo.hash)
            .is_some_and(|all| all.iter().any(covers))
    }
}

/// Writes faces as an ingest does: by the alias of their space, but for those that were deleted on request, and looks once
/// more for deletions when they are written (see `store`).
async fn write(
    to: Destination,
    former: Option<(String, String)>,
    space: String,
    batch: Vec<Pending>,
) -> Result<Vec<(String, Landed)>, ElasticError> {
    let photos: Vec<PhotoKeys> = batch.iter().map(|face| face.photo.clone()).collect();
    let mut before = tombstones::of(&to, &photos).await?;
    if let Some((id, name)) = &former {
        for (hash, faces) in tombstones::of_former(&to, id, name, &photos).await? {
            before.entry(hash).or_default().extend(faces);
        }
    }
    let (deleted, kept): (Vec<&Pending>, Vec<&Pending>) = batch.iter().partition(|face| face.is_deleted(&before));
    let operations: Vec<Operation> = kept.iter().map(|face| face.operation.clone()).collect();
    let within = to.through(&collection::write_alias(&to.collection, &space));
    let verdicts = match bulk::execute(&within, &operations).await {
        Err(error) if matches!(error, ElasticError::NoCollection { .. }) || error.is_not_found() => {
            to.patiently(|| make::claim(&to.client, &to.collection, &space)).await?;
            bulk::execute(&within, &operations).await?
        }
        other => other?,
    };
    let now = tombstones::of(&to, &photos).await?;
    let mut landed = Vec::with_capacity(batch.len());
    for (face, verdict) in kept.into_iter().zip(verdicts) {
        let id = face.operation.id.clone();
        // An attempt whose answer was lost may have written it as well.
        let is_new = matches!(verdict, Verdict::Done(_) | Verdict::Taken { unanswered: true });
        if is_new && face.is_deleted(&now) {
            take_back_deleted(&to, &id, now.get(&face.photo.hash)).await?;
            landed.push((id, Landed::Deleted));
        } else {
            landed.push((id, Landed::Verdict(verdict)));
        }
    }
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
        Some(sum) if space.metric == Metric::Cosine && (sum.sqrt() - 1.0).abs() > LENGTH_TOLERANCE => {
            return Err(format!("its vector is {:.3} long, not 1", sum.sqrt()));
        }
        Some(sum) if sum.is_finite() && sum > 0.0 => {}
        _ => return Err("its vector has no direction".to_owned()),
    }
    let ingest = &record.source["ingest"];
    if !(ingest.is_object() || ingest.is_null()) {
        return Err("its ingest is no object".to_owned());
    }
    if Rect::deserialize(&record.source["face"]["box"]).is_err() {
        return Err("it has no box (face.box: x, y, width, height)".to_owned());
    }
    check_stored_person(&record.source["person"])
}
