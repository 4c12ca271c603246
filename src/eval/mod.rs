//! Accuracy, measured on photos whose people are known: verification, identification, calibration. docs/accuracy.md says
//! by which protocols.

pub mod bootstrap;
pub mod cache;
pub mod calibrate;
pub mod clustering;
pub mod contact_sheet;
pub mod extract;
pub mod folds;
pub mod identification;
pub mod pairs;
pub mod people;
pub mod plot;
pub mod quality;
pub mod roc;
pub mod verification;

use std::path::PathBuf;

use facedex_elastic::ElasticError;
use facedex_face::FaceError;

use crate::query::QueryError;

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file or folder cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a pair file is none.
    #[error("{path}, line {line}: {reason}")]
    Pairs {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A photo of a pair is not there.
    #[error("{path}: no such photo; give the folder that the pair file speaks of with --images")]
    NoPhoto {
        /// The photo.
        path: PathBuf,
    },
    /// Too little to measure anything by.
    #[error("{what}: {found} found, at least {needed} are needed")]
    TooFew {
        /// Of what.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// Nobody to search for, or among.
    #[error(
        "{reason}: give photos of more people, or more photos of each; or enrol --gallery DIR and search with --probes DIR"
    )]
    NothingToMeasure {
        /// What is missing.
        reason: String,
    },
    /// A plot or picture cannot be made.
    #[error("cannot write {path}: {reason}")]
    Draw {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A worker ended by a panic.
    #[error("a worker panicked while it looked at {0}")]
    Worker(PathBuf),
    /// The models do not load or run.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// Elasticsearch.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// A rate is none.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Two ends of a 95 % confidence interval.
pub type Interval = [f64; 2];

pub(crate) fn io_error(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> EvalError + '_ {
    move |source| EvalError::Io {
        path: path.to_owned(),
        source,
    }
}
