//! Collections that are made, and those that are made ready to be changed.

use std::sync::Arc;

use elasticsearch::http::Method;
use facedex_base::space::Space;
use serde_json::{Value, json};

use crate::schema::collection::{Collection, INDEX_PREFIX, check_name, write_alias};
use crate::schema::layout::Layout;
use crate::schema::mapping::{self, FACES};
use crate::schema::origin::Origin;
use crate::schema::resolve::open;
use crate::schema::{template, tombstones, versions};
use crate::transport::client::Payload;
use crate::transport::retry::RetryPolicy;
use crate::{Client, Destination, ElasticError};

impl Destination {
    /// A collection that was opened.
    pub fn new(client: Arc<Client>, collection: &Collection, policy: RetryPolicy) -> Self {
        Self::alias(client, &collection.name, &collection.collection_id, policy)
    }

    /// Opens a collection to change it: see [`prepare`].
    ///
    /// # Errors
    ///
    /// As for `schema::resolve::open` and [`prepare`].
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
///
/// # Errors
///
/// Fails where the index takes no writes, or the account may not change its mapping.
pub async fn prepare(to: &Destination, collection: &Collection) -> Result<(), ElasticError> {
    if !(collection.origin == Origin::Own && mapping::is_newest(FACES, collection.mapping_version)?) {
        to.patiently(|| mapping::bring_up_if_there(&to.client, FACES, &collection.index))
            .await?;
    }
    tombstones::prepare(to, &collection.names).await
}

/// Refuses a collection whose index takes no writes. One that a migration blocks for its last look is not refused: that is over
/// soon.
///
/// # Errors
///
/// [`ElasticError::Blocked`] with the block.
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

/// Refuses a name that is taken or could not be an alias; gives the index that a new collection of this name has.
///
/// # Errors
///
/// Fails where the name is no alias's, or there is something of this name.
pub async fn expect_free(client: &Client, name: &str) -> Result<String, ElasticError> {
    check_name(name)?;
    match open(client, name).await {
        Err(ElasticError::NoCollection { .. }) => Ok(format!("{INDEX_PREFIX}{name}-000001")),
        Err(error) => Err(error),
        Ok(existing) => Err(ElasticError::Exists {
            name: name.to_owned(),
            reason: format!("space {}, index {}", existing.space, existing.index),
        }),
    }
}

/// Makes a collection: template, index, alias.
///
/// # Errors
///
/// Fails where the name is taken or Elasticsearch refuses the template or the index.
pub async fn create(client: &Client, name: &str, space: &Space, layout: &Layout) -> Result<Collection, ElasticError> {
    let index = expect_free(client, name).await?;
    template::install_faces_template(client).await?;
    let versions = client.versions().await?;
    let mut body = template::index_body(layout, space, &uuid::Uuid::new_v4().to_string(), &versions);
    body["aliases"] = json!({name: {"is_write_index": true}, write_alias(name, &space.name): {}});
    let made: Result<Value, _> = client
        .json(
            "create the collection",
            Method::Put,
            &format!("/{index}"),
            &[],
            Payload::Json(&body),
        )
        .await;
    match made {
        Err(ElasticError::Refused { kind, .. }) if kind == "resource_already_exists_exception" => {
            // The look-up before found no alias.
            Err(ElasticError::Exists {
                name: name.to_owned(),
                reason: format!("its index {index} is there, without the alias: add the alias, or remove the index"),
            })
        }
        Err(error) => Err(error),
        Ok(_) => {
            mapping::bring_up_if_there(client, FACES, &index).await?;
            tombstones::leave_to_the_former(client, name).await?;
            open(client, name).await
        }
    }
}

/// Looks a collection up and makes it where it is missing; in both cases it holds vectors of the space.
///
/// # Errors
///
/// Fails where the collection is in doubt or holds vectors of another space, or cannot be made.
pub async fn open_or_create(
    client: &Client,
    name: &str,
    space: &Space,
    layout: &Layout,
) -> Result<Collection, ElasticError> {
    match open(client, name).await {
        Err(ElasticError::NoCollection { .. }) => match create(client, name, space, layout).await {
            // Somebody else made it in between: theirs is as good.
            Err(ElasticError::Exists { .. }) => open(client, name).await,
            other => other,
        },
        other => other,
    }
    .and_then(|collection| collection.expect_space(&space.name).map(|()| collection))
}

/// Gives a collection of this space, which another version of facedex made or whose alias was renamed, the alias by which
/// vectors are written.
pub(crate) async fn claim(client: &Client, name: &str, space: &str) -> Result<(), ElasticError> {
    let collection = open(client, name).await?;
    collection.expect_space(space)?;
    let path = format!("/{}/_alias/{}", collection.index, write_alias(name, space));
    let _: Value = client
        .json("add an alias", Method::Put, &path, &[], Payload::None)
        .await?;
    Ok(())
}
