//! The audit log: who enrolled, deleted, searched or identified what, and when. Never a picture, a vector or a query.
//!
//! One JSON line a request, in the order in which requests ended, on disk in groups (`audit/writer.rs`). A change has two:
//! `started`, on disk before anything is changed, and its end, on disk before the answer. So nothing is changed that is
//! not written down, and a change whose end is missing was cut off.

mod writer;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode, Uri};
use facedex_elastic::read::search::Hit;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use self::writer::{Line, Log};
use super::access::Caller;
use super::form::truth;
use super::routes;

/// Why something is not written down.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be written.
    #[error("cannot write the audit log {path}: {reason}; free space, or name another file with --audit-log")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// More is to be written than the disk takes.
    #[error("the audit log falls behind; its disk is too slow or hangs")]
    Behind,
}

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Stored the faces of a photo.
    Enrol,
    /// Deleted one face, to correct what is stored.
    DeleteFace,
    /// Deleted one face that is to stay out from now on.
    ForgetFace,
    /// Deleted all faces of a person.
    DeletePerson,
    /// Renamed a person or changed labels.
    ChangePerson,
    /// Gave all faces of a person to another.
    MergePersons,
    /// Deleted faces for their age.
    DeleteOldFaces,
    /// Wrote out everything that is stored of a person.
    ExportPerson,
    /// Said which index a collection is, and removed what was deleted from it before.
    AdoptCollection,
    /// Removed a collection.
    DeleteCollection,
    /// Asked who somebody is.
    Identify,
    /// Asked for faces that look alike, which tells as much.
    Search,
    /// Searched through the Elasticsearch proxy.
    EsSearch,
}

impl Action {
    /// What a request does, if it is written down.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        let path = path.trim_start_matches('/');
        let is_search = || matches!(path.rsplit('/').next(), Some("_search" | "_msearch" | "_count"));
        let action = routes::at(method, path)?.audit;
        // Of what comes to the proxy only searches are written down.
        action.filter(|action| *action != Self::EsSearch || is_search())
    }

    /// Whether it changes what is stored: then it may not happen without being written down.
    pub fn changes(self) -> bool {
        match self {
            Self::Enrol
            | Self::DeleteFace
            | Self::ForgetFace
            | Self::DeletePerson
            | Self::ChangePerson
            | Self::MergePersons
            | Self::DeleteOldFaces
            | Self::AdoptCollection
            | Self::DeleteCollection => true,
            Self::Identify | Self::Search | Self::EsSearch | Self::ExportPerson => false,
        }
    }
}

/// The log; without a file it takes everything and keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct Audit(Option<Arc<Log>>);

/// The longest that a change waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

impl Audit {
    /// Opens the file, which is made if need be. It belongs to this process alone.
    pub fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let log = path.map(|path| writer::open(path).map(Arc::new)).transpose()?;
        Ok(Self(log))
    }

    /// Why nothing can be written at this time, if so.
    pub fn failing(&self) -> Option<String> {
        self.0.as_ref()?.failing()
    }

    /// Comes back when everything is on disk.
    pub async fn close(&self) -> Result<(), AuditError> {
        self.wait(Line::default()).await
    }

    async fn wait(&self, mut line: Line) -> Result<(), AuditError> {
        let Some(log) = &self.0 else { return Ok(()) };
        let (done, answer) = tokio::sync::oneshot::channel();
        line.done = Some(done);
        log.send(line)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(AuditError::Behind),
        }
    }
}

/// The most ids and collections of one line; how many more there were is told.
const MOST_IDS: usize = 1000;
/// The longest id of a line; clients choose some of them.
const LONGEST_ID: usize = 512;

/// What becomes a line.
#[derive(Debug, Clone, Serialize)]
struct Record {
    request_id: String,
    key: String,
    address: IpAddr,
    action: Action,
    collections: BTreeSet<String>,
    /// Their ids, where they are known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    collection_ids: BTreeSet<String>,
    faces: Ids,
    persons: Ids,
    #[serde(skip)]
    status: Option<StatusCode>,
}

/// Ids, as many as a line takes.
#[derive(Debug, Clone, Default, Serialize)]
struct Ids {
    ids: BTreeSet<String>,
    total: usize,
}

impl Ids {
    fn add(&mut self, id: &str) {
        let id: String = id.chars().take(LONGEST_ID).collect();
        let is_new = match self.ids.len() < MOST_IDS {
            true => self.ids.insert(id),
            false => !self.ids.contains(&id),
        };
        self.total += usize::from(is_new);
    }
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[serde(flatten)]
    record: &'a Record,
    outcome: &'static str,
    status: Option<u16>,
}

impl Record {
    fn line(&self, outcome: &'static str, is_needed: bool) -> Line {
        let written = Written {
            timestamp: now(),
            record: self,
            outcome,
            status: self.status.map(|status| status.as_u16()),
        };
        // Text and numbers always become JSON.
        let mut bytes = serde_json::to_vec(&written).unwrap_or_default();
        bytes.push(b'\n');
        Line {
            bytes,
            is_needed,
            done: None,
        }
    }

    fn outcome(&self) -> &'static str {
        match self.status {
            // Whoever waited no longer than that does not know what was done meanwhile.
            None | Some(StatusCode::GATEWAY_TIMEOUT) => "unknown",
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "denied",
            Some(status) if status.is_client_error() || status.is_server_error() => "failure",
            Some(_) => "success",
        }
    }
}

/// The present, in microseconds.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The line of a request, while it is under way. Every request has one as an extension, and routes add what they find;
/// where nothing is written down that does nothing. It is written when the last copy is gone, so that an answer that is
/// still being streamed may hold one; at the latest then, also if the client left.
#[derive(Debug, Clone, Default)]
pub struct Entry(Arc<Open>);

#[derive(Debug, Default)]
struct Open {
    audit: Audit,
    record: Mutex<Option<Record>>,
}

impl Entry {
    /// A request's line, if its action has one. What its target tells is in it.
    pub fn new(audit: &Audit, action: Option<Action>, caller: &Caller, request_id: &str, uri: &Uri) -> Self {
        let record = action.filter(|_| audit.0.is_some()).map(|action| {
            let mut record = Record {
                request_id: request_id.to_owned(),
                key: caller.name.clone(),
                address: caller.address,
                action,
                collections: BTreeSet::new(),
                collection_ids: BTreeSet::new(),
                faces: Ids::default(),
                persons: Ids::default(),
                status: None,
            };
            record.read(uri);
            record
        });
        Self::with(audit, record)
    }

    /// The line of a command that somebody runs on this machine.
    pub fn of_command(audit: &Audit, action: Action, user: &str) -> Self {
        let record = Record {
            request_id: uuid::Uuid::new_v4().to_string(),
            key: format!("command line: {user}"),
            address: Ipv4Addr::LOCALHOST.into(),
            action,
            collections: BTreeSet::new(),
            collection_ids: BTreeSet::new(),
            faces: Ids::default(),
            persons: Ids::default(),
            status: None,
        };
        Self::with(audit, Some(record))
    }

    fn with(audit: &Audit, record: Option<Record>) -> Self {
        let (audit, record) = (audit.clone(), Mutex::new(record));
        Self(Arc::new(Open { audit, record }))
    }

    /// Adds a collection.
    pub fn collection(&self, name: &str) {
        self.change(|record| record.add_collection(name));
    }

    /// Adds a collection whose id is known.
    pub fn collection_of(&self, name: &str, id: &str) {
        self.change(|record| {
            record.add_collection(name);
            record.collection_ids.insert(id.to_owned());
        });
    }

    /// Adds a face that was found, stored or deleted.
    pub fn face(&self, id: &str) {
        self.change(|record| record.faces.add(id));
    }

    /// Adds a person who was found, named or deleted.
    pub fn person(&self, id: &str) {
        self.change(|record| record.persons.add(id));
    }

    /// Adds the faces that were found, and whose they are.
    pub fn found(&self, hits: &[Hit]) {
        self.change(|record| {
            for hit in hits {
                record.faces.add(&hit.id);
                if let Some(person) = &hit.person {
                    record.persons.add(&person.id);
                }
            }
        });
    }

    /// Whether it is written anywhere.
    pub fn is_kept(&self) -> bool {
        self.change(|_| ()).is_some()
    }

    /// What was answered.
    pub fn ends(&self, status: StatusCode) {
        self.change(|record| record.status = Some(status));
    }

    /// Comes back when it is on disk that this began.
    pub async fn started(&self) -> Result<(), AuditError> {
        let line = self.change(|record| record.line("started", false));
        match line {
            Some(line) => self.0.audit.wait(line).await,
            None => Ok(()),
        }
    }

    /// Comes back when its end is on disk.
    pub async fn written(&self) -> Result<(), AuditError> {
        match self.0.take() {
            Some(line) => self.0.audit.wait(line).await,
            None => Ok(()),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let mut record = self.0.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.as_mut().map(change)
    }
}

impl Record {
    fn add_collection(&mut self, name: &str) {
        if self.collections.len() < MOST_IDS {
            self.collections.insert(name.chars().take(LONGEST_ID).collect());
        }
    }

    /// What the target names: the collection, and the face or person that is deleted or changed.
    fn read(&mut self, uri: &Uri) {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
        match (self.action, parts.as_slice()) {
            (Action::DeleteFace, [_, _, id]) => self.faces.add(&decode(id)),
            (Action::DeletePerson | Action::ChangePerson, [_, _, id]) => self.persons.add(&decode(id)),
            (Action::EsSearch, [_, index, _]) => self.add_collection(&decode(index)),
            _ => {}
        }
        if self.action != Action::EsSearch {
            for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
                match (name.as_ref(), value.as_ref()) {
                    ("collection", collection) => self.add_collection(collection),
                    ("forget", text) if self.action == Action::DeleteFace && truth(text) == Some(true) => {
                        self.action = Action::ForgetFace;
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Open {
    fn take(&self) -> Option<Line> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(record.line(record.outcome(), true))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let (Some(line), Some(log)) = (self.take(), &self.audit.0) {
            // It counts what it cannot take, and says so.
            let _ = log.send(line);
        }
    }
}

#[cfg(test)]
mod tests;
