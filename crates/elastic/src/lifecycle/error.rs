//! Why a collection could not be moved, exported or imported.

use std::path::PathBuf;
use std::time::Duration;

use crate::ElasticError;

/// What ends a lifecycle command.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// Elasticsearch.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// An earlier migration was cut off and wanted something else.
    #[error(
        "index {index} is the beginning of another migration ({found}); give the same options to go on with it, or remove it with `facedex collection retire --unfinished`"
    )]
    OtherMigration {
        /// The unfinished index.
        index: String,
        /// What that migration wanted.
        found: String,
    },
    /// The collection is being filled.
    #[error("collection {name:?} cannot be moved: {meaning}")]
    InLoad {
        /// The collection.
        name: String,
        /// Whether the load goes on, and what ends it.
        meaning: String,
    },
    /// An export or a store of faces is not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An export cannot be written.
    #[error("cannot write the export: {0}; free space, then run the same command again: it goes on where it was")]
    Write(std::io::Error),
    /// Another import is not done.
    #[error("{meaning}; nothing was done")]
    OtherImport {
        /// Whether it goes on, and what to do.
        meaning: String,
    },
    /// Somebody moves the collection right now.
    #[error(
        "index {index} is being built by a migration that goes on; let it end, or stop it and run this again at most {seconds} s later"
    )]
    GoesOn {
        /// The unfinished index.
        index: String,
        /// After so long without a sign of life it counts as stopped.
        seconds: u64,
    },
    /// Writers would have to wait for too long.
    #[error(
        "writers would have to wait for about {}, and may wait for {}; nothing was switched, writes go on: run the same command again when less is written, or let them wait longer with --max-pause",
        humantime::format_duration(*expected),
        humantime::format_duration(*most)
    )]
    LongPause {
        /// About how long.
        expected: Duration,
        /// How long they may.
        most: Duration,
    },
    /// The indices do not become equal.
    #[error(
        "index {index} still differs from the collection after {rounds} rounds without writes; somebody else writes to it, nothing was switched"
    )]
    Differs {
        /// The new index.
        index: String,
        /// How often it was tried.
        rounds: u32,
    },
    /// Searches of the new index are not as good.
    #[error(
        "the new index finds too little ({reason}); nothing was switched, the collection is as it was: choose another --index-type or larger --m, or accept less with --min-agreement"
    )]
    Unverified {
        /// What was found.
        reason: String,
    },
    /// Faces that cannot be taken along.
    #[error(
        "{faces} faces cannot be taken along; the reasons are above: bring their photos back, or go on without them with --leave-behind; nothing was switched"
    )]
    LeftBehind {
        /// How many.
        faces: u64,
    },
}
