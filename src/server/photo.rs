//! The photos of a request, however they come: parts of a form, the whole body, base64 in JSON; or their embeddings.

use std::collections::BTreeMap;
use std::fmt;

use axum::RequestExt as _;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use facedex_face::Face;
use facedex_face::models::catalog::Metric;
use facedex_face::select::FaceChoice;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::base64::decode;
use super::error::{ApiError, Code};
use super::form::Given;
use super::state::App;
use crate::query::photo::QueryPhoto;

/// What stands for a photo in a request.
#[derive(Debug)]
pub enum Input {
    /// The photo.
    Photo(Encoded),
    /// What somebody computed from a face of it, with unit length.
    Embedding(Vec<f32>),
}

/// A photo's bytes as they came. Base64 is decoded where photos are, not on the threads that answer requests.
#[derive(Debug)]
pub enum Encoded {
    /// As they are.
    Plain(Bytes),
    /// In base64, with or without `data:image/...;base64,` before it.
    Base64(String),
}

/// Options that come with photos.
pub trait WithPhotos {
    /// The photos' names.
    const PHOTOS: &'static [&'static str];
    /// Whether an embedding may stand for each of them.
    const EMBEDDINGS: bool;
}

/// The name of the embedding that may stand for a photo.
pub fn embedding_name(photo: &str) -> String {
    photo.replacen("photo", "embedding", 1)
}

/// Reads a request: its options, and its photos in their order.
pub async fn receive<T: DeserializeOwned + WithPhotos>(
    app: &App,
    request: Request,
) -> Result<(T, Vec<Input>), ApiError> {
    let names = T::PHOTOS;
    expect_plain(&request)?;
    let kind = media_type(&request);
    let query = text_options(request.uri().query());
    let (given, mut photos) = match kind.as_str() {
        "multipart/form-data" => form(request, query, names).await?,
        "application/json" => {
            if let Some(name) = query.keys().next() {
                return Err(ApiError::parameter(name, "with a JSON body, options go into it"));
            }
            json::<T>(app, request).await?
        }
        kind if kind.starts_with("image/") || kind == "application/octet-stream" => match names {
            [name] => {
                let body = bytes(request).await?;
                let photo = Input::Photo(Encoded::Plain(body));
                (Given::Text(query), BTreeMap::from([((*name).to_owned(), photo)]))
            }
            _ => {
                return Err(unsupported(
                    "send two photos as multipart/form-data or application/json",
                ));
            }
        },
        _ => return Err(ApiError::plain(Code::UnsupportedType)),
    };
    let options = given.read().map_err(|error: ApiError| {
        // The photo is no option, and is taken out before these are read.
        let hint = match error.message.contains("unknown field") {
            true => format!("; a photo goes into {}", names.join(" and ")),
            false => String::new(),
        };
        ApiError {
            message: error.message + &hint,
            ..error
        }
    })?;
    let inputs = names
        .iter()
        .map(|name| {
            let missing = if T::EMBEDDINGS {
                "missing: send a photo, or in JSON an embedding instead of it"
            } else {
                "missing: send a photo"
            };
            photos.remove(*name).ok_or_else(|| ApiError::parameter(name, missing))
        })
        .collect::<Result<_, _>>()?;
    Ok((options, inputs))
}

/// Reads options that come in the query string alone.
pub fn options<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    Given::Text(text_options(query)).read()
}

/// Reads a JSON body without photos.
pub async fn document<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    expect_plain(&request)?;
    if media_type(&request) != "application/json" {
        return Err(unsupported("send application/json"));
    }
    Given::Json(object(&bytes(request).await?)?.options()?).read()
}

fn unsupported(remedy: &str) -> ApiError {
    let meaning = Code::UnsupportedType.row().meaning;
    ApiError::new(Code::UnsupportedType, format!("{meaning}; {remedy}"))
}

/// Refuses a compressed body: photos are compressed already.
fn expect_plain(request: &Request) -> Result<(), ApiError> {
    let coding = request.headers().get(CONTENT_ENCODING);
    match coding.map(|coding| coding.to_str().unwrap_or("?").trim().to_ascii_lowercase()) {
        None => Ok(()),
        Some(coding) if coding.is_empty() || coding == "identity" => Ok(()),
        Some(coding) => Err(unsupported(&format!(
            "send it without Content-Encoding, which is {coding:?} here"
        ))),
    }
}

fn media_type(request: &Request) -> String {
    let value = request.headers().get(CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn text_options(query: Option<&str>) -> BTreeMap<String, Vec<String>> {
    let mut fields = BTreeMap::new();
    for (name, text) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        Given::push(&mut fields, name.into_owned(), text.into_owned());
    }
    fields
}

type Parts = (Given, BTreeMap<String, Input>);

async fn form(request: Request, mut fields: BTreeMap<String, Vec<String>>, names: &[&str]) -> Result<Parts, ApiError> {
    let broken = |error: MultipartError| {
        let reason = error.body_text();
        ApiError::new(Code::BadRequest, format!("the form cannot be read: {reason}"))
    };
    // All of it first, as of every request: it counts as here when its end was read, and a form ends before its body does.
    let (head, body) = request.into_parts();
    let body = bytes(Request::from_parts(head.clone(), body)).await?;
    let request = Request::from_parts(head, Body::from(body));
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| ApiError::new(Code::BadRequest, format!("the form cannot be read: {error}")))?;
    let mut photos = BTreeMap::new();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(ApiError::new(Code::BadRequest, "a part of the form has no name"));
        };
        if !names.contains(&name.as_str()) {
            Given::push(&mut fields, name, part.text().await.map_err(broken)?);
            continue;
        }
        let photo = Input::Photo(Encoded::Plain(part.bytes().await.map_err(broken)?));
        if photos.insert(name.clone(), photo).is_some() {
            return Err(ApiError::parameter(&name, "given twice; once is meant"));
        }
    }
    Ok((Given::Text(fields), photos))
}

async fn json<T: WithPhotos>(app: &App, request: Request) -> Result<Parts, ApiError> {
    let mut object = object(&bytes(request).await?)?;
    let mut photos = BTreeMap::new();
    for name in T::PHOTOS {
        let other = embedding_name(name);
        let vector = if T::EMBEDDINGS { object.take(&other) } else { None };
        let input = match (object.take(name), vector) {
            (None, None) => continue,
            (Some(text), None) => {
                let text = serde_json::from_str(text.get());
                Input::Photo(Encoded::Base64(
                    text.map_err(|_| ApiError::parameter(name, "expected base64 text"))?,
                ))
            }
            (None, Some(vector)) => Input::Embedding(embedding(app, &other, &vector)?),
            (Some(_), Some(_)) => return Err(ApiError::parameter(name, format!("give either it or {other}"))),
        };
        photos.insert((*name).to_owned(), input);
    }
    let mut options = object.options()?;
    // Many clients write what is not set as null.
    options.retain(|_, value| !value.is_null());
    Ok((Given::Json(options), photos))
}

/// An embedding, at unit length where vectors are compared by cosine.
fn embedding(app: &App, name: &str, value: &RawValue) -> Result<Vec<f32>, ApiError> {
    let dims = app.inference.embedder().dims;
    let vector: Vec<f32> = serde_json::from_str(value.get())
        .map_err(|_| ApiError::parameter(name, format!("expected a list of {dims} numbers")))?;
    if vector.len() != dims {
        let reason = format!("expected {dims} numbers, got {}", vector.len());
        return Err(ApiError::parameter(name, reason));
    }
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length < 1e-6 {
        return Err(ApiError::parameter(name, "a vector without direction"));
    }
    if app.inference.embedder().metric == Metric::Euclidean {
        return Ok(vector);
    }
    Ok(vector.into_iter().map(|x| (f64::from(x) / length) as f32).collect())
}

fn object(body: &[u8]) -> Result<Unique, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Code::BadRequest, format!("the body is no JSON object: {error}")))
}

/// Options together have at most so many bytes: as values they take many times as much.
const LONGEST_OPTIONS: usize = 256 << 10;

/// An object in which no name stands twice: which of the two was meant could not be told. Its values are texts until it is
/// known what they are for.
struct Unique(BTreeMap<String, Box<RawValue>>);

impl Unique {
    /// A value by its name; none where it is null, as many clients write what is not set.
    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.remove(name).filter(|value| value.get() != "null")
    }

    /// All that was not taken.
    fn options(self) -> Result<Map<String, Value>, ApiError> {
        let length: usize = self.0.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        if length > LONGEST_OPTIONS {
            let message = format!(
                "the options have {length} bytes, {LONGEST_OPTIONS} are taken; photos go into names of their own"
            );
            return Err(ApiError::new(Code::BadRequest, message));
        }
        let values = self.0.into_iter().map(|(name, value)| {
            let value: Value = serde_json::from_str(value.get()).map_err(|error| ApiError::parameter(&name, error))?;
            Ok((name, value))
        });
        values.collect()
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
                let mut object = BTreeMap::new();
                while let Some((name, value)) = entries.next_entry::<String, Box<RawValue>>()? {
                    if object.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name:?} is given twice; once is meant")));
                    }
                }
                Ok(Unique(object))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// The whole body. What it may be is decided where it comes in.
async fn bytes(request: Request) -> Result<Bytes, ApiError> {
    request
        .extract()
        .await
        .map_err(|_: BytesRejection| ApiError::new(Code::BadRequest, "the body ended early"))
}

impl Encoded {
    /// The photo's bytes.
    pub fn decode(self, name: &str) -> Result<Bytes, ApiError> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Base64(text) => decode(&text)
                .map(Bytes::from)
                .map_err(|reason| ApiError::parameter(name, reason)),
        }
    }
}

/// A photo's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ImageSize {
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
}

/// What was seen in an input.
#[derive(Debug)]
pub struct FoundFaces {
    /// The photo's size; nothing is known of one whose embedding was given.
    pub size: Option<ImageSize>,
    /// How many faces the photo has.
    pub found: Option<usize>,
    /// The chosen ones.
    pub faces: Vec<ChosenFace>,
}

/// A face that was asked about.
#[derive(Debug)]
pub struct ChosenFace {
    /// Its number in the photo.
    pub ordinal: usize,
    /// The face, without its embedding.
    pub face: Option<Face>,
    /// At unit length.
    pub embedding: Vec<f32>,
}

impl ChosenFace {
    /// The face to answer with.
    pub fn show(self, with_embedding: bool) -> Option<Face> {
        let embedding = if with_embedding { self.embedding } else { Vec::new() };
        self.face.map(|face| Face { embedding, ..face })
    }
}

/// Finds the chosen faces. `may_be_empty` lets a photo without any pass.
pub async fn find_faces(
    app: &App,
    name: &str,
    input: Input,
    choice: FaceChoice,
    may_be_empty: bool,
) -> Result<FoundFaces, ApiError> {
    let encoded = match input {
        Input::Photo(encoded) => encoded,
        Input::Embedding(embedding) => {
            let face = ChosenFace {
                ordinal: 0,
                face: None,
                embedding,
            };
            return Ok(FoundFaces {
                size: None,
                found: None,
                faces: vec![face],
            });
        }
    };
    let path = name.to_owned();
    app.infer(name, encoded, move |engine, decoded| {
        let photo = QueryPhoto::of(engine, path, decoded.photo)?;
        let chosen = if may_be_empty && photo.faces.is_empty() {
            Vec::new()
        } else {
            photo.choose(choice)?
        };
        let faces = chosen.into_iter().map(|ordinal| {
            let mut face = photo.faces[ordinal].clone();
            let embedding = std::mem::take(&mut face.embedding);
            ChosenFace {
                ordinal,
                face: Some(face),
                embedding,
            }
        });
        Ok(FoundFaces {
            size: Some(ImageSize {
                width: photo.pixels.width(),
                height: photo.pixels.height(),
            }),
            found: Some(photo.faces.len()),
            faces: faces.collect(),
        })
    })
    .await
}
