//! The table of routes: the only place where there are any. The router with its methods (and so the `Allow` of a 405),
//! what the guard asks for, what the audit log and the events call a request, what pages of other origins may send, and
//! the operations of the OpenAPI document are made from it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use utoipa::OpenApi;

use super::access::Scope;
use super::access::guard::Need::{self, AnyKey, Nothing};
use super::audit::Action::{self, ChangePerson, DeleteFace, DeletePerson, Enrol, EsSearch, Identify, Search};
use super::state::App;
use super::{es_proxy, health, openapi, page, telemetry, v1};

/// What is known of a route, beside what answers it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its method, where GET stands for HEAD too; without one it takes every method.
    pub method: Option<Method>,
    /// The pattern of its path.
    pub path: &'static str,
    /// What the guard asks for.
    pub need: Need,
    /// What the audit log calls it, if it is written down.
    pub audit: Option<Action>,
    /// What its event calls it. Only the API's routes have one, and only they are behind the limits of `arrival`.
    pub event: Option<&'static str>,
    /// Whether it is in the OpenAPI document.
    pub is_documented: bool,
}

const READ: Need = Need::Scope(Scope::Read);
const WRITE: Need = Need::Scope(Scope::Write);
const ADMIN: Need = Need::Scope(Scope::Admin);

/// A row, and what answers its requests.
type Route = (Row, MethodRouter<Arc<App>>);

macro_rules! method {
    (ANY) => {
        None
    };
    ($method:ident) => {
        Some(Method::$method)
    };
}

macro_rules! endpoint {
    (ANY, $handler:expr) => {
        any($handler)
    };
    ($method:ident, $handler:expr) => {
        on(MethodFilter::$method, $handler)
    };
}

/// Makes the table, and the part of the OpenAPI document that describes its routes: no row, no route.
macro_rules! routes {
    (
        documented {
            $($method:ident $path:literal, $need:expr, $audit:expr, $event:expr => $($handler:ident)::+;)*
        }
        others {
            $($other:ident $at:literal, $needs:expr, $log:expr, $called:expr => $answer:expr;)*
        }
    ) => {
        fn table() -> Vec<Route> {
            let row = |method, path, need, audit, event, is_documented| Row {
                method,
                path,
                need,
                audit,
                event,
                is_documented,
            };
            let mut table: Vec<Route> = vec![
                $((row(method!($method), $path, $need, $audit, $event, true), endpoint!($method, $($handler)::+)),)*
                $((row(method!($other), $at, $needs, $log, $called, false), endpoint!($other, $answer)),)*
            ];
            // The page's files, which `page` names.
            table.extend(page::files().map(|(path, answer)| {
                let row = row(method!(GET), path, Nothing, None, None, false);
                (row, answer)
            }));
            table
        }

        /// The operations of the OpenAPI document, with the types that they name.
        #[derive(OpenApi)]
        #[openapi(paths($($($handler)::+),*))]
        pub struct Operations;
    };
}

// The methods of a path stand in the order in which its `Allow` has them.
routes! {
    documented {
        //     path                         needs    audit log           event                handler
        POST   "/v1/search",                READ,    Some(Search),       Some("search")    => v1::search::search;
        POST   "/v1/identify",              READ,    Some(Identify),     Some("identify")  => v1::identify::identify;
        POST   "/v1/verify",                READ,    None,               Some("verify")    => v1::verify::verify;
        POST   "/v1/represent",             READ,    None,               Some("represent") => v1::represent::represent;
        POST   "/v1/faces",                 WRITE,   Some(Enrol),        Some("enrol")     => v1::faces::enrol;
        GET    "/v1/faces/{id}",            READ,    None,               Some("look-up")   => v1::faces::get;
        DELETE "/v1/faces/{id}",            WRITE,   Some(DeleteFace),   Some("delete")    => v1::faces::delete;
        GET    "/v1/faces/{id}/thumbnail",  READ,    None,               Some("look-up")   => v1::faces::thumbnail;
        GET    "/v1/persons",               READ,    None,               Some("look-up")   => v1::persons::list;
        GET    "/v1/persons/{id}",          READ,    None,               Some("look-up")   => v1::persons::get;
        PATCH  "/v1/persons/{id}",          WRITE,   Some(ChangePerson), Some("change")    => v1::persons::change;
        DELETE "/v1/persons/{id}",          ADMIN,   Some(DeletePerson), Some("delete")    => v1::persons::delete;
        GET    "/v1/stats",                 READ,    None,               Some("look-up")   => v1::stats::stats;
        GET    "/v1/collections",           READ,    None,               Some("look-up")   => v1::stats::collections;
        GET    "/readyz",                   Nothing, None,               None              => health::ready;
    }
    others {
        ANY    "/es",                       READ,    None,               Some("es-search") => es_proxy::pass;
        ANY    "/es/",                      READ,    None,               Some("es-search") => es_proxy::pass;
        ANY    "/es/{*path}",               READ,    Some(EsSearch),     Some("es-search") => es_proxy::pass;
        GET    "/healthz",                  Nothing, None,               None              => health::alive;
        GET    "/metrics",                  AnyKey,  None,               None              => telemetry::metrics;
        GET    "/openapi.json",             Nothing, None,               None              => openapi::json;
        GET    "/docs",                     Nothing, None,               None              => openapi::page;
    }
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| table().into_iter().map(|(row, _)| row).collect());

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter()
}

/// The routes of the API: `/v1` and `/es`.
pub fn api() -> Router<Arc<App>> {
    router(|row| row.event.is_some())
}

/// All other routes: those for people, probes and Prometheus.
pub fn others() -> Router<Arc<App>> {
    router(|row| row.event.is_none())
}

fn router(is_part: impl Fn(&Row) -> bool) -> Router<Arc<App>> {
    let part = table().into_iter().filter(|(row, _)| is_part(row));
    part.fold(Router::new(), |router, (row, answer)| router.route(row.path, answer))
}

/// The methods that routes have.
pub fn methods() -> Vec<Method> {
    let mut methods = vec![Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    methods.retain(|method| rows().any(|row| row.method.as_ref() == Some(method)));
    methods
}

/// The route of a request. The path comes without the slash that it begins with.
pub fn at(method: &Method, path: &str) -> Option<&'static Row> {
    find(method, |row| row.fits(path, false))
}

/// The same, or else the route that the path begins with, up to an id: `faces/{id}` also for `faces/1/2`.
pub fn nearest(method: &Method, path: &str) -> Option<&'static Row> {
    find(method, |row| row.fits(path, true))
}

/// Of several that fit the one that names most, which is how the router chooses.
fn find(method: &Method, fits: impl Fn(&Row) -> bool) -> Option<&'static Row> {
    let found = rows().filter(|row| row.takes(method.as_str()) && fits(row));
    found.max_by(|one, other| one.names().cmp(other.names()))
}

impl Row {
    /// Whether it takes requests of this method.
    pub fn takes(&self, method: &str) -> bool {
        match &self.method {
            None => true,
            Some(Method::GET) => ["GET", "HEAD"].contains(&method),
            Some(own) => own.as_str() == method,
        }
    }

    fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').skip(1)
    }

    /// Which of its segments are names and no parameters.
    fn names(&self) -> impl Iterator<Item = bool> {
        self.segments().map(|segment| !segment.starts_with('{'))
    }

    /// Whether the path is one of this pattern's; `beneath` has a parameter at the end take all that is left.
    fn fits(&self, path: &str, beneath: bool) -> bool {
        let mut given = path.split('/');
        let mut segments = self.segments().peekable();
        while let Some(segment) = segments.next() {
            let Some(part) = given.next() else { return false };
            let is_parameter = segment.starts_with('{');
            if !is_parameter && segment != part {
                return false;
            }
            let takes_the_rest = beneath || segment.starts_with("{*");
            if is_parameter && takes_the_rest && segments.peek().is_none() {
                return true;
            }
        }
        given.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::server::access::guard::need;

    /// A row's method and path; of those that take every method one stands for all.
    fn example(row: &Row) -> (Method, &'static str) {
        (row.method.clone().unwrap_or(Method::POST), row.path)
    }

    fn name(row: &Row) -> String {
        let (method, path) = example(row);
        format!("{method} {path}")
    }

    #[test]
    fn nothing_else_makes_a_route() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server");
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry.unwrap();
            if !entry.file_type().is_file() || entry.path().ends_with("server/routes.rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            for (number, line) in text.lines().enumerate() {
                for maker in [".route(", ".route_service(", ".nest_service("] {
                    let place = format!("{}:{}", entry.path().display(), number + 1);
                    assert!(!line.contains(maker), "{place}: a route belongs in routes.rs: {line}");
                }
            }
        }
    }

    #[test]
    fn no_route_is_there_twice_or_in_the_way_of_another() {
        // The router panics, naming the path.
        assert!(api().merge(others()).has_routes());
        for row in rows() {
            let (method, path) = example(row);
            let path = path.strip_prefix('/').unwrap();
            let (found, near) = (at(&method, path).map(name), nearest(&method, path).map(name));
            assert_eq!((found, near), (Some(name(row)), Some(name(row))));
        }
    }

    #[test]
    fn the_document_has_the_operations_of_the_table_and_no_others() {
        let document: Value = serde_json::from_str(&openapi::JSON).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let listed: BTreeSet<String> = rows().filter(|row| row.is_documented).map(name).collect();
        let missing: Vec<_> = listed.difference(&described).collect();
        let unknown: Vec<_> = described.difference(&listed).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "#[utoipa::path] and the table differ; only in the table: {missing:?}, only in the document: {unknown:?}"
        );
    }

    #[test]
    fn a_route_of_the_api_is_described_limited_and_told() {
        for row in rows().filter(|row| row.path.starts_with("/v1")) {
            assert!(row.is_documented, "{} is not in the document", name(row));
            assert!(row.event.is_some(), "{} has no event, and so no limits", name(row));
        }
    }

    #[test]
    fn guard_and_audit_log_go_by_the_table() {
        for row in rows() {
            let (method, path) = example(row);
            assert_eq!(need(&method, path), row.need, "{}", name(row));
            let action = Action::of(&method, path);
            // Of the proxy's paths only some are searches.
            let expected = row.audit.filter(|action| *action != Action::EsSearch);
            assert_eq!(action, expected, "{}", name(row));
            if [WRITE, ADMIN].contains(&row.need) {
                assert!(action.is_some_and(Action::changes), "{} is not audited", name(row));
            }
        }
    }

    #[test]
    fn pages_of_other_origins_may_use_every_method() {
        assert_eq!(methods(), [Method::GET, Method::POST, Method::PATCH, Method::DELETE]);
        for row in rows() {
            let is_known = row.method.as_ref().is_none_or(|method| methods().contains(method));
            assert!(is_known, "{}", name(row));
        }
    }

    #[test]
    fn what_comes_after_an_id_is_near_its_route() {
        let paths = |method: &Method, path: &str| {
            let (exact, near) = (at(method, path), nearest(method, path));
            (exact.map(|row| row.path), near.map(|row| row.path))
        };
        let face = Some("/v1/faces/{id}");
        assert_eq!(paths(&Method::DELETE, "v1/faces/a"), (face, face));
        assert_eq!(paths(&Method::DELETE, "v1/faces/a/b"), (None, face));
        assert_eq!(paths(&Method::DELETE, "v1/faces/a/thumbnail"), (None, face));
        assert_eq!(paths(&Method::DELETE, "v1/faces"), (None, None));
        let thumbnail = Some("/v1/faces/{id}/thumbnail");
        assert_eq!(paths(&Method::HEAD, "v1/faces/a/thumbnail"), (thumbnail, thumbnail));
        let proxy = Some("/es/{*path}");
        assert_eq!(paths(&Method::PUT, "es/a/b"), (proxy, proxy));
    }
}
