//! A collection that is to be changed: made ready for it, or refused.

use std::sync::Arc;

use super::origin::Origin;
use super::{Collection, open};
use crate::schema::mapping::{self, FACES};
use crate::schema::{tombstones, versions};
use crate::transport::retry::RetryPolicy;
use crate::{Client, Destination, ElasticError};

impl Destination {
    /// A collection that was opened.
    pub fn new(client: Arc<Client>, collection: &Collection, policy: RetryPolicy) -> Self {
        Self::alias(client, &collection.name, &collection.collection_id, policy)
    }

    /// Opens a collection to change it: see [`prepare`].
    pub async fn open(
        client: Arc<Client>,
        name: &str,
        policy: RetryPolicy,
    ) -> Result<(Self, Collection), ElasticError> {
        let collection = open(&client, name).await?;
        let to = Self::new(client, &collection, policy);
        prepare(&to, &collection).await?;
        Ok((to, collection))
    }
}

/// Makes a collection that was opened ready to be changed: its index has every field that is written and facedex's mark, and
/// what an earlier release noted of deleted faces by the collection's name is noted by its id.
pub async fn prepare(to: &Destination, collection: &Collection) -> Result<(), ElasticError> {
    if !(collection.origin == Origin::Own && mapping::is_newest(FACES, collection.mapping_version)?) {
        to.patiently(|| mapping::bring_up_if_there(&to.client, FACES, &collection.index))
            .await?;
    }
    tombstones::prepare(to, &collection.names).await
}

/// Refuses a collection whose index takes no writes. One that a migration blocks for its last look is not refused: that is over
/// soon.
pub async fn expect_writable(client: &Client, collection: &Collection) -> Result<(), ElasticError> {
    let Some(block) = collection.write_block else {
        return Ok(());
    };
    let whole = versions::list(client, collection).await?;
    let is_moving = whole
        .versions
        .iter()
        .any(|version| version.state == versions::State::Building);
    match is_moving && block == "write" {
        true => Ok(()),
        false => Err(ElasticError::Blocked {
            index: collection.index.clone(),
            setting: format!("index.blocks.{block}"),
        }),
    }
}
