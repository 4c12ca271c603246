//! Deletion: from every index behind a collection, and for good. A tombstone comes before each deletion, so that a photo
//! that is being ingested at the same moment does not bring the face back (see `store`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::view::{Reply, Versioned, View};
use super::{Faces, PAGE, ROUNDS, STRICT, busy, settled};
use crate::elastic::bulk::{self, Action, Operation, Verdict};
use crate::elastic::client::Payload;
use crate::elastic::document::{Known, StoredFace};
use crate::elastic::lifecycle::versions::{self, Version};
use crate::elastic::tombstones::{self, Tombstone};
use crate::elastic::{Destination, ElasticError};

const OPERATION: &str = "delete faces";
/// Between two looks at all indices: somebody else may be writing the same faces.
const PAUSE: Duration = Duration::from_millis(100);

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Erased {
    /// Different faces.
    pub faces: u64,
    /// Documents in each index behind the collection; all of these were searched at the end and hold none any more.
    pub indices: BTreeMap<String, u64>,
    /// The faces' ids.
    #[serde(skip)]
    pub ids: BTreeSet<String>,
}

/// How many faces there are to delete, in each index behind the collection.
pub async fn count(to: &Destination, faces: &Faces) -> Result<BTreeMap<String, u64>, ElasticError> {
    let mut counts = BTreeMap::new();
    let body = json!({"query": faces.query()});
    for version in versions::of(to).await? {
        let path = format!("/{}/_count", version.index);
        to.at(&version.index).refresh().await?;
        let reply: Value = to
            .json("count faces", Method::Post, &path, &[], Payload::Json(&body))
            .await?;
        if reply["_shards"]["failed"].as_u64() > Some(0) {
            return Err(ElasticError::unexpected("count faces", "not all shards answered"));
        }
        counts.insert(version.index, reply["count"].as_u64().unwrap_or_default());
    }
    Ok(counts)
}

/// Deletes the faces from every index behind the collection. Comes back when refreshed searches of all of them, one after
/// the other and after the last deletion, find none.
pub async fn erase(to: &Destination, faces: &Faces) -> Result<Erased, ElasticError> {
    let mut erased = Erased::default();
    for _ in 0..ROUNDS {
        let mut clean = true;
        // Looked up anew each time: a move to another index may begin or end meanwhile.
        for version in versions::of(to).await? {
            let lifted = version.lift_block(to).await?;
            let gone = erase_from(to, &version, faces).await;
            version.restore_block(to, lifted).await?;
            let (gone, was_clean) = gone?;
            clean &= was_clean;
            *erased.indices.entry(version.index).or_default() += gone.len() as u64;
            erased.ids.extend(gone);
        }
        if clean {
            erased.faces = erased.ids.len() as u64;
            return Ok(erased);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(busy(OPERATION))
}

/// Deletes the faces from one index. Gives their ids, and whether there was none from the start. Comes back when a refreshed
/// search finds none, or when no deletion meets what was found: then the collection may have moved to another index.
async fn erase_from(
    to: &Destination,
    version: &Version,
    faces: &Faces,
) -> Result<(BTreeSet<String>, bool), ElasticError> {
    let at = version.destination(to);
    let path = format!("/{}/_search", version.index);
    let body = json!({
        "query": faces.query(),
        "size": PAGE,
        "seq_no_primary_term": true,
        "_source": ["image.hash", "face.box", "face.score"],
    });
    let (mut gone, mut clean) = (BTreeSet::new(), true);
    loop {
        to.at(&version.index).refresh().await?;
        let reply: Reply<Versioned> = to
            .json(OPERATION, Method::Post, &path, &[STRICT], Payload::Json(&body))
            .await?;
        let found = reply.hits.hits;
        if found.is_empty() {
            if let Some(person) = faces.person() {
                forget(&at, person).await?;
            }
            return Ok((gone, clean));
        }
        clean = false;
        tombstones::add(to, &found.iter().map(tombstone).collect::<Vec<_>>()).await?;
        let operations: Vec<Operation> = found
            .iter()
            .map(|face| Operation {
                id: face.id.clone(),
                action: Action::Delete(face.version()),
            })
            .collect();
        let verdicts = bulk::execute(&at, &operations).await?;
        settled(OPERATION, &verdicts)?;
        if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Done(_))) {
            return Ok((gone, clean));
        }
        // Some may be gone by another's hand: an ingest takes back what it wrote of them (see `store`).
        gone.extend(found.into_iter().map(|face| face.id));
    }
}

/// The photo's hash, and where in the photo the face was.
fn tombstone(face: &Versioned) -> (String, Tombstone) {
    let stored = face.source.as_ref();
    let hash = stored
        .map(|stored| stored.image.hash.clone())
        .filter(|hash| !hash.is_empty());
    // The id begins with it, also where others wrote the document.
    let hash = hash.unwrap_or_else(|| face.id.split('-').next().unwrap_or_default().to_owned());
    let bbox = stored
        .and_then(|stored: &StoredFace| stored.face.as_ref())
        .map(|face| face.bbox);
    (hash, Tombstone { bbox })
}

/// Takes the person out of what photos that are being rewritten remember of their old faces (`image.previous`): a rewrite
/// that is taken up again would give the name back.
async fn forget(at: &Destination, person: &str) -> Result<(), ElasticError> {
    for _ in 0..ROUNDS {
        let view = View::open(at).await?;
        let round = forget_once(at, &view, person).await;
        view.close(at).await;
        if round? {
            return Ok(());
        }
        at.refresh().await?;
    }
    Err(busy(FORGET))
}

const FORGET: &str = "forget a person";

/// Goes through all photos that are being rewritten once. Says whether nobody remembered the person.
async fn forget_once(at: &Destination, view: &View, person: &str) -> Result<bool, ElasticError> {
    let unfinished = json!({"bool": {"filter": [{"term": {"image.unfinished": true}}]}});
    let what = json!({"query": unfinished, "_source": ["image.previous"]});
    let (mut after, mut clean) = (None, true);
    loop {
        let page: Vec<Versioned> = view.page(at, &what, after.take()).await?;
        let Some(last) = page.last() else {
            return Ok(clean);
        };
        after = Some(last.sort.clone());
        let mut operations = Vec::new();
        for face in &page {
            let previous = face.source.as_ref().map(|stored| stored.image.previous.as_slice());
            let is_person = |known: &&Known| known.person.as_ref().is_some_and(|known| known.id == person);
            let previous = previous.unwrap_or_default();
            if !previous.iter().any(|known| is_person(&known)) {
                continue;
            }
            let others: Vec<&Known> = previous.iter().filter(|known| !is_person(known)).collect();
            let changes = json!({"doc": {"image": {"previous": others}}});
            operations.push(Operation {
                id: face.id.clone(),
                action: Action::Update(Bytes::from(changes.to_string()), face.version()),
            });
        }
        clean &= operations.is_empty();
        settled(FORGET, &bulk::execute(at, &operations).await?)?;
    }
}
