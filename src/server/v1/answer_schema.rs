//! What the OpenAPI document says of an answer.

use std::borrow::Cow;

use facedex_face::Face;
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::question::Answer;
use crate::query::answer::Took;
use crate::server::photo::ImageSize;

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
