//! Whether an index is the one that facedex made, or a copy of it. Elasticsearch copies `_meta` along when people clone, shrink,
//! restore or reindex an index, so a collection's id alone does not tell them apart. A mark in `_meta` does: it names the index
//! that it was written into by what Elasticsearch gives each index and no copy keeps.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the mark stands in `_meta`.
pub(super) const FIELD: &str = "index";

/// What tells an index from its copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// `index.uuid`: a clone, a shrunk index and one that is restored under another name have one of their own.
    uuid: String,
    /// `index.history.uuid`: a snapshot that is restored over the index itself gives it another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<String>,
}

/// Where an index comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It has facedex's mark, and is as facedex left it.
    Own,
    /// It has no mark: an earlier release made it and nothing was written since, or it is a copy of such an index.
    Unmarked,
    /// It has another index's mark: it was cloned, restored, or somebody reindexed it.
    Copy,
}

impl Mark {
    /// The mark that this index should have, from its settings.
    pub(crate) fn of(settings: &Value) -> Option<Self> {
        let index = &settings["index"];
        Some(Self {
            uuid: index["uuid"].as_str()?.to_owned(),
            history: index["history"]["uuid"].as_str().map(str::to_owned),
        })
    }

    /// Sets it in `_meta`.
    pub(crate) fn put(&self, meta: &mut Value) {
        meta[FIELD] = json!(self);
    }
}

impl Origin {
    /// From `_meta` and the settings of an index.
    pub(crate) fn of(meta: &Value, settings: &Value) -> Self {
        let own = Mark::of(settings);
        match Mark::deserialize(&meta[FIELD]) {
            Err(_) => Self::Unmarked,
            Ok(mark) if own.as_ref() == Some(&mark) => Self::Own,
            Ok(_) => Self::Copy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_and_a_restored_index_are_told_from_the_index_itself() {
        let settings = |uuid: &str, history: Option<&str>| {
            let mut index = json!({"uuid": uuid});
            if let Some(history) = history {
                index["history"] = json!({"uuid": history});
            }
            json!({"index": index})
        };
        let mut meta = json!({"collection_id": "c"});
        let here = settings("a", None);
        assert_eq!(Origin::of(&meta, &here), Origin::Unmarked);
        Mark::of(&here).unwrap().put(&mut meta);
        assert_eq!(Origin::of(&meta, &here), Origin::Own);
        assert_eq!(Origin::of(&meta, &settings("b", None)), Origin::Copy);
        // Under another name, and over itself.
        for restored in [settings("b", Some("h")), settings("a", Some("h"))] {
            assert_eq!(Origin::of(&meta, &restored), Origin::Copy);
            let mut adopted = meta.clone();
            Mark::of(&restored).unwrap().put(&mut adopted);
            assert_eq!(Origin::of(&adopted, &restored), Origin::Own);
        }
    }
}
