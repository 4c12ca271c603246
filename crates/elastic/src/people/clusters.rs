//! What is written about stored faces after the fact: their cluster, and who a face or a cluster is.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::people::{self, Change, View};
use crate::schema::document::Person;
use crate::schema::versioned::Versioned;
use crate::schema::versions::{ROUNDS, Reach, busy};
use crate::wire::bulk::{self, Action, Operation, Verdict, Version};
use crate::{Destination, ElasticError};

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
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
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

const OPERATION: &str = "change faces";

/// Gives a person to a face, or to all faces of a cluster, however many. Those who are somebody else stay so unless `overwrite`.
/// A name that is given becomes that of all of the person's faces; without one, the faces get the name that the person has. `None`
/// where there is neither such a face nor such a cluster. `told` hears how many are done. Repeating it goes on where it ended.
///
/// # Errors
///
/// Fails where the face or cluster cannot be read or written; what was done until then stays.
pub async fn label(
    to: &Destination,
    which: &str,
    person: &Person,
    overwrite: bool,
    progress: impl Fn(u64),
) -> Result<Option<Labelled>, ElasticError> {
    to.refresh().await?;
    let either = json!({"bool": {"should": [{"ids": {"values": [which]}}, {"term": {"cluster.id": which}}]}});
    let is_person = json!({"term": {"person.id": person.id}});
    // An id that is too long for the index, as earlier releases took it, is somebody's as well.
    let is_somebody = json!({"bool": {"should": [
        {"exists": {"field": "person.id"}}, {"term": {"_ignored": "person.id"}},
    ]}});
    let count = async |query: Value| people::count(to, &to.collection, &query).await;
    if count(json!({"bool": {"filter": [either]}})).await? == 0 {
        return Ok(None);
    }
    let already = count(json!({"bool": {"filter": [either, is_person]}})).await?;
    let others = json!({"bool": {"filter": [either, is_somebody], "must_not": [is_person]}});
    let somebody_else = if overwrite { 0 } else { count(others).await? };
    let name = match &person.name {
        Some(name) => Some(name.clone()),
        None => people::name_of(to, &person.id).await?,
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
    name_all(to, &left, &change, |done| {
        labelled.changed = done;
        progress(done);
    })
    .await?;
    if person.name.is_some() {
        let renaming = Change {
            name: Some(name),
            ..Change::default()
        };
        let renamed = people::change(to, &person.id, &renaming).await?;
        labelled.renamed = renamed.updated;
        labelled.reach = renamed.reach;
    }
    Ok(Some(labelled))
}

/// Changes the faces of a query until none is left; `told` hears how many were changed until then.
async fn name_all(
    to: &Destination,
    left: &Value,
    change: &Bytes,
    mut progress: impl FnMut(u64),
) -> Result<(), ElasticError> {
    let mut changed = 0;
    // Each round changes all that it finds: whoever finds some again and again has somebody else beside him.
    for _ in 0..ROUNDS {
        let mut view = View::open(to).await?;
        let found = round(to, &mut view, left, change, |more| {
            changed += more;
            progress(changed);
        })
        .await;
        view.close().await;
        if found? == 0 {
            return Ok(());
        }
    }
    Err(busy(OPERATION))
}

/// Changes what one look finds, and says how many faces that were; `told` hears how many more were changed.
async fn round(
    to: &Destination,
    view: &mut View,
    left: &Value,
    change: &Bytes,
    mut progress: impl FnMut(u64),
) -> Result<usize, ElasticError> {
    let what = json!({"query": left, "_source": false});
    let (mut found, mut after) = (0, None);
    loop {
        let page: Vec<Versioned> = view.page(&what, after.take()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.sort.clone());
        found += page.len();
        let operations = page.iter().map(|face| Operation {
            id: face.id.clone(),
            action: Action::Update(change.clone(), face.version()),
        });
        progress(write_changes(to, &operations.collect::<Vec<_>>()).await?.changed);
    }
    to.refresh().await?;
    Ok(found)
}
