//! `POST /v1/verify`

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use facedex_face::Face;
use facedex_face::select::FaceChoice;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{check_similarity, face_choice};
use crate::query::identify::Decision;
use crate::query::threshold::Threshold;
use crate::query::verify::{self, Verification};
use crate::server::access::{Caller, Scope};
use crate::server::error::ApiError;
use crate::server::events::{Decided, EventFacts};
use crate::server::photo::{self, Input, WithPhotos};
use crate::server::schemas::{ErrorBody, FormBody, JsonBody};
use crate::server::state::App;

/// Options of a verification.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyOptions {
    /// A collection that the key must be good for; nothing in it is looked at.
    #[schema(value_type = Option<crate::server::schemas::CollectionName>)]
    pub collection: Option<String>,
    /// Which face of the first photo: largest, central, or a number, counted from 0 in order from the top.
    #[serde(default = "largest", deserialize_with = "face_choice")]
    #[schema(value_type = crate::server::schemas::OneFaceText, required = false)]
    pub face_a: FaceChoice,
    /// Which face of the second photo.
    #[serde(default = "largest", deserialize_with = "face_choice")]
    #[schema(value_type = crate::server::schemas::OneFaceText, required = false)]
    pub face_b: FaceChoice,
    /// Share of comparisons of two different people that may match [default: 0.0001].
    #[schema(exclusive_minimum = 0, exclusive_maximum = 1)]
    pub max_fmr: Option<f64>,
    /// Match from this cosine on, whatever false matches it brings; instead of `max_fmr`.
    #[schema(minimum = -1, maximum = 1)]
    pub min_similarity: Option<f64>,
    /// Answer with the embeddings too.
    #[serde(default)]
    #[schema(default = false)]
    pub include_embedding: bool,
}

/// The options in a form.
pub type VerifyForm = FormBody<VerifyOptions>;
/// The options in JSON.
pub type VerifyJson = JsonBody<VerifyOptions>;

impl WithPhotos for VerifyOptions {
    const PHOTOS: &'static [&'static str] = &["photo_a", "photo_b"];
    const EMBEDDINGS: bool = true;
}

fn largest() -> FaceChoice {
    FaceChoice::Largest
}

/// Whether two faces are one person.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifyAnswer {
    /// The decision.
    #[serde(flatten)]
    result: Verification,
    /// The two that were compared.
    photos: [Side; 2],
}

/// One of the two.
#[derive(Debug, Serialize, ToSchema)]
pub struct Side {
    /// The part of the request that it came in.
    photo: &'static str,
    /// How many faces the photo has; absent where an embedding was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    faces_found: Option<usize>,
    /// The number of the face that was compared.
    ordinal: usize,
    /// The face that was compared; absent where an embedding was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    face: Option<Face>,
}

/// Say whether two photos show the same person
///
/// Elasticsearch is not needed. `unknown` does not prove that they are two people.
#[utoipa::path(post, path = "/v1/verify", tag = "search", operation_id = "verify",
    request_body(content(
        (VerifyForm = "multipart/form-data"),
        (VerifyJson = "application/json"))),
    responses((status = 200, body = VerifyAnswer), (status = "default", body = ErrorBody)))]
pub async fn verify(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(Extension<EventFacts>, Json<VerifyAnswer>), ApiError> {
    caller.may_do(Scope::Read)?;
    let (options, inputs) = photo::receive::<VerifyOptions>(&app, request).await?;
    if let Some(collection) = &options.collection {
        caller.may(Scope::Read, collection)?;
    }
    check_similarity(options.min_similarity)?;
    if options.min_similarity.is_some() && options.max_fmr.is_some() {
        return Err(ApiError::parameter("min_similarity", "give either it or max_fmr"));
    }
    for (name, choice) in [("face_a", options.face_a), ("face_b", options.face_b)] {
        if choice == FaceChoice::All {
            return Err(ApiError::parameter(
                name,
                "one face is compared: largest, central or a number",
            ));
        }
    }
    let embedder = app.inference.embedder();
    let threshold = match options.min_similarity {
        Some(similarity) => Threshold::fixed(embedder, similarity, None),
        None => Threshold::for_comparison(embedder, options.max_fmr.unwrap_or(1e-4))?,
    };
    let Ok([a, b]) = <[Input; 2]>::try_from(inputs) else {
        return Err(ApiError::parameter("photo_b", "missing"));
    };
    // One after the other: two large photos would not fit into the server's memory at a time, however often they were sent.
    let (name_a, name_b) = (VerifyOptions::PHOTOS[0], VerifyOptions::PHOTOS[1]);
    let with_embedding = options.include_embedding;
    let (a, vector_a) = side(&app, name_a, a, options.face_a, with_embedding).await?;
    let (b, vector_b) = side(&app, name_b, b, options.face_b, with_embedding).await?;
    let result = verify::verify(&vector_a, &vector_b, threshold);
    let decided = Decided {
        is_match: result.decision == Decision::Match,
        similarity: Some(result.similarity),
    };
    let facts = EventFacts::of(options.collection, result.threshold.similarity, &[decided]);
    Ok((Extension(facts), Json(VerifyAnswer { result, photos: [a, b] })))
}

async fn side(
    app: &App,
    name: &'static str,
    input: Input,
    choice: FaceChoice,
    with_embedding: bool,
) -> Result<(Side, Vec<f32>), ApiError> {
    let seen = photo::find_faces(app, name, input, choice, false).await?;
    let found = seen.found;
    // A choice of one face gives one; the error is what would be true if it did not.
    let face = seen.faces.into_iter().next();
    let face = face.ok_or_else(|| ApiError::plain(crate::server::error::Code::NoFace))?;
    let (ordinal, vector) = (face.ordinal, face.embedding.clone());
    let side = Side {
        photo: name,
        faces_found: found,
        ordinal,
        face: face.show(with_embedding),
    };
    Ok((side, vector))
}
