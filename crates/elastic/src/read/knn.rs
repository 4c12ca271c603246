//! A kNN search as it goes over the wire: the one place where our two numbers become Elasticsearch's.
//!
//! It is the knn *query* (`{"query": {"knn": ...}}`), since that means the same on every supported version: a shard's graph is
//! searched for the larger of `num_candidates` and `k` times `oversample`, and the latter are rescored. In the knn *section* of a
//! search the same numbers mean something else before 9.3, where `num_candidates` times `oversample` faces are looked at and
//! rescored.

use facedex_base::space::Metric;
use serde_json::{Value, json};

use crate::read::effort::{Effort, MAX_CANDIDATES};
use crate::schema::collection::Collection;
use crate::schema::filter::{self, Filter};
use crate::schema::layout::VECTOR_FIELD;
use crate::transport::node_versions::{Version, Versions};

/// From here on the section reads its numbers as the query does.
const SECTION_AS_QUERY: Version = Version::new(9, 3, 0);
/// How a section before that splits what the graph is searched for.
const OVERSAMPLE: usize = 5;

/// An approximate nearest-neighbour search.
#[derive(Debug, Clone)]
pub struct Knn<'q> {
    /// The query's embedding.
    pub vector: &'q [f32],
    /// How many hits, 1 to [`MAX_CANDIDATES`].
    pub k: usize,
    /// How far each shard looks.
    pub effort: Effort,
    /// Hits below this similarity are left out.
    pub min_similarity: Option<f64>,
    /// Conditions that hits must meet; they are applied while the graph is searched.
    pub filters: &'q [Filter],
}

impl Knn<'_> {
    /// As many hits as Elasticsearch gives at most.
    pub fn size(&self) -> usize {
        self.k.clamp(1, MAX_CANDIDATES)
    }

    /// The query of a search of at least one hit. Where a count alone is asked for, Elasticsearch 9.5 ignores its similarity.
    pub fn query(&self, collection: &Collection) -> Value {
        let k = self.size();
        let candidates = self.effort.candidates.clamp(k, MAX_CANDIDATES);
        let rescored = self.effort.rescored.clamp(k, candidates);
        json!({"knn": self.clause(collection, candidates, oversample(rescored, k))})
    }

    /// The section of a search that looks equally far. Its profile counts comparisons, that of the query does not. Before 9.3 it
    /// rescores all candidates.
    pub(crate) fn section(&self, collection: &Collection, versions: &Versions) -> Value {
        let k = self.size();
        let candidates = self.effort.candidates.clamp(k, MAX_CANDIDATES);
        // While a cluster is upgraded, what newer nodes are told makes older ones look further, and not the other way round.
        if versions.any_from(SECTION_AS_QUERY) {
            return self.query(collection)["knn"].take();
        }
        let in_query = match collection.index_type.is_quantised() {
            true => candidates.div_ceil(OVERSAMPLE).max(k),
            false => candidates,
        };
        self.clause(collection, in_query, oversample(candidates, in_query))
    }

    fn clause(&self, collection: &Collection, candidates: usize, oversample: f32) -> Value {
        let mut clause = json!({
            "field": VECTOR_FIELD,
            "query_vector": self.vector,
            "k": self.size(),
            "num_candidates": candidates,
        });
        if collection.index_type.is_quantised() {
            clause["rescore_vector"] = json!({"oversample": oversample});
        }
        if let Some(similarity) = self.min_similarity {
            clause["similarity"] = json!(limit(collection.metric, similarity));
        }
        if let Some(conditions) = filter::query(self.filters) {
            clause["filter"] = conditions;
        }
        clause
    }
}

/// What times `k` is `rescored` once Elasticsearch has rounded it up.
fn oversample(rescored: usize, k: usize) -> f32 {
    let factor = rescored as f32 / k as f32;
    match (factor * k as f32).ceil() as usize > rescored {
        true => factor.next_down().max(1.0),
        false => factor,
    }
}

/// The similarity behind a `_score`: `(1 + cosine) / 2`, or `1 / (1 + d^2)` of the distance.
pub(crate) fn similarity(metric: Metric, score: f64) -> f64 {
    match metric {
        Metric::Cosine => 2.0 * score - 1.0,
        Metric::Euclidean => 1.0 - (1.0 / score - 1.0) / 2.0,
    }
}

/// What the knn clause calls `similarity`: the least cosine, or the greatest distance.
fn limit(metric: Metric, similarity: f64) -> f64 {
    match metric {
        Metric::Cosine => similarity,
        Metric::Euclidean => (2.0 * (1.0 - similarity)).max(0.0).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scores_and_limits_are_those_of_the_similarity() {
        // A distance of 0.6 is a similarity of 1 - 0.36 / 2.
        assert!((similarity(Metric::Euclidean, 1.0 / 1.36) - 0.82).abs() < 1e-12);
        assert!((limit(Metric::Euclidean, 0.82) - 0.6).abs() < 1e-12);
        assert_eq!(
            (similarity(Metric::Cosine, 0.75), limit(Metric::Cosine, 0.5)),
            (0.5, 0.5)
        );
    }

    proptest! {
        #[test]
        fn as_many_are_rescored_as_were_asked_for(k in 1_usize..=MAX_CANDIDATES, more in 0.0_f64..1.0) {
            let rescored = k + ((MAX_CANDIDATES - k) as f64 * more) as usize;
            let factor = oversample(rescored, k);
            // As Elasticsearch computes it.
            prop_assert_eq!((k as f32 * factor).ceil() as usize, rescored);
            prop_assert!(factor >= 1.0);
        }
    }
}
