//! `POST /v1/identify`

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};

use super::question::{Answer, Question, QuestionForm, QuestionJson, QuestionOptions};
use crate::query::identify::{self, Decision, Identification};
use crate::server::access::Caller;
use crate::server::error::ApiError;
use crate::server::events::{Decided, EventFacts};
use crate::server::schemas::{ErrorBody, Picture};
use crate::server::state::App;

/// The answer to an identification.
pub type IdentifyAnswer = Answer<Identification>;

/// Say who the people in a photo are, or that they are unknown
///
/// A face that is in the collection without a name counts as recognised and has no person. `k` and `offset` count
/// candidates: persons, and faces without a name.
#[utoipa::path(post, path = "/v1/identify", tag = "search", operation_id = "identify",
    params(QuestionOptions),
    request_body(content(
        (QuestionForm = "multipart/form-data"),
        (QuestionJson = "application/json"),
        (Picture = "image/*"),
        (Picture = "application/octet-stream"))),
    responses((status = 200, body = IdentifyAnswer), (status = "default", body = ErrorBody)))]
pub async fn identify(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(HeaderMap, Extension<EventFacts>, Json<IdentifyAnswer>), ApiError> {
    let question = Question::receive(&app, &caller, request).await?;
    let start = Instant::now();
    let (mut results, mut decisions) = (Vec::new(), Vec::new());
    for face in &question.faces {
        let mut result = identify::identify(
            &app.elastic,
            &question.collection,
            &face.embedding,
            &question.options,
            &question.threshold,
        )
        .await?;
        result.candidates.drain(..question.offset.min(result.candidates.len()));
        for candidate in &result.candidates {
            caller.entry.found(&candidate.hits);
        }
        decisions.push(Decided {
            is_match: result.decision == Decision::Match,
            similarity: result.similarity,
        });
        results.push(result);
    }
    Ok(question.answer(results, start, &decisions))
}
