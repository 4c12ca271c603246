//! Force-merge: fewer segments are fewer graphs to search. For a collection that is no longer written to.

use std::time::Duration;

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::storage::{self, Storage};
use crate::schema::collection::Collection;
use crate::transport::client::Payload;
use crate::wire::reply::STRICT;
use crate::write::load;
use crate::{Client, Destination, ElasticError};

/// Faces newer than this are a sign of a collection that is still written to.
const RECENT: Duration = Duration::from_secs(3600);
/// How often a merge that runs is asked for.
const POLL: Duration = Duration::from_millis(500);

/// What a merge would find, or found.
#[derive(Debug, Clone, Serialize)]
pub struct Merge {
    /// Segments of all primary shards.
    pub segments: u64,
    /// Deleted documents that they hold.
    pub deleted: u64,
    /// Primary shards.
    pub shards: u64,
    /// Why the collection counts as live, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
}

impl Merge {
    /// Whether there is anything to gain.
    pub fn is_needed(&self) -> bool {
        self.segments > self.shards || self.deleted > 0
    }
}

/// Looks at the segments, and whether somebody writes to the collection.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn measure(client: &Client, collection: &Collection) -> Result<Merge, ElasticError> {
    let Storage { segments, deleted, .. } = storage::storage(client, collection).await?;
    Ok(Merge {
        segments,
        deleted,
        shards: u64::from(collection.shards),
        live: signs_of_life(client, collection).await?,
    })
}

async fn signs_of_life(client: &Client, collection: &Collection) -> Result<Option<String>, ElasticError> {
    if let Some(load) = load::in_progress(client, collection).await? {
        return Ok(Some(load.meaning(&collection.name)));
    }
    let newest: Value = client
        .json(
            "find the newest face",
            Method::Post,
            &format!("/{}/_search", collection.index),
            &STRICT,
            Payload::Json(&json!({"size": 0, "aggs": {"newest": {"max": {"field": "@timestamp"}}}})),
        )
        .await?;
    let Some(newest) = newest["aggregations"]["newest"]["value"].as_f64() else {
        return Ok(None);
    };
    let age = jiff::Timestamp::now().as_millisecond() - newest as i64;
    let recent = u128::try_from(age).is_ok_and(|age| age < RECENT.as_millis()) || age < 0;
    Ok(recent.then(|| format!("its newest face was stored {} s ago", age / 1000)))
}

/// Comes back when no merge of the collection's is under way and nothing is left to merge by itself.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn settle(client: &Client, collection: &Collection) -> Result<(), ElasticError> {
    let path = format!("/{}/_stats/merge,segments", collection.index);
    let mut before = None;
    loop {
        let stats: Value = client
            .json("tell the merges under way", Method::Get, &path, &[], Payload::None)
            .await?;
        let total = &stats["_all"]["total"];
        let (running, done) = (total["merges"]["current"].as_u64(), total["merges"]["total"].as_u64());
        let segments = total["segments"]["count"].as_u64();
        // A merge that ends may let another begin: twice the same, with none between, is the end.
        if running == Some(0) && before == Some((done, segments)) {
            return Ok(());
        }
        before = Some((done, segments));
        tokio::time::sleep(POLL).await;
    }
}

/// Merges each shard into one segment, and comes back when that is done, however long it takes.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn merge(to: &Destination, collection: &Collection) -> Result<(), ElasticError> {
    const OPERATION: &str = "merge the segments";
    let task = load::force_merge(&to.client, collection).await?;
    let path = format!("/_tasks/{task}");
    loop {
        let state: Value = to.json(OPERATION, Method::Get, &path, &[], Payload::None).await?;
        if state["completed"] == true {
            let failed = &state["response"]["_shards"]["failed"];
            let error = &state["error"];
            return match error.is_null() && failed.as_u64().unwrap_or(0) == 0 {
                true => Ok(()),
                false => Err(ElasticError::unexpected(
                    OPERATION,
                    format!("failed shards: {failed}; {error}"),
                )),
            };
        }
        tokio::time::sleep(POLL).await;
    }
}
