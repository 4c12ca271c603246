//! The indices that belong to a collection: the one behind its alias, older ones that a migration left, one that is being
//! built.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::elastic::client::Payload;
use crate::elastic::collection::{Collection, INDEX_PREFIX};
use crate::elastic::{Client, ElasticError};

/// An index of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The index.
    pub index: String,
    /// Counted from 1.
    pub number: u32,
    /// What it is for.
    pub state: State,
    /// Whether it takes no writes.
    pub blocked: bool,
}

/// What an index of a collection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// An alias stands for it.
    Live,
    /// A migration is filling it, or was cut off while it did.
    Building,
    /// A migration left it behind; nothing searches it.
    Kept,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    aliases: BTreeMap<String, Value>,
    #[serde(default)]
    mappings: Value,
    settings: Value,
}

/// The index of this number.
pub fn index_name(collection: &str, number: u32) -> String {
    format!("{INDEX_PREFIX}{collection}-{number:06}")
}

/// The alias by which an unfinished index is written to: bulk requests name aliases only. No collection can have this
/// name, since it begins as the indices do.
pub fn building_alias(collection: &str) -> String {
    format!("{INDEX_PREFIX}{collection}-building")
}

/// The number of a version from its index.
fn number(collection: &str, index: &str) -> Option<u32> {
    let digits = index
        .strip_prefix(INDEX_PREFIX)?
        .strip_prefix(collection)?
        .strip_prefix('-')?;
    (digits.len() >= 6).then(|| digits.parse().ok()).flatten()
}

/// All indices of a collection, oldest first. Whether one belongs to it is told by the UUID in its `_meta`.
pub async fn list(client: &Client, collection: &Collection) -> Result<Vec<Version>, ElasticError> {
    let name = &collection.name;
    let found: BTreeMap<String, Described> = client
        .json(
            "list the collection's indices",
            Method::Get,
            &format!("/{INDEX_PREFIX}{name}-*"),
            &[],
            Payload::None,
        )
        .await?;
    let building = building_alias(name);
    let mut versions: Vec<Version> = found
        .into_iter()
        .filter(|(_, index)| index.mappings["_meta"]["collection_id"] == collection.collection_id.as_str())
        .filter_map(|(index, described)| {
            let state = if described.aliases.contains_key(&building) {
                State::Building
            } else if index == collection.index || !described.aliases.is_empty() {
                State::Live
            } else {
                State::Kept
            };
            Some(Version {
                number: number(name, &index)?,
                index,
                state,
                blocked: described.settings["index"]["blocks"]["write"] == "true",
            })
        })
        .collect();
    versions.sort_by_key(|version| version.number);
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        assert_eq!(index_name("a", 7), "facedex-faces-a-000007");
        assert_eq!(number("a", "facedex-faces-a-000007"), Some(7));
        assert_eq!(number("a", "facedex-faces-a-1000000"), Some(1_000_000));
        // Another collection's, and none.
        assert_eq!(number("a", "facedex-faces-a-b-000001"), None);
        assert_eq!(number("a", "facedex-faces-a-7"), None);
    }
}
