//! Counts that Elasticsearch gets wrong: from 9.4 on (Lucene 10.4) a knn query's `similarity` is ignored wherever documents are
//! counted and not fetched, also by aggregations that count each bucket as a query, so that `k` comes out in place of the number of faces above it. Such a count is refused, with the
//! form that counts right.

use facedex_elastic::transport::node_versions::{Version, Versions};

use super::places::Place;
use super::splice::Refusal;

/// The first version that counts so.
const WRONG_FROM: Version = Version::new(9, 4, 0);

/// Whether what stands at a place of the body is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Its hits are fetched, or are those of a graph's search.
    Never,
    /// Where the search gives no hits, but their number.
    WithoutHits,
    /// In any case: the filter of an aggregation, or what must not be.
    Always,
}

impl Counted {
    /// The same for the value under `key`, which stands at `place`.
    pub(super) fn inner(self, place: Place, key: &str) -> Self {
        match (place, key) {
            (Place::Body | Place::RetrieverBody, "query" | "post_filter" | "filter")
            | (Place::Body, "sub_searches") => Self::WithoutHits,
            (Place::Compound, "must_not")
            | (Place::Agg, "filter" | "filters" | "adjacency_matrix")
            | (Place::AggBody, "background_filter") => Self::Always,
            _ => self,
        }
    }
}

/// Whether an aggregation of this kind may count each of its buckets as a query of its own, joined with the search's.
pub(super) fn counts_by_queries(kind: &str) -> bool {
    const KINDS: [&str; 10] = [
        "adjacency_matrix",
        "auto_date_histogram",
        "date_histogram",
        "date_range",
        "filter",
        "filters",
        "histogram",
        "ip_range",
        "range",
        "variable_width_histogram",
    ];
    KINDS.contains(&kind)
}

/// The similarities of a body's knn queries, by where they stand, and whether the body asks for hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Similarities {
    /// Some stands where documents are counted in any case.
    pub(super) always: bool,
    /// Some stands where they are if no hits are asked for.
    pub(super) without_hits: bool,
    /// The body asks for no hits, or for a number that cannot be read here.
    pub(super) no_hits: bool,
    /// Some aggregation may count what the search's query matches.
    pub(super) by_queries: bool,
}

impl Similarities {
    /// Notes one.
    pub(super) fn note(&mut self, counted: Counted) {
        match counted {
            Counted::Never => {}
            Counted::WithoutHits => self.without_hits = true,
            Counted::Always => self.always = true,
        }
    }

    /// Whether some similarity decides a count; `no_hits` is what the path and its parameters say.
    pub(super) fn decide_a_count(self, no_hits: Option<bool>) -> bool {
        self.always || (self.without_hits && (self.by_queries || no_hits.unwrap_or(self.no_hits)))
    }

    /// Refuses such a count where these nodes get it wrong.
    pub(super) fn refuse(versions: &Versions) -> Result<(), Refusal> {
        if !versions.any_from(WRONG_FROM) {
            return Ok(());
        }
        Err(Refusal::illegal(format!(
            "elasticsearch {versions} ignores the [similarity] of a knn query where documents are counted and not fetched, and counts k: search with size 1 and read hits.total, aggregate over a top-level [knn], or give [min_score] in place of [similarity]; instead of [must_not] leave out the ids that a search found"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::es_proxy::splice::scan;

    const KNN: &str = r#"{"knn": {"field": "f", "query_vector": [1], "k": 3, "similarity": 0.4}}"#;

    fn similarities(body: &str) -> Similarities {
        scan(&body.replace('@', KNN), 1).unwrap().similarities
    }

    #[test]
    fn what_is_counted_is_told_from_what_is_fetched() {
        for body in [
            r#"{"query": {"bool": {"must_not": [@]}}}"#,
            r#"{"aggs": {"near": {"filter": @}}}"#,
            r#"{"aggs": {"near": {"filters": {"filters": {"a": {"bool": {"filter": @}}}}}}}"#,
            r#"{"aggs": {"near": {"filters": {"filters": [@]}}}}"#,
            r#"{"aggs": {"by": {"terms": {"field": "x"}, "aggs": {"near": {"adjacency_matrix": {"filters": {"a": @}}}}}}}"#,
            r#"{"aggs": {"by": {"significant_terms": {"field": "x", "background_filter": @}}}}"#,
        ] {
            assert!(similarities(body).always, "{body}");
        }
        for body in [
            r#"{"query": @, "aggs": {"a": {"filter": {"match_all": {}}}}}"#,
            r#"{"query": @, "aggs": {"a": {"range": {"field": "x", "ranges": [{"from": 0}]}}}}"#,
        ] {
            assert!(similarities(body).decide_a_count(None), "{body}");
        }
        for body in [
            r#"{"query": @, "aggs": {"a": {"terms": {"field": "x"}}}}"#,
            r#"{"query": {"bool": {"filter": @}}}"#,
            r#"{"query": {"constant_score": {"filter": @}}}"#,
            r#"{"post_filter": @}"#,
            r#"{"retriever": {"standard": {"query": @}}}"#,
        ] {
            let found = similarities(body);
            assert!(found.without_hits && !found.decide_a_count(None), "{body}");
            assert!(found.decide_a_count(Some(true)), "{body}");
        }
        for body in [
            r#"{"knn": {"field": "f", "query_vector": [1], "k": 3, "similarity": 0.4}, "size": 0}"#,
            r#"{"retriever": {"knn": {"field": "f", "query_vector": [1], "k": 3, "num_candidates": 3, "similarity": 0.4}}, "size": 0}"#,
            r#"{"query": {"knn": {"field": "f", "query_vector": [1], "k": 3}}, "size": 0}"#,
        ] {
            let found = similarities(body);
            assert!(found.no_hits && !found.decide_a_count(None), "{body}");
        }
    }

    #[test]
    fn a_size_that_may_be_none_counts_as_none() {
        for (size, no_hits) in [
            ("0", true),
            ("\"0\"", true),
            ("0.0", true),
            ("{}", true),
            ("1", false),
            ("10", false),
        ] {
            let found = similarities(&format!(r#"{{"query": @, "size": {size}}}"#));
            assert_eq!(found.no_hits, no_hits, "{size}");
        }
    }
}
