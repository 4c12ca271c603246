//! The indices that belong to a collection: the one behind its alias, older ones that a migration left, one that is being
//! built.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::elastic::client::Payload;
use crate::elastic::collection::{self, Collection, INDEX_PREFIX};
use crate::elastic::{Client, Destination, ElasticError};

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
            // Closed ones too: what cannot be read is better said than passed over.
            &[("expand_wildcards", "all")],
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

/// All indices behind the collection that `to` names, the current one first. What is to be gone must be gone from all of
/// them.
pub async fn of(to: &Destination) -> Result<Vec<Version>, ElasticError> {
    let collection = collection::open(&to.client, &to.collection).await?;
    let mut versions = list(&to.client, &collection).await?;
    versions.sort_by_key(|version| version.index != collection.index);
    Ok(versions)
}

impl Version {
    /// Where writes to it go: by the alias where that names it, so that a move to another index is noticed.
    pub fn destination(&self, to: &Destination) -> Destination {
        match self.state {
            State::Live => to.clone(),
            State::Building | State::Kept => to.at(&self.index),
        }
    }

    /// Lets writes into an older index that takes none; says whether it did. A block on the current one is somebody's move
    /// to another index, and is waited for.
    pub async fn lift_block(&self, to: &Destination) -> Result<bool, ElasticError> {
        let lifts = self.blocked && self.state == State::Kept;
        if lifts {
            self.set_block(to, false).await?;
        }
        Ok(lifts)
    }

    /// Closes it again.
    pub async fn restore_block(&self, to: &Destination, lifted: bool) -> Result<(), ElasticError> {
        if lifted {
            self.set_block(to, true).await?;
        }
        Ok(())
    }

    async fn set_block(&self, to: &Destination, blocked: bool) -> Result<(), ElasticError> {
        let settings = json!({"index": {"blocks": {"write": blocked}}});
        to.put_settings("change the write block of an older index", &self.index, &settings)
            .await
    }
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
