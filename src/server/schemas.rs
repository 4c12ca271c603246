//! What the OpenAPI document says of bodies that no type describes by itself: forms and JSON with photos in them, names, errors.

use std::borrow::Cow;
use std::marker::PhantomData;

use facedex_elastic::schema::collection::NAME_PATTERN;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::Code;
use super::photo::{WithPhotos, embedding_name};

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
