//! Why a benchmark has no result.

use std::path::PathBuf;

use facedex_elastic::ElasticError;

/// Why a benchmark has no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The peer is not where it should be.
    #[error(
        "no such peer: {0}; run this in facedex's source tree, name the script with --peer, or leave it out with --no-peer"
    )]
    NoPeer(PathBuf),
    /// A program of the benchmark does not run.
    #[error("cannot run {program}: {reason}")]
    Program {
        /// What was run.
        program: String,
        /// The system's words, or the program's.
        reason: String,
    },
    /// A program ran and printed no result.
    #[error("{program} printed no result: {reason}")]
    NoResult {
        /// What was run.
        program: String,
        /// What is wrong with its last line.
        reason: String,
    },
    /// The photo to search by cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The photo to search by has nobody in it.
    #[error("{0}: no face in it, or no photo; a search by photo needs one")]
    NoFace(PathBuf),
    /// The file of results cannot be used.
    #[error("cannot use the results in {path}: {reason}")]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Searches of a load failed, so that its figures would be those of errors.
    #[error(
        "{failed} searches of {clients} clients at once failed; look at the node's log, or ask with fewer --clients"
    )]
    Searches {
        /// How many.
        failed: u64,
        /// Clients at once.
        clients: usize,
    },
    /// The command that is measured is not there.
    #[error("no {0}: build it beside facedex-bench with `cargo build --release --workspace`")]
    NoFacedex(PathBuf),
    /// Elasticsearch.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// What the command's own library says.
    #[error(transparent)]
    Facedex(#[from] facedex::error::Error),
}
