//! Where documents go: a collection, how patiently it is tried, and what that looks like right now to those who watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::transport::client::Payload;
use crate::transport::node_versions::Versions;
use crate::transport::retry::{Backoff, RetryPolicy};
use crate::{Client, ElasticError};

/// A collection that is written to.
#[derive(Clone)]
pub struct Destination {
    /// The cluster.
    pub client: Arc<Client>,
    /// The collection's name: an alias. Within `elastic` also one of our indices' own names.
    pub collection: String,
    /// The collection's id, by which its deleted faces are known.
    pub id: String,
    /// Whether `collection` is an index's own name. Otherwise it must be an alias, lest a write make an index.
    pub(crate) is_index: bool,
    /// How patiently requests are repeated.
    pub policy: RetryPolicy,
    /// What is going on.
    pub pulse: Arc<Pulse>,
}

/// Figures of the requests so far. They only ever grow, but for [`Pulse::waiting`].
#[derive(Debug, Default)]
pub struct Pulse {
    /// Requests that were answered.
    pub requests: AtomicU64,
    /// Bytes sent, repeated ones included.
    pub bytes: AtomicU64,
    /// Time until the answer, in microseconds.
    pub micros: AtomicU64,
    /// Requests and items that were sent again.
    pub retries: AtomicU64,
    /// Of these, for being too many (429).
    pub throttled: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
}

/// Elasticsearch accepts nothing at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub reason: String,
    /// Longer than the policy's patience: somebody should look.
    pub paused: bool,
}

impl Pulse {
    /// Set while nothing is accepted.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An answer came.
    pub fn answered(&self, bytes: usize, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        metrics::counter!("facedex_bulk_bytes_total").increment(bytes as u64);
        metrics::histogram!("facedex_bulk_seconds").record(took.as_secs_f64());
    }

    fn set(&self, waiting: Option<Waiting>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}

impl Destination {
    /// An index of ours that is no collection's.
    pub(crate) fn index(client: Arc<Client>, name: &str, policy: RetryPolicy) -> Self {
        Self {
            is_index: true,
            ..Self::alias(client, name, "", policy)
        }
    }

    /// The collection that has this alias and this id.
    pub(crate) fn alias(client: Arc<Client>, name: &str, id: &str, policy: RetryPolicy) -> Self {
        Self {
            client,
            collection: name.to_owned(),
            id: id.to_owned(),
            is_index: false,
            policy,
            pulse: Arc::default(),
        }
    }

    /// [`Client::versions`], repeated until there is an answer that repeating would not change.
    ///
    /// # Errors
    ///
    /// As for [`Client::versions`]; [`ElasticError::GaveUp`] when the policy's time is over.
    pub async fn versions(&self) -> Result<Arc<Versions>, ElasticError> {
        self.patiently(|| self.client.versions()).await
    }

    /// The same collection, written to at another place: an index of ours by its own name.
    pub(crate) fn at(&self, index: &str) -> Self {
        Self {
            collection: index.to_owned(),
            is_index: true,
            ..self.clone()
        }
    }

    /// The same collection, written to by another alias.
    pub(crate) fn through(&self, alias: &str) -> Self {
        Self {
            collection: alias.to_owned(),
            is_index: false,
            ..self.clone()
        }
    }

    /// Something was accepted.
    pub fn progress(&self, backoff: &mut Backoff) {
        backoff.progress();
        self.pulse.set(None);
    }

    /// Waits before `count` operations are sent again; fails when the policy's time is over.
    ///
    /// # Errors
    ///
    /// [`ElasticError::GaveUp`] when the policy's time is over.
    pub async fn wait(
        &self,
        backoff: &mut Backoff,
        count: usize,
        reason: &str,
        retry_after: Option<Duration>,
    ) -> Result<(), ElasticError> {
        self.pulse.retries.fetch_add(count as u64, Ordering::Relaxed);
        metrics::counter!("facedex_bulk_retries_total").increment(count as u64);
        let Some(pause) = backoff.pause(retry_after) else {
            self.pulse.set(None);
            return Err(ElasticError::GaveUp {
                seconds: backoff.stuck_for().as_secs(),
                reason: reason.to_owned(),
            });
        };
        let paused = backoff.stuck_for() >= self.policy.patience;
        let before = self.pulse.waiting();
        if paused && !before.is_some_and(|before| before.paused) {
            tracing::error!(
                reason,
                "paused: elasticsearch has accepted nothing for {} s; nothing is lost, it goes on by itself when elasticsearch does, Ctrl-C twice ends the run so that it can be taken up again",
                backoff.stuck_for().as_secs()
            );
        } else if !paused {
            tracing::warn!(
                operations = count,
                pause_ms = pause.as_millis() as u64,
                reason,
                "will send again"
            );
        }
        self.pulse.set(Some(Waiting {
            reason: reason.to_owned(),
            paused,
        }));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// [`Client::json`], repeated until it has an answer that repeating would not change. The request must be safe to
    /// repeat.
    ///
    /// # Errors
    ///
    /// As for [`Client::json`]; [`ElasticError::GaveUp`] when the policy's time is over.
    pub async fn json<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<T, ElasticError> {
        self.json_checked(operation, method, path, query, payload, |_| Ok(()))
            .await
    }

    /// The same, where a success may still say that something is not there yet: `check` makes an error of such an answer.
    ///
    /// # Errors
    ///
    /// As for `json`.
    pub async fn json_checked<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
        check: impl Fn(&T) -> Result<(), ElasticError>,
    ) -> Result<T, ElasticError> {
        self.repeated(|| async {
            let (answer, pause) = self
                .client
                .json_and_pause::<T>(operation, method, path, query, payload)
                .await;
            (answer.and_then(|answer| check(&answer).map(|()| answer)), pause)
        })
        .await
    }

    /// [`Destination::json`] for an answer that is read elsewhere.
    pub(crate) async fn bytes(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Bytes, ElasticError> {
        self.repeated(|| self.client.bytes_and_pause(operation, method, path, query, payload))
            .await
    }

    /// Work of several requests, repeated until it has an answer that repeating would not change. It must be safe to repeat.
    ///
    /// # Errors
    ///
    /// What the work answers; [`ElasticError::GaveUp`] when the policy's time is over.
    pub async fn patiently<T, F>(&self, work: impl Fn() -> F) -> Result<T, ElasticError>
    where
        F: Future<Output = Result<T, ElasticError>>,
    {
        self.repeated(|| async { (work().await, None) }).await
    }

    /// Tries until there is an answer that repeating would not change; each attempt gives the pause that the server asked for
    /// as well.
    async fn repeated<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ElasticError>
    where
        F: Future<Output = (Result<T, ElasticError>, Option<Duration>)>,
    {
        let mut backoff = Backoff::new(self.policy);
        loop {
            match attempt().await {
                (Err(error), pause) if error.is_transient() => {
                    self.wait(&mut backoff, 1, &error.to_string(), pause).await?;
                }
                (other, _) => {
                    self.progress(&mut backoff);
                    return other;
                }
            }
        }
    }

    /// Changes settings of an index of ours.
    pub(crate) async fn put_settings(
        &self,
        operation: &str,
        index: &str,
        settings: &Value,
    ) -> Result<(), ElasticError> {
        let path = format!("/{index}/_settings");
        let _: Value = self
            .json(operation, Method::Put, &path, &[], Payload::Json(settings))
            .await?;
        Ok(())
    }

    /// Makes everything written so far visible to searches.
    ///
    /// # Errors
    ///
    /// As for `json`; also where a shard could not refresh.
    pub async fn refresh(&self) -> Result<(), ElasticError> {
        let path = format!("/{}/_refresh", self.collection);
        let _: Value = self
            .json("refresh the collection", Method::Post, &path, &[], Payload::None)
            .await?;
        Ok(())
    }
}
