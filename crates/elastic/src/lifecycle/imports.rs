//! Imports as a whole: each has an id, which every face that it writes carries (`ingest.import`); one that did not end can be
//! gone on with; and each can be taken back.

use std::collections::BTreeSet;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LifecycleError;
use crate::people;
use crate::schema::collection::Collection;
use crate::schema::versioned::Versioned;
use crate::schema::versions::{self, Reach, Version, Work};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Operation, Verdict};
use crate::wire::reply::{Reply, STRICT};
use crate::write::alive::{self, Alive};
use crate::{Client, Destination, ElasticError};

/// Faces that are deleted in one go.
const PAGE: usize = 1000;
/// The field below `ingest` with an import's id, whose `meta` has the note of one that did not end.
const FIELD: &str = "import";

/// An import that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unfinished {
    /// Its id.
    pub run: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// What is imported: the id of the collection that was exported, or something that stands for the file.
    of: String,
    /// When it last said that it is alive, and where.
    alive: String,
}

impl Unfinished {
    /// Whether it is under way.
    pub fn is_alive(&self) -> bool {
        alive::is_recent(&self.alive, jiff::Timestamp::now())
    }

    /// What it means, and what to do.
    pub fn meaning(&self, collection: &str) -> String {
        let Self { run, began, .. } = self;
        match self.is_alive() {
            true => format!("an import goes on (run {run}, since {began})"),
            false => format!(
                "an import did not end (run {run}, begun {began}): a part of its faces is here; the same command goes on with it, \
                 `facedex collection import {collection} --take-back {run}` takes it back"
            ),
        }
    }
}

/// The import that has begun into an index and not ended, if there is one.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn unfinished(client: &Client, collection: &Collection) -> Result<Option<Unfinished>, ElasticError> {
    let mapping = alive::mapping(client, &collection.index).await?;
    Ok(Unfinished::deserialize(alive::note(&mapping, FIELD)).ok())
}

/// Begins an import of `of`, which stands for the file, or goes on with the one that was cut off. One that goes on, and one of
/// another file that did not end, is refused: each leaves a note of its own. The collection's index is of the newest mapping.
///
/// # Errors
///
/// Refuses to begin beside an import that goes on, or one of another file that did not end; fails where Elasticsearch does.
pub async fn begin(to: &Destination, collection: &Collection, of: &str) -> Result<Unfinished, LifecycleError> {
    let of = blake3::hash(of.as_bytes()).to_hex()[..32].to_owned();
    let before = to.patiently(|| unfinished(&to.client, collection)).await?;
    if let Some(before) = &before {
        expect_ended(before, collection)?;
        if before.of != of {
            return Err(LifecycleError::OtherImport {
                meaning: before.meaning(&collection.name),
            });
        }
    }
    let begun = Unfinished {
        run: before
            .as_ref()
            .map_or_else(|| uuid::Uuid::new_v4().to_string(), |before| before.run.clone()),
        began: before.map_or_else(
            || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            |before| before.began,
        ),
        of,
        alive: alive::sign(),
    };
    write(to, collection, &json!(begun)).await?;
    Ok(begun)
}

fn expect_ended(unfinished: &Unfinished, collection: &Collection) -> Result<(), LifecycleError> {
    match unfinished.is_alive() {
        true => Err(LifecycleError::OtherImport {
            meaning: unfinished.meaning(&collection.name),
        }),
        false => Ok(()),
    }
}

async fn write(to: &Destination, collection: &Collection, note: &Value) -> Result<(), ElasticError> {
    let written = to
        .patiently(|| alive::write_note(&to.client, &collection.index, FIELD, note))
        .await;
    match written {
        // An account that may only write documents does so; nobody is told if it is cut off.
        Err(ElasticError::Forbidden { reason }) => {
            tracing::debug!(reason, "the import is not noted");
            Ok(())
        }
        written => written,
    }
}

/// Notes in the next index of a collection what the present one knows of an import that did not end.
pub(super) async fn carry(client: &Client, from: &str, to: &str) -> Result<(), ElasticError> {
    let mapping = alive::mapping(client, from).await?;
    match alive::note(&mapping, FIELD) {
        note if note.is_object() => alive::write_note(client, to, FIELD, note).await,
        _ => Ok(()),
    }
}

/// Says every few seconds that the import goes on.
pub fn keep_alive(to: &Destination, collection: &Collection, begun: &Unfinished) -> Alive {
    let (to, index, begun) = (to.clone(), collection.index.clone(), begun.clone());
    Alive::keep(move || {
        let (to, index, mut begun) = (to.clone(), index.clone(), begun.clone());
        async move {
            begun.alive = alive::sign();
            alive::write_note(&to.client, &index, FIELD, &json!(begun)).await
        }
    })
}

/// Ends an import whose faces are all there.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn end(to: &Destination, collection: &Collection, run: &str) -> Result<(), ElasticError> {
    match to.patiently(|| unfinished(&to.client, collection)).await? {
        // Another one's note is left.
        Some(unfinished) if unfinished.run == run => write(to, collection, &json!({})).await,
        _ => Ok(()),
    }
}

/// What was taken back.
#[derive(Debug, Default, Serialize)]
pub struct TakenBack {
    /// Faces that the import had written, and that nobody has written anew since.
    pub faces: u64,
    /// Whether every index of the collection was looked at.
    #[serde(flatten)]
    pub reach: Reach,
}

fn of_import(run: &str) -> Value {
    json!({"term": {"ingest.import": run}})
}

/// Counts what [`take_back`] would delete from the collection's current index.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn count(to: &Destination, run: &str) -> Result<u64, ElasticError> {
    to.refresh().await?;
    people::count(to, &to.collection, &of_import(run)).await
}

/// Deletes the faces that an import wrote, from every index of the collection. They are not noted as deleted on request: an
/// import of the same file writes them again.
///
/// # Errors
///
/// Refuses while the import still goes on; fails where Elasticsearch does, or an index cannot be reached.
pub async fn take_back(to: &Destination, collection: &Collection, run: &str) -> Result<TakenBack, LifecycleError> {
    let before = to.patiently(|| unfinished(&to.client, collection)).await?;
    if let Some(before) = before.filter(|before| before.run == run) {
        expect_ended(&before, collection)?;
    }
    let mut taking = Taking {
        to,
        run,
        ids: BTreeSet::new(),
    };
    let reach = versions::everywhere(to, OPERATION, &mut taking).await?;
    if reach.unreached.is_empty() {
        end(to, collection, run).await?;
    }
    Ok(TakenBack {
        faces: taking.ids.len() as u64,
        reach,
    })
}

const OPERATION: &str = "take an import back";

struct Taking<'t> {
    to: &'t Destination,
    run: &'t str,
    /// A face that is in several indices is one face.
    ids: BTreeSet<String>,
}

impl Work for Taking<'_> {
    async fn within(&mut self, version: &Version) -> Result<bool, ElasticError> {
        let (index, at) = (self.to.at(&version.index), version.destination(self.to));
        let body = json!({
            "query": of_import(self.run), "size": PAGE, "seq_no_primary_term": true, "_source": false,
        });
        let path = format!("/{}/_search", version.index);
        let mut clean = true;
        loop {
            index.refresh().await?;
            let reply: Reply<Versioned> = self
                .to
                .json(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
                .await?;
            let found = reply.hits.hits;
            if found.is_empty() {
                return Ok(clean);
            }
            clean = false;
            let operations: Vec<Operation> = found
                .iter()
                .map(|face| Operation::delete(face.id.clone(), face.version()))
                .collect();
            let verdicts = bulk::execute(&at, &operations).await?;
            bulk::expect_done(OPERATION, &verdicts)?;
            let is_gone = |verdict: &Verdict| matches!(verdict, Verdict::Done(_));
            if !verdicts.iter().any(is_gone) {
                return Ok(clean);
            }
            let gone = found.into_iter().zip(&verdicts).filter(|(_, verdict)| is_gone(verdict));
            self.ids.extend(gone.map(|(face, _)| face.id));
        }
    }
}
