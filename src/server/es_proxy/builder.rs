//! What may stand in a `query_vector_builder`: a photo in any of three forms, a look-up in the collection, or somebody else's.
//!
//! Clients with types cannot send a builder that they do not know, so that a photo may also come as `text_embedding` or, from
//! Elasticsearch 9.4 on, as `embedding`, with `facedex` for the model.

use std::borrow::Cow;

use facedex_face::select::FaceChoice;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::splice::{BUILDER, Entries, Refusal, Text};
use crate::server::base64::decode;

const FACE_EMBEDDING: &str = "face_embedding";
const TEXT_EMBEDDING: &str = "text_embedding";
const EMBEDDING: &str = "embedding";
const LOOKUP: &str = "lookup";
/// The model id that means us; `facedex/largest`, `facedex/0` and so on say which face.
const MODEL: &str = "facedex";

/// What a builder is.
pub(super) enum Builder {
    /// A photo file, and which of its faces.
    Photo(Vec<u8>, FaceChoice),
    /// The vector of a document of this index.
    Lookup(String),
    /// Elasticsearch's own affair.
    Other,
}

/// Reads the value of a `query_vector_builder`.
pub(super) fn read(builder: &RawValue) -> Result<Builder, Refusal> {
    let Ok(Entries(entries)) = serde_json::from_str(builder.get()) else {
        return Ok(Builder::Other);
    };
    let mut ours = Builder::Other;
    for (name, value) in &entries {
        let read = match name.as_ref() {
            FACE_EMBEDDING => face_embedding(value)?,
            TEXT_EMBEDDING => text_embedding(value)?,
            EMBEDDING => embedding(value)?,
            LOOKUP => lookup(value)?,
            _ => Builder::Other,
        };
        if matches!(read, Builder::Other) {
            continue;
        }
        if entries.len() > 1 {
            let reason = format!("[{BUILDER}] has more than [{name}]; a clause has one builder");
            return Err(Refusal::parsing(reason));
        }
        ours = read;
    }
    Ok(ours)
}

fn face_embedding(value: &RawValue) -> Result<Builder, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct FaceEmbedding<'b> {
        #[serde(borrow)]
        image: Option<Text<'b>>,
        #[serde(borrow)]
        face: Option<&'b RawValue>,
    }
    let given: FaceEmbedding<'_> = serde_json::from_str(value.get()).map_err(|error| {
        Refusal::parsing(format!(
            "[{FACE_EMBEDDING}] takes an object of [image], a photo in base64, and [face]: {error}"
        ))
    })?;
    let face = match given.face {
        None => FaceChoice::Largest,
        Some(raw) => match serde_json::from_str(raw.get()) {
            Ok(ordinal) => FaceChoice::Ordinal(ordinal),
            Err(_) => {
                let Text(name) = serde_json::from_str(raw.get()).map_err(|_| expected("[face]"))?;
                choice("[face]", &name)?
            }
        },
    };
    photo(FACE_EMBEDDING, "image", given.image.as_ref(), face)
}

/// `{"model_id": "facedex", "model_text": "<base64>"}`
fn text_embedding(value: &RawValue) -> Result<Builder, Refusal> {
    #[derive(Deserialize)]
    struct TextEmbedding<'b> {
        #[serde(borrow)]
        model_id: Option<Text<'b>>,
        #[serde(borrow)]
        model_text: Option<Text<'b>>,
    }
    let Ok(TextEmbedding {
        model_id: Some(Text(model)),
        model_text,
    }) = serde_json::from_str(value.get())
    else {
        return Ok(Builder::Other);
    };
    match face_of(&model)? {
        Some(face) => photo(TEXT_EMBEDDING, "model_text", model_text.as_ref(), face),
        None => Ok(Builder::Other),
    }
}

/// `{"inference_id": "facedex", "input": "<base64>"}`; the input may also say that it is an image, and be in an array.
fn embedding(value: &RawValue) -> Result<Builder, Refusal> {
    #[derive(Deserialize)]
    struct Embedding<'b> {
        #[serde(borrow)]
        inference_id: Option<Text<'b>>,
        #[serde(borrow)]
        input: Option<&'b RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Typed<'b> {
        r#type: String,
        #[serde(borrow)]
        value: Text<'b>,
        format: Option<String>,
    }
    let Ok(Embedding {
        inference_id: Some(Text(model)),
        input,
    }) = serde_json::from_str(value.get())
    else {
        return Ok(Builder::Other);
    };
    let Some(face) = face_of(&model)? else {
        return Ok(Builder::Other);
    };
    let given = input.map_or("null", RawValue::get);
    let one = match serde_json::from_str::<[&RawValue; 1]>(given) {
        Ok([one]) => one.get(),
        Err(_) => given,
    };
    let given = match serde_json::from_str::<Text<'_>>(one) {
        Ok(text) => Some(text),
        Err(_) => match serde_json::from_str::<Typed<'_>>(one) {
            Ok(typed) if typed.r#type == "image" && typed.format.as_deref().is_none_or(|format| format == "base64") => {
                Some(typed.value)
            }
            _ => None,
        },
    };
    match given {
        Some(Text(text)) => {
            // Elasticsearch's own form of an image is a data URL.
            let bare = text
                .split_once(";base64,")
                .filter(|(kind, _)| kind.starts_with("data:") && !kind.contains(','))
                .map_or(text.as_ref(), |(_, bare)| bare);
            photo(EMBEDDING, "input", Some(&Text(Cow::Borrowed(bare))), face)
        }
        None => Err(Refusal::illegal(format!(
            "[{EMBEDDING}] with [{model}] takes one photo as [input]: base64, or {{\"type\": \"image\", \"format\": \"base64\", \"value\": ..}}"
        ))),
    }
}

/// `{"index": .., "id": .., "path": .., "routing": ..}`; a look-up with anything else is not known here.
fn lookup(value: &RawValue) -> Result<Builder, Refusal> {
    let unknown = || {
        Refusal::illegal(format!(
            "[{LOOKUP}] takes an object of [index], [id], [path] and [routing]"
        ))
    };
    let Entries(entries) = serde_json::from_str(value.get()).map_err(|_| unknown())?;
    let mut index: Option<Cow<'_, str>> = None;
    for (name, value) in &entries {
        match name.as_ref() {
            "index" if index.is_none() => {
                let Text(name) = serde_json::from_str(value.get()).map_err(|_| unknown())?;
                index = Some(name);
            }
            "id" | "path" | "routing" => {}
            _ => return Err(unknown()),
        }
    }
    let index = index.ok_or_else(unknown)?;
    Ok(Builder::Lookup(index.into_owned()))
}

/// Which face a model id means, if it is ours.
fn face_of(model: &str) -> Result<Option<FaceChoice>, Refusal> {
    let Some(rest) = model.strip_prefix(MODEL) else {
        return Ok(None);
    };
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Ok(Some(FaceChoice::Largest)),
        None => Ok(None),
        Some(face) => {
            let what = format!("the model id [{MODEL}/..]");
            match face.parse() {
                Ok(ordinal) => Ok(Some(FaceChoice::Ordinal(ordinal))),
                Err(_) => choice(&what, face).map(Some),
            }
        }
    }
}

fn photo(builder: &str, field: &str, text: Option<&Text<'_>>, face: FaceChoice) -> Result<Builder, Refusal> {
    let text = text.map(|Text(text)| text.as_ref()).filter(|text| !text.is_empty());
    let text =
        text.ok_or_else(|| Refusal::illegal(format!("[{builder}] has no [{field}]: give a photo file in base64")))?;
    let image = decode(text).map_err(|reason| Refusal::illegal(format!("[{field}] is {reason}")))?;
    Ok(Builder::Photo(image, face))
}

fn choice(what: &str, name: &str) -> Result<FaceChoice, Refusal> {
    match name {
        "largest" => Ok(FaceChoice::Largest),
        "central" => Ok(FaceChoice::Central),
        "all" => Err(Refusal::illegal(format!(
            "{what} cannot be \"all\": a knn clause has one vector; give \"largest\", \"central\" or a face's number"
        ))),
        _ => Err(expected(what)),
    }
}

fn expected(what: &str) -> Refusal {
    Refusal::illegal(format!(
        "{what} takes \"largest\", \"central\" or a face's number, counted from 0"
    ))
}
