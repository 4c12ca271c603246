//! kNN searches and counts, as they go over the wire. What a hit means is decided in `query/`.

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Payload;
use super::collection::{Collection, VECTOR_FIELD};
use super::document::Person;
use super::filter::{self, Filter};
use super::{Client, ElasticError};
use crate::face::Rect;

/// Elasticsearch's own limit of `k` and `num_candidates`.
pub const MAX_CANDIDATES: usize = 10_000;

/// An approximate nearest-neighbour search.
#[derive(Debug, Clone)]
pub struct Knn<'q> {
    /// The query's embedding.
    pub vector: &'q [f32],
    /// How many hits, at most [`MAX_CANDIDATES`].
    pub k: usize,
    /// Candidates each shard looks at; more find more of the true neighbours and take longer.
    pub num_candidates: usize,
    /// How many times `k` candidates are rescored with the whole vectors, where the index holds shortened ones.
    pub oversample: f32,
    /// Hits below this cosine are left out.
    pub min_similarity: Option<f64>,
    /// Conditions that hits must meet; they are applied while the graph is searched.
    pub filters: &'q [Filter],
}

/// A stored face that was found.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Hit {
    /// The face's `_id`.
    pub id: String,
    /// Cosine with the query, -1 to 1.
    pub similarity: f64,
    /// Who it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Where the photo was read.
    pub image: String,
    /// The face's box in that photo, in pixels.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// The user's own keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct SearchReply {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<RawHit>,
}

#[derive(Deserialize)]
struct RawHit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_score")]
    score: f64,
    #[serde(rename = "_source")]
    source: super::document::StoredFace,
}

/// Runs a kNN search; hits come best first. A shard that fails makes the whole search fail: a missing shard must not
/// look like a missing person.
pub async fn knn(client: &Client, collection: &Collection, query: &Knn<'_>) -> Result<Vec<Hit>, ElasticError> {
    const OPERATION: &str = "search";
    let k = query.k.clamp(1, MAX_CANDIDATES);
    let mut clause = json!({
        "field": VECTOR_FIELD,
        "query_vector": query.vector,
        "k": k,
        "num_candidates": query.num_candidates.clamp(k, MAX_CANDIDATES),
    });
    if collection.index_type.is_quantised() {
        clause["rescore_vector"] = json!({"oversample": query.oversample});
    }
    if let Some(similarity) = query.min_similarity {
        clause["similarity"] = json!(similarity);
    }
    if let Some(conditions) = filter::query(query.filters) {
        clause["filter"] = conditions;
    }
    let body = json!({
        "knn": clause,
        "size": k,
        "_source": ["person", "image.uri", "face.box", "labels"],
    });
    let path = format!("/{}/_search", collection.name);
    let strict = [("allow_partial_search_results", "false")];
    let start = Instant::now();
    let reply: Result<SearchReply, _> = client
        .read(OPERATION, Method::POST, &path, &strict, Payload::Json(&body))
        .await;
    metrics::histogram!("facedex_knn_duration_seconds").record(start.elapsed().as_secs_f64());
    let reply = reply?;
    reply
        .hits
        .hits
        .into_iter()
        .map(|hit| {
            let bbox = hit
                .source
                .face
                .ok_or_else(|| ElasticError::unexpected(OPERATION, format!("face {} without a box", hit.id)))?;
            Ok(Hit {
                id: hit.id,
                similarity: cosine(hit.score),
                person: hit.source.person,
                image: hit.source.image.uri,
                bbox: bbox.bbox,
                labels: hit.source.labels,
            })
        })
        .collect()
}

/// The number of faces that meet the conditions.
pub async fn count(client: &Client, collection: &str, filters: &[Filter]) -> Result<u64, ElasticError> {
    let body = json!({"query": filter::query(filters).unwrap_or_else(|| json!({"match_all": {}}))});
    let reply: Value = client
        .read(
            "count faces",
            Method::POST,
            &format!("/{collection}/_count"),
            &[],
            Payload::Json(&body),
        )
        .await?;
    // A count without some shards would lower the threshold of a search that sees them.
    if reply["_shards"]["failed"].as_u64() > Some(0) {
        return Err(ElasticError::unexpected("count faces", "not all shards answered"));
    }
    reply["count"]
        .as_u64()
        .ok_or_else(|| ElasticError::unexpected("count faces", "no count in the answer"))
}

/// The cosine behind a `_score` of a field with cosine similarity, which is `(1 + cosine) / 2`.
fn cosine(score: f64) -> f64 {
    2.0 * score - 1.0
}
