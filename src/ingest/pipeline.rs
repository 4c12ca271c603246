//! The run: one thread walks the source, a thread a core prepares photos, the async side writes them. Channels between
//! them are bounded, so that memory does not grow with the source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::dead_letter::DeadLetter;
use super::deliver::{Delivery, Ledger, Message, deliver};
use super::prepare::Recipe;
use super::progress::Progress;
use super::source::{self, Found};
use super::{IngestError, Stage, Summary};
use crate::elastic::{Client, collection};
use crate::face::FaceEngine;

/// Photos that may wait between two stages, for each worker.
const QUEUE_PER_WORKER: usize = 4;

/// Everything a run needs.
pub struct Run {
    /// Where documents go.
    pub client: Arc<Client>,
    /// The collection's name.
    pub collection: String,
    /// One a worker.
    pub engines: Vec<FaceEngine>,
    /// How photos become documents.
    pub recipe: Recipe,
    /// How documents are sent.
    pub delivery: Delivery,
    /// Where failures are kept.
    pub dead_letter: PathBuf,
    /// No progress bar.
    pub quiet: bool,
}

impl Run {
    /// Ingests everything under `roots` (see [`source::roots`]) and comes back when all of it is acknowledged and
    /// searchable.
    pub async fn ingest(self, roots: Vec<PathBuf>) -> Result<Summary, IngestError> {
        let start = Instant::now();
        let progress = Progress::new(self.quiet);
        progress.count_ahead(&roots);
        let recipe = Arc::new(self.recipe);
        let (paths_in, paths) = async_channel::bounded(QUEUE_PER_WORKER * self.engines.len());
        let (messages_in, messages) = async_channel::bounded(QUEUE_PER_WORKER * self.engines.len());
        let mut threads = vec![spawn_walk(&roots, &recipe, paths_in, messages_in.clone())];
        for engine in self.engines {
            threads.push(spawn_worker(engine, &recipe, paths.clone(), messages_in.clone()));
        }
        // Ours must go, or the receivers would wait for it for ever.
        drop((paths, messages_in));
        let mut ledger = Ledger {
            summary: Summary {
                run: recipe.run.clone(),
                ..Summary::default()
            },
            dead_letter: DeadLetter::new(self.dead_letter),
            progress,
        };
        let delivered = deliver(
            Arc::clone(&self.client),
            &self.collection,
            self.delivery,
            &recipe,
            messages,
            &mut ledger,
        )
        .await;
        ledger.progress.finish();
        delivered?;
        for thread in threads {
            // A worker that panicked may have lost the photo in its hands: that is no clean end.
            thread
                .join()
                .map_err(|_| IngestError::Worker("it panicked".to_owned()))?;
        }
        let mut summary = ledger.summary;
        if summary.images == 0 {
            let names: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
            return Err(IngestError::NothingFound(names.join(", ")));
        }
        collection::refresh(&self.client, &self.collection).await?;
        summary.seconds = start.elapsed().as_secs_f64();
        summary.faces_per_second = summary.faces as f64 / summary.seconds;
        summary.dead_letter = ledger.dead_letter.written().map(ToOwned::to_owned);
        Ok(summary)
    }
}

fn spawn_walk(
    roots: &[PathBuf],
    recipe: &Arc<Recipe>,
    paths: async_channel::Sender<PathBuf>,
    messages: async_channel::Sender<Message>,
) -> std::thread::JoinHandle<()> {
    let (roots, recipe) = (roots.to_vec(), Arc::clone(recipe));
    std::thread::spawn(move || {
        for found in source::walk(&roots) {
            // A closed channel means that the run has stopped.
            let open = match found {
                Found::Photo(path) => paths.send_blocking(path).is_ok(),
                Found::Skipped => messages.send_blocking(Message::Skipped).is_ok(),
                Found::Unreadable { path, reason } => {
                    let failure = recipe.failure(&path, Stage::Read, reason, None);
                    messages.send_blocking(Message::Failed(Box::new(failure))).is_ok()
                }
            };
            if !open {
                return;
            }
        }
    })
}

fn spawn_worker(
    mut engine: FaceEngine,
    recipe: &Arc<Recipe>,
    paths: async_channel::Receiver<PathBuf>,
    messages: async_channel::Sender<Message>,
) -> std::thread::JoinHandle<()> {
    let recipe = Arc::clone(recipe);
    std::thread::spawn(move || {
        while let Ok(path) = paths.recv_blocking() {
            let message = match recipe.prepare(&mut engine, &path) {
                Ok(photo) => Message::Ready(photo),
                Err(failure) => Message::Failed(failure),
            };
            if messages.send_blocking(message).is_err() {
                return;
            }
        }
    })
}
