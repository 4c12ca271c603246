//! Why a collection could not be moved, exported or imported.

use std::path::PathBuf;

use crate::elastic::ElasticError;

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
    #[error("collection {name:?} is in a --bulk-load; let the ingest end, or run one without --bulk-load to repair it")]
    InLoad {
        /// The collection.
        name: String,
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
