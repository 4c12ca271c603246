//! kNN searches and counts, as they go over the wire. What a hit means is decided in `query/`.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use elasticsearch::http::Method;
use facedex_base::Rect;
use facedex_base::space::Metric;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::read::effort::{Asked, Question};
use crate::read::knn::{Knn, similarity};
use crate::schema::collection::Collection;
use crate::schema::document::Person;
use crate::schema::filter::{self, Filter};
use crate::transport::client::Payload;
use crate::wire::reply::{Hits, STRICT};
use crate::{Client, ElasticError};

/// What a hit needs of the stored document.
const SOURCE: [&str; 4] = ["person", "image.uri", "face.box", "labels"];

/// A stored face that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// The face's box in that photo, in pixels; what others wrote may lack it.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<Rect>,
    /// The user's own keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What Elasticsearch answers to a search for faces.
#[derive(Deserialize)]
pub struct SearchReply {
    hits: Hits<RawHit>,
}

impl SearchReply {
    /// The faces of an answer that is scored as `metric` is, best first.
    pub fn hits(self, metric: Metric) -> Vec<Hit> {
        let hits = self.hits.hits.into_iter();
        hits.map(|hit| {
            let similarity = similarity(metric, hit.score);
            hit.with(similarity)
        })
        .collect()
    }
}

#[derive(Deserialize)]
struct RawHit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_score")]
    score: f64,
    #[serde(rename = "_source", default)]
    source: crate::schema::document::StoredFace,
}

/// Runs a kNN search; hits come best first. A shard that fails makes the whole search fail: a missing shard must not
/// look like a missing person.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or a shard does not answer.
pub async fn knn(client: &Client, collection: &Collection, query: &Knn<'_>) -> Result<Vec<Hit>, ElasticError> {
    const OPERATION: &str = "search";
    client.versions().await?;
    let body = body(query, json!({"query": query.query(collection)}));
    // By the index that was looked at, not by its alias: that may stand for vectors of another space by now.
    let path = format!("/{}/_search", collection.index);
    let start = Instant::now();
    let reply: Result<SearchReply, _> = client
        .read(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
        .await;
    metrics::histogram!("facedex_knn_duration_seconds").record(start.elapsed().as_secs_f64());
    Ok(reply?.hits(collection.metric))
}

/// A search of this query or section.
fn body(query: &Knn<'_>, clause: Value) -> Value {
    let mut body = json!({"size": query.size(), "_source": SOURCE});
    if let (Some(body), Value::Object(clause)) = (body.as_object_mut(), clause) {
        body.extend(clause);
    }
    body
}

/// How many pairs of vectors a search compares in the graphs of each node's shards, as Elasticsearch's profile counts them, by
/// the node's id. That is its work, whatever the machine, rescoring included. Asked by a section that looks equally far; before 9.3 it
/// rescores all candidates.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or the answer has no profile.
pub async fn comparisons(
    client: &Client,
    collection: &Collection,
    query: &Knn<'_>,
) -> Result<HashMap<String, u64>, ElasticError> {
    const OPERATION: &str = "profile a search";
    let versions = client.versions().await?;
    let section = query.section(collection, &versions);
    let body = body(query, json!({"knn": section, "profile": true}));
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
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
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
    let reply: SearchReply = client
        .read(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
        .await?;
    let mut stored: HashMap<String, RawHit> = reply.hits.hits.into_iter().map(|hit| (hit.id.clone(), hit)).collect();
    let hits = found
        .iter()
        .filter_map(|(id, similarity)| Some((stored.remove(id)?, *similarity)));
    Ok(hits.map(|(hit, similarity)| hit.with(similarity)).collect())
}

impl RawHit {
    fn with(self, similarity: f64) -> Hit {
        Hit {
            id: self.id,
            similarity,
            person: self.source.person,
            image: self.source.image.uri,
            bbox: self.source.face.map(|face| face.bbox),
            labels: self.source.labels,
        }
    }
}

/// The `k` faces that are most like `vector`, as far as a search looks by default.
///
/// # Errors
///
/// What [`knn`] answers.
pub async fn nearest(
    client: &Client,
    collection: &Collection,
    vector: &[f32],
    k: usize,
) -> Result<Vec<Hit>, ElasticError> {
    let stored = count(client, &collection.name, &[]).await?;
    let query = Knn {
        vector,
        k,
        effort: Asked::default().effort(Question::Search, &collection.layout(), k, stored),
        min_similarity: None,
        filters: &[],
    };
    knn(client, collection, &query).await
}

/// How many faces meet the conditions, and how many there are in all.
///
/// Refuses a condition on a field that the collection does not have, or on a label that none of its faces has: it would
/// match nothing, or exclude nothing, and an unknown person would be what that looks like.
///
/// # Errors
///
/// [`ElasticError::UnknownLabel`] and `ElasticError::UnknownField` for a condition that nothing could meet; also where
/// Elasticsearch cannot be reached.
pub async fn count_among(
    client: &Client,
    collection: &Collection,
    filters: &[Filter],
) -> Result<(u64, u64), ElasticError> {
    for filter in filters {
        filter.check(collection)?;
    }
    let name = &collection.name;
    if filters.is_empty() {
        let stored = count(client, name, &[]).await?;
        return Ok((stored, stored));
    }
    let (faces, stored) = tokio::try_join!(count(client, name, filters), count(client, name, &[]))?;
    // Where faces meet the conditions, the labels that they must have are there; where some do not, so are those that they must not.
    let is_doubtful = |filter: &&Filter| stored > 0 && (faces == 0 || faces == stored && filter.is_negated());
    for key in filters.iter().filter(is_doubtful).filter_map(Filter::label) {
        let labelled = json!({"exists": {"field": format!("labels.{key}")}});
        if count_of(client, name, &labelled).await? == 0 {
            return Err(ElasticError::UnknownLabel {
                key: key.to_owned(),
                collection: name.clone(),
            });
        }
    }
    Ok((faces, stored))
}

/// The number of faces that meet the conditions.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or a shard does not answer.
pub async fn count(client: &Client, collection: &str, filters: &[Filter]) -> Result<u64, ElasticError> {
    let query = filter::query(filters).unwrap_or_else(|| json!({"match_all": {}}));
    count_of(client, collection, &query).await
}

async fn count_of(client: &Client, collection: &str, query: &Value) -> Result<u64, ElasticError> {
    let body = json!({"query": query});
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
