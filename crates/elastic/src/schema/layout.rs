//! How a collection's index is laid out.

use serde::{Deserialize, Serialize};

/// The vector field.
pub(crate) const VECTOR_FIELD: &str = "face.embedding";

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
