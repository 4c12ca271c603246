//! The Elasticsearch proxy under `/es/`: search bodies in which photos stand for vectors.
//!
//! A request comes in as Elasticsearch takes it, is checked, has its photos replaced, and goes on with the caller's own
//! credentials; the answer comes back as it is. What is not known here is not let through.

mod builder;
mod collections;
mod counts;
mod error;
mod ids;
mod msearch;
mod params;
mod path;
mod places;
mod request;
mod search;
pub mod splice;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use facedex_elastic::schema::resolve;

use self::collections::Collections;
pub use self::error::shape;
use self::error::{ProxyError, local};
use self::params::Params;
use self::path::Route;
use self::request::{Incoming, check_media_type, read_body};
use super::access::{Caller, Scope};
use super::error::{ApiError, Code};
use super::events::EventFacts;
use super::state::{App, Place};

/// What requests to the proxy share.
#[derive(Default)]
pub struct EsProxy {
    collections: Collections,
}

/// Who asks, and whom they ask.
struct Asker<'a> {
    app: &'a App,
    caller: &'a Caller,
    route: &'static str,
}

/// Answers whatever comes to `/es` and beneath it: which of it is known, `path` says.
pub async fn pass(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, request: Request) -> Response {
    let headers = request.headers().clone();
    match app.es_proxy.answer(&app, &caller, request).await {
        Ok(response) => response,
        Err(error) => error.response(&headers),
    }
}

impl EsProxy {
    async fn answer(&self, app: &App, caller: &Caller, request: Request) -> Result<Response, ProxyError> {
        let since = Instant::now();
        let (parts, body) = request.into_parts();
        let route = Route::read(&parts.method, parts.uri.path())?;
        let params = Params::read(&route, parts.uri.query())?;
        match &route {
            Route::Search(name) | Route::Count(name) | Route::Exists(name) => caller.may(Scope::Read, name)?,
            // Each search of `_msearch` is looked at by itself.
            Route::Info | Route::MultiSearch(_) => caller.may_do(Scope::Read)?,
        }
        let asker = Asker {
            app,
            caller,
            route: route.name(),
        };
        let accept = request::accept(&parts.headers)?;
        let place = parts.extensions.get::<Place>().cloned();
        let place = place.ok_or_else(|| ProxyError::from(ApiError::plain(Code::Internal)))?;
        let read = read_body(&parts.headers, body, place, app.settings.max_body).await?;
        let incoming = Incoming {
            method: parts.method,
            route,
            params,
            headers: parts.headers,
            accept,
            read,
            since,
        };
        check_media_type(&incoming)?;
        match &incoming.route {
            Route::Info => {
                let reply = app.elastic.pass_on(&incoming.with_body(Bytes::new()).await?).await?;
                Ok(request::answer(reply, &caller.entry))
            }
            Route::Exists(name) => {
                resolve::open(&app.elastic, name).await?;
                Ok(local(&incoming.headers, StatusCode::OK, Body::empty()))
            }
            Route::Search(name) | Route::Count(name) => {
                let name = name.clone();
                let mut response = search::run(self, &asker, &name, incoming).await?;
                response.extensions_mut().insert(EventFacts {
                    collection: Some(name),
                    query: None,
                });
                Ok(response)
            }
            Route::MultiSearch(default) => msearch::run(self, &asker, default.as_deref(), &incoming).await,
        }
    }
}

impl Asker<'_> {
    /// Notes a search that was passed on.
    fn record(&self, collection: &str, photos: usize, status: StatusCode) {
        tracing::info!(
            route = self.route,
            key = self.caller.name,
            collection,
            photos,
            status = status.as_u16(),
            "searched"
        );
    }

    /// The same for several collections at once.
    fn record_all(&self, collections: &BTreeSet<String>, photos: usize, status: StatusCode) {
        for collection in collections {
            self.record(collection, photos, status);
        }
    }
}
