//! Every index behind a collection: the one that its alias names, older ones that are kept after a move, and one that is
//! being filled for the next. What is to be gone must be gone from all of them.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::Payload;
use super::collection::{INDEX_PREFIX, open};
use super::{Destination, ElasticError};

/// An index behind a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub index: String,
    /// The alias names it.
    pub is_current: bool,
    /// It takes no writes (`index.blocks.write`).
    pub is_blocked: bool,
}

/// All indices behind the collection that `to` names, the current one first.
pub async fn of(to: &Destination) -> Result<Vec<Version>, ElasticError> {
    let current = open(&to.client, &to.collection).await?;
    // Closed ones too: a search in them fails, which is better than to pass over what they hold.
    let query = [("expand_wildcards", "all"), ("flat_settings", "true")];
    let path = format!("/{INDEX_PREFIX}*");
    let found: BTreeMap<String, Value> = to
        .json(
            "look up the collection's indices",
            Method::GET,
            &path,
            &query,
            Payload::None,
        )
        .await?;
    let prefix = format!("{INDEX_PREFIX}{}-", to.collection);
    let is_version = |index: &str| {
        let number = index.strip_prefix(&prefix);
        number.is_some_and(|number| number.len() == 6 && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let mut versions: Vec<Version> = found
        .into_iter()
        .filter(|(index, facts)| {
            is_version(index) || facts["mappings"]["_meta"]["collection_id"] == current.collection_id.as_str()
        })
        .map(|(index, facts)| Version {
            is_current: index == current.index,
            is_blocked: facts["settings"]["index.blocks.write"] == "true",
            index,
        })
        .collect();
    versions.sort_by_key(|version| !version.is_current);
    Ok(versions)
}

impl Version {
    /// Where writes to it go: by the alias where that names it, so that a move to another index is noticed.
    pub fn destination(&self, to: &Destination) -> Destination {
        match self.is_current {
            true => to.clone(),
            false => to.at(&self.index),
        }
    }

    /// Lets writes into an older index that takes none; says whether it did. A block on the current one is somebody's move
    /// to another index, and is waited for.
    pub async fn lift_block(&self, to: &Destination) -> Result<bool, ElasticError> {
        let lifts = self.is_blocked && !self.is_current;
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
        let path = format!("/{}/_settings", self.index);
        let settings = json!({"index": {"blocks": {"write": blocked}}});
        let _: Value = to
            .json(
                "change the write block of an older index",
                Method::PUT,
                &path,
                &[],
                Payload::Json(&settings),
            )
            .await?;
        Ok(())
    }
}
