//! How hard a search looks: candidates for each shard, by the faces that are searched.

use super::collection::{IndexType, Layout};
use super::search::MAX_CANDIDATES;

/// The share of a shard's faces that a search looks at, for 99 % of the true ten nearest, in a graph of [`M`] edges a node.
///
/// Measured with 100,000 to 1,000,000 faces that are distributed like the default embedder's (docs/benchmarks.md). What
/// must be looked at grows nearly as the faces do, since most of the ten nearest are strangers at about equal distances.
const SHARE: f64 = 0.004;
/// Edges a node; graphs with fewer need to be searched more, in proportion.
const M: f64 = 32.0;
/// The fewest that are looked at: in small shards the share is too few, and this many take 3 ms.
const FEWEST: f64 = 700.0;
/// The most, unless somebody asks for more: beyond, a search would be as slow as the collection is large.
const MOST: f64 = 10_000.0;

/// How many times `num_candidates` is looked at and compared again where nobody says. The product alone counts.
pub const OVERSAMPLE: f32 = 5.0;

/// How many candidates each shard looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Candidates; without a number, what the faces searched ask for.
    pub num_candidates: Option<usize>,
    /// How many times these are looked at and compared again with whole vectors, where the index holds shortened ones.
    pub oversample: f32,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            num_candidates: None,
            oversample: OVERSAMPLE,
        }
    }
}

impl Effort {
    /// `num_candidates` for a search among `faces` faces of an index with this layout, 1 to [`MAX_CANDIDATES`]. A number of
    /// faces that is unknown is taken for a large one.
    pub fn candidates(&self, layout: &Layout, faces: Option<u64>) -> usize {
        if let Some(given) = self.num_candidates {
            return given;
        }
        let shards = f64::from(layout.shards.max(1));
        let in_a_shard = faces.map_or(f64::INFINITY, |faces| faces as f64 / shards);
        let sparser = (M / f64::from(layout.m.max(1))).max(1.0);
        let needed = (SHARE * in_a_shard).max(FEWEST) * sparser * coarser(layout.index_type);
        let times = match layout.index_type.is_quantised() {
            true => f64::from(self.oversample),
            false => 1.0,
        };
        ((needed.min(MOST) / times).ceil() as usize).clamp(1, MAX_CANDIDATES)
    }
}

/// How many times as many candidates a type needs as one byte a dimension does.
fn coarser(index_type: IndexType) -> f64 {
    match index_type {
        IndexType::Hnsw | IndexType::Int8Hnsw | IndexType::Int4Hnsw | IndexType::Flat => 1.0,
        IndexType::BbqHnsw => 8.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_grow_with_the_faces_of_a_shard_within_bounds() {
        let one = Layout::default();
        let at = |faces, layout: &Layout| Effort::default().candidates(layout, faces) * OVERSAMPLE as usize;
        assert_eq!([0, 12, 175_000].map(|faces| at(Some(faces), &one)), [700; 3]);
        assert_eq!(at(Some(1_000_000), &one), 4_000);
        assert_eq!([at(Some(1 << 40), &one), at(None, &one)], [10_000; 2]);
        let four = Layout {
            shards: 4,
            ..one.clone()
        };
        assert_eq!(at(Some(1_000_000), &four), 1_000);
        let sparse = Layout { m: 16, ..one.clone() };
        assert_eq!(at(Some(1_000_000), &sparse), 8_000);
        let dense = Layout { m: 64, ..one };
        assert_eq!(at(Some(1_000_000), &dense), 4_000);
    }

    #[test]
    fn what_is_given_counts_and_whole_vectors_are_not_looked_at_again() {
        let given = Effort {
            num_candidates: Some(7),
            ..Effort::default()
        };
        assert_eq!(given.candidates(&Layout::default(), None), 7);
        let whole = Layout {
            index_type: IndexType::Hnsw,
            ..Layout::default()
        };
        assert_eq!(Effort::default().candidates(&whole, Some(1_000_000)), 4_000);
        let many = Effort {
            oversample: 10_000.0,
            ..Effort::default()
        };
        assert_eq!(many.candidates(&Layout::default(), None), 1);
    }
}
