//! What was measured, one JSON object a line. A line is written when its measurement is done, so that a run that is cut off
//! goes on where it was.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::truth::Recall;
use crate::bench::BenchError;
use crate::elastic::collection::{IndexType, Layout};
use crate::elastic::lifecycle::storage::OffHeap;

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
            replicas: Some(0),
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
    /// Candidates that each shard looks at.
    pub num_candidates: usize,
    /// How many times k candidates are compared again with whole vectors; 1 where the index has only whole ones.
    pub oversample: f32,
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

/// The file.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    /// What is in it.
    pub records: Vec<Record>,
}

impl Results {
    /// Opens the file, or makes it. A last line that was cut off is taken away.
    pub fn open(path: &Path) -> Result<Self, BenchError> {
        let failed = |reason: std::io::Error| unusable(path, reason.to_string());
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .map_err(failed)?;
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        let read = |(line, text): (usize, &str)| {
            serde_json::from_str(text).map_err(|error| {
                let reason = format!("line {} is no result ({error}); name another file", line + 1);
                unusable(path, reason)
            })
        };
        let records = text[..whole].lines().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            file,
            records,
        })
    }

    /// Adds a measurement.
    pub fn add(&mut self, record: Record) -> Result<(), BenchError> {
        let failed = |reason: String| unusable(&self.path, reason);
        let mut line = serde_json::to_vec(&record).map_err(|error| failed(error.to_string()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| failed(error.to_string()))?;
        self.records.push(record);
        Ok(())
    }

    /// Whether this index was measured.
    pub fn has_index(&self, wanted: &IndexKey) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Index { key, .. } if key == wanted))
    }

    /// Whether these searches were measured.
    pub fn has_search(&self, wanted: &SearchKey) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Search { key, .. } if key == wanted))
    }

    /// Whether this peer was measured, in whatever ways it is asked.
    pub fn has_peer(&self, faces: u64, dims: usize, name: &str) -> bool {
        let same = |key: &PeerKey| key.faces == faces && key.dims == dims && key.peer == name;
        self.records
            .iter()
            .any(|record| matches!(record, Record::Peer { key, .. } if same(key)))
    }
}

fn unusable(path: &Path, reason: String) -> BenchError {
    BenchError::Results {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_known_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knn.ndjson");
        let index = IndexKey {
            faces: 10,
            dims: 128,
            index_type: IndexType::BbqHnsw,
            m: 16,
            ef_construction: 100,
            shards: 1,
            segments: Segments::Merged,
        };
        let key = SearchKey {
            index,
            num_candidates: 400,
            oversample: 2.5,
            filter: Filter::Tenth,
        };
        let mut results = Results::open(&path).unwrap();
        assert!(!results.has_search(&key));
        let record = Record::Search {
            key,
            recall: Recall::default(),
            strangers: Recall::default(),
            queries: 5,
            comparisons: 7.0,
            loads: vec![Level::default()],
            place: Place::default(),
        };
        results.add(record).unwrap();
        results.file.write_all(b"{\"kind\":\"sea").unwrap();
        let results = Results::open(&path).unwrap();
        assert!(results.has_search(&key) && results.records.len() == 1);
        assert!(!results.has_search(&SearchKey { oversample: 5.0, ..key }));
        assert!(!results.has_index(&index) && !results.has_peer(10, 128, "numpy"));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("}\n"));
        std::fs::write(&path, "no result\n").unwrap();
        assert!(
            Results::open(&path)
                .unwrap_err()
                .to_string()
                .contains("name another file")
        );
    }
}
