//! All faces of one person: shown, renamed, deleted. Searches see only what a refresh has made visible, so what changes
//! them goes on until a refreshed search finds nothing left to do.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bulk::{self, Action, Operation, Verdict, Version};
use super::client::Payload;
use super::document::{Known, StoredFace};
use super::faces::{FaceRecord, LEFT_OUT, RawFace};
use super::{Client, Destination, ElasticError};

/// Faces that are changed in one go.
const PAGE: usize = 1000;
/// Faces that others change under our hands this often are left to them.
const ROUNDS: usize = 50;
const STRICT: (&str, &str) = ("allow_partial_search_results", "false");

/// Some faces of a person.
#[derive(Debug, Clone)]
pub struct Page {
    /// How many faces the person has.
    pub total: u64,
    /// Those that were asked for, oldest first.
    pub faces: Vec<FaceRecord>,
}

#[derive(Deserialize)]
struct Reply<T> {
    hits: Hits<T>,
}

#[derive(Deserialize)]
struct Hits<T> {
    #[serde(default)]
    total: Total,
    hits: Vec<T>,
}

#[derive(Default, Deserialize)]
struct Total {
    value: u64,
}

/// A face that is to be changed.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    #[serde(rename = "_source", default)]
    source: Option<StoredFace>,
    #[serde(default)]
    sort: Vec<Value>,
}

impl Versioned {
    fn version(&self) -> Version {
        Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }
}

fn of_person(person: &str) -> Value {
    json!({"bool": {"filter": [{"term": {"person.id": person}}]}})
}

/// The person's faces from `offset` on, at most `limit`.
pub async fn page(
    client: &Client,
    collection: &str,
    person: &str,
    offset: usize,
    limit: usize,
) -> Result<Page, ElasticError> {
    let left_out: Vec<&str> = LEFT_OUT.split(',').collect();
    let body = json!({
        "query": of_person(person),
        "from": offset,
        "size": limit,
        "track_total_hits": true,
        "sort": [{"@timestamp": "asc"}, {"image.hash": "asc"}],
        "_source": {"excludes": left_out},
    });
    let path = format!("/{collection}/_search");
    let reply: Reply<RawFace> = client
        .read(
            "find a person's faces",
            Method::POST,
            &path,
            &[STRICT],
            Payload::Json(&body),
        )
        .await?;
    Ok(Page {
        total: reply.hits.total.value,
        faces: reply.hits.hits.into_iter().map(FaceRecord::from).collect(),
    })
}

/// Deletes every face of a person and says how many there were. Comes back when a refreshed search finds none.
pub async fn delete(to: &Destination, person: &str) -> Result<u64, ElasticError> {
    const OPERATION: &str = "delete a person";
    let path = format!("/{}/_search", to.collection);
    let body = json!({"query": of_person(person), "size": PAGE, "seq_no_primary_term": true, "_source": false});
    let mut deleted = 0;
    for _ in 0..ROUNDS {
        // Every round must be able to make progress for as long as there are faces: only rounds without any are limited.
        loop {
            to.refresh().await?;
            let reply: Reply<Versioned> = to
                .json(OPERATION, Method::POST, &path, &[STRICT], Payload::Json(&body))
                .await?;
            if reply.hits.hits.is_empty() {
                forget(to, person).await?;
                return Ok(deleted);
            }
            let operations: Vec<Operation> = reply
                .hits
                .hits
                .iter()
                .map(|face| Operation {
                    id: face.id.clone(),
                    action: Action::Delete(face.version()),
                })
                .collect();
            let gone = settled(OPERATION, &bulk::execute(to, &operations).await?)?;
            deleted += gone;
            if gone == 0 {
                break;
            }
        }
    }
    Err(busy(OPERATION))
}

/// Takes the person out of what photos that are being rewritten remember of their old faces (`image.previous`): a rewrite
/// that is taken up again would give the name back.
async fn forget(to: &Destination, person: &str) -> Result<(), ElasticError> {
    let unfinished = json!({"bool": {"filter": [{"term": {"image.unfinished": true}}]}});
    for _ in 0..ROUNDS {
        let view = View::open(to).await?;
        let round = forget_once(to, &view, &unfinished, person).await;
        view.close(to).await;
        if round? {
            return Ok(());
        }
        to.refresh().await?;
    }
    Err(busy(FORGET))
}

const FORGET: &str = "forget a person";

/// Goes through all photos that are being rewritten once. Says whether nobody remembered the person.
async fn forget_once(to: &Destination, view: &View, unfinished: &Value, person: &str) -> Result<bool, ElasticError> {
    let (mut after, mut clean) = (None, true);
    loop {
        let page = view.page(to, unfinished, &["image.previous"], after.take()).await?;
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
            operations.push(Operation {
                id: face.id.clone(),
                action: Action::Update(body(&json!({"image": {"previous": others}}))?, face.version()),
            });
        }
        clean &= operations.is_empty();
        settled(FORGET, &bulk::execute(to, &operations).await?)?;
    }
}

/// The body of an `_update`.
fn body(changes: &Value) -> Result<Bytes, ElasticError> {
    serde_json::to_vec(&json!({"doc": changes}))
        .map(Bytes::from)
        .map_err(|error| ElasticError::unexpected("encode an update", error))
}

/// What is to change about a person. `None` leaves it, `Some(None)` removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The name for people to read.
    pub name: Option<Option<String>>,
    /// Labels of each of the person's faces.
    pub labels: BTreeMap<String, Option<String>>,
}

impl Change {
    /// The body of an `_update` that changes the face, or `None` where it is as wanted.
    fn update(&self, face: &StoredFace) -> Result<Option<Bytes>, ElasticError> {
        let name = face.person.as_ref().and_then(|person| person.name.clone());
        let renamed = self.name.as_ref().filter(|wanted| **wanted != name);
        let mut labels = face.labels.clone();
        for (key, value) in &self.labels {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
        if renamed.is_none() && labels == face.labels {
            return Ok(None);
        }
        let mut changes = json!({});
        if let Some(wanted) = renamed {
            changes["person"] = json!({"name": wanted});
        }
        if labels != face.labels {
            let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            // An update merges objects: a key goes by being null, which a search takes as absent.
            changes["labels"] = json!(self.labels);
            changes["label_pairs"] = json!(pairs);
        }
        body(&changes).map(Some)
    }
}

/// Changes every face of a person and says how many there were and how many of them were changed. Comes back when a
/// refreshed look at all of them finds nothing left to change.
pub async fn change(to: &Destination, person: &str, change: &Change) -> Result<(u64, u64), ElasticError> {
    const OPERATION: &str = "change a person";
    let mut changed = BTreeSet::new();
    for _ in 0..ROUNDS {
        to.refresh().await?;
        let view = View::open(to).await?;
        let round = one_round(to, &view, person, change, &mut changed).await;
        view.close(to).await;
        if let Some(faces) = round? {
            return Ok((faces, changed.len() as u64));
        }
    }
    Err(busy(OPERATION))
}

/// Goes through all faces of a person once. Gives their number where nothing was left to change.
async fn one_round(
    to: &Destination,
    view: &View,
    person: &str,
    change: &Change,
    changed: &mut BTreeSet<String>,
) -> Result<Option<u64>, ElasticError> {
    let (mut faces, mut after, mut clean) = (0, None, true);
    loop {
        let page = view
            .page(to, &of_person(person), &["person", "labels"], after.take())
            .await?;
        let Some(last) = page.last() else {
            return Ok(clean.then_some(faces));
        };
        after = Some(last.sort.clone());
        faces += page.len() as u64;
        let mut operations = Vec::new();
        for face in &page {
            let Some(stored) = &face.source else { continue };
            if let Some(body) = change.update(stored)? {
                operations.push(Operation {
                    id: face.id.clone(),
                    action: Action::Update(body, face.version()),
                });
            }
        }
        clean &= operations.is_empty();
        let verdicts = bulk::execute(to, &operations).await?;
        settled("change a person", &verdicts)?;
        let done = operations
            .into_iter()
            .zip(verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Done(_)));
        changed.extend(done.map(|(operation, _)| operation.id));
    }
}

/// How many operations were done. What was changed by others meanwhile is left for the next round.
fn settled(operation: &str, verdicts: &[Verdict]) -> Result<u64, ElasticError> {
    let mut done = 0;
    for verdict in verdicts {
        match verdict {
            Verdict::Done(_) => done += 1,
            Verdict::Taken { .. } | Verdict::Missing => {}
            Verdict::Rejected { status, kind, reason } => {
                return Err(ElasticError::Refused {
                    operation: operation.to_owned(),
                    status: *status,
                    kind: kind.clone(),
                    reason: reason.clone(),
                });
            }
        }
    }
    Ok(done)
}

fn busy(operation: &str) -> ElasticError {
    ElasticError::Refused {
        operation: operation.to_owned(),
        status: 409,
        kind: "version_conflict_engine_exception".to_owned(),
        reason: "somebody else changes the person's faces all the time".to_owned(),
    }
}

/// A point in time: pages of one and the same state, however many faces there are.
struct View {
    id: String,
}

impl View {
    async fn open(to: &Destination) -> Result<Self, ElasticError> {
        #[derive(Deserialize)]
        struct Opened {
            id: String,
        }
        let path = format!("/{}/_pit", to.collection);
        let query = [("keep_alive", "1m")];
        let opened: Opened = to
            .json("open a point in time", Method::POST, &path, &query, Payload::None)
            .await?;
        Ok(Self { id: opened.id })
    }

    async fn page(
        &self,
        to: &Destination,
        query: &Value,
        fields: &[&str],
        after: Option<Vec<Value>>,
    ) -> Result<Vec<Versioned>, ElasticError> {
        let mut body = json!({
            "pit": {"id": self.id, "keep_alive": "1m"},
            "query": query,
            "size": PAGE,
            "sort": [{"_shard_doc": "asc"}],
            "seq_no_primary_term": true,
            "_source": fields,
        });
        if let Some(after) = after {
            body["search_after"] = Value::Array(after);
        }
        let reply: Reply<Versioned> = to
            .json(
                "look at all faces",
                Method::POST,
                "/_search",
                &[STRICT],
                Payload::Json(&body),
            )
            .await?;
        Ok(reply.hits.hits)
    }

    async fn close(self, to: &Destination) {
        let body = json!({"id": self.id});
        // One that stays open ends by itself after a minute.
        let closed: Result<Value, _> = to
            .client
            .json(
                "close a point in time",
                Method::DELETE,
                "/_pit",
                &[],
                Payload::Json(&body),
            )
            .await;
        if let Err(error) = closed {
            tracing::debug!(reason = error.to_string(), "a point in time stays open for a minute");
        }
    }
}
