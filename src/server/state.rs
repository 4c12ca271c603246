//! What all requests share.

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use facedex_elastic::events::writer::Events;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::make;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::transport::trace;
use facedex_elastic::{Client, Destination};
use facedex_face::image::Limits;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::access::{Access, AccessSettings};
use super::audit::Audit;
use super::error::{ApiError, Code};
use super::es_proxy::EsProxy;
use super::inference::Inference;
use super::memory::{BodyRoom, Memory};

/// How the server was asked to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// Certificate chain and private key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The collection that has to be there before the server counts as ready.
    pub collection: Option<String>,
    /// Photos that may wait for an engine.
    pub queue: usize,
    /// Requests that may be under way.
    pub concurrency: usize,
    /// Largest body, in bytes.
    pub max_body: usize,
    /// What bodies and pixels may take at a time, in bytes.
    pub memory: u64,
    /// Who may do what.
    pub access: AccessSettings,
    /// Where enrolments, deletions and searches are written down.
    pub audit_log: Option<PathBuf>,
    /// Whether indices that Elasticsearch's account may not see are left out of changes knowingly.
    pub visible_only: bool,
    /// Whether requests are told to the events index.
    pub events: bool,
    /// What a photo may cost.
    pub limits: Limits,
    /// Photos in one request under `/es/`.
    pub max_photos: usize,
    /// The longest that a request may take.
    pub timeout: Duration,
}

/// What all requests share.
pub struct App {
    /// The cluster.
    pub elastic: Arc<Client>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What was done, and by whom.
    pub audit: Audit,
    /// How requests went, for dashboards.
    pub events: Events,
    /// The engines.
    pub inference: Inference,
    /// How the server was asked to run.
    pub settings: Settings,
    /// Requests that may still be worked on.
    pub places: Arc<Semaphore>,
    /// What requests may hold.
    pub memory: Memory,
    /// Changes under way.
    pub changes: TaskTracker,
    /// Changes of persons go one after the other: one would restore a write block under the other's feet.
    pub persons: Arc<Mutex<()>>,
    /// Indices that are ready to be changed, with the names that they had then.
    pub prepared: std::sync::Mutex<HashSet<(String, Vec<String>)>>,
    /// What requests under `/es/` share.
    pub es_proxy: EsProxy,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// This process, in the documents that it writes.
    pub run: String,
    /// This machine, in the documents that it writes.
    pub host: String,
}

impl App {
    /// A collection to write to, ready to be changed. Somebody waits for the answer: it is tried for half of the request's
    /// time, not for ever.
    pub async fn destination(&self, collection: &Collection) -> Result<Destination, ApiError> {
        make::expect_writable(&self.elastic, collection).await?;
        let patience = self.settings.timeout / 2;
        let policy = RetryPolicy {
            cap: Duration::from_secs(2),
            patience,
            give_up_after: Some(patience),
            ..RetryPolicy::default()
        };
        let to = Destination::new(self.elastic.clone(), collection, policy);
        // Once for each index and its names: nothing but an older facedex undoes it.
        let ready = (collection.index.clone(), collection.names.clone());
        let prepared = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ready = prepared().contains(&ready);
        if !is_ready {
            make::prepare(&to, collection).await?;
            prepared().insert(ready);
        }
        Ok(to)
    }

    /// Runs a change to its end, whoever still waits for it: half of one (a write block that is not restored, a photo of
    /// which some faces are stored) must not be left because a client has gone or a request's time is over.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        place: Place,
        change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        place.0.begun.store(true, Ordering::Relaxed);
        let change = trace::carrying(trace::headers(), change).in_current_span();
        let change = async move {
            let _place = place;
            change.await
        };
        self.changes.spawn(change).await.unwrap_or_else(|error| {
            tracing::error!(reason = error.to_string(), "a change failed");
            Err(ApiError::plain(Code::Internal))
        })
    }
}

/// A request's place among those that are worked on, and the room of its body, as an extension of it. A change keeps both
/// to its end.
#[derive(Debug, Clone)]
pub struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    permit: OnceLock<OwnedSemaphorePermit>,
    room: std::sync::Mutex<BodyRoom>,
    begun: AtomicBool,
}

impl Place {
    /// Of a request of which nothing is here yet.
    pub fn new(room: BodyRoom) -> Self {
        Self(Arc::new(Held {
            permit: OnceLock::new(),
            room: std::sync::Mutex::new(room),
            begun: AtomicBool::default(),
        }))
    }

    /// Takes the place that this permit is for.
    pub fn take(&self, permit: OwnedSemaphorePermit) {
        let _ = self.0.permit.set(permit);
    }

    /// Takes room for `bytes` more of the body, or of what it inflates to.
    pub fn grow(&self, bytes: usize) -> Result<(), ApiError> {
        self.0.room.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes)
    }

    /// Whether a change was begun, which goes on also if the request ends.
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }
}
