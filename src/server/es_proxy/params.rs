//! The query parameters that are passed on.

use std::ops::Not as _;

use url::form_urlencoded::{Serializer, parse};

use super::error::ProxyError;
use super::path::Route;

/// Of every route.
const COMMON: [&str; 4] = ["error_trace", "filter_path", "human", "pretty"];

/// How the collection's name is resolved. It is exactly one, so that these change nothing; clients send them all the same.
const RESOLUTION: [&str; 4] = [
    "allow_no_indices",
    "expand_wildcards",
    "ignore_throttled",
    "ignore_unavailable",
];

/// A query in Lucene's syntax, which searches the collection and nothing else.
const LUCENE: [&str; 6] = ["analyze_wildcard", "analyzer", "default_operator", "df", "lenient", "q"];

const SEARCH: [&str; 32] = [
    "_source",
    "_source_exclude_vectors",
    "_source_excludes",
    "_source_includes",
    "allow_partial_search_results",
    "batched_reduce_size",
    "ccs_minimize_roundtrips",
    "docvalue_fields",
    "explain",
    "force_synthetic_source",
    "from",
    "include_named_queries_score",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "preference",
    "request_cache",
    "rest_total_hits_as_int",
    "routing",
    "search_type",
    "seq_no_primary_term",
    "size",
    "sort",
    "stats",
    "stored_fields",
    "terminate_after",
    "timeout",
    "track_scores",
    "track_total_hits",
    "typed_keys",
    "version",
    "min_score",
    "profile",
];

const COUNT: [&str; 4] = ["min_score", "preference", "routing", "terminate_after"];

const MULTI: [&str; 8] = [
    "ccs_minimize_roundtrips",
    "include_named_queries_score",
    "max_concurrent_searches",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "rest_total_hits_as_int",
    "search_type",
    "typed_keys",
];

/// Query parameters that were looked at.
#[derive(Debug, Default)]
pub(super) struct Params {
    /// Encoded anew: Elasticsearch also takes `;` for the end of a parameter, so that what it reads must be what was checked.
    pub(super) encoded: String,
    /// Whether the answer is cut to some of its parts.
    pub(super) filters_answer: bool,
    /// Whether `size` is none, or cannot be read here, where it is given: it goes before the body's.
    pub(super) no_hits: Option<bool>,
}

impl Params {
    /// Reads the query of a URL.
    pub(super) fn read(route: &Route, query: Option<&str>) -> Result<Self, ProxyError> {
        let known: &[&[&str]] = match route {
            Route::Info => &[&COMMON],
            Route::Exists(_) => &[&COMMON, &RESOLUTION],
            Route::Search(_) => &[&COMMON, &RESOLUTION, &LUCENE, &SEARCH],
            Route::Count(_) => &[&COMMON, &RESOLUTION, &LUCENE, &COUNT],
            Route::MultiSearch(_) => &[&COMMON, &RESOLUTION, &MULTI],
        };
        let mut params = Self::default();
        let mut encoded = Serializer::new(String::new());
        for (name, value) in parse(query.unwrap_or_default().as_bytes()) {
            if !known.iter().any(|names| names.contains(&name.as_ref())) {
                return Err(refused(route, &name));
            }
            params.filters_answer |= name == "filter_path";
            if name == "size" {
                params.no_hits = Some(value.parse::<u64>().is_ok_and(|size| size > 0).not());
            }
            encoded.append_pair(&name, &value);
        }
        params.encoded = encoded.finish();
        Ok(params)
    }
}

fn refused(route: &Route, name: &str) -> ProxyError {
    let why = match name {
        "source" | "source_content_type" => "send the body as a body",
        "scroll" => "a scroll lives on at elasticsearch, out of this proxy's reach; page with search_after",
        "index" => "the path names the collection",
        _ => "it is none of those that are passed on",
    };
    let shown: String = name.chars().take(60).collect();
    ProxyError::illegal(format!(
        "request to {} has the parameter [{shown}], which is not accepted here: {why}",
        route.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, ProxyError> {
        Params::read(&Route::Search("faces".to_owned()), Some(query))
    }

    #[test]
    fn parameters_go_on_as_they_were_understood() {
        assert_eq!(read("size=5&pretty&q=a%20b").unwrap().encoded, "size=5&pretty=&q=a+b");
        // Elasticsearch would read `;scroll=1m` as a parameter of its own.
        assert_eq!(read("pretty=1;scroll=1m").unwrap().encoded, "pretty=1%3Bscroll%3D1m");
        assert!(read("filter_path=took").unwrap().filters_answer);
        assert_eq!(Params::read(&Route::Info, None).unwrap().encoded, "");
    }

    #[test]
    fn others_are_refused() {
        for query in [
            "source=%7B%7D&source_content_type=application/json",
            "scroll=1m",
            "%73croll=1m",
            "format=yaml",
            "index=x",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
        let count = Route::Count("faces".to_owned());
        assert!(Params::read(&count, Some("size=1")).is_err());
    }
}
