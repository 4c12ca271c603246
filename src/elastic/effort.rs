//! How hard a search looks where nobody says: candidates for each shard, by the size of the collection.
//!
//! A search looks at `num_candidates` times [`OVERSAMPLE`] faces in each shard's graph and compares these again with whole
//! vectors. How many are needed for recall grows nearly as the faces do, since most of the ten nearest are strangers at
//! about equal distances. Measured with 10,000 to 1,000,000 faces that are distributed like the default embedder's
//! (docs/benchmarks.md).

use super::collection::{IndexType, Layout};
use super::search::MAX_CANDIDATES;

/// The share of a shard's faces that is looked at, for 99 % of the true ten nearest in a graph of [`M`] edges a node.
const SHARE: f64 = 0.004;
/// Edges a node; graphs with fewer need to be searched more, in proportion.
const M: f64 = 32.0;
/// The fewest that are looked at: in small shards the share is too few, and this many take 2 to 5 ms.
const FEWEST: f64 = 700.0;
/// How many times as many a shard's share is of vectors of one bit a dimension; small shards need less of that.
const BBQ: f64 = 10.0;
/// At least this many for each result.
const EACH: f64 = 20.0;
/// The most: 2.5 million faces in a shard. Beyond, recall falls unless somebody asks for more.
const MOST: f64 = 10_000.0;

/// How many times `num_candidates` is looked at and compared again where nobody says. Recall and work depend on the
/// product alone.
pub const OVERSAMPLE: f32 = 5.0;

/// `num_candidates` for a search for `k` faces in an index of `stored` faces, 1 to [`MAX_CANDIDATES`].
///
/// By all that is stored, whatever is filtered: a filter leaves faces out of the results, and not out of the graph.
pub fn candidates(layout: &Layout, k: usize, stored: u64) -> usize {
    let in_a_shard = stored as f64 / f64::from(layout.shards.max(1));
    let times = f64::from(OVERSAMPLE);
    let looked_at = |coarser: f64| {
        (share(layout.m) * coarser * in_a_shard)
            .max(FEWEST * coarser.sqrt())
            .max(EACH * k as f64)
            .min(MOST)
    };
    let candidates = match layout.index_type {
        // Every face is compared.
        IndexType::Flat => k as f64,
        IndexType::Hnsw => looked_at(1.0),
        IndexType::Int8Hnsw | IndexType::Int4Hnsw => looked_at(1.0) / times,
        IndexType::BbqHnsw => looked_at(BBQ) / times,
    };
    (candidates.ceil() as usize).clamp(1, MAX_CANDIDATES)
}

/// The most faces in a shard for which a search looks at as many as recall takes, with an edge count of `m` and vectors of a
/// byte a dimension.
pub fn most_in_a_shard(m: u32) -> u64 {
    (MOST / share(m)) as u64
}

fn share(m: u32) -> f64 {
    SHARE * (M / f64::from(m.max(1))).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_grow_with_the_faces_of_a_shard_within_bounds() {
        let one = Layout::default();
        let at = |stored, layout: &Layout| candidates(layout, 10, stored) * OVERSAMPLE as usize;
        assert_eq!([0, 12, 175_000].map(|stored| at(stored, &one)), [700; 3]);
        assert_eq!([1_000_000, 1 << 40].map(|stored| at(stored, &one)), [4_000, 10_000]);
        let four = Layout {
            shards: 4,
            ..one.clone()
        };
        assert_eq!(at(1_000_000, &four), 1_000);
        for (m, needed) in [(16, 8_000), (64, 4_000)] {
            assert_eq!(at(1_000_000, &Layout { m, ..one.clone() }), needed);
        }
    }

    #[test]
    fn more_results_and_shorter_vectors_need_more() {
        let of = |index_type, k| {
            let layout = Layout {
                index_type,
                ..Layout::default()
            };
            candidates(&layout, k, 1_000_000)
        };
        assert_eq!(of(IndexType::Int8Hnsw, 10) * 5, of(IndexType::Hnsw, 10));
        assert_eq!(of(IndexType::Int8Hnsw, 300), 1_200);
        assert_eq!(of(IndexType::Int8Hnsw, 10_000), 2_000);
        assert_eq!(of(IndexType::BbqHnsw, 10), 2_000);
        assert_eq!(of(IndexType::Flat, 10), 10);
        assert_eq!([16, 32, 64].map(most_in_a_shard), [1_250_000, 2_500_000, 2_500_000]);
    }
}
