//! `/healthz`: the process answers. `/readyz`: it can answer questions.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::state::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(async || "ok\n"))
}
