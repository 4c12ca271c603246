//! The OpenAPI document, made from the table of routes and the types that they read and write. `openapi.json` at the
//! top of the tree is a copy, which a test holds against it.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::routes::Operations;
use super::schemas::{CollectionName, FaceText, OneFaceText};

/// All of the document but its operations, which the table of routes has.
#[derive(OpenApi)]
#[openapi(
    info(title = "facedex", description = "Finds the people in a photo among the faces of an Elasticsearch index."),
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
    let document = Document::openapi().merge_from(Operations::openapi());
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The page at `/docs`: the document, for people, without any request to elsewhere.
static PAGE: LazyLock<String> = LazyLock::new(|| super::docs::page(&JSON));

/// The document.
pub async fn json() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], JSON.as_str())
}

/// What the page may load: nothing, and only its own style applies.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document as a page.
pub async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, PAGE.as_str())
}
