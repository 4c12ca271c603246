//! Prepared photos to Elasticsearch: batches by faces and bytes, several in flight, every photo accounted for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::dead_letter::DeadLetter;
use super::prepare::{Prepared, Recipe};
use super::progress::Progress;
use super::{Failure, IngestError, Stage, Summary};
use crate::elastic::retry::RetryPolicy;
use crate::elastic::store::{self, Outcome, PhotoRecord, WriteMode};
use crate::elastic::{Client, ElasticError};

/// How documents are sent.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// What to do with photos that are stored already.
    pub mode: WriteMode,
    /// A batch is sent when it has this many faces,
    pub batch_faces: usize,
    /// or about this many bytes,
    pub batch_bytes: usize,
    /// or when this much time has passed without another photo.
    pub linger: Duration,
    /// Batches that may be unanswered at once.
    pub in_flight: usize,
    /// How long to retry.
    pub retry: RetryPolicy,
}

/// What a worker hands over.
#[derive(Debug)]
pub enum Message {
    /// A photo with its documents.
    Ready(Prepared),
    /// A photo that cannot be used.
    Failed(Box<Failure>),
    /// A file that is no image.
    Skipped,
}

/// Where each photo is counted: nothing leaves the pipeline without passing here.
pub struct Ledger {
    /// The counts so far.
    pub summary: Summary,
    /// Where failures are kept.
    pub dead_letter: DeadLetter,
    /// Where people look.
    pub progress: Progress,
}

impl Ledger {
    fn fail(&mut self, failure: &Failure) -> Result<(), IngestError> {
        self.progress.failed(failure);
        self.dead_letter.write(failure)
    }

    fn settle(&mut self, recipe: &Recipe, photo: &Prepared, outcomes: &[Outcome]) -> Result<(), IngestError> {
        let summary = &mut self.summary;
        summary.images += 1;
        summary.faces += outcomes.len() as u64;
        summary.no_face += u64::from(outcomes.is_empty());
        let mut refused = None;
        let mut conflict = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Indexed => summary.indexed += 1,
                Outcome::Existing => summary.existing += 1,
                Outcome::Conflict { stored } => {
                    summary.conflicts += 1;
                    let stored = stored.as_ref().map_or("unlabelled".to_owned(), |id| format!("{id:?}"));
                    let given = photo.person.as_deref().unwrap_or_default();
                    conflict = Some(format!(
                        "the same photo is stored with this face as {stored}, given now as {given:?}; --overwrite stores it as given"
                    ));
                }
                Outcome::OtherEngine { stored } => {
                    refused = Some(format!(
                        "the photo is stored from another engine ({stored}); --replace rewrites its faces with this one and keeps their labels"
                    ));
                }
                Outcome::Rejected { reason } => refused = Some(reason.clone()),
            }
        }
        summary.failed += u64::from(refused.is_some());
        for (stage, reason) in [(Stage::Index, refused), (Stage::Conflict, conflict)] {
            if let Some(reason) = reason {
                let mut failure = recipe.failure(&photo.path, stage, reason, None);
                failure.person.clone_from(&photo.person);
                self.fail(&failure)?;
            }
        }
        self.progress.update(&self.summary);
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<Option<Prepared>, IngestError> {
        match message {
            Message::Ready(photo) => return Ok(Some(photo)),
            Message::Skipped => self.summary.skipped += 1,
            Message::Failed(failure) => {
                self.summary.images += 1;
                self.summary.failed += 1;
                self.fail(&failure)?;
                self.progress.update(&self.summary);
            }
        }
        Ok(None)
    }
}

type Answer = (Vec<Prepared>, Result<Vec<Vec<Outcome>>, ElasticError>);

/// Takes messages until all workers are gone, writes their photos and enters every one in the ledger. On an error the
/// receiver is dropped, which ends the workers.
pub async fn deliver(
    client: Arc<Client>,
    collection: &str,
    delivery: Delivery,
    recipe: &Recipe,
    messages: async_channel::Receiver<Message>,
    ledger: &mut Ledger,
) -> Result<(), IngestError> {
    let mut flights: JoinSet<Answer> = JoinSet::new();
    let mut batch = Batch::default();
    loop {
        let message = tokio::time::timeout(delivery.linger, messages.recv()).await;
        let (photo, flush) = match message {
            Ok(Ok(message)) => (ledger.take(message)?, false),
            Ok(Err(_)) => break,
            Err(_) => (None, true),
        };
        if let Some(photo) = photo {
            batch.push(photo);
        }
        if flush || batch.faces >= delivery.batch_faces || batch.bytes >= delivery.batch_bytes {
            // Waiting here is the back-pressure: the channel fills, then the workers wait.
            while flights.len() >= delivery.in_flight {
                land(&mut flights, recipe, ledger).await?;
            }
            batch.send(&mut flights, &client, collection, delivery);
        }
        while let Some(landed) = flights.try_join_next() {
            settle(landed, recipe, ledger)?;
        }
    }
    batch.send(&mut flights, &client, collection, delivery);
    while !flights.is_empty() {
        land(&mut flights, recipe, ledger).await?;
    }
    Ok(())
}

async fn land(flights: &mut JoinSet<Answer>, recipe: &Recipe, ledger: &mut Ledger) -> Result<(), IngestError> {
    match flights.join_next().await {
        Some(landed) => settle(landed, recipe, ledger),
        None => Ok(()),
    }
}

fn settle(
    landed: Result<Answer, tokio::task::JoinError>,
    recipe: &Recipe,
    ledger: &mut Ledger,
) -> Result<(), IngestError> {
    let (photos, outcomes) = landed.map_err(|error| IngestError::Worker(error.to_string()))?;
    for (photo, outcomes) in photos.iter().zip(outcomes?) {
        ledger.settle(recipe, photo, &outcomes)?;
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    photos: Vec<Prepared>,
    faces: usize,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, photo: Prepared) {
        for face in &photo.record.faces {
            self.faces += 1;
            // About 12 digits a value of the vector, and a kilobyte for the rest.
            let thumbnail = face.face.thumbnail.as_ref().map_or(0, String::len);
            self.bytes += 12 * face.face.embedding.len() + 1024 + thumbnail;
        }
        self.photos.push(photo);
    }

    fn send(&mut self, flights: &mut JoinSet<Answer>, client: &Arc<Client>, collection: &str, delivery: Delivery) {
        let batch = std::mem::take(self);
        if batch.photos.is_empty() {
            return;
        }
        let (client, collection) = (Arc::clone(client), collection.to_owned());
        flights.spawn(async move {
            let mut photos = batch.photos;
            let records: Vec<PhotoRecord> = photos
                .iter_mut()
                .map(|photo| PhotoRecord {
                    faces: std::mem::take(&mut photo.record.faces),
                    ..photo.record.clone()
                })
                .collect();
            let outcomes = store::store(&client, &collection, delivery.mode, &records, delivery.retry).await;
            (photos, outcomes)
        });
    }
}
