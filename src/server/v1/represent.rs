//! `POST /v1/represent`

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use facedex_face::Face;
use facedex_face::select::FaceChoice;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::face_choice;
use crate::server::access::{Caller, Scope};
use crate::server::error::ApiError;
use crate::server::photo::{self, ImageSize, WithPhotos};
use crate::server::schemas::{ErrorBody, FormBody, JsonBody, Picture};
use crate::server::state::App;

/// Options of a representation.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RepresentOptions {
    /// A collection that the key must be good for; nothing in it is looked at.
    #[schema(value_type = Option<crate::server::schemas::CollectionName>)]
    #[param(value_type = Option<crate::server::schemas::CollectionName>)]
    pub collection: Option<String>,
    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top.
    #[serde(default, deserialize_with = "face_choice")]
    #[schema(value_type = crate::server::schemas::FaceText, required = false)]
    #[param(value_type = crate::server::schemas::FaceText, required = false)]
    pub face: FaceChoice,
}

/// The options in a form.
pub type RepresentForm = FormBody<RepresentOptions>;
/// The options in JSON.
pub type RepresentJson = JsonBody<RepresentOptions>;

impl WithPhotos for RepresentOptions {
    const PHOTOS: &'static [&'static str] = &["photo"];
    const EMBEDDINGS: bool = false;
}

/// The faces of a photo.
#[derive(Debug, Serialize, ToSchema)]
pub struct Representation {
    /// The photo's size.
    image: ImageSize,
    /// The embedding space: only vectors of the same one may be compared.
    space: String,
    /// Everything that decides which faces are found and where.
    engine: String,
    /// The chosen faces, in order from the top, with their embeddings.
    faces: Vec<Face>,
}

/// Find the faces of a photo: box, landmarks, score, quality, embedding
///
/// A photo without a face has an empty list, unless one face of it is asked for.
#[utoipa::path(post, path = "/v1/represent", tag = "search", operation_id = "represent",
    params(RepresentOptions),
    request_body(content(
        (RepresentForm = "multipart/form-data"),
        (RepresentJson = "application/json"),
        (Picture = "image/*"),
        (Picture = "application/octet-stream"))),
    responses((status = 200, body = Representation), (status = "default", body = ErrorBody)))]
pub async fn represent(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Representation>, ApiError> {
    caller.may_do(Scope::Read)?;
    let (options, mut inputs) = photo::receive::<RepresentOptions>(&app, request).await?;
    if let Some(collection) = &options.collection {
        caller.may(Scope::Read, collection)?;
    }
    let missing = || ApiError::parameter("photo", "missing");
    let input = inputs.pop().ok_or_else(missing)?;
    let seen = photo::find_faces(&app, "photo", input, options.face, options.face == FaceChoice::All).await?;
    Ok(Json(Representation {
        image: seen.size.ok_or_else(missing)?,
        space: app.inference.embedder().space.clone(),
        engine: app.inference.fingerprint().to_owned(),
        faces: seen.faces.into_iter().filter_map(|face| face.show(true)).collect(),
    }))
}
