//! The events index, written on the side: the work hands an event over and never waits. The queue has a fixed length; what
//! does not fit, or what Elasticsearch does not take in time, is counted and dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::events::event::Event;
use crate::schema::mapping::{self, EVENTS};
use crate::schema::template::install_template;
use crate::transport::retry::RetryPolicy;
use crate::wire::bulk::{self, Action, Operation, Verdict};
use crate::{Client, Destination, ElasticError};

const TEMPLATE_NAME: &str = "facedex-events";
/// Events that may wait; about a kilobyte each.
const QUEUE: usize = 4096;
/// A request holds at most so many,
const BATCH: usize = 500;
/// and is sent when its first event has waited for so long.
const LINGER: Duration = Duration::from_secs(5);
/// It is tried no longer than this, since more events come.
const POLICY: RetryPolicy = RetryPolicy {
    cap: Duration::from_secs(5),
    give_up_after: Some(Duration::from_secs(30)),
    ..RetryPolicy::DEFAULT
};
const OPERATION: &str = "write events";
/// At the end what is waiting has so long to be written.
const CLOSING: Duration = Duration::from_secs(10);

/// Where events go; nowhere by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Queue>>);

struct Queue {
    waiting: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

/// What became of the events.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn add(&self, written: usize, dropped: usize) {
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        metrics::counter!("facedex_events_written_total").increment(written as u64);
        metrics::counter!("facedex_events_dropped_total").increment(dropped as u64);
    }
}

enum Message {
    /// An event as JSON.
    Event(Bytes),
    /// Tell when everything before is done with.
    Flush(oneshot::Sender<()>),
}

impl Events {
    /// Starts to write events to this cluster, if they are wanted.
    pub fn open(client: &Arc<Client>, are_wanted: bool) -> Self {
        if !are_wanted {
            return Self::default();
        }
        let (waiting, messages) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            client: Arc::clone(client),
            counts: Arc::clone(&counts),
            is_prepared: false,
            is_failing: false,
        };
        tokio::spawn(writer.run(messages));
        Self(Some(Arc::new(Queue { waiting, counts })))
    }

    /// Whether events go anywhere.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Takes an event, or drops it.
    pub fn send(&self, event: &Event) {
        let Some(queue) = &self.0 else { return };
        // Text and numbers always become JSON.
        let Ok(json) = serde_json::to_vec(event) else { return };
        if queue.waiting.try_send(Message::Event(json.into())).is_err() {
            queue.counts.add(0, 1);
        }
    }

    /// Comes back when what was sent is written or dropped, and says how much was dropped.
    pub async fn close(&self) {
        let Some(queue) = &self.0 else { return };
        let (done, written) = oneshot::channel();
        let flush = async {
            if queue.waiting.send(Message::Flush(done)).await.is_ok() {
                // The writer only ends with the process.
                let _ = written.await;
            }
        };
        let in_time = tokio::time::timeout(CLOSING, flush).await.is_ok();
        let dropped = queue.counts.dropped.load(Ordering::Relaxed);
        if dropped > 0 || !in_time {
            tracing::warn!(
                dropped,
                in_time,
                "not all events were written; the work itself is not affected"
            );
        }
    }
}

struct Writer {
    client: Arc<Client>,
    counts: Arc<Counts>,
    is_prepared: bool,
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(first) = messages.recv().await {
            let deadline = Instant::now() + LINGER;
            let (mut events, mut flush) = (Vec::new(), None);
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Event(event) => events.push(event),
                    Message::Flush(done) => flush = Some(done),
                }
                if events.len() == BATCH || flush.is_some() {
                    break;
                }
                next = tokio::time::timeout_at(deadline, messages.recv()).await.ok().flatten();
            }
            if !events.is_empty() {
                self.write(&operations(events)).await;
            }
            // Whoever waited may have left.
            let _ = flush.map(|done| done.send(()));
        }
    }

    async fn write(&mut self, events: &[Operation]) {
        // In one index, also if it is tried until next month: in another one its ids would be new.
        let index = jiff::Timestamp::now().strftime("facedex-events-%Y.%m").to_string();
        let verdicts = match self.try_write(&index, events).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                self.counts.add(0, events.len());
                if !self.is_failing {
                    tracing::warn!(
                        reason = error.to_string(),
                        "events cannot be written and are dropped; --no-events turns them off"
                    );
                    self.is_failing = true;
                }
                return;
            }
        };
        self.is_failing = false;
        // One that is there is there from an attempt before.
        let is_written = |verdict: &&Verdict| matches!(verdict, Verdict::Done(_) | Verdict::Taken { .. });
        let written = verdicts.iter().filter(is_written).count();
        self.counts.add(written, events.len() - written);
        if let Err(refused) = bulk::expect_done(OPERATION, &verdicts) {
            tracing::warn!(reason = refused.to_string(), "elasticsearch refused events");
        }
    }

    async fn try_write(&mut self, index: &str, events: &[Operation]) -> Result<Vec<Verdict>, ElasticError> {
        let to = Destination::index(Arc::clone(&self.client), index, POLICY);
        if !self.is_prepared {
            // Before anything is written: an index that is made without it would guess its mapping.
            to.patiently(|| async {
                install_template(&self.client, TEMPLATE_NAME, EVENTS).await?;
                mapping::bring_up_if_there(&self.client, EVENTS, index).await
            })
            .await?;
            self.is_prepared = true;
        }
        bulk::execute(&to, events).await
    }
}

/// Every event has an id of ours, so that one that is sent twice is there once.
fn operations(events: Vec<Bytes>) -> Vec<Operation> {
    let create = |event| Operation {
        id: uuid::Uuid::new_v4().simple().to_string(),
        action: Action::Create(event),
    };
    events.into_iter().map(create).collect()
}
