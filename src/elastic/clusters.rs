//! What is written about stored faces after the fact: their cluster, and who a face or a cluster is.

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bulk::{self, Action, Operation, Verdict, Version};
use super::client::Payload;
use super::document::Person;
use super::{Destination, ElasticError};

/// Faces a request.
const BATCH: usize = 1000;

/// How updates went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Updated {
    /// Faces that were changed.
    pub changed: u64,
    /// Faces that somebody else changed or deleted meanwhile; they are as those left them.
    pub passed_over: u64,
}

/// Writes each face's cluster; `None` takes it away. The versions are those at which the vectors were read.
pub async fn write(to: &Destination, faces: &[(String, Version, Option<String>)]) -> Result<Updated, ElasticError> {
    let operation = |(id, version, cluster): &(String, Version, Option<String>)| {
        Ok(Operation {
            id: id.clone(),
            action: Action::Update(body(&json!({"cluster": {"id": cluster}}))?, *version),
        })
    };
    update(to, faces.iter().map(operation).collect::<Result<_, ElasticError>>()?).await
}

fn body(changes: &Value) -> Result<Bytes, ElasticError> {
    serde_json::to_vec(&json!({"doc": changes}))
        .map(Bytes::from)
        .map_err(|error| ElasticError::unexpected("encode an update", error))
}

async fn update(to: &Destination, operations: Vec<Operation>) -> Result<Updated, ElasticError> {
    let mut updated = Updated::default();
    for batch in operations.chunks(BATCH) {
        for verdict in bulk::execute(to, batch).await? {
            match verdict {
                Verdict::Done(_) => updated.changed += 1,
                Verdict::Taken { .. } | Verdict::Missing => updated.passed_over += 1,
                Verdict::Rejected { status, kind, reason } => {
                    return Err(ElasticError::Refused {
                        operation: "change faces".to_owned(),
                        status,
                        kind,
                        reason,
                    });
                }
            }
        }
    }
    to.refresh().await?;
    Ok(updated)
}

/// What became of a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Labelled {
    /// Faces that are the person now and were not before.
    pub changed: u64,
    /// Faces that were the person already.
    pub already: u64,
    /// Faces that are somebody else and stay so.
    pub somebody_else: u64,
}

#[derive(Deserialize)]
struct Reply {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
    hits: Vec<Found>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
}

/// Faces that others change under our hands this often are left to them.
const ROUNDS: usize = 50;

/// Gives a name to a face, or to all faces of a cluster. Those who are somebody else keep their name unless `overwrite`.
/// `None` where there is neither such a face nor such a cluster.
pub async fn label(
    to: &Destination,
    which: &str,
    person: &Person,
    overwrite: bool,
) -> Result<Option<Labelled>, ElasticError> {
    to.refresh().await?;
    let either = json!({"bool": {"should": [{"ids": {"values": [which]}}, {"term": {"cluster.id": which}}]}});
    let is_person = json!({"term": {"person.id": person.id}});
    let is_somebody = json!({"exists": {"field": "person.id"}});
    let all = find(to, json!({"bool": {"filter": [either]}}), 0).await?.total.value;
    if all == 0 {
        return Ok(None);
    }
    let already = find(to, json!({"bool": {"filter": [either, is_person]}}), 0)
        .await?
        .total
        .value;
    let others = json!({"bool": {"filter": [either, is_somebody], "must_not": [is_person]}});
    let somebody_else = if overwrite {
        0
    } else {
        find(to, others, 0).await?.total.value
    };
    let left_alone = if overwrite { is_person } else { is_somebody };
    let left = json!({"bool": {"filter": [either], "must_not": [left_alone]}});
    let mut labelled = Labelled {
        changed: 0,
        already,
        somebody_else,
    };
    for _ in 0..ROUNDS {
        let found = find(to, left.clone(), BATCH).await?.hits;
        if found.is_empty() {
            return Ok(Some(labelled));
        }
        let change = body(&json!({"person": {"id": person.id, "name": person.name}}))?;
        let operations = found.into_iter().map(|face| Operation {
            id: face.id,
            action: Action::Update(
                change.clone(),
                Version {
                    seq_no: face.seq_no,
                    primary_term: face.primary_term,
                },
            ),
        });
        labelled.changed += update(to, operations.collect()).await?.changed;
    }
    Ok(Some(labelled))
}

async fn find(to: &Destination, query: Value, size: usize) -> Result<Hits, ElasticError> {
    let query = json!({
        "query": query,
        "size": size,
        "track_total_hits": true,
        "seq_no_primary_term": true,
        "_source": false,
    });
    let path = format!("/{}/_search", to.collection);
    let strict = [("allow_partial_search_results", "false")];
    let reply: Reply = to
        .json("find the faces", Method::Post, &path, &strict, Payload::Json(&query))
        .await?;
    Ok(reply.hits)
}
