//! How far a search looks: the one place that turns a question, a collection and what somebody asked for into the two numbers
//! that every knn clause of ours is made of.
//!
//! A search follows each shard's graph until it has the `candidates` nearest that it can find there, by the form of the vectors
//! that the index compares. The `rescored` nearest of these are compared again with full-precision vectors. How many candidates
//! recall needs grows nearly as the faces do, since most of the ten nearest are strangers at about equal distances. Measured with
//! 50,000 to 1,000,000 faces that are distributed like the default embedder's, on Elasticsearch 9.5.3, and checked with 100,000
//! on 8.19.21 and 9.2.0 (docs/benchmarks.md).

use serde::{Deserialize, Serialize};

use crate::schema::layout::{IndexType, Layout};

/// Elasticsearch's own limit of `k`, `num_candidates` and of what it rescores.
pub const MAX_CANDIDATES: usize = 10_000;

/// How far a search looks in each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// How many faces the graph is searched for: from `rescored` to [`MAX_CANDIDATES`].
    pub candidates: usize,
    /// How many of them are compared again with full-precision vectors, from `k` on; without meaning where the index has no
    /// others.
    pub rescored: usize,
}

/// What somebody asked for, where they did; the rest follows from the question and the collection.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    /// [`Effort::candidates`].
    pub candidates: Option<u16>,
    /// [`Effort::rescored`].
    pub rescored: Option<u16>,
    /// What /v1 called `num_candidates` and `oversample` before: each is of that product, where the index is quantized.
    pub former: Option<(u16, f32)>,
}

impl From<Effort> for Asked {
    fn from(effort: Effort) -> Self {
        let number = |number: usize| Some(u16::try_from(number.min(MAX_CANDIDATES)).unwrap_or(u16::MAX));
        Self {
            candidates: number(effort.candidates),
            rescored: number(effort.rescored),
            former: None,
        }
    }
}

/// What is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The `k` nearest faces, 99 % of them.
    Search,
    /// The nearest face, in 99.9 % of the searches, and whoever else is near.
    Identify,
}

/// How many candidates a question needs in a shard.
struct Law {
    /// As a share of the shard's faces.
    share: f64,
    /// In small shards, where the share is too few.
    fewest: f64,
    /// For each result, where many are asked for.
    each: usize,
}

/// Edges a node of the graphs that the laws were measured with; graphs with fewer are searched further, in proportion.
const M: f64 = 32.0;
/// So many are rescored for each result: int8 and int4 put the true nearest that far forward.
const RESCORED_EACH: usize = 5;

impl Question {
    fn law(self, index_type: IndexType) -> Law {
        let (share, fewest, each) = match (self, index_type) {
            (Self::Search, IndexType::BbqHnsw) => (0.035, 2_200.0, 20),
            (Self::Search, _) => (0.0032, 600.0, 20),
            (Self::Identify, IndexType::BbqHnsw) => (0.01, 700.0, 4),
            (Self::Identify, _) => (0.0016, 300.0, 4),
        };
        Law { share, fewest, each }
    }
}

impl Asked {
    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// A number that is out of its range, with the reason.
    pub fn check(&self) -> Result<(), String> {
        match (self.candidates, self.rescored) {
            (Some(candidates), Some(rescored)) if rescored > candidates => Err(format!(
                "only candidates are compared again: rescored ({rescored}) is at most candidates ({candidates})"
            )),
            _ => Ok(()),
        }
    }

    /// How far to look for `k` faces in an index of `stored` faces. What was asked for is raised to `k`.
    ///
    /// By all that is stored, whatever is filtered: a filter leaves faces out of the results, and not out of the graph.
    pub fn effort(self, question: Question, layout: &Layout, k: usize, stored: u64) -> Effort {
        let k = k.clamp(1, MAX_CANDIDATES);
        if let Some((candidates, times)) = self.former {
            let times = if layout.index_type.is_quantised() { times } else { 1.0 };
            let product = (usize::from(candidates).max(k) as f32 * times).ceil() as usize;
            let both = product.min(MAX_CANDIDATES);
            return Effort {
                candidates: both,
                rescored: both,
            };
        }
        let given = |number: Option<u16>| number.map(|number| usize::from(number).clamp(k, MAX_CANDIDATES));
        let by_law = || by_law(question, layout, k, stored);
        let candidates = match (given(self.candidates), given(self.rescored)) {
            (Some(candidates), _) => candidates,
            (None, rescored) => by_law().max(rescored.unwrap_or(0)),
        };
        let rescored = given(self.rescored).unwrap_or(match layout.index_type {
            // One bit a dimension says little about the order.
            IndexType::BbqHnsw => candidates,
            _ => RESCORED_EACH * k,
        });
        Effort {
            candidates,
            rescored: rescored.min(candidates),
        }
    }
}

/// About how many vectors a search of so many candidates compares in a shard, where these are as many as a law has it.
pub fn comparisons(index_type: IndexType, candidates: usize) -> u64 {
    let each = match index_type {
        IndexType::BbqHnsw => 20,
        _ => 35,
    };
    each * candidates as u64
}

fn by_law(question: Question, layout: &Layout, k: usize, stored: u64) -> usize {
    if layout.index_type == IndexType::Flat {
        return k; // Every face is compared.
    }
    let law = question.law(layout.index_type);
    let in_a_shard = stored as f64 / f64::from(layout.shards.max(1));
    let candidates = (law.share * sparser(layout.m) * in_a_shard).max(law.fewest).round() as usize;
    candidates.max(law.each * k).min(MAX_CANDIDATES)
}

/// The most faces in a shard for which [`MAX_CANDIDATES`] candidates are as many as the ten nearest take; any number without a graph.
pub fn most_in_a_shard(index_type: IndexType, m: u32) -> Option<u64> {
    match index_type {
        IndexType::Flat => None,
        graph => Some((MAX_CANDIDATES as f64 / (Question::Search.law(graph).share * sparser(m))) as u64),
    }
}

fn sparser(m: u32) -> f64 {
    (M / f64::from(m.max(1))).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(index_type: IndexType) -> Layout {
        Layout {
            index_type,
            ..Layout::default()
        }
    }

    fn by_default(question: Question, layout: &Layout, k: usize, stored: u64) -> [usize; 2] {
        let effort = Asked::default().effort(question, layout, k, stored);
        [effort.candidates, effort.rescored]
    }

    #[test]
    fn candidates_grow_with_the_faces_of_a_shard_within_bounds() {
        let one = Layout::default();
        let at = |stored, layout: &Layout| by_default(Question::Search, layout, 10, stored)[0];
        assert_eq!([0, 12, 187_000].map(|stored| at(stored, &one)), [600; 3]);
        assert_eq!([1_000_000, 1 << 40].map(|stored| at(stored, &one)), [3_200, 10_000]);
        let four = Layout {
            shards: 4,
            ..one.clone()
        };
        assert_eq!(at(1_000_000, &four), 800);
        for (m, needed) in [(16, 6_400), (64, 3_200)] {
            assert_eq!(at(1_000_000, &Layout { m, ..one.clone() }), needed);
        }
        let flat = of(IndexType::Flat);
        assert_eq!(at(1_000_000, &flat), 10);
    }

    #[test]
    fn who_it_is_takes_fewer_than_who_is_near() {
        for index_type in [
            IndexType::Hnsw,
            IndexType::Int8Hnsw,
            IndexType::Int4Hnsw,
            IndexType::BbqHnsw,
        ] {
            let candidates = |question| by_default(question, &of(index_type), 50, 1_000_000)[0];
            let (search, identify) = (candidates(Question::Search), candidates(Question::Identify));
            assert!(
                identify < search || search == MAX_CANDIDATES,
                "{index_type:?}: {identify}, {search}"
            );
        }
    }

    #[test]
    fn more_results_and_shorter_vectors_need_more() {
        let search = |index_type, k| by_default(Question::Search, &of(index_type), k, 1_000_000);
        assert_eq!(search(IndexType::Int8Hnsw, 10), [3_200, 50]);
        assert_eq!(search(IndexType::Int8Hnsw, 300), [6_000, 1_500]);
        assert_eq!(search(IndexType::Int8Hnsw, 10_000), [10_000, 10_000]);
        assert_eq!(search(IndexType::BbqHnsw, 10), [10_000, 10_000]);
        let most = |index_type, m| most_in_a_shard(index_type, m);
        assert_eq!(
            [16, 32, 64].map(|m| most(IndexType::Int8Hnsw, m)),
            [Some(1_562_500), Some(3_125_000), Some(3_125_000)]
        );
        assert_eq!(most(IndexType::Flat, 32), None);
    }

    #[test]
    fn what_is_asked_for_holds_within_what_is_possible() {
        let asked = |candidates, rescored| {
            let asked = Asked {
                candidates,
                rescored,
                former: None,
            };
            let effort = asked.effort(Question::Search, &Layout::default(), 10, 1_000_000);
            [effort.candidates, effort.rescored]
        };
        assert_eq!(asked(Some(500), Some(100)), [500, 100]);
        assert_eq!(asked(Some(500), None), [500, 50]);
        assert_eq!(asked(Some(20), None), [20, 20]);
        assert_eq!(asked(None, Some(100)), [3_200, 100]);
        assert_eq!(asked(None, Some(5_000)), [5_000, 5_000]);
        // As a section of 9.2 read the former names: raised to k first, and oversampled where there is something to rescore.
        let former = |layout: &Layout, k| {
            let asked = Asked {
                former: Some((20, 5.0)),
                ..Asked::default()
            };
            asked.effort(Question::Search, layout, k, 1_000_000)
        };
        let both = |number| Effort {
            candidates: number,
            rescored: number,
        };
        assert_eq!(former(&of(IndexType::Int8Hnsw), 10), both(100));
        assert_eq!(former(&of(IndexType::Int8Hnsw), 100), both(500));
        assert_eq!(former(&of(IndexType::Hnsw), 10), both(20));
        // No fewer than are to be found.
        assert_eq!(asked(Some(3), Some(2)), [10, 10]);
        let both = Asked {
            candidates: Some(10),
            rescored: Some(11),
            former: None,
        };
        assert!(both.check().is_err());
    }
}
