//! A collection, as Elasticsearch describes its index: the alias that users name, the embedding space and the id in `_meta`.

use std::collections::{BTreeMap, BTreeSet};

use facedex_base::space::{Metric, Space};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ElasticError;
use crate::schema::layout::{IndexType, Layout};
use crate::schema::mapping::VERSION_FIELD;
use crate::schema::origin::Origin;

/// Every faces index begins with this.
pub(crate) const INDEX_PREFIX: &str = "facedex-faces-";
/// A collection as it stands in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Collection {
    /// The name that users give: an alias.
    pub name: String,
    /// The index behind it.
    pub index: String,
    /// The embedding space of its vectors.
    pub space: String,
    /// A UUID that stays when the collection moves to another index.
    pub collection_id: String,
    /// Dimensions of its vectors.
    pub dims: u32,
    /// How they are compared.
    pub metric: Metric,
    /// How they are indexed.
    pub index_type: IndexType,
    /// Edges that a node of the graph has; Elasticsearch's default where the mapping does not say.
    #[serde(skip)]
    pub m: u32,
    /// Candidates that are tracked while the graph is built; likewise.
    #[serde(skip)]
    pub ef_construction: u32,
    /// Primary shards.
    pub shards: u32,
    /// Copies of each shard.
    pub replicas: u32,
    /// Whether Elasticsearch adapts their number to the nodes that there are.
    #[serde(skip)]
    pub auto_expands: bool,
    /// Every name that stands for the index.
    #[serde(skip)]
    pub names: Vec<String>,
    /// Whether the index is the one that facedex made, or a copy.
    #[serde(skip)]
    pub(crate) origin: Origin,
    /// The version of its mapping; none where an earlier release made it.
    #[serde(skip)]
    pub(crate) mapping_version: Option<u64>,
    /// Which of [`WRITE_BLOCKS`] is on its index.
    #[serde(skip)]
    pub(crate) write_block: Option<&'static str>,
    /// Fields that can be filtered by, besides `labels.*`.
    #[serde(skip)]
    pub fields: BTreeSet<String>,
}

/// Blocks under which an index takes no writes (`index.blocks.*`).
const WRITE_BLOCKS: [&str; 3] = ["write", "read_only", "read_only_allow_delete"];

impl Collection {
    /// How its index is laid out.
    pub fn layout(&self) -> Layout {
        Layout {
            index_type: self.index_type,
            m: self.m,
            ef_construction: self.ef_construction,
            shards: self.shards,
            replicas: (!self.auto_expands).then_some(self.replicas),
        }
    }

    /// The space of its vectors.
    pub fn embedding_space(&self) -> Space {
        Space {
            name: self.space.clone(),
            dims: self.dims as usize,
            metric: self.metric,
        }
    }

    /// Refuses another embedding space.
    ///
    /// # Errors
    ///
    /// [`ElasticError::WrongSpace`] with both spaces.
    pub fn expect_space(&self, space: &str) -> Result<(), ElasticError> {
        if self.space == space {
            return Ok(());
        }
        Err(ElasticError::WrongSpace {
            name: self.name.clone(),
            stored: self.space.clone(),
            wanted: space.to_owned(),
        })
    }
}

/// One of our indices, as Elasticsearch describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Described {
    pub(crate) aliases: BTreeMap<String, Alias>,
    pub(crate) mappings: Value,
    pub(crate) settings: Value,
    /// It tells nothing of itself: a block keeps everybody from looking. Nothing else is set then.
    #[serde(skip)]
    pub(crate) is_hidden: bool,
}

/// An alias, as its index describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Alias {
    pub(super) filter: Option<Value>,
    pub(super) index_routing: Option<String>,
    pub(super) search_routing: Option<String>,
    pub(super) is_write_index: Option<bool>,
}

/// What [`check_name`] takes, as a regular expression, but for names that begin as an index of ours does.
pub const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,99}$";

/// Refuses names that could not be an alias, or could reach something else (wildcards, lists, other clusters).
///
/// # Errors
///
/// The name, and what is wrong with it.
pub fn check_name(name: &str) -> Result<(), ElasticError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = (1..=100).contains(&name.len())
        && name.starts_with(good)
        && name.chars().all(|c| good(c) || c == '-' || c == '_')
        && !name.starts_with(INDEX_PREFIX);
    if valid {
        Ok(())
    } else {
        Err(ElasticError::BadName { name: name.to_owned() })
    }
}

/// The alias by which vectors are written. It names their space and stays behind when the collection moves to another one:
/// who still writes vectors of the old space meets no index, however late the request is.
pub(crate) fn write_alias(name: &str, space: &str) -> String {
    format!("{INDEX_PREFIX}{name}@{space}")
}

/// A collection of this name, from what Elasticsearch says of its index; `None` where that is no index of ours.
pub(crate) fn describe(name: &str, index: &str, reply: &Described) -> Option<Collection> {
    let meta = &reply.mappings["_meta"];
    let vector = &reply.mappings["properties"]["face"]["properties"]["embedding"];
    let setting = |name: &str| reply.settings["index"][name].as_str()?.parse().ok();
    let options = &vector["index_options"];
    let option = |name: &str, default: u32| {
        options[name]
            .as_u64()
            .and_then(|n| n.try_into().ok())
            .unwrap_or(default)
    };
    let usual = Layout::default();
    let index_type = serde_json::from_value(options["type"].clone()).ok()?;
    // What Elasticsearch takes where a mapping does not say; without a graph, what one would get.
    let (m, ef_construction) = match index_type {
        IndexType::Flat => (usual.m, usual.ef_construction),
        _ => (16, 100),
    };
    Some(Collection {
        name: name.to_owned(),
        index: index.to_owned(),
        space: meta["space"].as_str()?.to_owned(),
        collection_id: meta["collection_id"].as_str()?.to_owned(),
        metric: match vector["similarity"].as_str() {
            Some("l2_norm") => Metric::Euclidean,
            _ => Metric::Cosine,
        },
        dims: vector["dims"].as_u64()?.try_into().ok()?,
        index_type,
        m: option("m", m),
        ef_construction: option("ef_construction", ef_construction),
        shards: setting("number_of_shards")?,
        replicas: setting("number_of_replicas")?,
        auto_expands: reply.settings["index"]["auto_expand_replicas"]
            .as_str()
            .is_some_and(|range| range != "false"),
        names: reply
            .aliases
            .keys()
            .filter(|alias| check_name(alias).is_ok())
            .cloned()
            .collect(),
        origin: Origin::of(meta, &reply.settings),
        mapping_version: meta[VERSION_FIELD].as_u64(),
        write_block: {
            let blocks = &reply.settings["index"]["blocks"];
            WRITE_BLOCKS.into_iter().find(|block| blocks[*block] == "true")
        },
        fields: fields(&reply.mappings),
    })
}

/// The indexed fields of a mapping, by their full names.
fn fields(mapping: &Value) -> BTreeSet<String> {
    fn walk(prefix: &str, mapping: &Value, into: &mut BTreeSet<String>) {
        for (name, field) in mapping["properties"].as_object().into_iter().flatten() {
            let name = format!("{prefix}{name}");
            let kind = field["type"].as_str().unwrap_or("object");
            if field["properties"].is_object() {
                walk(&format!("{name}."), field, into);
            } else if field["index"] != false && !matches!(kind, "object" | "binary" | "dense_vector" | "flattened") {
                into.insert(name);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk("", mapping, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_reach_elsewhere_are_refused() {
        for good in ["faces", "a", "tenant-7_b", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Faces",
            "a*",
            "a,b",
            "r:faces",
            "<now>",
            "-a",
            "_all",
            "a/b",
            "..",
            "facedex-faces-faces-000001",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
