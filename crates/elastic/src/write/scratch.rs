//! Collections that a measurement makes for itself, and removes; what one that was killed has left is removed by the next.

use std::sync::Arc;

use elasticsearch::http::Method;
use facedex_base::space::Space;
use serde_json::Value;

use crate::schema::collection::Collection;
use crate::schema::layout::Layout;
use crate::schema::make;
use crate::schema::resolve;
use crate::transport::client::Payload;
use crate::write::alive::{self, Alive};
use crate::{Client, ElasticError};

/// How the collections are called, before a UUID.
const PREFIX: &str = "eval-";
/// What is done in such a collection; see `alive`.
const WORK: &str = "measurement";

/// Makes one. It is in use as long as the second part of the answer is held.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn create(client: &Arc<Client>, space: &Space, layout: &Layout) -> Result<(Collection, Alive), ElasticError> {
    let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
    let made = make::create(client, &name, space, layout).await?;
    let alive = alive::show(client, &made.index, WORK).await?;
    Ok((made, alive))
}

fn is_ours(name: &str) -> bool {
    let uuid = name.strip_prefix(PREFIX).unwrap_or_default();
    uuid.len() == 32 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes those that nobody uses any more.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn sweep(client: &Client) -> Result<(), ElasticError> {
    let listed = resolve::list(client).await?.collections;
    for listed in listed.into_iter().filter(|listed| is_ours(&listed.name)) {
        match is_in_use(client, &listed.index).await {
            Ok(true) => continue,
            Ok(false) => {}
            // Another one was faster.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        }
        tracing::warn!(
            collection = listed.name,
            "removed what a measurement that did not end had left"
        );
        remove(client, &listed.name).await?;
    }
    Ok(())
}

/// Whether a measurement shows signs of life in it, or it is so new that it has not come to that yet.
async fn is_in_use(client: &Client, index: &str) -> Result<bool, ElasticError> {
    if let Some(is_in_use) = alive::is_shown(client, index, WORK).await? {
        return Ok(is_in_use);
    }
    let path = format!("/{index}/_settings/index.creation_date");
    let reply: Value = client
        .read("read when an index was made", Method::Get, &path, &[], Payload::None)
        .await?;
    let made = reply[index]["settings"]["index"]["creation_date"].as_str();
    let made = made.and_then(|made| made.parse().ok()).unwrap_or(0);
    let age = jiff::Timestamp::now().as_millisecond().saturating_sub(made);
    Ok(u128::try_from(age).is_ok_and(|age| age < alive::DEAD.as_millis()))
}

/// Removes the index of such a collection, if there is one.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn remove(client: &Client, name: &str) -> Result<(), ElasticError> {
    let found = match resolve::open(client, name).await {
        Ok(found) => found,
        // The run failed before it made one.
        Err(ElasticError::NoCollection { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let path = format!("/{}", found.index);
    let removed: Result<Value, _> = client
        .json(
            "remove the measurement's collection",
            Method::Delete,
            &path,
            &[],
            Payload::None,
        )
        .await;
    match removed {
        // Another one was faster.
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed.map(|_| ()),
    }
}
