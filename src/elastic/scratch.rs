//! Collections that a measurement makes for itself, and removes; what one that was killed has left is removed by the next.

use std::sync::Arc;

use elasticsearch::http::Method;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::client::Payload;
use super::collection::{self, Collection, Layout};
use super::{Client, ElasticError, alive};
use crate::models::catalog::Space;

/// How the collections are called, before a UUID.
const PREFIX: &str = "eval-";
/// The field below `ingest` in whose `meta` such a collection says that it is in use, and the note's name.
const FIELD: &str = "host";
const NOTE: &str = "measurement";

/// Makes one. It is in use as long as the second part of the answer is held.
pub async fn create(
    client: &Arc<Client>,
    space: &Space,
    layout: &Layout,
) -> Result<(Collection, AbortOnDropHandle<()>), ElasticError> {
    let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
    let made = collection::create(client, &name, space, layout).await?;
    let (client, index) = (Arc::clone(client), made.index.clone());
    let beat = move || {
        let (client, index) = (Arc::clone(&client), index.clone());
        async move { alive::write_note(&client, &index, FIELD, &json!({NOTE: alive::sign()})).await }
    };
    beat().await?;
    Ok((made, alive::keep(beat)))
}

fn is_ours(name: &str) -> bool {
    let uuid = name.strip_prefix(PREFIX).unwrap_or_default();
    uuid.len() == 32 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes those that nobody uses any more.
pub async fn sweep(client: &Client) -> Result<(), ElasticError> {
    let listed = collection::list(client).await?.collections;
    for listed in listed.into_iter().filter(|listed| is_ours(&listed.name)) {
        let mapping = alive::mapping(client, &listed.index).await?;
        let sign = alive::note(&mapping, FIELD)[NOTE].as_str().unwrap_or_default();
        if !alive::is_recent(sign, jiff::Timestamp::now()) {
            tracing::warn!(
                collection = listed.name,
                "removed what a measurement that did not end had left"
            );
            remove(client, &listed.name).await?;
        }
    }
    Ok(())
}

/// Removes the index of such a collection, if there is one.
pub async fn remove(client: &Client, name: &str) -> Result<(), ElasticError> {
    let found = match collection::open(client, name).await {
        Ok(found) => found,
        // The run failed before it made one.
        Err(ElasticError::NoCollection { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let path = format!("/{}", found.index);
    let _: Value = client
        .json(
            "remove the measurement's collection",
            Method::Delete,
            &path,
            &[],
            Payload::None,
        )
        .await?;
    Ok(())
}
