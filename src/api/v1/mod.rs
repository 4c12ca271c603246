//! The face API under `/v1`.

use std::sync::Arc;

use axum::Router;

use super::state::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
}
