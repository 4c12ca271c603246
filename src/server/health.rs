//! `/healthz`: the process answers. `/readyz`: it can answer questions.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use facedex_elastic::ElasticError;
use facedex_elastic::schema::resolve;
use serde::Serialize;

use super::error::{ApiError, Code};
use super::state::App;

/// Whoever asks whether we are ready does not wait long for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// When to look again.
const RETRY: Duration = Duration::from_secs(5);

/// Says that the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// What an answer needs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Always true here: what is not ready is answered by an error, with the same names in its details.
    ready: bool,
    /// `ok`, or the code of what is wrong.
    engine: &'static str,
    /// The same for the cluster.
    elasticsearch: &'static str,
    /// The same for the collection that the server was started with, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<&'static str>,
}

const OK: &str = "ok";

/// Says whether searches can be answered: models loaded, Elasticsearch reachable, the collection there and in the
/// embedder's space.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, body = Readiness), (status = 503, body = super::schemas::ErrorBody)))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<Json<Readiness>, ApiError> {
    let engine = if app.inference.is_whole() {
        OK
    } else {
        Code::Internal.row().code
    };
    let elasticsearch = check(async { app.elastic.info().await.map(|_| ()) }).await;
    let collection = match &app.settings.collection {
        None => None,
        Some(name) => Some(
            check(async {
                let found = resolve::open(&app.elastic, name).await?;
                found.expect_space(&app.inference.embedder().space)
            })
            .await,
        ),
    };
    if engine == OK && elasticsearch == OK && collection.is_none_or(|state| state == OK) {
        return Ok(Json(Readiness {
            ready: true,
            engine,
            elasticsearch,
            collection,
        }));
    }
    let error = ApiError::plain(Code::NotReady)
        .with("engine", engine)
        .with("elasticsearch", elasticsearch)
        .after(RETRY);
    Err(match collection {
        Some(state) => error.with("collection", state),
        None => error,
    })
}

async fn check(question: impl Future<Output = Result<(), ElasticError>>) -> &'static str {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(())) => OK,
        Ok(Err(error)) => ApiError::from(error).code.row().code,
        Err(_) => Code::Timeout.row().code,
    }
}
