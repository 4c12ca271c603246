//! The OpenAPI document, made from the routes and the types that they read and write. `openapi.json` at the top of the
//! tree is a copy, which a test holds against it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Method;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::health;
use super::schemas::{CollectionName, FaceText, OneFaceText};
use super::state::App;
use super::v1;

#[derive(OpenApi)]
#[openapi(
    info(title = "facedex", description = "Finds the people in a photo among the faces of an Elasticsearch index."),
    paths(
        v1::search::search, v1::identify::identify, v1::verify::verify, v1::represent::represent,
        v1::faces::enrol, v1::faces::get, v1::faces::delete, v1::faces::thumbnail,
        v1::persons::list, v1::persons::get, v1::persons::change, v1::persons::delete,
        v1::stats::stats, v1::stats::collections, health::ready,
    ),
    components(schemas(FaceText, OneFaceText, CollectionName)),
    modifiers(&Keys),
    security((), ("api_key" = [])),
    tags(
        (name = "search", description = "Photos in, people out."),
        (name = "faces", description = "Enrolment, and single stored faces."),
        (name = "persons", description = "All faces of one person."),
        (name = "collections", description = "What there is."),
        (name = "operation", description = "Whether the server can answer."),
    ),
)]
struct Document;

/// How a key is shown. The empty alternative beside it stands for a server without keys.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let description = "A key of `facedex keys create`; needed where the server has keys.";
        let header = ApiKey::Header(ApiKeyValue::with_description("X-API-Key", description));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    }
}

/// The document, as it is served and checked in.
pub static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The routes of the document, each as its method and the segments of its path.
static ROUTES: LazyLock<Vec<(Method, Vec<String>)>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&JSON).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let routes = paths.flat_map(|(path, methods)| {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let methods = methods.as_object().into_iter().flatten();
        methods.filter_map(move |(method, _)| {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
            Some((method, segments.clone()))
        })
    });
    routes.collect()
});

/// Whether there is such a route in the document.
pub fn has_route(method: &Method, path: &str) -> bool {
    // Without the document nothing is known: then every route may be one.
    ROUTES.is_empty()
        || ROUTES.iter().any(|(known, segments)| {
            let mut given = path.split('/');
            let is_same = |segment: &String| {
                given
                    .next()
                    .is_some_and(|given| segment == given || segment.starts_with('{') && !given.is_empty())
            };
            known == method && segments.iter().all(is_same) && given.next().is_none()
        })
}

/// The page at `/docs`: the document, for people, without any request to elsewhere.
static PAGE: LazyLock<String> = LazyLock::new(|| super::docs::page(&JSON));

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    let json = async || ([(CONTENT_TYPE, "application/json")], JSON.as_str());
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let page = async move || {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, policy),
        ];
        (headers, PAGE.as_str())
    };
    Router::new()
        .route("/openapi.json", get(json))
        .route("/docs", get(page))
}
