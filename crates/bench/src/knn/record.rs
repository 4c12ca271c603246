//! What was measured, and how it is named: the lines of the file of results.

use std::fmt;

use facedex_elastic::lifecycle::storage::OffHeap;
use facedex_elastic::read::effort::Effort;
use facedex_elastic::schema::layout::{IndexType, Layout};
use serde::{Deserialize, Serialize};

use super::truth::Recall;

/// Whether an index is measured as it was filled, or merged into one segment a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Segments {
    /// As filled: what a live collection looks like.
    AsFilled,
    /// Merged: what `collection optimize` leaves.
    Merged,
}

/// Which faces are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// All.
    None,
    /// 50 %.
    Half,
    /// 10 %.
    Tenth,
    /// 1 %.
    Hundredth,
    /// 0.1 %.
    Thousandth,
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsFilled => "as filled",
            Self::Merged => "merged",
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "all",
            Self::Half => "50 %",
            Self::Tenth => "10 %",
            Self::Hundredth => "1 %",
            Self::Thousandth => "0.1 %",
        })
    }
}

impl Filter {
    /// The label that these faces carry, and of how many people one has it.
    pub fn label(self) -> Option<(&'static str, u64)> {
        match self {
            Self::None => None,
            Self::Half => Some(("half", 2)),
            Self::Tenth => Some(("tenth", 10)),
            Self::Hundredth => Some(("hundredth", 100)),
            Self::Thousandth => Some(("thousandth", 1000)),
        }
    }
}

/// An index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKey {
    /// Faces in it.
    pub faces: u64,
    /// Numbers in a vector.
    pub dims: usize,
    /// How they are indexed.
    pub index_type: IndexType,
    /// Edges a node of the graph has.
    pub m: u32,
    /// Candidates tracked while the graph is built.
    pub ef_construction: u32,
    /// Primary shards.
    pub shards: u32,
    /// Copies of each.
    #[serde(default)]
    pub replicas: u32,
    /// As filled or merged.
    pub segments: Segments,
}

impl IndexKey {
    /// How its collection is made.
    pub fn layout(&self) -> Layout {
        Layout {
            index_type: self.index_type,
            m: self.m,
            ef_construction: self.ef_construction,
            shards: self.shards,
            replicas: Some(self.replicas),
        }
    }
}

impl IndexKey {
    /// Its type, with the graph's parameters where they are not the defaults.
    pub fn graph(&self) -> String {
        let usual = Layout::default();
        match (self.m, self.ef_construction) == (usual.m, usual.ef_construction) {
            true => self.index_type.name().to_owned(),
            false => format!("{} m {} ef {}", self.index_type.name(), self.m, self.ef_construction),
        }
    }
}

/// A way to search an index.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SearchKey {
    /// Which index.
    #[serde(flatten)]
    pub index: IndexKey,
    /// Hits that are asked for. Recall is about the nearest ten of them.
    pub k: usize,
    /// How far each shard looks.
    #[serde(flatten)]
    pub effort: Effort,
    /// Among which faces.
    pub filter: Filter,
}

/// What is measured beside, in the same run on the same vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerKey {
    /// Faces.
    pub faces: u64,
    /// Numbers in a vector.
    pub dims: usize,
    /// Which peer.
    pub peer: String,
    /// How it was built and asked.
    #[serde(default)]
    pub parameters: String,
}

/// A measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// An index: what it took to make it and what it takes to keep it.
    Index {
        /// Which.
        #[serde(flatten)]
        key: IndexKey,
        /// Seconds until all faces were acknowledged and visible; absent where the collection was there already.
        fill_seconds: Option<f64>,
        /// Seconds until they were merged.
        merge_seconds: Option<f64>,
        /// Segments.
        segment_count: u64,
        /// Bytes on disk.
        disk_bytes: u64,
        /// Bytes of vectors and graphs, by kind of file.
        off_heap: Option<Vectors>,
        /// When and where.
        #[serde(flatten)]
        place: Place,
    },
    /// Searches.
    Search {
        /// How.
        #[serde(flatten)]
        key: SearchKey,
        /// Of photos of people who are stored.
        recall: Recall,
        /// Of photos of people who are not: all of their neighbours are far, and so harder to find.
        strangers: Recall,
        /// Queries of each of the two kinds.
        queries: usize,
        /// Comparisons of two vectors that a query costs, over all shards, as Elasticsearch counts them: the same on any
        /// machine. Without a graph it counts none.
        comparisons: f64,
        /// Those of the node that makes most of them.
        of_busiest_node: f64,
        /// Milliseconds of processor time that a query costs all nodes together, whatever else they do left in,
        cpu_ms: f64,
        /// and the node that spends most.
        cpu_ms_of_busiest_node: f64,
        /// Latency and throughput by clients at once.
        loads: Vec<Level>,
        /// When and where.
        #[serde(flatten)]
        place: Place,
    },
    /// A peer.
    Peer {
        /// Which.
        #[serde(flatten)]
        key: PeerKey,
        /// What it did.
        #[serde(flatten)]
        figures: PeerFigures,
        /// As above.
        recall: Recall,
        /// As above.
        strangers: Recall,
        /// When and where.
        #[serde(flatten)]
        place: Place,
    },
    /// Searches and a peer by turns: the same queries, one after the other, a block of each at a time.
    Turns {
        /// The searches.
        search: SearchKey,
        /// The peer, in the way that finds as much with the least work; in its last one where none does.
        peer: PeerKey,
        /// Recall@10 of the searches, of people who are stored,
        recall_at_10: f64,
        /// and the peer's.
        peer_recall_at_10: f64,
        /// Milliseconds of a search, HTTP and JSON included: the median of the turns' medians,
        search_ms: f64,
        /// and of the peer's query, within its own process.
        peer_ms: f64,
        /// The first over the second: the median of the turns' ratios,
        ratio: f64,
        /// and the 95 % interval of that median (bootstrap).
        interval: [f64; 2],
        /// Turns.
        turns: usize,
        /// When and where.
        #[serde(flatten)]
        place: Place,
    },
}

impl Record {
    /// When and where it was measured.
    pub fn place(&self) -> &Place {
        match self {
            Self::Index { place, .. }
            | Self::Search { place, .. }
            | Self::Peer { place, .. }
            | Self::Turns { place, .. } => place,
        }
    }
}

/// Bytes of vectors and graphs outside of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vectors {
    /// Whole vectors.
    pub whole_bytes: u64,
    /// Shortened ones.
    pub shortened_bytes: u64,
    /// Graphs.
    pub graph_bytes: u64,
}

impl From<OffHeap> for Vectors {
    fn from(bytes: OffHeap) -> Self {
        Self {
            whole_bytes: bytes.whole_bytes,
            shortened_bytes: bytes.quantised_bytes + bytes.binary_bytes,
            graph_bytes: bytes.graph_bytes,
        }
    }
}

impl Vectors {
    /// What every search walks: the graph, and the vectors in the form that is compared first.
    pub fn walked(&self) -> u64 {
        let compared = match self.shortened_bytes {
            0 => self.whole_bytes,
            shortened => shortened,
        };
        compared + self.graph_bytes
    }
}

/// What some clients saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Level {
    /// Clients at once.
    pub clients: usize,
    /// Answers a second.
    pub per_second: f64,
    /// Milliseconds until an answer was there and read: the median,
    pub p50_ms: f64,
    /// the 95th
    pub p95_ms: f64,
    /// and the 99th percentile.
    pub p99_ms: f64,
}

/// What a peer says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PeerFigures {
    /// Seconds to build it.
    pub build_seconds: f64,
    /// Bytes of memory that it takes, where it is known.
    pub memory_bytes: Option<u64>,
    /// Milliseconds of a query, one after the other on one thread: the median,
    pub p50_ms: f64,
    /// the 95th
    pub p95_ms: f64,
    /// and the 99th percentile.
    pub p99_ms: f64,
    /// Queries a second at best: on all cores where it can.
    pub per_second: f64,
    /// Queries that were asked.
    pub queries: usize,
}

/// When and under what load something was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Place {
    /// The end of the measurement.
    pub at: String,
    /// Elasticsearch's version; empty for a peer.
    pub elasticsearch: String,
    /// Processes that wanted to run in the minute before the measurement began, ours included: more than the cores make
    /// latencies doubtful.
    pub load_before: f64,
}
