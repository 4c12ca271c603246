//! What a search answers, read in one way.

use serde::Deserialize;
use serde_json::Value;

use super::bulk;
use super::document::StoredFace;

/// Shards that fail make the whole search fail: a missing shard must not look like missing faces.
pub(super) const STRICT: [(&str, &str); 1] = [("allow_partial_search_results", "false")];

/// The answer to a search for documents of one kind.
#[derive(Deserialize)]
pub(super) struct Reply<T> {
    /// The point in time that the next search has to name; see `scan`.
    #[serde(default)]
    pub(super) pit_id: Option<String>,
    pub(super) hits: Hits<T>,
}

/// The documents found.
#[derive(Deserialize)]
pub(super) struct Hits<T> {
    #[serde(default)]
    pub(super) total: Total,
    pub(super) hits: Vec<T>,
}

/// How many there are in all, where that was asked for.
#[derive(Default, Deserialize)]
pub(super) struct Total {
    pub(super) value: u64,
}

/// A face that is to be changed.
#[derive(Deserialize)]
pub(super) struct Versioned {
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    #[serde(rename = "_source", default)]
    pub(super) source: Option<StoredFace>,
    #[serde(default)]
    pub(super) sort: Vec<Value>,
}

impl Versioned {
    /// The version at which it was found.
    pub(super) fn version(&self) -> bulk::Version {
        bulk::Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }
}
