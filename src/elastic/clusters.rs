//! What is written about stored faces after the fact: their cluster, and who a face or a cluster is.

use bytes::Bytes;
use elasticsearch::http::Method;
use serde_json::{Value, json};

use super::bulk::{self, Action, Operation, Verdict, Version};
use super::client::Payload;
use super::document::Person;
use super::lifecycle::versions::{Reach, busy};
use super::persons::{self, Change, Versioned, View};
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
    let operations: Vec<Operation> = faces.iter().map(operation).collect::<Result<_, ElasticError>>()?;
    let updated = write_changes(to, &operations).await?;
    to.refresh().await?;
    Ok(updated)
}

fn body(changes: &Value) -> Result<Bytes, ElasticError> {
    serde_json::to_vec(&json!({"doc": changes}))
        .map(Bytes::from)
        .map_err(|error| ElasticError::unexpected("encode an update", error))
}

async fn write_changes(to: &Destination, operations: &[Operation]) -> Result<Updated, ElasticError> {
    let mut updated = Updated::default();
    for batch in operations.chunks(BATCH) {
        let verdicts = bulk::execute(to, batch).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        for verdict in verdicts {
            match verdict {
                Verdict::Done(_) => updated.changed += 1,
                _ => updated.passed_over += 1,
            }
        }
    }
    Ok(updated)
}

/// What became of a label.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Labelled {
    /// Faces that are the person now and were not before.
    pub changed: u64,
    /// Faces that were the person already.
    pub already: u64,
    /// Faces that are somebody else and stay so.
    pub somebody_else: u64,
    /// Other faces of the person that have another name than before.
    #[serde(skip_serializing_if = "is_zero")]
    pub renamed: u64,
    /// What of the collection the name reached.
    #[serde(skip)]
    pub reach: Reach,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Faces that others change under our hands this often are left to them.
const ROUNDS: usize = 50;
const OPERATION: &str = "change faces";

/// Gives a person to a face, or to all faces of a cluster, however many. Those who are somebody else stay so unless `overwrite`.
/// A name that is given becomes that of all of the person's faces; without one, the faces get the name that the person has. `None`
/// where there is neither such a face nor such a cluster. `told` hears how many are done. Repeating it goes on where it ended.
pub async fn label(
    to: &Destination,
    which: &str,
    person: &Person,
    overwrite: bool,
    told: impl Fn(u64),
) -> Result<Option<Labelled>, ElasticError> {
    to.refresh().await?;
    let either = json!({"bool": {"should": [{"ids": {"values": [which]}}, {"term": {"cluster.id": which}}]}});
    let is_person = json!({"term": {"person.id": person.id}});
    // An id that is too long for the index, as earlier releases took it, is somebody's as well.
    let is_somebody = json!({"bool": {"should": [
        {"exists": {"field": "person.id"}}, {"term": {"_ignored": "person.id"}},
    ]}});
    let all = count(to, json!({"bool": {"filter": [either]}})).await?;
    if all == 0 {
        return Ok(None);
    }
    let already = count(to, json!({"bool": {"filter": [either, is_person]}})).await?;
    let others = json!({"bool": {"filter": [either, is_somebody], "must_not": [is_person]}});
    let somebody_else = if overwrite { 0 } else { count(to, others).await? };
    let name = match &person.name {
        Some(name) => Some(name.clone()),
        None => persons::name_of(to, &person.id).await?,
    };
    let left_alone = if overwrite { is_person } else { is_somebody };
    let left = json!({"bool": {"filter": [either], "must_not": [left_alone]}});
    // An update merges objects: the name of whoever it was before goes by being null.
    let change = body(&json!({"person": {"id": person.id, "name": name}}))?;
    let mut labelled = Labelled {
        changed: 0,
        already,
        somebody_else,
        renamed: 0,
        reach: Reach::ALL,
    };
    for round_number in 0.. {
        // Each round names all that it finds: whoever finds some again and again has somebody else beside him.
        if round_number == ROUNDS {
            return Err(busy(OPERATION));
        }
        let view = View::open(to).await?;
        let done = round(to, &view, &left, &change, |done| told(labelled.changed + done)).await;
        view.close(to).await;
        let Round { found, changed } = done?;
        labelled.changed += changed;
        if found == 0 {
            break;
        }
    }
    if person.name.is_some() {
        let renaming = Change {
            name: Some(name),
            ..Change::default()
        };
        let renamed = persons::change(to, &person.id, &renaming).await?;
        labelled.renamed = renamed.updated;
        labelled.reach = renamed.reach;
    }
    Ok(Some(labelled))
}

/// What one look at everything that is left met.
struct Round {
    found: u64,
    changed: u64,
}

async fn round(
    to: &Destination,
    view: &View,
    left: &Value,
    change: &Bytes,
    told: impl Fn(u64),
) -> Result<Round, ElasticError> {
    let what = json!({"query": left, "_source": false});
    let mut round = Round { found: 0, changed: 0 };
    let mut after = None;
    loop {
        let page: Vec<Versioned> = view.page(to, &what, after.take()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.sort.clone());
        round.found += page.len() as u64;
        let operations = page.iter().map(|face| Operation {
            id: face.id.clone(),
            action: Action::Update(change.clone(), face.version()),
        });
        round.changed += write_changes(to, &operations.collect::<Vec<_>>()).await?.changed;
        told(round.changed);
    }
    to.refresh().await?;
    Ok(round)
}

async fn count(to: &Destination, query: Value) -> Result<u64, ElasticError> {
    let body = json!({"query": query, "size": 0, "track_total_hits": true});
    let path = format!("/{}/_search", to.collection);
    let strict = [("allow_partial_search_results", "false")];
    let reply: Value = to
        .json("find the faces", Method::Post, &path, &strict, Payload::Json(&body))
        .await?;
    reply["hits"]["total"]["value"]
        .as_u64()
        .ok_or_else(|| ElasticError::unexpected("find the faces", "no total in the answer"))
}
