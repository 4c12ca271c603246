//! What a search answers, read in one way.

use serde::Deserialize;

/// Shards that fail make the whole search fail: a missing shard must not look like missing faces.
pub(crate) const STRICT: [(&str, &str); 1] = [("allow_partial_search_results", "false")];

/// The most hits that one search gives (`index.max_result_window`).
pub const MAX_HITS: usize = 10_000;

/// The answer to a search for documents of one kind.
#[derive(Deserialize)]
pub(crate) struct Reply<T> {
    /// The point in time that the next search has to name; see `scan`.
    #[serde(default)]
    pub(crate) pit_id: Option<String>,
    pub(crate) hits: Hits<T>,
}

/// The documents found.
#[derive(Deserialize)]
pub(crate) struct Hits<T> {
    #[serde(default)]
    pub(crate) total: Total,
    pub(crate) hits: Vec<T>,
}

/// How many there are in all, where that was asked for.
#[derive(Default, Deserialize)]
pub(crate) struct Total {
    pub(crate) value: u64,
}
