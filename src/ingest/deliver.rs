//! Prepared photos to Elasticsearch: batches by faces and bytes, several in flight, every photo accounted for.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use facedex_elastic::schema::tombstones::{self, Lifted};
use facedex_elastic::write::store::{self, Outcome, PhotoRecord, Stored, WriteMode};
use facedex_elastic::{Destination, ElasticError};
use tokio::task::JoinSet;

use super::dead_letter::DeadLetter;
use super::journal::{Journal, Mark};
use super::pace::Pace;
use super::prepare::Prepared;
use super::progress::Progress;
use super::report::Report;
use super::source::Entry;
use super::{Failure, IngestError, Stage, Summary};

/// How documents are sent.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// What to do with photos that are stored already.
    pub mode: WriteMode,
    /// A batch is sent when it has this many faces,
    pub batch_faces: usize,
    /// or about this many bytes,
    pub batch_bytes: usize,
    /// or when its first photo has waited for so long.
    pub linger: Duration,
    /// Batches that may be unanswered at once.
    pub in_flight: usize,
    /// Store also faces that were deleted on request.
    pub restore_deleted: bool,
    /// Look at what is stored, and write nothing.
    pub dry_run: bool,
}

/// What readers and workers hand over.
#[derive(Debug)]
pub enum Message {
    /// A photo with its documents.
    Ready(Box<Prepared>),
    /// A photo that cannot be used.
    Failed(Box<Failure>),
    /// A photo that was done before.
    Done,
    /// A file that is no image.
    Skipped,
}

/// Where each photo is counted: nothing leaves the pipeline without passing here.
pub struct Ledger {
    /// The counts so far.
    pub summary: Summary,
    /// Where failures are kept.
    pub dead_letter: DeadLetter,
    /// Where finished photos are kept.
    pub journal: Arc<Journal>,
    /// Where people look.
    pub progress: Progress,
    /// Where dashboards look.
    pub report: Report,
}

impl Ledger {
    /// Shows the counts so far.
    pub fn tell(&mut self) {
        self.progress.update(&self.summary);
        self.report.progress(&self.summary);
    }

    fn fail(&mut self, failure: &Failure) -> Result<(), IngestError> {
        metrics::counter!("facedex_photos_failed_total", "stage" => failure.stage.name()).increment(1);
        *self.summary.failures.entry(failure.stage).or_default() += 1;
        self.progress.failed(failure);
        self.report.failed(failure);
        self.dead_letter.write(failure)
    }

    /// Counts a photo that Elasticsearch has answered for; its mark if it is done.
    fn settle(&mut self, entry: &Entry, run: &str, stored: &Stored) -> Result<Option<Mark>, IngestError> {
        let outcomes = &stored.outcomes;
        let summary = &mut self.summary;
        summary.removed += stored.removed as u64;
        summary.images += 1;
        summary.faces += outcomes.len() as u64;
        summary.no_face += u64::from(outcomes.is_empty());
        let mut refused = None;
        let mut conflict = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Indexed => summary.indexed += 1,
                Outcome::Renamed { .. } => {
                    summary.indexed += 1;
                    summary.renamed += 1;
                }
                Outcome::Existing { other_labels } => {
                    summary.existing += 1;
                    summary.other_labels += u64::from(*other_labels);
                }
                Outcome::Conflict { stored } => {
                    summary.conflicts += 1;
                    let given = entry.person.as_ref().map_or("", |person| &person.id);
                    conflict = Some(format!(
                        "the same photo is stored with this face as {stored:?}, given now as {given:?}; --overwrite stores it as given"
                    ));
                }
                Outcome::Unnamed { named: true } => summary.named += 1,
                Outcome::Unnamed { named: false } => {
                    summary.unnamed += 1;
                    let given = entry.person.as_ref().map_or("", |person| &person.id);
                    conflict = Some(format!(
                        "the same photo is stored with this face without a person, given now as {given:?}; --name-unnamed names it"
                    ));
                }
                Outcome::OtherEngine { stored } => {
                    refused = Some(format!(
                        "the photo is stored from another engine ({stored}); --replace rewrites its faces with this one and keeps their labels"
                    ));
                }
                Outcome::Deleted => summary.deleted += 1,
                Outcome::Rejected { reason } => refused = Some(reason.clone()),
            }
        }
        summary.failed += u64::from(refused.is_some());
        // What was given and is not stored is said again by the next run.
        let lacks = |outcome: &Outcome| *outcome == Outcome::Existing { other_labels: true };
        let is_done = refused.is_none() && conflict.is_none() && !outcomes.iter().any(lacks);
        for (stage, reason) in [(Stage::Index, refused), (Stage::Conflict, conflict)] {
            if let Some(reason) = reason {
                let failure = Failure::new(entry, stage, reason, run);
                self.fail(&failure)?;
            }
        }
        metrics::counter!("facedex_photos_total").increment(1);
        metrics::counter!("facedex_faces_total").increment(outcomes.len() as u64);
        Ok(Mark::of(entry).filter(|_| is_done))
    }

    fn take(&mut self, message: Message) -> Result<Option<Box<Prepared>>, IngestError> {
        match message {
            Message::Ready(photo) => return Ok(Some(photo)),
            Message::Skipped => self.summary.skipped += 1,
            Message::Done => {
                self.summary.images += 1;
                self.summary.done_before += 1;
            }
            Message::Failed(failure) => {
                self.summary.images += 1;
                self.summary.failed += 1;
                self.fail(&failure)?;
            }
        }
        self.tell();
        Ok(None)
    }
}

/// Takes messages until all readers and workers are gone, and counts their photos as [`deliver`] would.
pub async fn rehearse(messages: async_channel::Receiver<Message>, ledger: &mut Ledger) -> Result<(), IngestError> {
    while let Ok(message) = messages.recv().await {
        if let Some(photo) = ledger.take(message)? {
            let summary = &mut ledger.summary;
            summary.images += 1;
            summary.faces += photo.record.faces.len() as u64;
            summary.no_face += u64::from(photo.record.faces.is_empty());
            ledger.tell();
        }
    }
    Ok(())
}

type Answer = (Vec<Entry>, Result<Written, ElasticError>);

/// What became of a batch.
struct Written {
    /// One a photo.
    stored: Vec<Stored>,
    /// People of the batch who have the name of somebody who was deleted.
    namesakes: Vec<String>,
}

/// Takes messages until all readers and workers are gone, writes their photos and enters every one in the ledger. On an
/// error the receiver is dropped, which ends the rest of the run.
pub async fn deliver(
    to: Destination,
    delivery: Delivery,
    messages: async_channel::Receiver<Message>,
    ledger: &mut Ledger,
) -> Result<(), IngestError> {
    let mut flights = Flights {
        in_air: JoinSet::new(),
        pace: Pace::new(delivery.batch_faces, delivery.in_flight),
        throttled: 0,
        to,
        mode: delivery.mode,
        restore_deleted: delivery.restore_deleted,
        dry_run: delivery.dry_run,
        people: HashSet::new(),
    };
    let mut batch = Batch::default();
    loop {
        let patience = delivery.linger.saturating_sub(batch.age());
        let message = tokio::time::timeout(patience, messages.recv()).await;
        let (photo, flush) = match message {
            Ok(Ok(message)) => (ledger.take(message)?, false),
            Ok(Err(_)) => break,
            Err(_) => (None, true),
        };
        if let Some(photo) = photo {
            batch.push(*photo);
        }
        // A stream of photos that were done before must not keep the others waiting.
        let flush = flush || batch.age() >= delivery.linger;
        if flush || batch.faces >= flights.pace.faces() || batch.bytes >= delivery.batch_bytes {
            // Waiting here is the back-pressure: the channel fills, then the workers wait.
            while flights.in_air.len() >= flights.pace.in_flight() {
                flights.land(ledger).await?;
            }
            flights.launch(std::mem::take(&mut batch));
        }
        while let Some(landed) = flights.in_air.try_join_next() {
            flights.settle(landed, ledger)?;
        }
    }
    flights.launch(batch);
    while !flights.in_air.is_empty() {
        flights.land(ledger).await?;
    }
    Ok(())
}

/// Batches that have not been answered.
struct Flights {
    in_air: JoinSet<Answer>,
    pace: Pace,
    throttled: u64,
    to: Destination,
    mode: WriteMode,
    restore_deleted: bool,
    dry_run: bool,
    /// Whose names were asked for.
    people: HashSet<String>,
}

impl Flights {
    fn launch(&mut self, batch: Batch) {
        if batch.entries.is_empty() {
            return;
        }
        let (to, mode, restore, dry_run) = (self.to.clone(), self.mode, self.restore_deleted, self.dry_run);
        let given = batch.entries.iter().filter_map(|entry| entry.person.as_ref());
        let people: Vec<String> = given
            .filter(|person| self.people.insert(person.id.clone()))
            .map(|person| person.id.clone())
            .collect();
        self.in_air.spawn(async move {
            let Batch { entries, records, .. } = batch;
            let written = match dry_run {
                false => write(&to, mode, restore, &records, people).await,
                true => store::rehearse(&to, mode, restore, &records)
                    .await
                    .map(|stored| Written {
                        stored,
                        namesakes: Vec::new(),
                    }),
            };
            (entries, written)
        });
    }

    async fn land(&mut self, ledger: &mut Ledger) -> Result<(), IngestError> {
        match self.in_air.join_next().await {
            Some(landed) => self.settle(landed, ledger),
            None => Ok(()),
        }
    }

    fn settle(
        &mut self,
        landed: Result<Answer, tokio::task::JoinError>,
        ledger: &mut Ledger,
    ) -> Result<(), IngestError> {
        let (entries, written) = landed.map_err(|error| IngestError::Worker(error.to_string()))?;
        let throttled = self.to.pulse.throttled.load(Ordering::Relaxed);
        self.pace.landed(throttled > self.throttled);
        self.throttled = throttled;
        let mut done = Vec::with_capacity(entries.len());
        let Written { stored, namesakes } = written?;
        ledger.summary.namesakes.extend(namesakes);
        let run = ledger.summary.run.clone();
        for (entry, stored) in entries.iter().zip(stored) {
            done.extend(ledger.settle(entry, &run, &stored)?);
        }
        ledger.tell();
        ledger.journal.enter(&done)?;
        Ok(())
    }
}

async fn write(
    to: &Destination,
    mode: WriteMode,
    restore_deleted: bool,
    records: &[PhotoRecord],
    people: Vec<String>,
) -> Result<Written, ElasticError> {
    if restore_deleted {
        let lifted: Vec<Lifted> = records.iter().map(PhotoRecord::lifted).collect();
        tombstones::lift(to, &lifted).await?;
    }
    let stored = store::store(to, mode, records).await?;
    let digests: Vec<String> = people.iter().map(|person| tombstones::digest(to, person)).collect();
    let deleted = tombstones::deleted_names(to, &digests).await?;
    let is_new = |person: &String| {
        let photos = records.iter().zip(&stored);
        let faces = photos.flat_map(|(record, stored)| record.faces.iter().zip(&stored.outcomes));
        let mut theirs = faces.filter(|(face, _)| face.person.as_ref().is_some_and(|known| known.id == *person));
        theirs.any(|(_, outcome)| outcome.is_written() || *outcome == Outcome::Unnamed { named: true })
    };
    let namesakes = people.into_iter().zip(digests);
    let namesakes = namesakes.filter(|(person, digest)| deleted.contains(digest) && is_new(person));
    Ok(Written {
        namesakes: namesakes.map(|(person, _)| person).collect(),
        stored,
    })
}

#[derive(Default)]
struct Batch {
    since: Option<Instant>,
    /// One a photo, in the order of `records`.
    entries: Vec<Entry>,
    records: Vec<PhotoRecord>,
    faces: usize,
    bytes: usize,
}

impl Batch {
    /// How long the first photo has waited.
    fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn push(&mut self, Prepared { entry, record }: Prepared) {
        self.since.get_or_insert_with(Instant::now);
        // A photo without a face takes part too: it is done when the batch is.
        self.faces += record.faces.len().max(1);
        for face in &record.faces {
            // About 12 digits a value of the vector, and a kilobyte for the rest.
            let thumbnail = face.face.thumbnail.as_ref().map_or(0, String::len);
            self.bytes += 12 * face.face.embedding.len() + 1024 + thumbnail;
        }
        self.entries.push(entry);
        self.records.push(record);
    }
}
