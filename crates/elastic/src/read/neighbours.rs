//! The nearest stored faces of many vectors at once.

use std::fmt::Write as _;

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::read::effort::Effort;
use crate::read::knn::{Knn, similarity};
use crate::schema::collection::Collection;
use crate::transport::client::Payload;
use crate::wire::reply::Hits;
use crate::{Client, ElasticError};

const OPERATION: &str = "find neighbours";

/// How many neighbours, and how hard to look.
#[derive(Debug, Clone, Copy)]
pub struct Nearness {
    /// Neighbours of each face, itself among them.
    pub k: usize,
    /// How far each shard looks.
    pub effort: Effort,
    /// Less alike faces are no neighbours.
    pub min_similarity: f64,
}

#[derive(Deserialize)]
struct Reply {
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    hits: Option<Hits<Hit>>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_score")]
    score: f64,
}

/// The neighbours of each vector with their similarities, best first.
///
/// # Errors
///
/// Fails where one of the searches does, or a shard does not answer.
pub async fn of(
    client: &Client,
    collection: &Collection,
    vectors: &[&[f32]],
    nearness: Nearness,
) -> Result<Vec<Vec<(String, f64)>>, ElasticError> {
    client.versions().await?;
    let header = json!({"index": collection.name, "allow_partial_search_results": false});
    let mut lines = String::new();
    for vector in vectors {
        let knn = Knn {
            vector,
            k: nearness.k,
            effort: nearness.effort,
            min_similarity: Some(nearness.min_similarity),
            filters: &[],
        };
        let body = json!({"query": knn.query(collection), "size": knn.size(), "_source": false});
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{header}\n{body}");
    }
    let body = Bytes::from(lines);
    let reply: Reply = client
        .json(OPERATION, Method::Post, "/_msearch", &[], Payload::Ndjson(&body))
        .await?;
    if reply.responses.len() != vectors.len() {
        return Err(ElasticError::unexpected(OPERATION, "not every search was answered"));
    }
    let read = |response: Response| match (response.hits, response.error) {
        (Some(hits), None) => Ok(hits
            .hits
            .into_iter()
            .map(|hit| (hit.id, similarity(collection.metric, hit.score)))
            .collect()),
        (_, error) => Err(ElasticError::unexpected(
            OPERATION,
            error.map_or_else(|| "a search without hits".to_owned(), |error| error.to_string()),
        )),
    };
    reply.responses.into_iter().map(read).collect()
}
