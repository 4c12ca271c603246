//! How much memory and disk so many faces take, and how many shards, by the formulas that Elasticsearch publishes in "Tune
//! approximate kNN search" and "Size your shards". Needs no cluster.

use serde::Serialize;

use crate::read::effort::{self, Asked, Question};
use crate::schema::layout::{IndexType, Layout};

/// "Size your shards": a shard of more than this is slow to move and to recover.
pub const LARGEST_SHARD: u64 = 50 << 30;
/// "Size your shards": and so is one of more documents than this.
pub const MOST_DOCUMENTS: u64 = 200_000_000;
/// Above this a JVM loses its compressed pointers; half of the memory is the other limit of a heap.
pub(crate) const LARGEST_HEAP: u64 = 31 << 30;
/// Bytes on disk that a face takes besides its vector: the document, its fields and their indices. Measured (9.2.0, one
/// segment, named people, no thumbnails) and rounded up; docs/lifecycle.md says how.
pub const OTHER_BYTES: u64 = 600;

/// What is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Wish {
    /// Faces in the end.
    pub faces: u64,
    /// Numbers in a vector.
    pub dims: u32,
    /// Edges that a node of the graph has.
    pub m: u32,
    /// Copies of each primary shard.
    pub replicas: u32,
    /// Bytes of memory that a data node has.
    pub node_bytes: u64,
    /// Bytes on disk of a face besides its vector.
    pub other_bytes: u64,
}

/// What one index type needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// How vectors are indexed.
    pub index_type: IndexType,
    /// Bytes of memory that one copy of all faces needs for fast searches: the vectors that are compared, and the graph.
    pub ram_bytes: u64,
    /// Bytes on disk of one copy.
    pub disk_bytes: u64,
    /// Primary shards: the fewest that keep within all limits.
    pub shards: u64,
    /// Which limit decides their number.
    pub shards_for: Limit,
    /// How many faces a search for ten looks for in each shard's graph; none without a graph.
    pub candidates: Option<usize>,
    /// About how many vectors it compares, over all shards.
    pub comparisons: u64,
    /// Memory for all copies.
    pub ram_total_bytes: u64,
    /// Disk for all copies.
    pub disk_total_bytes: u64,
    /// Data nodes whose file caches hold that memory, and at least one a copy.
    pub nodes: u64,
}

/// What decides the number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes on disk.
    Size,
    /// Documents.
    Documents,
    /// A node's file cache holds no more.
    Memory,
    /// In more faces a search finds fewer than 99 % of the ten nearest, however far Elasticsearch lets it look.
    Recall,
}

impl Wish {
    /// What a data node has left for its file cache when the heap is taken off.
    pub fn cache_bytes(&self) -> u64 {
        self.node_bytes - (self.node_bytes / 2).min(LARGEST_HEAP)
    }

    /// What each index type needs, in the order in which the types are documented.
    pub fn needs(&self) -> Vec<Need> {
        IndexType::ALL
            .into_iter()
            .map(|index_type| self.need(index_type))
            .collect()
    }

    fn need(&self, index_type: IndexType) -> Need {
        let ram = self.faces * (compared_bytes(index_type, self.dims) + graph_bytes(index_type, self.m));
        let on_disk = vector_bytes_on_disk(index_type, self.dims) + graph_bytes(index_type, self.m);
        let disk = self.faces * (on_disk + self.other_bytes);
        let limits = [
            (disk.div_ceil(LARGEST_SHARD), Limit::Size),
            (self.faces.div_ceil(MOST_DOCUMENTS), Limit::Documents),
            (ram.div_ceil(self.cache_bytes().max(1)), Limit::Memory),
            (
                self.faces
                    .div_ceil(effort::most_in_a_shard(index_type, self.m).unwrap_or(u64::MAX)),
                Limit::Recall,
            ),
        ];
        let (shards, shards_for) =
            limits.into_iter().fold(
                (1, Limit::Size),
                |most, limit| if limit.0 > most.0 { limit } else { most },
            );
        let copies = u64::from(self.replicas) + 1;
        let candidates = (index_type != IndexType::Flat).then(|| {
            let layout = Layout {
                index_type,
                m: self.m,
                shards: u32::try_from(shards).unwrap_or(u32::MAX),
                ..Layout::default()
            };
            let asked = Asked::default();
            asked.effort(Question::Search, &layout, 10, self.faces).candidates
        });
        Need {
            index_type,
            ram_bytes: ram,
            disk_bytes: disk,
            shards,
            shards_for,
            candidates,
            comparisons: candidates
                .map_or(self.faces, |each| shards * effort::comparisons(index_type, each))
                .min(self.faces),
            ram_total_bytes: ram * copies,
            disk_total_bytes: disk * copies,
            nodes: (ram * copies).div_ceil(self.cache_bytes().max(1)).max(copies),
        }
    }
}

/// Bytes of the form of a vector that searches compare, as 9.5.3 counts them. Before 9.3 int8 and int4 took 12 bytes less, which is
/// what Elasticsearch's guide still says.
pub fn compared_bytes(index_type: IndexType, dims: u32) -> u64 {
    let dims = u64::from(dims);
    match index_type {
        IndexType::Hnsw | IndexType::Flat => 4 * dims,
        IndexType::Int8Hnsw => dims + 16,
        IndexType::Int4Hnsw => dims.div_ceil(2) + 16,
        IndexType::BbqHnsw => dims.div_ceil(8) + 14,
    }
}

/// The same as a formula.
pub fn compared_formula(index_type: IndexType) -> &'static str {
    match index_type {
        IndexType::Hnsw | IndexType::Flat => "dims * 4",
        IndexType::Int8Hnsw => "dims + 16",
        IndexType::Int4Hnsw => "dims / 2 + 16",
        IndexType::BbqHnsw => "dims / 8 + 14",
    }
}

/// Bytes of a face's node in the graph.
pub fn graph_bytes(index_type: IndexType, m: u32) -> u64 {
    match index_type {
        IndexType::Flat => 0,
        _ => 4 * u64::from(m),
    }
}

/// A shortened vector lies beside the whole one, which is kept to rescore.
fn vector_bytes_on_disk(index_type: IndexType, dims: u32) -> u64 {
    let whole = 4 * u64::from(dims);
    if index_type.is_quantised() {
        whole + compared_bytes(index_type, dims)
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish {
        faces: 10_000_000,
        dims: 128,
        m: 16,
        replicas: 1,
        node_bytes: 64 << 30,
        other_bytes: 700,
    };

    #[test]
    fn memory_is_what_elasticsearch_counts() {
        let ram = |index_type| WISH.need(index_type).ram_bytes / WISH.faces;
        assert_eq!(ram(IndexType::Hnsw), 128 * 4 + 64);
        assert_eq!(ram(IndexType::Int8Hnsw), 128 + 16 + 64);
        assert_eq!(ram(IndexType::Int4Hnsw), 64 + 16 + 64);
        assert_eq!(ram(IndexType::BbqHnsw), 16 + 14 + 64);
        assert_eq!(ram(IndexType::Flat), 128 * 4);
    }

    #[test]
    fn shards_keep_within_every_limit() {
        // Graphs of 16 edges are searched twice as far as those of 32, which 10,000 candidates allow for in 1.5 million faces.
        let few = WISH.need(IndexType::Int8Hnsw);
        assert_eq!((few.shards, few.shards_for, few.nodes), (7, Limit::Recall, 2));
        assert_eq!((few.candidates, few.comparisons), (Some(9_143), 7 * 35 * 9_143));
        // 33 GiB of cache a node; 400 million times 512 and 700 bytes.
        let large = Wish {
            faces: 400_000_000,
            ..WISH
        };
        let need = large.need(IndexType::Flat);
        assert_eq!(
            (need.shards_for, need.candidates, need.comparisons),
            (Limit::Size, None, large.faces)
        );
        assert!(need.disk_bytes / need.shards <= LARGEST_SHARD && need.ram_bytes / need.shards <= large.cache_bytes());
        let slim = Wish {
            other_bytes: 0,
            dims: 16,
            ..large
        };
        let need = slim.need(IndexType::Flat);
        assert_eq!((need.shards, need.shards_for), (2, Limit::Documents));
        let poor = Wish {
            node_bytes: 4 << 30,
            ..WISH
        };
        let need = poor.need(IndexType::Flat);
        assert_eq!((need.shards, need.shards_for), (3, Limit::Memory));
        assert_eq!(need.nodes, 5);
    }
}
