//! The engines' threads, and the queue before them. Models run here and nowhere else, so that no photo holds up the
//! threads that answer requests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use facedex_face::FaceEngine;
use facedex_face::models::catalog::Embedder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::{ApiError, Code};

type Job = Box<dyn FnOnce(&mut FaceEngine) + Send>;

/// The pool.
pub struct Inference {
    jobs: async_channel::Sender<Job>,
    /// Photos that may be decoded, wait and be worked on.
    seats: Arc<Semaphore>,
    shared: Arc<Shared>,
    threads: usize,
    embedder: Embedder,
    fingerprint: String,
}

/// The right to have one photo looked at.
#[derive(Debug)]
pub struct Seat(#[expect(dead_code, reason = "held for its destructor")] OwnedSemaphorePermit);

/// What the threads tell.
#[derive(Default)]
struct Shared {
    alive: AtomicUsize,
    /// A running mean of a job's time, in microseconds.
    micros: AtomicU64,
}

/// Counts a thread as alive while it is.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inference {
    /// Starts a thread for each engine; `queue` photos may wait for them. `None` without an engine.
    pub fn start(engines: Vec<FaceEngine>, queue: usize) -> std::io::Result<Option<Self>> {
        let Some(first) = engines.first() else {
            return Ok(None);
        };
        let (embedder, fingerprint) = (first.embedder().clone(), first.fingerprint().to_owned());
        // What may be in it is bounded by the seats.
        let (jobs, waiting) = async_channel::unbounded::<Job>();
        let (shared, threads) = (Arc::new(Shared::default()), engines.len());
        let seats = Arc::new(Semaphore::new(
            queue.saturating_add(threads).min(Semaphore::MAX_PERMITS),
        ));
        for (number, mut engine) in engines.into_iter().enumerate() {
            shared.alive.fetch_add(1, Ordering::Relaxed);
            let (waiting, alive) = (waiting.clone(), Alive(shared.clone()));
            std::thread::Builder::new()
                .name(format!("inference-{number}"))
                .spawn(move || {
                    while let Ok(job) = waiting.recv_blocking() {
                        metrics::gauge!("facedex_inference_queue_depth").set(waiting.len() as f64);
                        let start = Instant::now();
                        job(&mut engine);
                        alive.0.learn(start.elapsed());
                    }
                })?;
        }
        Ok(Some(Self {
            jobs,
            seats,
            shared,
            threads,
            embedder,
            fingerprint,
        }))
    }

    /// The facts of the embedder that all engines have.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// The engines' fingerprint.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether all engines run.
    pub fn is_whole(&self) -> bool {
        self.shared.alive.load(Ordering::Relaxed) == self.threads
    }

    /// A seat for a photo; where all are taken it is refused.
    pub fn seat(&self) -> Result<Seat, ApiError> {
        let seat = self.seats.clone().try_acquire_owned();
        seat.map(Seat).map_err(|_| self.overloaded())
    }

    /// Runs `work` on an engine. Work whose client left while it waited is not begun.
    pub async fn run<T: Send + 'static>(
        &self,
        seat: Seat,
        work: impl FnOnce(&mut FaceEngine) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, wait) = oneshot::channel();
        let queued = Instant::now();
        let job: Job = Box::new(move |engine| {
            let _seat = seat;
            if answer.is_closed() {
                metrics::counter!("facedex_inference_dropped_total").increment(1);
                return;
            }
            metrics::histogram!("facedex_inference_wait_seconds").record(queued.elapsed().as_secs_f64());
            let start = Instant::now();
            // Photos come from anywhere: a decoder that panics on one of them must not take the thread with it.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(engine)));
            metrics::histogram!("facedex_inference_duration_seconds").record(start.elapsed().as_secs_f64());
            // Nobody may be waiting any more.
            let _ = answer.send(outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
        });
        if self.jobs.try_send(job).is_err() {
            tracing::error!("no inference thread is left");
            return Err(ApiError::plain(Code::Internal));
        }
        metrics::gauge!("facedex_inference_queue_depth").set(self.jobs.len() as f64);
        wait.await.unwrap_or_else(|_| {
            tracing::error!("an inference thread ended");
            Err(ApiError::plain(Code::Internal))
        })
    }

    /// The refusal, with the time in which the queue should have been worked off.
    fn overloaded(&self) -> ApiError {
        let mean = Duration::from_micros(self.shared.micros.load(Ordering::Relaxed));
        let rounds = self.jobs.len().div_ceil(self.threads).max(1);
        let pause = mean.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        ApiError::plain(Code::Overloaded).after(pause.clamp(Duration::from_secs(1), Duration::from_secs(60)))
    }
}

impl Shared {
    /// An exponential mean over about eight jobs; a lost update between two threads does no harm.
    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.micros.load(Ordering::Relaxed);
        let mean = if before == 0 {
            took
        } else {
            before - before / 8 + took / 8
        };
        self.micros.store(mean, Ordering::Relaxed);
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let reason = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(reason, "looking at a photo panicked");
    ApiError::plain(Code::Internal)
}
