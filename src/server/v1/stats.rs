//! `GET /v1/stats`, `GET /v1/collections`

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use facedex_elastic::lifecycle::status::{self, Status};
use facedex_elastic::schema::resolve;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::query::threshold::{MAX_FPIR, Threshold};
use crate::server::access::{Caller, Scope};
use crate::server::error::ApiError;
use crate::server::photo;
use crate::server::schemas::ErrorBody;
use crate::server::state::App;

/// Up to so many persons the count is all but exact.
const EXACT: u64 = 40_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StatsOptions {
    /// The collection.
    #[param(value_type = crate::server::schemas::CollectionName)]
    collection: String,
}

/// Figures of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stats {
    /// What it is and what it holds.
    #[serde(flatten)]
    status: Status,
    /// Whether the numbers of persons and photos are estimates.
    approximate: bool,
    /// What a search or an identification goes by where nothing else is asked for, among all of these faces; absent where
    /// this server's embedder makes other vectors than the collection holds, or has no table of rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<Threshold>,
}

/// Count what a collection holds
#[utoipa::path(get, path = "/v1/stats", tag = "collections", operation_id = "stats", params(StatsOptions),
    responses((status = 200, body = Stats), (status = "default", body = ErrorBody)))]
pub async fn stats(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<Stats>, ApiError> {
    let StatsOptions { collection } = photo::options(query.as_deref())?;
    caller.may(Scope::Read, &collection)?;
    let status = status::status(&app.elastic, &collection).await?;
    let embedder = app.inference.embedder();
    let is_ours = status.collection.space == embedder.space && !embedder.fmr.is_empty();
    let threshold = is_ours.then(|| Threshold::for_search(embedder, MAX_FPIR, status.faces));
    Ok(Json(Stats {
        threshold: threshold.transpose()?,
        approximate: status.persons > EXACT || status.photos > EXACT,
        status,
    }))
}

/// The collections that the key is good for.
#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionNames {
    /// Their names, in order.
    collections: Vec<String>,
}

/// Name the collections
#[utoipa::path(get, path = "/v1/collections", tag = "collections", operation_id = "collections",
    responses((status = 200, body = CollectionNames), (status = "default", body = ErrorBody)))]
pub async fn collections(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<CollectionNames>, ApiError> {
    caller.may_do(Scope::Read)?;
    let all = resolve::list(&app.elastic).await?;
    Ok(Json(CollectionNames {
        collections: all
            .collections
            .into_iter()
            .map(|collection| collection.name)
            .filter(|name| caller.sees(name))
            .collect(),
    }))
}
