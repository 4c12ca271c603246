//! What can go wrong between us and Elasticsearch, in the user's terms.

use serde_json::Value;

/// Why Elasticsearch could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ElasticError {
    /// No node answered.
    #[error(
        "no answer from elasticsearch at {nodes}: {reason}; is it running there? --elasticsearch-url or ELASTICSEARCH_URL names another address, `dev/node start` starts one for development"
    )]
    Unreachable {
        /// The addresses that were tried.
        nodes: String,
        /// The last failure.
        reason: String,
    },
    /// The address, the certificate or another part of the connection's settings is wrong.
    #[error("cannot set up the connection to elasticsearch: {0}")]
    Setup(String),
    /// 401.
    #[error(
        "elasticsearch refused the credentials ({reason}); set ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD"
    )]
    Unauthorised {
        /// Elasticsearch's words.
        reason: String,
    },
    /// 403 that is not a block.
    #[error("elasticsearch forbids this to the user of these credentials: {reason}")]
    Forbidden {
        /// Elasticsearch's words.
        reason: String,
    },
    /// Any other answer that is not a success.
    #[error("elasticsearch refused to {operation} ({status} {kind}): {reason}")]
    Refused {
        /// What was asked.
        operation: String,
        /// HTTP status.
        status: u16,
        /// The `type` of the error, such as `mapper_parsing_exception`.
        kind: String,
        /// Elasticsearch's words.
        reason: String,
    },
    /// A success whose body is not what the API promises.
    #[error("elasticsearch answered {operation} with something unexpected: {reason}")]
    Unexpected {
        /// What was asked.
        operation: String,
        /// What was wrong.
        reason: String,
    },
    /// A success whose body is cut off, or not Elasticsearch's.
    #[error("the answer to {operation} cannot be read ({reason}); does elasticsearch itself answer at this address?")]
    Garbled {
        /// What was asked.
        operation: String,
        /// What was wrong.
        reason: String,
    },
    /// Which versions answer cannot be told.
    #[error(
        "cannot tell which elasticsearch answers at {nodes}, nor so what a search would look at: {reason}; GET /_nodes must come through, and the credentials need the cluster privilege `monitor` (docs/cluster.md)"
    )]
    UnknownVersion {
        /// The addresses.
        nodes: String,
        /// What was answered instead.
        reason: String,
        /// Whether it may be told later.
        is_passing: bool,
    },
    /// A version on which it is not known what a search would look at.
    #[error("elasticsearch {found} (node {nodes}) is not supported, {supported} are: {remedy}; nothing was searched")]
    UnsupportedVersion {
        /// The version.
        found: String,
        /// The nodes that have it.
        nodes: String,
        /// Those that are supported.
        supported: String,
        /// What to do.
        remedy: &'static str,
    },
    /// There is no such collection.
    #[error(
        "no collection {name:?}; `facedex collection list` shows those that exist, `facedex collection create {name}` or an ingest makes it"
    )]
    NoCollection {
        /// The name that was asked for.
        name: String,
    },
    /// The name belongs to something that facedex did not make.
    #[error("{name:?} is no facedex collection: {reason}; choose another --collection")]
    NotACollection {
        /// The name that was asked for.
        name: String,
        /// What it is instead.
        reason: String,
    },
    /// An alias that shows a part of a collection's index.
    #[error("{name:?} is no whole collection: {reason}")]
    PartOfCollection {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// What is read is not what is written.
    #[error(
        "collection {name:?} is read from index {read} and written to index {written} (by the alias {alias}): nothing was read or written; `facedex collection adopt {name}` makes {read} the collection, or move the alias {name} to {written}"
    )]
    Split {
        /// The collection.
        name: String,
        /// The index that its name stands for.
        read: String,
        /// The alias by which it is written.
        alias: String,
        /// The index that this one stands for.
        written: String,
    },
    /// Several indices claim to be the collection.
    #[error(
        "collection {name:?}: index {index} has the same collection id as {copies}, as after a clone, a restored snapshot or a reindex: what is changed or deleted in one would stay in the other, so nothing was done; `facedex collection adopt {name}` says that {index} is the collection and gives the others an id of their own, with --as-copy it gives {index} one"
    )]
    Copies {
        /// The collection.
        name: String,
        /// The index that its name stands for.
        index: String,
        /// The others.
        copies: String,
    },
    /// A snapshot brought back what was deleted.
    #[error(
        "collection {name:?}: index {index} is a copy, or was restored from a snapshot, and holds {faces} faces that were deleted on request; nothing was read or written: `facedex collection adopt {name}` removes them and makes the index the collection"
    )]
    Restored {
        /// The collection.
        name: String,
        /// Its index.
        index: String,
        /// How many faces came back.
        faces: u64,
    },
    /// A newer facedex has written to the index.
    #[error(
        "index {index} was brought up to version {found} of its mapping by a newer facedex, this one knows {ours}: nothing was written; use the newer facedex"
    )]
    NewerIndex {
        /// The index.
        index: String,
        /// Its version.
        found: u64,
        /// The newest that this program knows.
        ours: u64,
    },
    /// An index that takes no writes.
    #[error(
        "index {index} takes no writes ({setting} is true); set that to null, or free space on the nodes' disks where elasticsearch has set it"
    )]
    Blocked {
        /// The index.
        index: String,
        /// The setting.
        setting: String,
    },
    /// An index of which nothing can be read, not even whose it is.
    #[error("index {index} tells nothing of itself: index.blocks.metadata is true; set it to null")]
    Hidden {
        /// The index.
        index: String,
    },
    /// An index that takes neither reads nor writes.
    #[error("index {index} is closed; POST /{index}/_open opens it")]
    Closed {
        /// The index.
        index: String,
    },
    /// Something that is about all of a collection could not look at all of it.
    #[error(
        "not everything was looked at: {indices}; what else there is was done, mend that and run the same command again"
    )]
    Unreached {
        /// The indices, each with the reason.
        indices: String,
    },
    /// There may be indices that this account cannot see.
    #[error(
        "looked at only what this account may see, and elasticsearch does not say what it leaves out: use an account with view_index_metadata on all indices, or say --visible-only"
    )]
    PartlyVisible,
    /// A collection of this name exists with other properties than those asked for.
    #[error("collection {name:?} exists already ({reason}); nothing was changed")]
    Exists {
        /// The name that was asked for.
        name: String,
        /// How it differs.
        reason: String,
    },
    /// The name cannot be an alias.
    #[error("{name:?} cannot name a collection: use 1 to 100 of a-z, 0-9, - and _, beginning with a letter or a digit")]
    BadName {
        /// The name that was asked for.
        name: String,
    },
    /// The collection holds vectors of another embedding space.
    #[error(
        "collection {name:?} holds vectors of the embedding space {stored}, the loaded embedder makes {wanted}; they cannot be compared: choose another --collection or the embedder of {stored}"
    )]
    WrongSpace {
        /// The collection.
        name: String,
        /// The space in its `_meta`.
        stored: String,
        /// The space of the loaded embedder.
        wanted: String,
    },
    /// Load mode on an index that people search.
    #[error(
        "collection {name:?} holds faces already, so that people may be searching it: --bulk-load is for a new collection; leave it out"
    )]
    NotLoadable {
        /// The collection.
        name: String,
    },
    /// A condition on a field that is not there.
    #[error("no field {field:?} to filter by; there are labels.KEY, {known}")]
    UnknownField {
        /// What was asked for.
        field: String,
        /// The fields that there are.
        known: String,
    },
    /// A condition on a label that is on no face.
    #[error(
        "no face of collection {collection:?} has a label {key:?} to filter by: look how it is spelt, or give it with `facedex ingest --label {key}=VALUE`, to stored faces with --replace"
    )]
    UnknownLabel {
        /// The label's key.
        key: String,
        /// The collection.
        collection: String,
    },
    /// Requests kept failing for longer than the limit.
    #[error(
        "elasticsearch did not accept it for {seconds} s ({reason}); what was acknowledged is kept: run the same command again, it does only what is left"
    )]
    GaveUp {
        /// For how long it was tried.
        seconds: u64,
        /// The last failure.
        reason: String,
    },
}

impl ElasticError {
    /// The error for an answer that is not a success.
    pub fn from_reply(operation: &str, status: u16, body: &[u8]) -> Self {
        let (kind, reason) = describe(body);
        if kind == CLOSED {
            return Self::Closed {
                index: named_index(body).unwrap_or_else(|| reason.clone()),
            };
        }
        match status {
            401 => Self::Unauthorised { reason },
            403 if kind != BLOCKED => Self::Forbidden { reason },
            _ => Self::Refused {
                operation: operation.to_owned(),
                status,
                kind,
                reason,
            },
        }
    }

    /// The error for a body that does not hold what it should.
    pub fn unexpected(operation: &str, reason: impl std::fmt::Display) -> Self {
        Self::Unexpected {
            operation: operation.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Garbled { .. } => true,
            Self::UnknownVersion { is_passing, .. } => *is_passing,
            Self::Refused { status, kind, .. } => matches!(status, 408 | 429 | 500..=599) || kind == BLOCKED,
            _ => false,
        }
    }

    /// Whether Elasticsearch said 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// The error type of an index or cluster that takes no writes for now.
pub const BLOCKED: &str = "cluster_block_exception";

/// The error type of a closed index.
pub(crate) const CLOSED: &str = "index_closed_exception";

/// The index that an error body names.
fn named_index(body: &[u8]) -> Option<String> {
    let parsed: Value = serde_json::from_slice(body).ok()?;
    let error = &parsed["error"];
    let places = [&error["index"], &error["root_cause"][0]["index"]];
    places.into_iter().find_map(|index| index.as_str().map(str::to_owned))
}

/// Which block of an index Elasticsearch names in its words (`blocked by: [FORBIDDEN/8/index write (api)]`), and what lifts it.
pub fn block(reason: &str) -> Option<(&'static str, &'static str)> {
    // The numbers are Elasticsearch's own (`IndexMetadata`), its words have changed.
    const BLOCKS: [(&str, &str, &str); 5] = [
        ("/5/", "index.blocks.read_only", "set it to null"),
        ("/7/", "index.blocks.read", "set it to null"),
        (
            "/8/",
            "index.blocks.write",
            "set it to null; a migration that goes on lifts its own",
        ),
        ("/9/", "index.blocks.metadata", "set it to null"),
        (
            "/12/",
            "index.blocks.read_only_allow_delete",
            "free space on the nodes' disks: elasticsearch sets it at its flood stage, and lifts it by itself",
        ),
    ];
    let at = reason.find("blocked by: [")?;
    let found = BLOCKS.iter().find(|(number, ..)| reason[at..].contains(number));
    found.map(|(_, setting, remedy)| (*setting, *remedy))
}

/// Type and reason from an error body, or the body's beginning where it is not Elasticsearch's (a proxy's page).
fn describe(body: &[u8]) -> (String, String) {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    match parsed.as_ref().map(|value| &value["error"]) {
        Some(Value::Object(error)) => {
            let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            // "all shards failed" says nothing: its cause does.
            let root = error.get("root_cause").map(|causes| &causes[0]["reason"]);
            let shard = error.get("failed_shards").map(|shards| &shards[0]["reason"]["reason"]);
            let cause = error.get("caused_by").map(|cause| &cause["reason"]);
            let cause = [cause, root, shard].into_iter().flatten().find_map(Value::as_str);
            let cause = cause.filter(|cause| *cause != field("reason"));
            let reason = match cause {
                Some(cause) => format!("{}: {cause}", field("reason")),
                None => field("reason"),
            };
            (field("type"), reason)
        }
        Some(Value::String(reason)) => (String::new(), reason.clone()),
        _ => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            (String::new(), text.trim().to_owned())
        }
    }
}
