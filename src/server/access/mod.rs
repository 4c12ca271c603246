//! Who may do what: API keys, and where there are none, this machine alone.
//!
//! `keys` says what a key is, `file` keeps them on disk and `live` in the running server; `origin` reads what browsers
//! say, `rate` counts, and `guard` decides.

pub mod file;
pub mod guard;
pub mod keys;
pub mod live;
pub mod origin;
pub mod rate;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::file::KeyFile;
pub use self::guard::guard;
pub use self::keys::{Collections, Scope};
use self::live::LiveKeys;
use self::rate::{Guesses, Requests, Subject};
use super::audit::Entry;
use super::error::{ApiError, Code};

/// How access was asked to be.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// Where the keys are.
    pub keys: KeyFile,
    /// The user named the file: it must be there.
    pub keys_required: bool,
    /// Without keys, serve also where others can reach it.
    pub insecure: bool,
    /// Origins whose pages may ask with a key: scheme, host and port.
    pub origins: Vec<String>,
    /// Requests a second that each key has.
    pub rate_limit: Option<f64>,
    /// Requests at once that each key has; without it those of one second.
    pub rate_burst: Option<NonZeroU32>,
}

/// What is needed to decide who may do what.
#[derive(Debug)]
pub struct Access {
    keys: Arc<LiveKeys>,
    /// It listens where only this machine can reach it.
    local: bool,
    requests: Option<Requests>,
    guesses: Guesses,
    origins: Vec<String>,
}

/// How often counts that mean nothing any more are dropped.
const SWEEP: Duration = Duration::from_secs(10);

impl Access {
    /// Reads the keys. Without any, an address that others can reach is refused.
    pub fn open(settings: &AccessSettings, listen: SocketAddr) -> Result<Self, KeysError> {
        let keys = LiveKeys::open(settings.keys.clone(), settings.keys_required)?;
        let local = listen.ip().is_loopback();
        match keys.current() {
            None if !settings.origins.is_empty() => return Err(KeysError::OriginsWithoutKeys),
            None if !local && !settings.insecure => return Err(KeysError::NoKeys(listen)),
            None if !local => {
                tracing::warn!("serving {listen} without keys (--insecure): whoever reaches it may do all")
            }
            None => {}
            Some(keys) if keys.active(jiff::Timestamp::now()) == 0 => {
                tracing::warn!("no key in {} is good: nobody can ask", settings.keys.path().display());
            }
            Some(_) => {}
        }
        let requests = match settings.rate_limit {
            Some(rate) => Some(Requests::new(rate, settings.rate_burst).ok_or(KeysError::BadRate(rate))?),
            None => None,
        };
        Ok(Self {
            keys: Arc::new(keys),
            local,
            requests,
            guesses: Guesses::default(),
            origins: settings.origins.clone(),
        })
    }

    /// Why the keys file as it is now is not in force, if so.
    pub fn broken_keys(&self) -> Option<String> {
        self.keys.broken()
    }

    /// Follows the keys file and forgets old counts, until the server is gone.
    pub fn start(access: &Arc<Self>) {
        tokio::spawn(LiveKeys::watch(Arc::downgrade(&access.keys)));
        let access = Arc::downgrade(access);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(access) = access.upgrade() else { return };
                access.guesses.sweep(Instant::now());
                if let Some(requests) = &access.requests {
                    requests.sweep();
                }
            }
        });
    }
}

/// Who asks. Every request has one as an extension.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key's name.
    pub name: String,
    /// What the key is good for.
    pub scope: Scope,
    /// And where.
    pub collections: Collections,
    /// From where; a proxy's address where there is one.
    pub address: IpAddr,
    /// Whether it is a key's holder; without keys it is whoever asks from the address.
    pub has_key: bool,
    /// The request's line in the audit log, which is to have the ids of what was found, stored or deleted.
    pub entry: Entry,
}

impl Caller {
    /// Whoever reaches this machine's loopback, where no keys are set up.
    pub fn local() -> Self {
        Self::keyless(Ipv4Addr::LOCALHOST.into())
    }

    /// Whoever asks from this address, where no keys are set up.
    fn keyless(address: IpAddr) -> Self {
        Self {
            name: "local".to_owned(),
            scope: Scope::Admin,
            collections: Collections::All,
            address,
            has_key: false,
            entry: Entry::default(),
        }
    }

    /// Who asks for what needs no key.
    fn nobody(address: IpAddr) -> Self {
        Self {
            name: "nobody".to_owned(),
            scope: Scope::Read,
            collections: Collections::Named(Default::default()),
            address,
            has_key: false,
            entry: Entry::default(),
        }
    }

    /// Who shares an allowance with this caller.
    pub fn subject(&self) -> Subject {
        match self.has_key {
            true => Subject::Key(self.name.as_str().into()),
            false => Subject::Address(self.address.into()),
        }
    }

    /// Refuses what the caller may not do in a collection. Whether he may or not, it is in the audit log.
    pub fn may(&self, scope: Scope, collection: &str) -> Result<(), ApiError> {
        self.entry.collection(collection);
        self.may_do(scope)?;
        if self.sees(collection) {
            return Ok(());
        }
        let message = format!("this key is not good for the collection {collection:?}");
        Err(ApiError::new(Code::Forbidden, message).with("collection", collection))
    }

    /// Refuses what the caller may not do anywhere.
    pub fn may_do(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scope >= scope {
            return Ok(());
        }
        let (needed, has) = (scope.name(), self.scope.name());
        let message = format!("this needs a key with the scope {needed}; this one has {has}");
        Err(ApiError::new(Code::Forbidden, message).with("scope", needed))
    }

    /// Whether the collection is one of the caller's.
    pub fn sees(&self, collection: &str) -> bool {
        self.collections.allow(collection)
    }
}

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
    /// Everybody who reaches the address could do everything.
    #[error(
        "without API keys only this machine is served, and others can reach {0}; make a key with `facedex keys create NAME --collection NAME`, or say --insecure"
    )]
    NoKeys(SocketAddr),
    /// Pages of other origins could do everything.
    #[error(
        "--allow-origin lets pages of other origins ask with a key: make one with `facedex keys create NAME --collection NAME`"
    )]
    OriginsWithoutKeys,
    /// A rate is none.
    #[error("--rate-limit {0} must be a number, at least one request an hour (0.0003)")]
    BadRate(f64),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}; no key was made")]
    NoRandomness(String),
}
