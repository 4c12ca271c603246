//! `/v1/persons`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::{Extension, Json};
use facedex_elastic::ElasticError;
use facedex_elastic::people::faces::FaceRecord;
use facedex_elastic::people::{self, Change, Faces, People};
use facedex_elastic::schema::document::{Person, check_label, check_person_name};
use facedex_elastic::schema::resolve;
use facedex_elastic::schema::versions::Reach;
use facedex_elastic::wire::reply::MAX_HITS;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::faces::InCollection;
use super::{IdInPath, id};
use crate::server::access::{Caller, Scope};
use crate::server::error::{ApiError, Code};
use crate::server::photo;
use crate::server::schemas::ErrorBody;
use crate::server::state::{App, Place};

/// A page of a person's faces.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageOptions {
    /// The collection.
    #[param(value_type = crate::server::schemas::CollectionName)]
    collection: String,
    /// Faces that are passed over; `offset` + `limit` is at most 10,000.
    #[serde(default)]
    #[param(maximum = 9_999, default = 0)]
    offset: u16,
    /// How many faces.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: u16,
}

fn hundred() -> u16 {
    100
}

/// Which people.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListOptions {
    /// The collection.
    #[param(value_type = crate::server::schemas::CollectionName)]
    collection: String,
    /// Only people whose id or name has this text in it, in whatever case.
    search: Option<String>,
    /// Behind this id: the `after` of the page before.
    after: Option<String>,
    /// How many people.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: u16,
}

/// List the people who are stored
///
/// In the order of their ids, with the numbers of their faces.
#[utoipa::path(get, path = "/v1/persons", tag = "persons", operation_id = "list_persons",
    params(ListOptions),
    responses((status = 200, body = People), (status = "default", body = ErrorBody)))]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<People>, ApiError> {
    let options: ListOptions = photo::options(query.as_deref())?;
    caller.may(Scope::Read, &options.collection)?;
    if !(1..=1000).contains(&options.limit) {
        return Err(ApiError::parameter("limit", "from 1 to 1000"));
    }
    let found = resolve::open(&app.elastic, &options.collection).await?;
    let (search, after) = (options.search.as_deref(), options.after.as_deref());
    let search = search.filter(|text| !text.is_empty());
    let people = people::list(&app.elastic, &found.name, search, after, options.limit.into()).await?;
    Ok(Json(people))
}

/// A person with their faces.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonAnswer {
    /// Who.
    person: Person,
    /// How many faces the person has.
    total: u64,
    /// The page that was asked for, oldest first.
    faces: Vec<FaceRecord>,
}

/// Look at a person and their faces
#[utoipa::path(get, path = "/v1/persons/{id}", tag = "persons", operation_id = "get_person",
    params(("id" = String, Path, description = "The person's id, `person.id`."), PageOptions),
    responses((status = 200, body = PersonAnswer), (status = "default", body = ErrorBody)))]
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    path: IdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<PersonAnswer>, ApiError> {
    let id = id(path)?;
    let options: PageOptions = photo::options(query.as_deref())?;
    caller.may(Scope::Read, &options.collection)?;
    let (offset, limit) = (usize::from(options.offset), usize::from(options.limit));
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::parameter("limit", "from 1 to 1000"));
    }
    if offset + limit > MAX_HITS {
        return Err(ApiError::parameter(
            "offset",
            format!("offset + limit is at most {MAX_HITS}"),
        ));
    }
    let found = resolve::open(&app.elastic, &options.collection).await?;
    let page = people::page(&app.elastic, &found.name, &id, offset, limit).await?;
    if page.total == 0 {
        return Err(nobody(&id));
    }
    // A page behind the last face has nobody to take the name from.
    let known = page.faces.first().and_then(|face| face.person.clone());
    Ok(Json(PersonAnswer {
        person: known.unwrap_or(Person { id, name: None }),
        total: page.total,
        faces: page.faces,
    }))
}

/// What to change about a person. What is left out stays; null removes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonChange {
    /// The name for people to read.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 512)]
    name: Option<Option<String>>,
    /// Labels of each of the person's faces.
    #[serde(default)]
    #[schema(required = false)]
    labels: BTreeMap<String, Option<String>>,
}

/// Tells null from nothing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedPerson {
    /// How many faces the person has.
    total: u64,
    /// How many of them were changed.
    updated: u64,
}

/// Rename a person, or change the labels of all their faces
///
/// Comes back when a look at every face finds nothing left to change.
#[utoipa::path(patch, path = "/v1/persons/{id}", tag = "persons", operation_id = "change_person",
    params(("id" = String, Path, description = "The person's id, `person.id`."), InCollection),
    request_body(content = PersonChange, content_type = "application/json"),
    responses((status = 200, body = ChangedPerson), (status = "default", body = ErrorBody)))]
pub async fn change(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    path: IdInPath,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<ChangedPerson>, ApiError> {
    let id = id(path)?;
    caller.may_do(Scope::Write)?;
    let wanted: PersonChange = photo::document(request).await?;
    if wanted.name.is_none() && wanted.labels.is_empty() {
        return Err(ApiError::parameter("name", "give a name or labels to change"));
    }
    if let Some(Some(name)) = &wanted.name {
        check_person_name(name).map_err(|reason| ApiError::parameter("name", reason))?;
    }
    for (key, value) in &wanted.labels {
        let value = value.as_deref().unwrap_or("-");
        check_label(key, value).map_err(|reason| ApiError::parameter("labels", reason))?;
    }
    let collection = InCollection::open(&app, &caller, Scope::Write, query).await?;
    let change = Change {
        id: None,
        name: wanted.name,
        labels: wanted.labels,
    };
    let (to, person, turns) = (app.destination(&collection).await?, id.clone(), app.persons.clone());
    let visible_only = app.settings.visible_only;
    let changing = async move {
        let _turn = turns.lock().await;
        let changed = people::change(&to, &person, &change).await.map_err(busy)?;
        changed.ids.iter().for_each(|id| caller.entry.face(id));
        whole(&changed.reach, visible_only, changed.updated)?;
        Ok(changed)
    };
    let changed = app.to_its_end(place, changing).await?;
    if changed.faces == 0 && changed.updated == 0 {
        return Err(nobody(&id));
    }
    Ok(Json(ChangedPerson {
        total: changed.faces,
        updated: changed.updated,
    }))
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedPerson {
    /// How many faces the person had.
    deleted: u64,
}

/// Delete a person: every face of theirs
///
/// Comes back when searches of every index behind the collection find none any more. Faces of other people in the same
/// photos stay. Photos that are ingested or enrolled again do not bring the faces back.
#[utoipa::path(delete, path = "/v1/persons/{id}", tag = "persons", operation_id = "delete_person",
    params(("id" = String, Path, description = "The person's id, `person.id`."), InCollection),
    responses((status = 200, body = DeletedPerson), (status = "default", body = ErrorBody)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    path: IdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DeletedPerson>, ApiError> {
    let id = id(path)?;
    caller.may_do(Scope::Admin)?;
    let collection = InCollection::open(&app, &caller, Scope::Admin, query).await?;
    let (to, faces, turns) = (
        app.destination(&collection).await?,
        Faces::Of(id.clone()),
        app.persons.clone(),
    );
    let visible_only = app.settings.visible_only;
    caller.entry.collection_of(&collection.name, &collection.collection_id);
    let erasing = async move {
        let _turn = turns.lock().await;
        let erased = people::erase(&to, &faces).await.map_err(busy)?;
        erased.ids.iter().for_each(|id| caller.entry.face(id));
        whole(&erased.reach, visible_only, erased.faces)?;
        Ok(erased)
    };
    let erased = app.to_its_end(place, erasing).await?;
    if erased.faces == 0 {
        return Err(nobody(&id));
    }
    Ok(Json(DeletedPerson { deleted: erased.faces }))
}

/// Refuses to speak of all faces where some index could not be looked at; `done` faces were changed until then.
pub(super) fn whole(reach: &Reach, visible_only: bool, done: u64) -> Result<(), ApiError> {
    reach.expect_all(visible_only).map_err(|error| {
        let indices = serde_json::to_value(&reach.unreached).unwrap_or_default();
        ApiError::from(error).with("faces", done).with("unreached", indices)
    })
}

fn nobody(id: &str) -> ApiError {
    ApiError::plain(Code::NoSuchPerson).with("id", id)
}

/// Others who change the same faces all the time are a conflict, and no failure of Elasticsearch.
fn busy(error: ElasticError) -> ApiError {
    match error {
        ElasticError::Refused {
            status: 409, reason, ..
        } => ApiError::new(Code::Conflict, reason),
        error => error.into(),
    }
}
