//! Pages of one and the same state of an index (a point in time), however many faces there are and however long it takes.
//!
//! Whatever reads all of something reads it here: the id that an answer gives is the one that the next request names, every request
//! is repeated as patiently as others, and the point in time is closed on every way out on which the process goes on.

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::transport::client::Payload;
use crate::wire::reply::{Reply, STRICT};
use crate::{Client, Destination, ElasticError};

/// For how long a point in time lives on after each request: longer than the photos of a batch may take to be read again, and
/// longer than a migration makes writers wait.
const KEEP: &str = "1h";

/// A point in time of the collection or index that `to` names. It is closed when it is dropped.
pub(crate) struct Scan {
    to: Destination,
    pit: Option<String>,
}

impl Scan {
    /// Holds on to what searches see now.
    pub(crate) async fn open(to: &Destination) -> Result<Self, ElasticError> {
        #[derive(Deserialize)]
        struct Opened {
            id: String,
        }
        let path = format!("/{}/_pit", to.collection);
        let query = [("keep_alive", KEEP)];
        let opened: Opened = to
            .json("open a point in time", Method::Post, &path, &query, Payload::None)
            .await?;
        Ok(Self {
            to: to.clone(),
            pit: Some(opened.id),
        })
    }

    /// The hits of a search in it.
    pub(crate) async fn search<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        mut body: Value,
    ) -> Result<Vec<T>, ElasticError> {
        body["pit"] = json!({"id": self.pit, "keep_alive": KEEP});
        let reply: Reply<T> = self
            .to
            .json(operation, Method::Post, "/_search", &STRICT, Payload::Json(&body))
            .await?;
        if reply.pit_id.is_some() {
            self.pit = reply.pit_id;
        }
        Ok(reply.hits.hits)
    }

    /// A part of it that is read side by side with others, and ends before it does.
    pub(crate) fn slice(&self) -> Slice {
        Slice {
            to: self.to.clone(),
            pit: self.pit.clone().unwrap_or_default(),
        }
    }

    /// Closes it, and waits until that is done.
    pub(crate) async fn close(mut self) {
        if let Some(pit) = self.pit.take() {
            close(&self.to.client, &pit).await;
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let (Some(pit), Ok(tasks)) = (self.pit.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let client = self.to.client.clone();
        tasks.spawn(async move { close(&client, &pit).await });
    }
}

/// A part of a scan.
pub(crate) struct Slice {
    to: Destination,
    pit: String,
}

impl Slice {
    /// The answer to a search in it, as it came: reading it takes longer than the request.
    pub(crate) async fn search(&self, operation: &str, body: &mut Value) -> Result<Bytes, ElasticError> {
        body["pit"] = json!({"id": self.pit, "keep_alive": KEEP});
        self.to
            .bytes(operation, Method::Post, "/_search", &STRICT, Payload::Json(body))
            .await
    }

    /// Takes up the point in time that an answer names.
    pub(crate) fn follow(&mut self, pit: Option<String>) {
        if let Some(pit) = pit {
            self.pit = pit;
        }
    }
}

/// One that stays open ends by itself.
async fn close(client: &Client, id: &str) {
    let body = json!({"id": id});
    let closed: Result<Value, _> = client
        .json(
            "close a point in time",
            Method::Delete,
            "/_pit",
            &[],
            Payload::Json(&body),
        )
        .await;
    if let Err(error) = closed {
        tracing::debug!(reason = error.to_string(), "a point in time stays open for an hour");
    }
}
