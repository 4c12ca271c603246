//! What a collection costs its cluster: segments, vectors outside of the heap, and the memory that searches want.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};

use super::plan;
use crate::schema::collection::Collection;
use crate::schema::layout::IndexType;
use crate::schema::resolve::survey;
use crate::schema::versions::{self, State, Version};
use crate::transport::client::Payload;
use crate::{Client, ElasticError};

/// What a collection costs.
#[derive(Debug, Clone, Serialize)]
pub struct Storage {
    /// Documents in all primary shards.
    pub documents: u64,
    /// Deleted documents that segments still hold.
    pub deleted: u64,
    /// Segments of all primary shards. Each has a graph of its own, which every search walks.
    pub segments: u64,
    /// Whether the index takes no writes.
    pub writes_blocked: bool,
    /// Bytes of the vectors outside of the heap, all copies; absent where Elasticsearch does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_heap: Option<OffHeap>,
    /// Memory for fast searches.
    pub ram: Ram,
    /// Other indices of the collection.
    pub versions: Vec<Version>,
    /// Indices that have the collection's id and are no part of it: clones, restored snapshots.
    pub copies: Vec<String>,
}

/// Bytes of vector data by kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffHeap {
    /// All of it.
    #[serde(rename(deserialize = "total_size_bytes"))]
    pub total_bytes: u64,
    /// Whole vectors (`vec`).
    #[serde(rename(deserialize = "total_vec_size_bytes"))]
    pub whole_bytes: u64,
    /// Vectors of one byte or half a byte a dimension (`veq`).
    #[serde(rename(deserialize = "total_veq_size_bytes"))]
    pub quantised_bytes: u64,
    /// Vectors of one bit a dimension (`veb`).
    #[serde(rename(deserialize = "total_veb_size_bytes"))]
    pub binary_bytes: u64,
    /// Graphs (`vex`).
    #[serde(rename(deserialize = "total_vex_size_bytes"))]
    pub graph_bytes: u64,
}

/// Memory for fast searches, against the memory that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ram {
    /// The files that every search walks, of all copies, should lie in memory.
    pub needed_bytes: u64,
    /// Whether that is what Elasticsearch counted; otherwise it is its documented formula.
    pub counted: bool,
    /// Memory of the data nodes without their heaps: what their file caches can take, for all indices together. Absent
    /// where these credentials may not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there_bytes: Option<u64>,
    /// Data nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_nodes: Option<u64>,
}

#[derive(Deserialize)]
struct StatsReply {
    _all: All,
}

#[derive(Deserialize)]
struct All {
    primaries: Stats,
    total: Stats,
}

#[derive(Deserialize)]
struct Stats {
    docs: Docs,
    segments: Count,
    dense_vector: Option<DenseVector>,
}

#[derive(Deserialize)]
struct Docs {
    count: u64,
    deleted: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
struct DenseVector {
    off_heap: Option<OffHeap>,
}

/// Asks what the collection costs.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn storage(client: &Client, collection: &Collection) -> Result<Storage, ElasticError> {
    let stats: StatsReply = client
        .json(
            "tell the collection's statistics",
            Method::Get,
            &format!("/{}/_stats/docs,segments,dense_vector", collection.index),
            &[],
            Payload::None,
        )
        .await?;
    let off_heap = stats._all.total.dense_vector.and_then(|vectors| vectors.off_heap);
    let needed = match &off_heap {
        Some(bytes) => bytes.searched(collection.index_type),
        None => {
            let each = plan::compared_bytes(collection.index_type, collection.dims)
                + plan::graph_bytes(collection.index_type, collection.m);
            each * stats._all.total.docs.count
        }
    };
    let (versions, copies) = versions::sorted(collection, &survey(client).await?);
    let (own, versions) = versions
        .into_iter()
        .partition::<Vec<_>, _>(|version| version.state == State::Live);
    let nodes = nodes(client).await?;
    Ok(Storage {
        documents: stats._all.primaries.docs.count,
        deleted: stats._all.primaries.docs.deleted,
        segments: stats._all.primaries.segments.count,
        writes_blocked: own.iter().any(|version| version.blocked),
        ram: Ram {
            needed_bytes: needed,
            counted: off_heap.is_some(),
            there_bytes: nodes.map(|(_, bytes)| bytes),
            data_nodes: nodes.map(|(count, _)| count),
        },
        off_heap,
        versions,
        copies,
    })
}

impl OffHeap {
    /// The files that every search walks: the graph, and the vectors in the form that is compared. Whole vectors beside
    /// shortened ones are only looked at to rescore.
    fn searched(&self, index_type: IndexType) -> u64 {
        let vectors = if index_type.is_quantised() {
            self.quantised_bytes + self.binary_bytes
        } else {
            self.whole_bytes
        };
        vectors + self.graph_bytes
    }
}

#[derive(Deserialize)]
struct NodesReply {
    nodes: BTreeMap<String, Node>,
}

#[derive(Deserialize)]
struct Node {
    roles: Vec<String>,
    os: Os,
    jvm: Jvm,
}

#[derive(Deserialize)]
struct Os {
    mem: Memory,
}

#[derive(Deserialize)]
struct Memory {
    total_in_bytes: u64,
}

#[derive(Deserialize)]
struct Jvm {
    mem: Heap,
}

#[derive(Deserialize)]
struct Heap {
    heap_max_in_bytes: u64,
}

/// How many data nodes there are, and the memory that their heaps leave. `None` where these credentials may not ask.
async fn nodes(client: &Client) -> Result<Option<(u64, u64)>, ElasticError> {
    let reply: Result<NodesReply, _> = client
        .json(
            "tell the nodes' memory",
            Method::Get,
            "/_nodes/stats/os,jvm",
            &[(
                "filter_path",
                "nodes.*.roles,nodes.*.os.mem.total_in_bytes,nodes.*.jvm.mem.heap_max_in_bytes",
            )],
            Payload::None,
        )
        .await;
    let reply = match reply {
        Err(ElasticError::Forbidden { .. }) => return Ok(None),
        other => other?,
    };
    // Searchable snapshots aside, any of the data roles can hold our shards.
    let data = reply
        .nodes
        .values()
        .filter(|node| node.roles.iter().any(|role| role.starts_with("data")));
    let caches: Vec<u64> = data
        .map(|node| {
            node.os
                .mem
                .total_in_bytes
                .saturating_sub(node.jvm.mem.heap_max_in_bytes)
        })
        .collect();
    Ok(Some((caches.len() as u64, caches.iter().sum())))
}
