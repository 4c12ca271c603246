//! The face API under `/v1`.

mod answer_schema;
pub mod faces;
pub mod identify;
pub mod persons;
pub mod question;
pub mod represent;
pub mod search;
pub mod stats;
pub mod verify;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use facedex_face::select::FaceChoice;
use serde::{Deserialize, Deserializer};

use super::error::ApiError;

type IdInPath = Result<Path<String>, PathRejection>;

/// The id in a path.
fn id(path: IdInPath) -> Result<String, ApiError> {
    path.map(|Path(id)| id)
        .map_err(|error| ApiError::parameter("id", error.body_text()))
}

/// Which faces, as text or as a number.
fn face_choice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FaceChoice, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected all, largest, central or a face's number, counted from 0"
    )]
    enum Raw {
        Number(u32),
        Text(String),
    }
    match Raw::deserialize(deserializer)? {
        Raw::Number(number) => Ok(FaceChoice::Ordinal(number as usize)),
        Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// A similarity that somebody chose.
fn check_similarity(value: Option<f64>) -> Result<(), ApiError> {
    match value {
        Some(value) if !(-1.0..=1.0).contains(&value) => {
            Err(ApiError::parameter("min_similarity", "a cosine lies between -1 and 1"))
        }
        _ => Ok(()),
    }
}
