//! Readers: from a photo that a source offers to its bytes in memory, many at once, within the run's memory budget.

use std::sync::Arc;

use bytes::Bytes;
use facedex_elastic::schema::document::image_hash;
use facedex_elastic::write::store;
use facedex_elastic::{Destination, ElasticError};
use facedex_face::image::{ImageError, Limits, read};

use super::deliver::Message;
use super::fetch::Fetcher;
use super::source::{Content, Entry, Held, Item, Offer};
use super::{Failure, Stage};
use crate::budget::{Budget, Reservation};

/// A photo whose bytes are there.
#[derive(Debug)]
pub struct Loaded {
    /// What is known of it.
    pub entry: Entry,
    /// Its content.
    pub held: Held,
    /// The first part of its faces' ids.
    pub hash: String,
}

/// Asks the index, before any inference, whether a photo's faces are all there.
pub struct IndexCheck {
    /// Where it asks.
    pub to: Destination,
    /// Faces of another engine do not count.
    pub engine: String,
}

/// What every reader shares.
pub struct Readers {
    /// What a photo may cost.
    pub limits: Limits,
    /// Bounds the bytes in memory.
    pub budget: Budget,
    /// For photos that are elsewhere.
    pub fetch: Arc<Fetcher>,
    /// The run, for failures.
    pub run: String,
    /// Where `--skip-indexed` asks.
    pub check: Option<IndexCheck>,
}

impl Readers {
    /// Takes offers until the source has ended or nobody takes what is read.
    pub async fn run(
        &self,
        offers: async_channel::Receiver<Offer>,
        loaded: async_channel::Sender<Loaded>,
        messages: async_channel::Sender<Message>,
    ) -> Result<(), ElasticError> {
        while let Ok(offer) = offers.recv().await {
            let message = match offer {
                Offer::Photo(item) => match self.take(*item).await? {
                    Taken::Loaded(photo) => {
                        if loaded.send(*photo).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Taken::Indexed => Message::Done,
                    Taken::Failed(failure) => Message::Failed(failure),
                },
                Offer::Done => Message::Done,
                Offer::Skipped => Message::Skipped,
                Offer::Failed(failure) => Message::Failed(failure),
            };
            if messages.send(message).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn take(&self, item: Item) -> Result<Taken, ElasticError> {
        let entry = item.entry;
        let held = match item.content {
            Content::Bytes(held) => Ok(held),
            Content::File(path) => self.read_file(path, entry.size).await,
            Content::Remote(url) => {
                let fetched = self.fetch.fetch(&url, &self.limits, &self.budget).await;
                fetched.map_err(|reason| (Stage::Read, reason))
            }
        };
        let held = match held {
            Ok(held) => held,
            Err((stage, reason)) => {
                let failure = Failure::new(&entry, stage, reason, &self.run);
                return Ok(Taken::Failed(Box::new(failure)));
            }
        };
        let hash = image_hash(&held.bytes);
        if let Some(check) = &self.check {
            let person = entry.person.as_ref().map(|person| person.id.as_str());
            if store::is_complete(&check.to, &hash, &check.engine, person).await? {
                return Ok(Taken::Indexed);
            }
        }
        Ok(Taken::Loaded(Box::new(Loaded { entry, held, hash })))
    }

    async fn read_file(&self, path: std::path::PathBuf, size: Option<u64>) -> Result<Held, (Stage, String)> {
        let permit: Reservation = self.budget.reserve(size.unwrap_or(self.limits.max_bytes)).await;
        let limits = self.limits;
        let bytes = tokio::task::spawn_blocking(move || read(&path, &limits))
            .await
            .map_err(|error| (Stage::Read, error.to_string()))?
            .map_err(|error| {
                let stage = if matches!(error, ImageError::Io(_)) {
                    Stage::Read
                } else {
                    Stage::Decode
                };
                (stage, error.to_string())
            })?;
        Ok(Held {
            bytes: Bytes::from(bytes),
            permit,
        })
    }
}

enum Taken {
    Loaded(Box<Loaded>),
    Indexed,
    Failed(Box<Failure>),
}
