//! The OpenAPI document, made from the routes and the types that they read and write. `openapi.json` at the top of the
//! tree is a copy, which a test holds against it.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Method;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use facedex_elastic::schema::collection::NAME_PATTERN;
use facedex_face::Face;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{
    AllOfBuilder, AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

use super::photo::{ImageSize, WithPhotos, embedding_name};
use super::state::App;
use super::v1;
use super::v1::question::Answer;
use super::{error::Code, health};
use crate::query::answer::Took;

#[derive(OpenApi)]
#[openapi(
    info(title = "facedex", description = "Finds the people in a photo among the faces of an Elasticsearch index."),
    paths(
        v1::search::search, v1::identify::identify, v1::verify::verify, v1::represent::represent,
        v1::faces::enrol, v1::faces::get, v1::faces::delete, v1::faces::thumbnail,
        v1::persons::list, v1::persons::get, v1::persons::change, v1::persons::delete,
        v1::stats::stats, v1::stats::collections, health::ready,
    ),
    components(schemas(FaceText, OneFaceText, CollectionName)),
    modifiers(&Keys),
    security((), ("api_key" = [])),
    tags(
        (name = "search", description = "Photos in, people out."),
        (name = "faces", description = "Enrolment, and single stored faces."),
        (name = "persons", description = "All faces of one person."),
        (name = "collections", description = "What there is."),
        (name = "operation", description = "Whether the server can answer."),
    ),
)]
struct Document;

/// How a key is shown. The empty alternative beside it stands for a server without keys.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let description = "A key of `facedex keys create`; needed where the server has keys.";
        let header = ApiKey::Header(ApiKeyValue::with_description("X-API-Key", description));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    }
}

/// The document, as it is served and checked in.
pub static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The routes of the document, each as its method and the segments of its path.
static ROUTES: LazyLock<Vec<(Method, Vec<String>)>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&JSON).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let routes = paths.flat_map(|(path, methods)| {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let methods = methods.as_object().into_iter().flatten();
        methods.filter_map(move |(method, _)| {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
            Some((method, segments.clone()))
        })
    });
    routes.collect()
});

/// Whether there is such a route in the document.
pub fn has_route(method: &Method, path: &str) -> bool {
    // Without the document nothing is known: then every route may be one.
    ROUTES.is_empty()
        || ROUTES.iter().any(|(known, segments)| {
            let mut given = path.split('/');
            let is_same = |segment: &String| {
                given
                    .next()
                    .is_some_and(|given| segment == given || segment.starts_with('{') && !given.is_empty())
            };
            known == method && segments.iter().all(is_same) && given.next().is_none()
        })
}

/// The page at `/docs`: the document, for people, without any request to elsewhere.
static PAGE: LazyLock<String> = LazyLock::new(|| super::docs::page(&JSON));

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    let json = async || ([(CONTENT_TYPE, "application/json")], JSON.as_str());
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let page = async move || {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, policy),
        ];
        (headers, PAGE.as_str())
    };
    Router::new()
        .route("/openapi.json", get(json))
        .route("/docs", get(page))
}

/// What a failure is answered with.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// The failure.
    error: ErrorFields,
}

/// A failure.
#[derive(Serialize, ToSchema)]
pub struct ErrorFields {
    /// One of the table's codes.
    #[schema(value_type = ErrorCode)]
    code: String,
    /// What was wrong and what to do, for people.
    message: String,
    /// The names and numbers of the message, for programs.
    details: Map<String, Value>,
}

/// The codes of the table.
pub struct ErrorCode;

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let codes = Code::ALL.iter().map(|code| code.row().code);
        let rows = Code::ALL.iter().map(|code| {
            let row = code.row();
            format!("{} ({}): {}", row.code, row.status.as_u16(), row.meaning)
        });
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(codes))
            .description(Some(rows.collect::<Vec<_>>().join("\n\n")))
            .into()
    }
}

impl ToSchema for ErrorCode {}

/// Which faces of a photo: a word, or a number.
pub struct FaceText;

impl PartialSchema for FaceText {
    fn schema() -> RefOr<Schema> {
        face("^(all|largest|central|[0-9]{1,9})$")
    }
}

/// Which face of a photo, where it can be only one.
pub struct OneFaceText;

impl PartialSchema for OneFaceText {
    fn schema() -> RefOr<Schema> {
        face("^(largest|central|[0-9]{1,9})$")
    }
}

impl ToSchema for OneFaceText {}

fn face(pattern: &str) -> RefOr<Schema> {
    let word = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(u32::MAX));
    AnyOfBuilder::new().item(word).item(number).into()
}

impl ToSchema for FaceText {}

/// The name of a collection.
pub struct CollectionName;

impl PartialSchema for CollectionName {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(NAME_PATTERN))
            .into()
    }
}

impl ToSchema for CollectionName {}

/// An image's bytes.
pub struct Picture;

impl PartialSchema for Picture {
    fn schema() -> RefOr<Schema> {
        picture("JPEG, PNG, WebP, GIF, BMP or TIFF, told by their content.").into()
    }
}

impl ToSchema for Picture {}

fn picture(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .description(Some(description))
}

/// A form: options as text, photos as files.
pub struct FormBody<T>(PhantomData<T>);

impl<T: ToSchema + WithPhotos> PartialSchema for FormBody<T> {
    fn schema() -> RefOr<Schema> {
        with_properties::<T>(|object| {
            // Text has no null and no objects.
            object.properties.remove("labels");
            object.properties.values_mut().for_each(without_null);
            for name in T::PHOTOS {
                let file = picture("The photo, as a file.").build();
                object.properties.insert((*name).to_owned(), file.into());
                object.required.push((*name).to_owned());
            }
        })
    }
}

/// Leaves the one type that a value has if it is there.
fn without_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let [only] = types.iter().filter(|one| **one != Type::Null).collect::<Vec<_>>()[..]
            {
                object.schema_type = SchemaType::Type(only.clone());
            }
        }
        RefOr::T(Schema::OneOf(choice)) => {
            choice
                .items
                .retain(|item| !matches!(item, RefOr::T(Schema::Object(one)) if one.schema_type == Type::Null.into()));
        }
        _ => {}
    }
}

impl<T: ToSchema + WithPhotos> ToSchema for FormBody<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Form", T::name()).into()
    }
}

/// A JSON body: options, and photos in base64 or embeddings instead of them.
pub struct JsonBody<T>(PhantomData<T>);

impl<T: ToSchema + WithPhotos> PartialSchema for JsonBody<T> {
    fn schema() -> RefOr<Schema> {
        with_properties::<T>(|object| {
            for name in T::PHOTOS {
                let text = ObjectBuilder::new()
                    .schema_type(Type::String)
                    .content_encoding("base64");
                let text = text.description(Some("The photo in base64.")).build();
                object.properties.insert((*name).to_owned(), text.into());
                if !T::EMBEDDINGS {
                    object.required.push((*name).to_owned());
                    continue;
                }
                let number = ObjectBuilder::new().schema_type(Type::Number).build();
                let vector = ArrayBuilder::new().items(number);
                let vector = vector.description(Some(
                    "What represent gave for a face, instead of the photo: as many numbers.",
                ));
                object.properties.insert(embedding_name(name), vector.into());
            }
        })
    }
}

impl<T: ToSchema + WithPhotos> ToSchema for JsonBody<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Json", T::name()).into()
    }
}

fn with_properties<T: ToSchema>(change: impl FnOnce(&mut utoipa::openapi::schema::Object)) -> RefOr<Schema> {
    match T::schema() {
        RefOr::T(Schema::Object(mut object)) => {
            change(&mut object);
            Schema::Object(object).into()
        }
        other => other,
    }
}

// By hand: an optional part that is spread into its parent is more than the derive can say.
impl<T: ToSchema> PartialSchema for Answer<T> {
    fn schema() -> RefOr<Schema> {
        let ordinal = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("The face's number in the photo, from 0."));
        let own = ObjectBuilder::new().property("ordinal", ordinal).required("ordinal");
        let seen = AnyOfBuilder::new()
            .item(Ref::from_schema_name(Face::name()))
            .item(ObjectBuilder::new())
            .description(Some(
                "The face; absent where an embedding was given instead of a photo.",
            ));
        let face = AllOfBuilder::new()
            .item(own)
            .item(seen)
            .item(Ref::from_schema_name(T::name()));
        let collection = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The collection that was searched."));
        ObjectBuilder::new()
            .property("collection", collection)
            .property("image", Ref::from_schema_name(ImageSize::name()))
            .property("faces", ArrayBuilder::new().items(face))
            .property("took", Ref::from_schema_name(Took::name()))
            .required("collection")
            .required("faces")
            .required("took")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Answer<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Answer", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<Face>(schemas);
        add::<ImageSize>(schemas);
        add::<Took>(schemas);
        add::<T>(schemas);
    }
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}
