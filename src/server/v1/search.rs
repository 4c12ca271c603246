//! `POST /v1/search`

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};

use super::question::{Answer, Question, QuestionForm, QuestionJson, QuestionOptions};
use crate::query::search::{self, SearchResult};
use crate::server::access::Caller;
use crate::server::error::ApiError;
use crate::server::events::{Decided, EventFacts};
use crate::server::schemas::{ErrorBody, Picture};
use crate::server::state::App;

/// The answer to a search.
pub type SearchAnswer = Answer<SearchResult>;

/// Find the stored faces that look like those in a photo
///
/// Best first, down to the threshold. A face without a match has no hits.
#[utoipa::path(post, path = "/v1/search", tag = "search", operation_id = "search",
    params(QuestionOptions),
    request_body(content(
        (QuestionForm = "multipart/form-data"),
        (QuestionJson = "application/json"),
        (Picture = "image/*"),
        (Picture = "application/octet-stream"))),
    responses((status = 200, body = SearchAnswer), (status = "default", body = ErrorBody)))]
pub async fn search(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(HeaderMap, Extension<EventFacts>, Json<SearchAnswer>), ApiError> {
    let question = Question::receive(&app, &caller, request).await?;
    let start = Instant::now();
    let (mut results, mut decisions) = (Vec::new(), Vec::new());
    for face in &question.faces {
        let mut result = search::search(
            &app.elastic,
            &question.collection,
            &face.embedding,
            &question.options,
            &question.threshold,
        )
        .await?;
        let decided = Decided {
            is_match: !result.hits.is_empty(),
            similarity: result.hits.first().map(|hit| hit.similarity),
        };
        result.hits.drain(..question.offset.min(result.hits.len()));
        caller.entry.found(&result.hits);
        results.push(result);
        decisions.push(decided);
    }
    Ok(question.answer(results, start, &decisions))
}
