//! Who may do what: API keys, and where there are none, this machine alone.
//!
//! `keys` says what a key is, `file` keeps them on disk and `live` in the running server; `origin` reads what browsers
//! say, `rate` counts, and `guard` decides.

pub mod file;

pub mod keys;
pub mod live;
pub mod origin;
pub mod rate;

use std::path::PathBuf;

/// Why keys cannot be read, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system does not let us.
    #[error("cannot {action} the keys file {path}: {source}; name another file with --keys")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is no keys file, or a damaged one.
    #[error("the keys file {path} is broken: {reason}; restore it from a copy, or remove it and make new keys")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A file that was named is not there.
    #[error("there is no keys file {0}; `facedex keys create NAME --collection NAME --keys {0}` makes it")]
    Missing(PathBuf),
    /// A name is none.
    #[error("{0:?} cannot be a key's name: 1 to 64 letters, digits and - _ . @, a letter or digit first")]
    BadName(String),
    /// Two keys would have one name, and the audit log could not tell them apart.
    #[error("there is a key {0:?} already, or was; choose another name (`facedex keys list` shows all)")]
    NameTaken(String),
    /// Nobody has that name.
    #[error("there is no key {0:?}; `facedex keys list` shows all")]
    NoSuchKey(String),
    /// A key for nothing.
    #[error(
        "say which collections the key may use: --collection NAME, repeated for several, or --collection '*' for all"
    )]
    NoCollections,
    /// A collection's name is none.
    #[error("{0}")]
    BadCollection(String),
    /// A key that would be over at once, or never.
    #[error("--expires must be at least one second and end before the year 10000, such as 90d")]
    BadLifetime,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}; no key was made")]
    NoRandomness(String),
}
