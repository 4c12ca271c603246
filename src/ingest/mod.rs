//! Photos from a source into a collection: source -> decode .. embed -> document -> bulk -> acknowledge.

pub mod dead_letter;
pub mod deliver;
pub mod fetch;
pub mod journal;
pub mod pace;
pub mod pipeline;
pub mod prepare;
pub mod profile;
pub mod progress;
pub mod reader;
pub mod reembed;
pub mod report;
pub mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use facedex_elastic::ElasticError;
use facedex_elastic::schema::document::{Person, TIMESTAMP};
use facedex_face::FaceError;
use serde::Serialize;

use self::journal::JournalError;
use self::source::Entry;

/// Why a whole run stops.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A path on the command line leads nowhere.
    #[error("no such file or folder: {0}")]
    NoSource(PathBuf),
    /// A pattern on the command line matches nothing.
    #[error("no file or folder matches {0}")]
    NoMatch(String),
    /// A pattern on the command line is none.
    #[error("{pattern} is no pattern: {reason}")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A list or a manifest cannot be read.
    #[error("cannot read {path}: {reason}")]
    List {
        /// Its path.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// What is to be watched is no folder.
    #[error("{0} is no folder; --watch watches folders")]
    NoFolder(PathBuf),
    /// Folders cannot be watched.
    #[error("cannot watch: {0}; raise fs.inotify.max_user_watches, or run without --watch from time to time")]
    Watch(String),
    /// The system gives no client for HTTP.
    #[error("cannot fetch photos: {0}")]
    Fetch(String),
    /// The paths hold no photo at all.
    #[error("no photos under {0}; JPEG, PNG, WebP, GIF, BMP and TIFF files are taken, by content")]
    NothingFound(String),
    /// The models do not load.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// Elasticsearch does not take the documents.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address for metrics is taken, or not ours.
    #[error("cannot serve metrics at {0}: {1}; choose another --metrics-addr")]
    Metrics(std::net::SocketAddr, String),
    /// A photo failed and cannot even be recorded.
    #[error(
        "cannot write the dead-letter file {path}: {source}; free space or choose another with --dead-letter, then run the same command again: what was indexed is kept"
    )]
    DeadLetter {
        /// The file's path.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A thread of ours ended early.
    #[error("internal error: a worker stopped ({0}); run the same command again: what was indexed is kept")]
    Worker(String),
}

/// What a run did. `faces = indexed + existing + conflicts + deleted`, plus the faces of photos that failed after detection.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Photos met, whatever became of them.
    pub images: u64,
    /// Faces found in them by this run.
    pub faces: u64,
    /// Faces written by this run.
    pub indexed: u64,
    /// Faces that were there before, the same.
    pub existing: u64,
    /// Of these, faces without a label, name or picture that was given now.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_labels: u64,
    /// Faces that are there as another person, and stay so.
    pub conflicts: u64,
    /// Faces that were there as another person, and are the one that was given now.
    #[serde(skip_serializing_if = "is_zero")]
    pub renamed: u64,
    /// Faces that were there without a person, and are the one that was given now.
    #[serde(skip_serializing_if = "is_zero")]
    pub named: u64,
    /// Faces that are there without a person, and stay so though one was given.
    #[serde(skip_serializing_if = "is_zero")]
    pub unnamed: u64,
    /// Faces that were deleted on request before, and are not stored again.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// People with new faces here who have the name of somebody who was deleted on request.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub namesakes: BTreeSet<String>,
    /// Faces that a rewrite did not find any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub removed: u64,
    /// Photos without a face.
    pub no_face: u64,
    /// Photos that could not be used, or whose faces were refused.
    pub failed: u64,
    /// Photos that an earlier run finished and that were not looked at again.
    pub done_before: u64,
    /// Files passed over because they are no images.
    pub skipped: u64,
    /// Failed photos by the stage that refused them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<Stage, u64>,
    /// Whether the run was told to stop before the end of its source.
    pub interrupted: bool,
    /// From the first photo to the last acknowledgement.
    pub seconds: f64,
    /// `faces / seconds`.
    pub faces_per_second: f64,
    /// The run's UUID, stored with every document that it wrote.
    pub run: String,
    /// Where failed photos are recorded; absent where none failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    fn time(&mut self, elapsed: std::time::Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.faces_per_second = self.faces as f64 / self.seconds;
    }
}

/// A photo that could not be used, with everything needed to try again.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// When, RFC 3339, UTC.
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    /// Where the photo is, without credentials.
    pub uri: String,
    /// The stage that refused it.
    pub stage: Stage,
    /// Why.
    pub reason: String,
    /// The person that the photo was given, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// The labels that its source gave it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The run that met it.
    pub run: String,
}

impl Failure {
    /// The record of a photo that cannot be used.
    pub fn new(entry: &Entry, stage: Stage, reason: String, run: &str) -> Self {
        Self {
            timestamp: now(),
            uri: entry.uri.clone(),
            stage,
            reason,
            person: entry.person.clone(),
            labels: entry.labels.clone(),
            run: run.to_owned(),
        }
    }
}

/// The present as Elasticsearch and people read it: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime(TIMESTAMP).to_string()
}

/// A stage of the ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading the file.
    Read,
    /// Bytes to pixels.
    Decode,
    /// Pixels to faces.
    Detect,
    /// Choosing the face that is the named person.
    Subject,
    /// Asking whether that face is good enough to stand for the person.
    Quality,
    /// Writing the documents.
    Index,
    /// The photo is there as another person.
    Conflict,
}

impl Stage {
    /// Its name in messages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Detect => "detect",
            Self::Subject => "subject",
            Self::Quality => "quality",
            Self::Index => "index",
            Self::Conflict => "conflict",
        }
    }
}
