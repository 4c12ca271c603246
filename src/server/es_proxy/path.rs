//! What of Elasticsearch can be reached through the proxy: these paths, spelt exactly so.

use axum::http::{Method, StatusCode};
use facedex_elastic::schema::collection::check_name;

use super::error::ProxyError;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET|HEAD /`: name and version of the cluster; clients look whether it is Elasticsearch.
    Info,
    /// A collection's `_search`.
    Search(String),
    /// A collection's `_count`.
    Count(String),
    /// `HEAD` of a collection: whether it is there.
    Exists(String),
    /// `_msearch`, with the collection that searches go to which name none.
    MultiSearch(Option<String>),
}

impl Route {
    /// Reads a path as it came over the wire, from `/es` on. Nothing is decoded or normalised: names that are good have
    /// nothing to encode, and what goes to Elasticsearch is never this path but one that is made anew.
    pub(super) fn read(method: &Method, path: &str) -> Result<Self, ProxyError> {
        let rest = path.strip_prefix("/es").unwrap_or(path);
        let parts: Vec<&str> = rest.split('/').skip(1).collect();
        let route = match parts[..] {
            [] | [""] => Self::Info,
            ["_msearch"] => Self::MultiSearch(None),
            [name, "_search"] => Self::Search(collection(name)?),
            [name, "_count"] => Self::Count(collection(name)?),
            [name, "_msearch"] => Self::MultiSearch(Some(collection(name)?)),
            [name] if *method == Method::HEAD && !name.starts_with('_') => Self::Exists(collection(name)?),
            _ => return Err(ProxyError::unreachable(instead(method, &parts))),
        };
        if route.allows(method) {
            Ok(route)
        } else {
            Err(ProxyError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "illegal_argument_exception",
                format!("this path takes {}", route.methods()),
            )
            .allowing(route.methods()))
        }
    }

    fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Info => [Method::GET, Method::HEAD].contains(method),
            Self::Exists(_) => *method == Method::HEAD,
            _ => [Method::GET, Method::POST].contains(method),
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Info => "GET, HEAD",
            Self::Exists(_) => "HEAD",
            _ => "GET, POST",
        }
    }

    /// The path at Elasticsearch.
    pub(super) fn target(&self) -> String {
        match self {
            Self::Info => "/".to_owned(),
            Self::Exists(name) => format!("/{name}"),
            Self::Search(name) => format!("/{name}/_search"),
            Self::Count(name) => format!("/{name}/_count"),
            Self::MultiSearch(Some(name)) => format!("/{name}/_msearch"),
            Self::MultiSearch(None) => "/_msearch".to_owned(),
        }
    }

    /// For messages and the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Exists(_) => "exists",
            Self::Search(_) => "search",
            Self::Count(_) => "count",
            Self::MultiSearch(_) => "msearch",
        }
    }
}

/// What serves somebody who asks for what is not reachable here.
fn instead(method: &Method, parts: &[&str]) -> &'static str {
    const FACES: [&str; 7] = ["_doc", "_source", "_mget", "_create", "_update", "_bulk", "_explain"];
    match parts {
        ["_nodes", ..] => "switch sniffing off (sniff_on_start) and name this address alone",
        [name] if *method == Method::PUT && !name.starts_with('_') => {
            "`facedex collection create`, or an ingest, makes a collection; those that there are need not be made"
        }
        [..] if parts.iter().any(|part| FACES.contains(part)) => {
            "GET and DELETE /v1/faces/ID are for single faces, POST /v1/faces and `facedex ingest` store them"
        }
        _ => "ask elasticsearch itself",
    }
}

/// A name that can be a collection's, and nothing else: no wildcard, list, other cluster, date or encoded character.
pub(super) fn collection(name: &str) -> Result<String, ProxyError> {
    check_name(name).map_err(|_| {
        let shown: String = name.chars().take(60).collect();
        ProxyError::new(
            StatusCode::BAD_REQUEST,
            "invalid_index_name_exception",
            format!(
                "[{shown}] cannot name a collection; name exactly one, by 1 to 100 of a-z, 0-9, - and _ (no wildcard, \
                 list, alias of another cluster or date, nothing encoded)"
            ),
        )
    })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_forbidden_and_never_absent() {
        for (method, path, word) in [
            (Method::HEAD, "/es/faces/_doc/1", "/v1/faces"),
            (Method::GET, "/es/faces/_doc/1", "/v1/faces"),
            (Method::DELETE, "/es/faces/_doc/1", "/v1/faces"),
            (Method::GET, "/es/_mget", "/v1/faces"),
            (Method::PUT, "/es/faces", "collection create"),
            (Method::DELETE, "/es/faces", "elasticsearch itself"),
            (Method::HEAD, "/es/_alias/faces", "elasticsearch itself"),
            (Method::GET, "/es/_nodes/_all/http", "sniff_on_start"),
        ] {
            let refused = Route::read(&method, path).unwrap_err();
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
            let shown = refused.json().to_string();
            assert!(shown.contains(word), "{method} {path}: {shown}");
        }
        let there = Route::read(&Method::HEAD, "/es/faces").ok();
        assert_eq!(there, Some(Route::Exists("faces".to_owned())));
        assert!(Route::read(&Method::HEAD, "/es/_all").is_err());
    }

    #[test]
    fn the_five_routes_and_no_other_are_known() {
        let read = |path| Route::read(&Method::GET, path).ok();
        let faces = || "faces".to_owned();
        for (path, route) in [
            ("/es", Route::Info),
            ("/es/", Route::Info),
            ("/es/_msearch", Route::MultiSearch(None)),
            ("/es/faces/_msearch", Route::MultiSearch(Some(faces()))),
            ("/es/faces/_search", Route::Search(faces())),
            ("/es/faces/_count", Route::Count(faces())),
        ] {
            assert_eq!(read(path), Some(route), "{path}");
        }
        for path in [
            "/es//",
            "/es/_search",
            "/es//_search",
            "/es/_count",
            "/es/faces",
            "/es/faces/",
            "/es/faces/_search/",
            "/es/faces//_search",
            "/es/faces/_search/scroll",
            "/es/faces/_search/template",
            "/es/faces/_doc/1",
            "/es/faces/_mapping",
            "/es/faces/_bulk",
            "/es/_cat/indices",
            "/es/_search/scroll",
            "/es/_msearch/template",
            "/es/_all/_search",
            "/es/*/_search",
            "/es/faces,other/_search",
            "/es/faces*/_search",
            "/es/-faces/_search",
            "/es/other:faces/_search",
            "/es/%3Cfaces-%7Bnow%2Fd%7D%3E/_search",
            "/es/faces/../_cat/_search",
            "/es/../_search",
            "/es/./_search",
            "/es/%2e%2e/_search",
            "/es/faces%2F_search",
            "/es/faces/%5fsearch",
            "/es/f%61ces/_search",
            "/es/faces;x/_search",
            "/es/faces/_search;x",
            "/es/faces\\_search",
            "/es/Faces/_search",
            "/es/.security/_search",
            "/es/facedex-faces-faces-000001/_search",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }

    #[test]
    fn only_reading_methods_are_taken() {
        for method in [
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
            Method::HEAD,
        ] {
            let refused = Route::read(&method, "/es/faces/_search").unwrap_err();
            assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
        }
        assert!(Route::read(&Method::POST, "/es/").is_err());
        assert!(Route::read(&Method::HEAD, "/es/").is_ok());
    }
}
