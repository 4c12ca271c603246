//! The run: one thread walks the source, tasks read, a thread a core prepares photos, the async side writes them.
//! Channels between them are bounded, and so are the bytes in memory: nothing grows with the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use facedex_elastic::Destination;
use facedex_face::FaceEngine;
use tokio::task::JoinSet;

use super::dead_letter::DeadLetter;
use super::deliver::{Delivery, Ledger, Message, deliver, rehearse};
use super::fetch::Fetcher;
use super::journal::Journal;
use super::prepare::Recipe;
use super::profile::{Profile, Times, Work};
use super::progress::{Progress, Show};
use super::reader::{IndexCheck, Loaded, Readers};
use super::report::Report;
use super::source::{Shard, Sink, Source};
use super::{IngestError, Summary};
use crate::budget::{Budget, ThreadBudget};

/// Photos that may wait between two stages, for each worker.
const QUEUE_PER_WORKER: usize = 4;

/// Everything a run needs.
pub struct Run {
    /// Where photos come from.
    pub source: Box<dyn Source>,
    /// Fetches photos that are elsewhere.
    pub fetch: Arc<Fetcher>,
    /// Which part of the source.
    pub shard: Option<Shard>,
    /// Name the person after the folder that holds the photo.
    pub person_from_dir: bool,
    /// Where documents go, and how; nowhere in a dry run, which counts them.
    pub to: Option<(Destination, Delivery)>,
    /// One a worker.
    pub engines: Vec<FaceEngine>,
    /// How photos become documents.
    pub recipe: Recipe,
    /// Memory for decoded photos, shared by all workers.
    pub pixels: ThreadBudget,
    /// Photos that are read at once.
    pub readers: usize,
    /// Bytes of photos that may be in memory before they are decoded.
    pub budget: u64,
    /// Where to ask before any inference whether a photo is there, if that is wanted.
    pub skip_indexed: Option<Destination>,
    /// What earlier runs finished.
    pub journal: Journal,
    /// Where failures are kept.
    pub dead_letter: DeadLetter,
    /// How progress is shown.
    pub show: Show,
    /// Tells the events index.
    pub report: Report,
    /// Set to end the run after what is in flight.
    pub stop: Arc<AtomicBool>,
    /// Where the workers' time goes.
    pub profile: Arc<Profile>,
}

impl Run {
    /// Ingests the whole source (or, without a destination, only looks at it) and comes back when all of it is acknowledged and searchable, or when it was told to
    /// stop and everything that was in flight is.
    pub async fn ingest(self) -> Result<Summary, IngestError> {
        let start = Instant::now();
        let count = self.engines.len();
        let journal = Arc::new(self.journal);
        let pulse = self.to.as_ref().map(|(to, _)| Arc::clone(&to.pulse));
        let progress = Progress::start(self.show, pulse.unwrap_or_default(), self.source.counter());
        let (offers_in, offers) = async_channel::bounded(QUEUE_PER_WORKER * count + self.readers);
        let (held_in, held) = async_channel::bounded(QUEUE_PER_WORKER * count);
        let (loaded_in, loaded) = async_channel::bounded(QUEUE_PER_WORKER * count);
        let (messages_in, messages) = async_channel::bounded(QUEUE_PER_WORKER * count);
        let budget = Budget::new(self.budget);
        let sink = Sink {
            shard: self.shard,
            person_from_dir: self.person_from_dir,
            journal: Arc::clone(&journal),
            budget: budget.clone(),
            run: self.recipe.enroller.run.clone(),
            offers: offers_in,
            held: held_in,
            tasks: tokio::runtime::Handle::current(),
            stop: Arc::clone(&self.stop),
        };
        let walk = spawn_source(self.source, sink);
        let readers = Arc::new(Readers {
            limits: self.recipe.limits,
            budget,
            fetch: self.fetch,
            run: self.recipe.enroller.run.clone(),
            check: self.skip_indexed.map(|to| IndexCheck {
                to,
                engine: self.engines[0].fingerprint().to_owned(),
            }),
        });
        let mut reading = JoinSet::new();
        for way in [&offers, &held].into_iter().cycle().take(2 * self.readers) {
            let (readers, way, offers, held) = (Arc::clone(&readers), way.clone(), offers.clone(), held.clone());
            let (loaded, messages) = (loaded_in.clone(), messages_in.clone());
            reading.spawn(async move {
                let ended = readers.run(way, loaded, messages).await;
                if ended.is_err() {
                    // One that cannot go on ends them all, or the others would wait for its photos.
                    offers.close();
                    held.close();
                }
                ended
            });
        }
        let recipe = Arc::new(self.recipe);
        let mut workers = Vec::new();
        for engine in self.engines {
            let (loaded, messages) = (loaded.clone(), messages_in.clone());
            workers.push(spawn_worker(
                engine,
                &recipe,
                &self.pixels,
                &self.profile,
                loaded,
                messages,
            ));
        }
        watch_queues(&offers, &loaded, &messages);
        let waiting = loaded.downgrade();
        // Ours must go, or the receivers would wait for them for ever.
        drop((offers, held, loaded_in, loaded, messages_in));
        let mut ledger = Ledger {
            summary: Summary {
                run: recipe.enroller.run.clone(),
                ..Summary::default()
            },
            dead_letter: self.dead_letter,
            journal,
            progress,
            report: self.report,
        };
        ledger.tell();
        let delivered = match &self.to {
            Some((to, delivery)) => deliver(to.clone(), *delivery, messages, &mut ledger).await,
            None => rehearse(messages, &mut ledger).await,
        };
        if let Some(waiting) = waiting.upgrade() {
            // After an error the source may still be open, and workers wait for it.
            waiting.close();
        }
        let whole = async {
            for worker in workers {
                // Also after an error: the process must not end while one of them is inside ONNX Runtime. A worker that
                // panicked may have lost the photo in its hands: that is no clean end.
                worker
                    .join()
                    .map_err(|_| IngestError::Worker("it panicked".to_owned()))?;
            }
            delivered?;
            while let Some(ended) = reading.join_next().await {
                ended.map_err(|error| IngestError::Worker(error.to_string()))??;
            }
            walk.join()
                .map_err(|_| IngestError::Worker("the source panicked".to_owned()))?;
            match &self.to {
                Some((to, _)) => Ok(to.refresh().await?),
                None => Ok(()),
            }
        };
        if let Err(error) = whole.await {
            ledger.report.broke_off(&ledger.summary, &error);
            return Err(error);
        }
        let mut summary = ledger.summary;
        summary.time(start.elapsed());
        summary.interrupted = self.stop.load(Ordering::Relaxed);
        summary.dead_letter = ledger.dead_letter.finish();
        ledger.report.end(&summary);
        Ok(summary)
    }
}

fn spawn_source(mut source: Box<dyn Source>, mut sink: Sink) -> JoinHandle<()> {
    // Being stopped is how a run ends early, and no error.
    std::thread::spawn(move || drop(source.walk(&mut sink)))
}

fn spawn_worker(
    mut engine: FaceEngine,
    recipe: &Arc<Recipe>,
    pixels: &ThreadBudget,
    profile: &Arc<Profile>,
    loaded: async_channel::Receiver<Loaded>,
    messages: async_channel::Sender<Message>,
) -> JoinHandle<()> {
    let (recipe, pixels, profile) = (Arc::clone(recipe), pixels.clone(), Arc::clone(profile));
    std::thread::spawn(move || {
        let mut since = Instant::now();
        while let Ok(photo) = loaded.recv_blocking() {
            let mut times = Times::default();
            times.add(Work::WaitForPhoto, lap(&mut since));
            let message = match recipe.prepare(&mut engine, photo, &pixels, &mut times) {
                Ok(photo) => Message::Ready(Box::new(photo)),
                Err(failure) => Message::Failed(failure),
            };
            since = Instant::now();
            let open = messages.send_blocking(message).is_ok();
            times.add(Work::WaitForDelivery, lap(&mut since));
            profile.add(&times);
            if !open {
                return;
            }
        }
    })
}

/// The time since `since`, which becomes now.
fn lap(since: &mut Instant) -> Duration {
    let now = Instant::now();
    let passed = now - *since;
    *since = now;
    passed
}

/// Publishes the depths of the queues until they are closed.
fn watch_queues<A: Send + 'static, B: Send + 'static, C: Send + 'static>(
    offers: &async_channel::Receiver<A>,
    loaded: &async_channel::Receiver<B>,
    messages: &async_channel::Receiver<C>,
) {
    // Weak: a receiver of ours would keep the channels open after the run.
    let (offers, loaded, messages) = (offers.downgrade(), loaded.downgrade(), messages.downgrade());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while let (Some(offers), Some(loaded), Some(messages)) =
            (offers.upgrade(), loaded.upgrade(), messages.upgrade())
        {
            for (queue, depth) in [
                ("read", offers.len()),
                ("prepare", loaded.len()),
                ("deliver", messages.len()),
            ] {
                metrics::gauge!("facedex_queue_depth", "queue" => queue).set(depth as f64);
            }
            drop((offers, loaded, messages));
            ticks.tick().await;
        }
    });
}
