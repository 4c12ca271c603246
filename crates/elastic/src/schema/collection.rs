//! Collections: the template, the versioned index, the alias that users name, and the embedding space in `_meta`.

use std::collections::{BTreeMap, BTreeSet};

use elasticsearch::http::Method;
use facedex_base::space::{Metric, Space};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::origin::Origin;
use crate::schema::mapping;
use crate::schema::mapping::{FACES, VERSION_FIELD};
use crate::schema::template;
use crate::schema::tombstones;
use crate::transport::client::Payload;
use crate::{Client, ElasticError};

pub(crate) mod origin;
mod prepare;
mod resolve;

pub use self::prepare::{expect_writable, prepare};
pub(crate) use self::resolve::{
    Indices, Stray, claim, describe_index, found, is_closed, open_among_all, survey, unseen,
};
pub use self::resolve::{Listed, Unusable, in_doubt, list, open, open_or_create};

/// Every faces index begins with this.
pub(crate) const INDEX_PREFIX: &str = "facedex-faces-";
/// The vector field.
pub const VECTOR_FIELD: &str = "face.embedding";

/// How Elasticsearch indexes the vectors (`index_options.type` of `dense_vector`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", value(rename_all = "snake_case"))]
pub enum IndexType {
    /// A graph over float vectors: the most memory, no loss but the graph's own.
    Hnsw,
    /// A graph over vectors of one byte a dimension, with float vectors on disk to rescore.
    #[default]
    Int8Hnsw,
    /// Half a byte a dimension.
    Int4Hnsw,
    /// One bit a dimension ("better binary quantisation").
    BbqHnsw,
    /// No graph: every vector is compared; exact, and linear in the number of faces.
    Flat,
}

impl IndexType {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 5] = [Self::Hnsw, Self::Int8Hnsw, Self::Int4Hnsw, Self::BbqHnsw, Self::Flat];

    /// The name Elasticsearch has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hnsw => "hnsw",
            Self::Int8Hnsw => "int8_hnsw",
            Self::Int4Hnsw => "int4_hnsw",
            Self::BbqHnsw => "bbq_hnsw",
            Self::Flat => "flat",
        }
    }

    /// Whether candidates are found on shortened vectors, so that rescoring with the whole ones gains something.
    pub fn is_quantised(self) -> bool {
        !matches!(self, Self::Hnsw | Self::Flat)
    }
}

/// How a new collection's index is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How vectors are indexed.
    pub index_type: IndexType,
    /// Edges a node of the graph has.
    pub m: u32,
    /// Candidates tracked while the graph is built.
    pub ef_construction: u32,
    /// Primary shards.
    pub shards: u32,
    /// Copies of each; without a number one copy as soon as there is a second node.
    pub replicas: Option<u32>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            index_type: IndexType::default(),
            // Beside 16: a tenth more memory, and up to 44 % less work for the same recall (docs/benchmarks.md).
            m: 32,
            ef_construction: 100,
            shards: 1,
            replicas: None,
        }
    }
}

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
    filter: Option<Value>,
    index_routing: Option<String>,
    search_routing: Option<String>,
    is_write_index: Option<bool>,
}

/// What [`check_name`] takes, as a regular expression, but for names that begin as an index of ours does.
pub const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,99}$";

/// Refuses names that could not be an alias, or could reach something else (wildcards, lists, other clusters).
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

/// Refuses a name that is taken or could not be an alias; gives the index that a new collection of this name has.
pub async fn expect_free(client: &Client, name: &str) -> Result<String, ElasticError> {
    check_name(name)?;
    match open(client, name).await {
        Err(ElasticError::NoCollection { .. }) => Ok(format!("{INDEX_PREFIX}{name}-000001")),
        Err(error) => Err(error),
        Ok(existing) => Err(ElasticError::Exists {
            name: name.to_owned(),
            reason: format!("space {}, index {}", existing.space, existing.index),
        }),
    }
}

/// Makes a collection: template, index, alias.
pub async fn create(client: &Client, name: &str, space: &Space, layout: &Layout) -> Result<Collection, ElasticError> {
    let index = expect_free(client, name).await?;
    template::install_faces_template(client).await?;
    let versions = client.versions().await?;
    let mut body = template::index_body(layout, space, &uuid::Uuid::new_v4().to_string(), &versions);
    body["aliases"] = json!({name: {"is_write_index": true}, write_alias(name, &space.name): {}});
    let made: Result<Value, _> = client
        .json(
            "create the collection",
            Method::Put,
            &format!("/{index}"),
            &[],
            Payload::Json(&body),
        )
        .await;
    match made {
        Err(ElasticError::Refused { kind, .. }) if kind == "resource_already_exists_exception" => {
            // The look-up before found no alias.
            Err(ElasticError::Exists {
                name: name.to_owned(),
                reason: format!("its index {index} is there, without the alias: add the alias, or remove the index"),
            })
        }
        Err(error) => Err(error),
        Ok(_) => {
            mapping::bring_up_if_there(client, FACES, &index).await?;
            tombstones::leave_to_the_former(client, name).await?;
            open(client, name).await
        }
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
