//! Where in a search body a query, a knn clause or a retriever may stand, and which keys the proxy accepts nowhere.

/// What an object in a search body is, by where it stands. The elements of an array stand where the array does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The search body.
    Body,
    /// A query: its one key is its kind.
    Query,
    /// Inside a query that is made of queries.
    Compound,
    /// Inside a `terms` query: keys are fields.
    Terms,
    /// What a `terms` query looks for in a field.
    TermsValue,
    /// A knn clause, of whichever of the three sorts.
    Knn,
    /// A retriever: its key is its kind.
    Retriever,
    /// Inside a retriever other than knn.
    RetrieverBody,
    /// A rescorer.
    Rescore,
    /// Aggregations by name.
    Aggs,
    /// One aggregation.
    Agg,
    /// Inside an aggregation of a kind that may hold a filter.
    AggBody,
    /// Inside a `filters` or `adjacency_matrix` aggregation.
    Filters,
    /// The filters of those, by name or as a list.
    NamedQueries,
    /// A sort: fields.
    Sort,
    /// How a field is sorted by, and the nested objects of that.
    SortField,
    /// `inner_hits`, `top_hits`, `collapse`: how hits are shown.
    Hits,
    /// Highlighting.
    Highlight,
    /// Fields of a highlighter, by name.
    HighlightFields,
    /// Anything else.
    Data,
    /// The user's own: nothing in it means anything to Elasticsearch.
    Opaque,
}

impl Place {
    /// The place of an element, where the value is an array.
    pub(super) fn element(self) -> Self {
        match self {
            Self::NamedQueries => Self::Query,
            Self::TermsValue => Self::Data,
            same => same,
        }
    }

    /// The place of the value under `key`.
    pub(super) fn inner(self, key: &str) -> Self {
        match (self, key) {
            (Self::Body, "query" | "post_filter") => Self::Query,
            (Self::Body, "knn") => Self::Knn,
            (Self::Body, "retriever") => Self::Retriever,
            (Self::Body | Self::RetrieverBody, "rescore") => Self::Rescore,
            (Self::Body | Self::Agg, "aggs" | "aggregations") => Self::Aggs,
            (Self::Body | Self::Hits | Self::RetrieverBody, "sort") => Self::Sort,
            (Self::Body | Self::Hits, "highlight") => Self::Highlight,
            (Self::Body | Self::Hits | Self::RetrieverBody, "collapse") => Self::Hits,
            // Each of them is {"query": ..}.
            (Self::Body, "sub_searches") => Self::Compound,

            (Self::Query, "knn") => Self::Knn,
            (Self::Query, "terms") => Self::Terms,
            (
                Self::Query,
                "bool" | "boosting" | "constant_score" | "dis_max" | "function_score" | "has_child" | "has_parent"
                | "nested" | "pinned" | "rule" | "rule_query",
            ) => Self::Compound,
            (
                Self::Compound,
                "must" | "must_not" | "should" | "filter" | "queries" | "positive" | "negative" | "query" | "organic",
            ) => Self::Query,
            (Self::Compound, "functions") => Self::Compound,
            (Self::Compound | Self::Knn | Self::Hits, "inner_hits") => Self::Hits,
            (Self::Terms, _) => Self::TermsValue,
            (Self::Knn, "filter") => Self::Query,

            (Self::Retriever, "knn") => Self::Knn,
            // {"retriever": .., "weight": ..}, as linear and rrf list them.
            (Self::Retriever | Self::RetrieverBody, "retriever" | "retrievers") => Self::Retriever,
            (Self::Retriever, _) => Self::RetrieverBody,
            (Self::RetrieverBody, "query" | "filter") => Self::Query,
            (Self::Rescore, "query") => Self::Rescore,
            (Self::Rescore, "rescore_query") => Self::Query,

            (Self::Aggs, _) => Self::Agg,
            (Self::Agg, "filter") => Self::Query,
            (Self::Agg, "filters" | "adjacency_matrix") => Self::Filters,
            (Self::Agg, "top_hits") => Self::Hits,
            (Self::Agg, "meta") => Self::Opaque,
            (Self::Agg, _) => Self::AggBody,
            (Self::AggBody, "background_filter") => Self::Query,
            (Self::AggBody, "sort") => Self::Sort,
            (Self::Filters, "filters") => Self::NamedQueries,
            (Self::NamedQueries, _) => Self::Query,

            (Self::Sort, _) => Self::SortField,
            (Self::SortField, "filter") => Self::Query,
            (Self::SortField, "nested") => Self::SortField,
            (Self::Highlight, "highlight_query") => Self::Query,
            (Self::Highlight, "fields") => Self::HighlightFields,
            (Self::HighlightFields, _) => Self::Highlight,

            (Self::Opaque, _) => Self::Opaque,
            _ => Self::Data,
        }
    }

    /// Whether the keys here are names that the user chose.
    fn has_own_names(self) -> bool {
        matches!(
            self,
            Self::Aggs | Self::NamedQueries | Self::HighlightFields | Self::Terms | Self::Opaque
        )
    }

    /// Why `key` is not accepted here, if it is not. A name that means something to Elasticsearch is refused wherever it is
    /// not certainly the user's own: a place that we do not know may be a query to a later version.
    pub(super) fn refuses(self, key: &str) -> Option<&'static str> {
        const ELSEWHERE: &str = "it could read another index than the collection";
        if self.has_own_names() {
            return None;
        }
        match key {
            "index" | "indices" | "indices_boost" | "indexed_shape" | "more_like_this" | "percolate" | "pit"
            | "scroll" => Some(ELSEWHERE),
            "wrapper" => Some("the query inside is encoded; write it out"),
            "ext" => Some("what it does depends on the plugins of the cluster"),
            "runtime_mappings" | "collate" => Some(SCRIPTS),
            _ if names_a_script(key) => Some(SCRIPTS),
            _ => None,
        }
    }
}

const SCRIPTS: &str = "scripts are not run through /es/";

/// `script`, `script_score`, `_script`, `scripted_metric`, `minimum_should_match_script` and their like; but not
/// `description`, and no field of an object (`labels.script`).
fn names_a_script(key: &str) -> bool {
    !key.contains('.')
        && key
            .split('_')
            .any(|word| matches!(word, "script" | "scripts" | "scripted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_scripts_are_told_from_others() {
        for script in [
            "script",
            "script_fields",
            "script_score",
            "_script",
            "scripted_metric",
            "bucket_script",
            "minimum_should_match_script",
        ] {
            assert!(Place::Data.refuses(script).is_some(), "{script}");
        }
        for other in ["description", "labels.script", "labels.film_script", "transcripts"] {
            assert!(Place::Data.refuses(other).is_none(), "{other}");
        }
        assert!(
            Place::Aggs.refuses("script").is_none(),
            "an aggregation may have any name"
        );
    }
}
