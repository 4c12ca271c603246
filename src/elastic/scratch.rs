//! Collections that a measurement makes for itself, and removes.

use elasticsearch::http::Method;
use serde_json::Value;

use super::client::Payload;
use super::{Client, ElasticError, collection};

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
