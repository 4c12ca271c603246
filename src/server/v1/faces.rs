//! `/v1/faces`: enrolment, and single stored faces.

mod enrolment;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use facedex_base::address::without_login;
use facedex_elastic::people::faces;
use facedex_elastic::people::faces::FaceRecord;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::document::{
    Person, check_label, check_person_id, check_person_name, face_id, image_hash, parse_label,
};
use facedex_elastic::schema::resolve;
use facedex_elastic::schema::tombstones;
use facedex_elastic::write::store::{Outcome, PhotoRecord, WriteMode, store};
use facedex_face::gate::Gate;
use facedex_face::likeness;
use facedex_face::select::Subject;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use self::enrolment::settle;
pub use self::enrolment::{EnrolledFace, Enrolment};
use super::{IdInPath, id};
use crate::enrol::{About, Enroller, Refused};
use crate::server::access::{Caller, Scope};
use crate::server::decoding::Decoded;
use crate::server::error::{ApiError, Code};
use crate::server::photo::{self, Input, WithPhotos};
use crate::server::schemas::{ErrorBody, FormBody, JsonBody, Picture};
use crate::server::state::{App, Place};

/// Options of an enrolment.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EnrolOptions {
    /// The collection to write to. It must be there: a mistyped name makes none. In the query string where the
    /// photo is the whole body or a part of a form.
    #[schema(value_type = crate::server::schemas::CollectionName)]
    #[param(value_type = crate::server::schemas::CollectionName, required = false)]
    pub collection: String,
    /// What identifies the person in the collection. Required, unless `unlabelled` is true.
    pub person_id: Option<String>,
    /// The person's name, for people to read.
    pub person_name: Option<String>,
    /// Store every face of the photo without a person.
    #[serde(default)]
    #[schema(default = false)]
    #[param(default = false)]
    pub unlabelled: bool,
    /// Labels for every face of the photo, as key=value; searches can be filtered by them.
    #[serde(default)]
    #[schema(required = false)]
    #[param(required = false)]
    pub label: Vec<String>,
    /// The same as an object, in JSON.
    #[serde(default)]
    #[schema(required = false)]
    #[param(ignore)]
    pub labels: BTreeMap<String, String>,
    /// Which face of the photo is the person; the others are stored without a name. `only` refuses a photo of several.
    #[serde(default)]
    #[schema(required = false, inline)]
    #[param(required = false, inline)]
    pub subject: OneSubject,
    /// Store a 128-pixel picture of each face with it.
    #[serde(default = "yes")]
    #[schema(default = true)]
    #[param(default = true)]
    pub thumbnail: bool,
    /// Store the person's face although it was deleted on request; needs a key of the scope `admin`. Other faces of the photo
    /// that were deleted stay out.
    #[serde(default)]
    #[schema(default = false)]
    #[param(default = false)]
    pub restore_deleted: bool,
    /// Where the photo can be found, for people; `upload:` and the photo's hash if it is left out.
    pub uri: Option<String>,
}

/// The options in a form.
pub type EnrolForm = FormBody<EnrolOptions>;
/// The options in JSON.
pub type EnrolJson = JsonBody<EnrolOptions>;

impl WithPhotos for EnrolOptions {
    const PHOTOS: &'static [&'static str] = &["photo"];
    const EMBEDDINGS: bool = false;
}

fn yes() -> bool {
    true
}

/// Which face is the person.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OneSubject {
    /// The only face; a photo with several is refused.
    #[default]
    Only,
    /// The face nearest to the photo's middle.
    Central,
    /// The face with the largest box.
    Largest,
}

/// Enrol a photo of a person
///
/// Writes one document for each face of the photo, as `facedex ingest` does: the same photo has the same ids, and
/// enrolling it again changes nothing. Comes back when searches find the faces: 201, or 200 if all were there before.
#[utoipa::path(post, path = "/v1/faces", tag = "faces", operation_id = "enrol",
    params(EnrolOptions),
    request_body(content(
        (EnrolForm = "multipart/form-data"),
        (EnrolJson = "application/json"),
        (Picture = "image/*"),
        (Picture = "application/octet-stream"))),
    responses((status = 201, body = Enrolment), (status = 200, body = Enrolment),
        (status = "default", body = ErrorBody)))]
pub async fn enrol(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    request: Request,
) -> Result<(StatusCode, Json<Enrolment>), ApiError> {
    caller.may_do(Scope::Write)?;
    let (options, mut inputs) = photo::receive::<EnrolOptions>(&app, request).await?;
    caller.may(Scope::Write, &options.collection)?;
    if options.restore_deleted {
        caller.may(Scope::Admin, &options.collection)?;
    }
    let order = Order::new(&app, &options)?;
    let found = resolve::open(&app.elastic, &options.collection).await?;
    found.expect_space(&app.inference.embedder().space)?;
    let Some(Input::Photo(encoded)) = inputs.pop() else {
        return Err(ApiError::parameter("photo", "missing"));
    };
    let record = order.prepare(&app, encoded).await?;
    for ordinal in 0..record.faces.len() {
        caller.entry.face(&face_id(&record.hash, ordinal));
    }
    if let Some(id) = &options.person_id {
        caller.entry.person(id);
    }
    let to = app.destination(&found).await?;
    let enrolling = async move {
        if options.restore_deleted {
            tombstones::lift(&to, &[record.lifted()]).await?;
        }
        let stored = store(&to, WriteMode::Create, std::slice::from_ref(&record)).await?;
        let outcomes = stored
            .into_iter()
            .next()
            .map(|stored| stored.outcomes)
            .unwrap_or_default();
        let indexed = outcomes.iter().filter(|outcome| **outcome == Outcome::Indexed).count();
        // Also for faces that were there before: whoever wrote them may not have made them visible to searches yet.
        if !outcomes.is_empty() {
            to.refresh().await?;
        }
        // The audit log's line ends when the work does, also if nobody waits any more.
        drop(caller);
        settle(&record, &outcomes).map_err(|error| error.with("indexed", indexed))
    };
    let enrolment = app.to_its_end(place, enrolling).await?;
    let status = match enrolment.indexed {
        0 => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    Ok((status, Json(enrolment)))
}

/// What is to be done with a photo.
struct Order {
    enroller: Enroller,
    person: Option<Person>,
    uri: Option<String>,
}

impl Order {
    fn new(app: &App, options: &EnrolOptions) -> Result<Self, ApiError> {
        let person = match (&options.person_id, options.unlabelled) {
            (Some(_), true) => return Err(ApiError::parameter("unlabelled", "give either it or person_id")),
            (None, true) if options.person_name.is_some() => {
                return Err(ApiError::parameter("person_name", "a name needs a person_id"));
            }
            (None, true) => None,
            (None, false) => {
                let reason = "missing; to store the faces without a person, say unlabelled=true";
                return Err(ApiError::parameter("person_id", reason));
            }
            (Some(id), false) => {
                check_person_id(id).map_err(|reason| ApiError::parameter("person_id", reason))?;
                if let Some(name) = &options.person_name {
                    check_person_name(name).map_err(|reason| ApiError::parameter("person_name", reason))?;
                }
                Some(Person {
                    id: id.clone(),
                    name: options.person_name.clone(),
                })
            }
        };
        let mut labels = options.labels.clone();
        for text in &options.label {
            let (key, value) = parse_label(text).map_err(|reason| ApiError::parameter("label", reason))?;
            if labels.insert(key.clone(), value).is_some() {
                return Err(ApiError::parameter("label", format!("{key} is given twice")));
            }
        }
        for (key, value) in &labels {
            check_label(key, value).map_err(|reason| ApiError::parameter("labels", reason))?;
        }
        Ok(Self {
            enroller: Enroller {
                run: app.run.clone(),
                host: app.host.clone(),
                subject: match options.subject {
                    OneSubject::Only => Subject::Only,
                    OneSubject::Central => Subject::Central,
                    OneSubject::Largest => Subject::Largest,
                },
                gate: Gate::default(),
                labels,
                thumbnails: options.thumbnail,
            },
            person,
            uri: match &options.uri {
                Some(uri) => Some(without_credentials(plain("uri", uri, 2048)?)),
                None => None,
            },
        })
    }

    /// The photo's documents.
    async fn prepare(self, app: &App, encoded: photo::Encoded) -> Result<PhotoRecord, ApiError> {
        app.infer("photo", encoded, move |engine, decoded| {
            let Decoded { bytes, photo } = decoded;
            let photo = photo.faces(engine)?;
            if photo.faces.is_empty() {
                return Err(ApiError::plain(Code::NoFace).with("photo", "photo"));
            }
            let hash = image_hash(&bytes);
            let about = About {
                uri: self.uri.unwrap_or_else(|| format!("upload:{hash}")),
                hash,
                coded: likeness::coded(&bytes),
                person: self.person,
                name_is_folders: false,
                labels: BTreeMap::new(),
            };
            self.enroller
                .record(about, photo, engine)
                .map_err(|refused| match refused {
                    Refused::Several(count) => ApiError::plain(Code::SeveralFaces).with("faces", count),
                    Refused::Poor(_) => ApiError::new(Code::Internal, refused.to_string()),
                })
        })
        .await
    }
}

/// Text for people or for filters: not empty, not endless, nothing that could forge a line of a log.
fn plain(name: &str, text: &str, most: usize) -> Result<String, ApiError> {
    if text.is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
        let reason = format!("expected 1 to {most} characters, without control characters");
        return Err(ApiError::parameter(name, reason));
    }
    Ok(text.to_owned())
}

fn without_credentials(uri: String) -> String {
    match Url::parse(&uri) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => without_login(&url).into(),
        _ => uri,
    }
}

/// Which collection.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct InCollection {
    /// The collection.
    #[param(value_type = crate::server::schemas::CollectionName)]
    pub collection: String,
}

impl InCollection {
    /// Reads the query string and checks that the caller may do this there and that there is such a collection.
    pub(super) async fn open(
        app: &App,
        caller: &Caller,
        scope: Scope,
        query: Option<String>,
    ) -> Result<Collection, ApiError> {
        let Self { collection } = photo::options(query.as_deref())?;
        caller.may(scope, &collection)?;
        Ok(resolve::open(&app.elastic, &collection).await?)
    }
}

/// Look at a stored face
#[utoipa::path(get, path = "/v1/faces/{id}", tag = "faces", operation_id = "get_face",
    params(("id" = String, Path, description = "The face's `_id`."), InCollection),
    responses((status = 200, body = FaceRecord), (status = "default", body = ErrorBody)))]
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    path: IdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<FaceRecord>, ApiError> {
    let id = id(path)?;
    let collection = InCollection::open(&app, &caller, Scope::Read, query).await?;
    let face = faces::get(&app.elastic, &collection.name, &id).await?;
    face.map(Json).ok_or_else(|| no_face(&id))
}

/// The picture of a stored face
#[utoipa::path(get, path = "/v1/faces/{id}/thumbnail", tag = "faces", operation_id = "get_thumbnail",
    params(("id" = String, Path, description = "The face's `_id`."), InCollection),
    responses((status = 200, content_type = "image/jpeg", body = Picture), (status = "default", body = ErrorBody)))]
pub async fn thumbnail(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    path: IdInPath,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    let id = id(path)?;
    let collection = InCollection::open(&app, &caller, Scope::Read, query).await?;
    let found = faces::thumbnail(&app.elastic, &collection.name, &id).await?;
    let jpeg = found
        .ok_or_else(|| no_face(&id))?
        .ok_or_else(|| ApiError::plain(Code::NoThumbnail).with("id", id.as_str()))?;
    // Somebody's face: for the asking browser alone.
    Ok((
        [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, "private, max-age=300")],
        jpeg,
    ))
}

/// A face that was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedFace {
    /// Always 1: what is not there is answered by an error.
    deleted: u64,
}

/// Which face is deleted, and for how long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteOptions {
    /// The collection.
    #[param(value_type = crate::server::schemas::CollectionName)]
    collection: String,
    /// Also keep it out when its photo is ingested or enrolled again; needs a key of the scope `admin`. Otherwise this is a
    /// correction: the face may be stored again.
    #[serde(default)]
    #[param(default = false)]
    forget: bool,
}

/// Delete a stored face
///
/// From every index behind the collection.
#[utoipa::path(delete, path = "/v1/faces/{id}", tag = "faces", operation_id = "delete_face",
    params(("id" = String, Path, description = "The face's `_id`."), DeleteOptions),
    responses((status = 200, body = DeletedFace), (status = "default", body = ErrorBody)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    path: IdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DeletedFace>, ApiError> {
    let id = id(path)?;
    let DeleteOptions { collection, forget } = photo::options(query.as_deref())?;
    caller.may(if forget { Scope::Admin } else { Scope::Write }, &collection)?;
    let collection = resolve::open(&app.elastic, &collection).await?;
    let to = app.destination(&collection).await?;
    let (face, visible_only) = (id.clone(), app.settings.visible_only);
    let turns = app.persons.clone();
    let deleting = async move {
        let _turn = turns.lock().await;
        let (deleted, reach) = faces::delete(&to, &face, forget).await?;
        drop(caller);
        super::persons::whole(&reach, visible_only, u64::from(deleted))?;
        Ok(deleted)
    };
    if app.to_its_end(place, deleting).await? {
        Ok(Json(DeletedFace { deleted: 1 }))
    } else {
        Err(no_face(&id))
    }
}

fn no_face(id: &str) -> ApiError {
    ApiError::plain(Code::NoSuchStoredFace).with("id", id)
}
