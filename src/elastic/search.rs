//! kNN searches and counts, as they go over the wire. What a hit means is decided in `query/`.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Payload;
use super::collection::{Collection, VECTOR_FIELD};
use super::document::Person;
use super::filter::{self, Filter};
use super::{Client, ElasticError};
use crate::face::Rect;
use crate::models::catalog::Metric;

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
    /// How many times `num_candidates` each shard looks at and rescores with the whole vectors, where the index holds
    /// shortened ones: Elasticsearch (9.2.0) takes `num_candidates` for a shard's k, so `k` times this plays no part.
    pub oversample: f32,
    /// Hits below this similarity are left out.
    pub min_similarity: Option<f64>,
    /// Conditions that hits must meet; they are applied while the graph is searched.
    pub filters: &'q [Filter],
}

/// What a hit needs of the stored document.
const SOURCE: [&str; 4] = ["person", "image.uri", "face.box", "labels"];

/// A stored face that was found.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Hit {
    /// The face's `_id`.
    pub id: String,
    /// Similarity with the query: the cosine, -1 to 1.
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

/// What Elasticsearch answers to a search for faces.
#[derive(Deserialize)]
pub struct SearchReply {
    hits: Hits,
}

impl SearchReply {
    /// The faces of an answer that is scored as `metric` is, best first.
    pub fn hits(self, metric: Metric) -> Result<Vec<Hit>, ElasticError> {
        let hits = self.hits.hits.into_iter();
        hits.map(|hit| {
            let similarity = similarity(metric, hit.score);
            hit.with("search", similarity)
        })
        .collect()
    }
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
    let body = body(collection, query);
    // By the index that was looked at, not by its alias: that may stand for vectors of another space by now.
    let path = format!("/{}/_search", collection.index);
    let strict = [("allow_partial_search_results", "false")];
    let start = Instant::now();
    let reply: Result<SearchReply, _> = client
        .read(OPERATION, Method::Post, &path, &strict, Payload::Json(&body))
        .await;
    metrics::histogram!("facedex_knn_duration_seconds").record(start.elapsed().as_secs_f64());
    reply?.hits(collection.metric)
}

/// A kNN search as it goes over the wire.
fn body(collection: &Collection, query: &Knn<'_>) -> Value {
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
        clause["similarity"] = json!(limit(collection.metric, similarity));
    }
    if let Some(conditions) = filter::query(query.filters) {
        clause["filter"] = conditions;
    }
    json!({
        "knn": clause,
        "size": k,
        "_source": SOURCE,
    })
}

/// How many pairs of vectors a search compares in the graphs of each node's shards, as Elasticsearch's profile counts them, by
/// the node's id. That is its work, whatever the machine, rescoring included.
pub async fn comparisons(
    client: &Client,
    collection: &Collection,
    query: &Knn<'_>,
) -> Result<HashMap<String, u64>, ElasticError> {
    const OPERATION: &str = "profile a search";
    let mut body = body(collection, query);
    body["profile"] = json!(true);
    let path = format!("/{}/_search", collection.index);
    let reply: Value = client
        .json(OPERATION, Method::Post, &path, &[], Payload::Json(&body))
        .await?;
    let shards = reply["profile"]["shards"].as_array().map_or(&[][..], Vec::as_slice);
    let mut by_node = HashMap::new();
    for shard in shards {
        let searches = shard["dfs"]["knn"].as_array().map_or(&[][..], Vec::as_slice);
        let counts: Vec<u64> = searches
            .iter()
            .filter_map(|knn| knn["vector_operations_count"].as_u64())
            .collect();
        if !counts.is_empty() {
            // `[node][index][shard]`
            let id = shard["id"].as_str().unwrap_or_default();
            let node = id.split(']').next().unwrap_or_default().trim_start_matches('[');
            *by_node.entry(node.to_owned()).or_default() += counts.iter().sum::<u64>();
        }
    }
    if by_node.is_empty() {
        return Err(ElasticError::unexpected(
            OPERATION,
            "no vector_operations_count in the answer",
        ));
    }
    Ok(by_node)
}

/// Faces whose similarities are known, in the order in which they are given. One that is gone by now is left out.
pub async fn by_id(
    client: &Client,
    collection: &Collection,
    found: &[(String, f64)],
) -> Result<Vec<Hit>, ElasticError> {
    const OPERATION: &str = "look up the faces found";
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    let body = json!({"query": {"ids": {"values": ids}}, "size": found.len(), "_source": SOURCE});
    let path = format!("/{}/_search", collection.name);
    let strict = [("allow_partial_search_results", "false")];
    let reply: SearchReply = client
        .read(OPERATION, Method::Post, &path, &strict, Payload::Json(&body))
        .await?;
    let mut stored: HashMap<String, RawHit> = reply.hits.hits.into_iter().map(|hit| (hit.id.clone(), hit)).collect();
    let hits = found
        .iter()
        .filter_map(|(id, similarity)| Some((stored.remove(id)?, *similarity)));
    hits.map(|(hit, similarity)| hit.with(OPERATION, similarity)).collect()
}

impl RawHit {
    fn with(self, operation: &str, similarity: f64) -> Result<Hit, ElasticError> {
        let face = self
            .source
            .face
            .ok_or_else(|| ElasticError::unexpected(operation, format!("face {} without a box", self.id)))?;
        Ok(Hit {
            id: self.id,
            similarity,
            person: self.source.person,
            image: self.source.image.uri,
            bbox: face.bbox,
            labels: self.source.labels,
        })
    }
}

/// The number of faces that meet the conditions.
pub async fn count(client: &Client, collection: &str, filters: &[Filter]) -> Result<u64, ElasticError> {
    let body = json!({"query": filter::query(filters).unwrap_or_else(|| json!({"match_all": {}}))});
    let reply: Value = client
        .read(
            "count faces",
            Method::Post,
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

/// The similarity behind a `_score`: `(1 + cosine) / 2`, or `1 / (1 + d^2)` of the distance.
pub(super) fn similarity(metric: Metric, score: f64) -> f64 {
    match metric {
        Metric::Cosine => 2.0 * score - 1.0,
        Metric::Euclidean => 1.0 - (1.0 / score - 1.0) / 2.0,
    }
}

/// What the knn clause calls `similarity`: the least cosine, or the greatest distance.
pub(super) fn limit(metric: Metric, similarity: f64) -> f64 {
    match metric {
        Metric::Cosine => similarity,
        Metric::Euclidean => (2.0 * (1.0 - similarity)).max(0.0).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_limits_are_those_of_the_similarity() {
        // A distance of 0.6 is a similarity of 1 - 0.36 / 2.
        assert!((similarity(Metric::Euclidean, 1.0 / 1.36) - 0.82).abs() < 1e-12);
        assert!((limit(Metric::Euclidean, 0.82) - 0.6).abs() < 1e-12);
        assert_eq!(
            (similarity(Metric::Cosine, 0.75), limit(Metric::Cosine, 0.5)),
            (0.5, 0.5)
        );
    }
}
