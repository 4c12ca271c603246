//! Deletion: from every index behind a collection, and for good. A tombstone comes before each deletion, so that a photo
//! that is being ingested at the same moment does not bring the face back (see `store`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::spelling::add_spellings;
use super::view::View;
use super::{Faces, PAGE};
use crate::schema::document::Known;
use crate::schema::tombstones;
use crate::schema::versioned::Versioned;
use crate::schema::versions::{self, ROUNDS, Reach, Version, Work, busy};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Action, Operation, Verdict};
use crate::wire::reply::{Reply, STRICT};
use crate::{Destination, ElasticError};

const OPERATION: &str = "delete faces";

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Erased {
    /// Different faces.
    pub faces: u64,
    /// Documents in each index behind the collection; all of these were searched at the end and hold none any more.
    pub indices: BTreeMap<String, u64>,
    /// The person's id in every spelling under which faces were looked for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub spellings: BTreeSet<String>,
    /// Whether that is all of the collection.
    #[serde(flatten)]
    pub reach: Reach,
    /// The faces' ids.
    #[serde(skip)]
    pub ids: BTreeSet<String>,
}

/// What [`erase`] would delete. The ids are left out.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn rehearse(to: &Destination, faces: &Faces) -> Result<Erased, ElasticError> {
    let whole = versions::of(to).await?;
    let mut erased = Erased {
        reach: Reach::of(&whole),
        spellings: faces.person().map(str::to_owned).into_iter().collect(),
        ..Erased::default()
    };
    for version in &whole.versions {
        let spelled = async {
            version.expect_open()?;
            to.at(&version.index).refresh().await?;
            spell(to, version, faces, &mut erased.spellings).await
        };
        if let Err(error) = spelled.await {
            erased.reach.miss(&version.index, &error);
        }
    }
    for version in whole.versions {
        if erased.reach.unreached.contains_key(&version.index) {
            continue;
        }
        match count(to, &version.index, &faces.query(&erased.spellings)).await {
            Ok(count) => {
                // A face that is in several indices is one face.
                erased.faces = erased.faces.max(count);
                erased.indices.insert(version.index, count);
            }
            Err(error) => erased.reach.miss(&version.index, &error),
        }
    }
    Ok(erased)
}

/// How many faces of a collection or index meet a query, as searches see them.
pub(crate) async fn count(to: &Destination, name: &str, query: &Value) -> Result<u64, ElasticError> {
    let path = format!("/{name}/_count");
    let body = json!({"query": query});
    let reply: Value = to
        .json("count faces", Method::Post, &path, &[], Payload::Json(&body))
        .await?;
    if reply["_shards"]["failed"].as_u64() > Some(0) {
        return Err(ElasticError::unexpected("count faces", "not all shards answered"));
    }
    reply["count"]
        .as_u64()
        .ok_or_else(|| ElasticError::unexpected("count faces", "no count in the answer"))
}

/// Deletes the faces from every index behind the collection. Comes back when refreshed searches of all of them, one after
/// the other and after the last deletion, find none. An index that cannot be looked at does not keep the others from being
/// cleared: what was done and what was not is told in either case.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or others write the same faces all the
/// time. Indices that cannot be reached are in the answer.
pub async fn erase(to: &Destination, faces: &Faces) -> Result<Erased, ElasticError> {
    let mut erasing = Erasing {
        to,
        faces,
        erased: Erased {
            spellings: faces.person().map(str::to_owned).into_iter().collect(),
            ..Erased::default()
        },
    };
    let reach = versions::everywhere(to, OPERATION, &mut erasing).await?;
    Ok(Erased {
        faces: erasing.erased.ids.len() as u64,
        reach,
        ..erasing.erased
    })
}

struct Erasing<'d> {
    to: &'d Destination,
    faces: &'d Faces,
    erased: Erased,
}

impl Work for Erasing<'_> {
    async fn within(&mut self, version: &Version) -> Result<bool, ElasticError> {
        let erased = &mut self.erased;
        self.to.at(&version.index).refresh().await?;
        // A spelling that one index has may be in the others as well: they are looked at again.
        let before = erased.spellings.len();
        spell(self.to, version, self.faces, &mut erased.spellings).await?;
        let has_grown = erased.spellings.len() > before;
        let query = self.faces.query(&erased.spellings);
        let mut gone = BTreeSet::new();
        let was_clean = erase_from(self.to, version, &query, &erased.spellings, &mut gone).await;
        *erased.indices.entry(version.index.clone()).or_default() += gone.len() as u64;
        erased.ids.extend(gone);
        Ok(was_clean? && !has_grown)
    }
}

/// Adds the spellings of the person that searches of an index see.
async fn spell(
    to: &Destination,
    version: &Version,
    faces: &Faces,
    spellings: &mut BTreeSet<String>,
) -> Result<(), ElasticError> {
    match faces.person() {
        Some(person) => add_spellings(to, &version.index, person, spellings).await,
        None => Ok(()),
    }
}

/// Deletes the faces that searches of one index see, and adds their ids. Says whether there was none from the start. Comes back when a refreshed
/// search finds none, or when no deletion meets what was found: then the collection may have moved to another index.
async fn erase_from(
    to: &Destination,
    version: &Version,
    query: &Value,
    spellings: &BTreeSet<String>,
    gone: &mut BTreeSet<String>,
) -> Result<bool, ElasticError> {
    let at = version.destination(to);
    let path = format!("/{}/_search", version.index);
    let body = json!({
        "query": query,
        "size": PAGE,
        "seq_no_primary_term": true,
        "_source": tombstones::NOTED,
    });
    let mut clean = true;
    loop {
        let reply: Reply<Versioned> = to
            .json(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
            .await?;
        let found = reply.hits.hits;
        if found.is_empty() {
            forget(&at, spellings).await?;
            return Ok(clean);
        }
        clean = false;
        let noted: Vec<_> = found
            .iter()
            .map(|face| tombstones::of_face(to, &face.id, face.source.as_ref()))
            .collect();
        tombstones::add(to, &noted).await?;
        let operations: Vec<Operation> = found
            .iter()
            .map(|face| Operation::delete(face.id.clone(), face.version()))
            .collect();
        let verdicts = bulk::execute(&at, &operations).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Done(_))) {
            return Ok(clean);
        }
        // Some may be gone by another's hand: an ingest takes back what it wrote of them (see `store`).
        gone.extend(found.into_iter().map(|face| face.id));
        to.at(&version.index).refresh().await?;
    }
}

/// Takes the person out of what photos that are being rewritten remember of their old faces (`image.previous`): a rewrite
/// that is taken up again would give the name back.
async fn forget(at: &Destination, spellings: &BTreeSet<String>) -> Result<(), ElasticError> {
    if spellings.is_empty() {
        return Ok(());
    }
    for _ in 0..ROUNDS {
        let mut view = View::open(at).await?;
        let round = forget_once(at, &mut view, spellings).await;
        view.close().await;
        if round? {
            return Ok(());
        }
        at.refresh().await?;
    }
    Err(busy(FORGET))
}

const FORGET: &str = "forget a person";

/// Goes through all photos that are being rewritten once. Says whether nobody remembered the person.
async fn forget_once(at: &Destination, view: &mut View, spellings: &BTreeSet<String>) -> Result<bool, ElasticError> {
    let unfinished = json!({"bool": {"filter": [{"term": {"image.unfinished": true}}]}});
    let what = json!({"query": unfinished, "_source": ["image.previous"]});
    let (mut after, mut clean) = (None, true);
    loop {
        let page: Vec<Versioned> = view.page(&what, after.take()).await?;
        let Some(last) = page.last() else {
            return Ok(clean);
        };
        after = Some(last.sort.clone());
        let mut operations = Vec::new();
        for face in &page {
            let previous = face.source.as_ref().map(|stored| stored.image.previous.as_slice());
            let is_person = |known: &&Known| known.person.as_ref().is_some_and(|known| spellings.contains(&known.id));
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
        bulk::expect_done(FORGET, &bulk::execute(at, &operations).await?)?;
    }
}
