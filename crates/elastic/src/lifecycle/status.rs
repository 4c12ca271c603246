//! What a collection holds, and how it fares.

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::lifecycle::recall;
use crate::schema::collection::Collection;
use crate::schema::resolve;
use crate::transport::client::Payload;
use crate::transport::node_versions::Versions;
use crate::{Client, ElasticError};

/// Figures of a collection.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// What it is.
    #[serde(flatten)]
    pub collection: Collection,
    /// Faces that a search can find now.
    pub faces: u64,
    /// Different persons, counted by Elasticsearch's `cardinality` (approximate above some thousands).
    pub persons: u64,
    /// Different photos, counted likewise.
    pub photos: u64,
    /// Bytes on disk, all copies.
    pub bytes: u64,
    /// green, yellow or red.
    pub health: String,
    /// The versions of Elasticsearch that the cluster's nodes run, oldest first.
    pub elasticsearch: Versions,
    /// Why searches may find less than the documentation says, and what to do.
    pub warnings: Vec<String>,
}

/// Counts what a collection holds.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn status(client: &Client, name: &str) -> Result<Status, ElasticError> {
    const OPERATION: &str = "tell the collection's status";
    let versions = client.versions().await?;
    let collection = resolve::open(client, name).await?;
    let aggregations = json!({
        "size": 0,
        "track_total_hits": true,
        "aggs": {
            "persons": {"cardinality": {"field": "person.id", "precision_threshold": 40_000}},
            "photos": {"cardinality": {"field": "image.hash", "precision_threshold": 40_000}},
        },
    });
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let counted: Value = client
        .read(
            OPERATION,
            Method::Post,
            &format!("/{name}/_search"),
            &[],
            Payload::Json(&aggregations),
        )
        .await?;
    if number(&counted["_shards"]["failed"]) > 0 {
        return Err(ElasticError::unexpected(OPERATION, "not all shards answered"));
    }
    let stats: Value = client
        .read(
            OPERATION,
            Method::Get,
            &format!("/{name}/_stats/store"),
            &[],
            Payload::None,
        )
        .await?;
    let health: Value = client
        .read(
            OPERATION,
            Method::Get,
            &format!("/_cluster/health/{name}"),
            &[],
            Payload::None,
        )
        .await?;
    let faces = number(&counted["hits"]["total"]["value"]);
    let warnings = recall::warnings(client, &collection, faces).await?;
    Ok(Status {
        collection,
        faces,
        persons: number(&counted["aggregations"]["persons"]["value"]),
        photos: number(&counted["aggregations"]["photos"]["value"]),
        bytes: number(&stats["_all"]["total"]["store"]["size_in_bytes"]),
        health: health["status"].as_str().unwrap_or("unknown").to_owned(),
        elasticsearch: Versions::clone(&versions),
        warnings,
    })
}
