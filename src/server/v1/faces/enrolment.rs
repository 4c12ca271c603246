//! What an enrolment answers.

use facedex_elastic::schema::document::{FaceDocument, Person, face_id};
use facedex_elastic::write::store::{Outcome, PhotoRecord};
use facedex_face::Rect;
use serde::Serialize;
use utoipa::ToSchema;

use crate::server::error::{ApiError, Code};

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enrolment {
    /// The photo's hash, the first part of its faces' ids.
    photo: String,
    /// Its faces, in order from the top.
    faces: Vec<EnrolledFace>,
    /// Faces that were written.
    pub(super) indexed: usize,
    /// Faces that were there before.
    existing: usize,
}

/// A face of an enrolled photo.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnrolledFace {
    /// The face's `_id`.
    id: String,
    /// Its number in the photo.
    ordinal: usize,
    /// Whom it was enrolled as.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Person>,
    /// Its box, in photo pixels.
    #[serde(rename = "box")]
    bbox: Rect,
    /// Whether it was there before.
    existing: bool,
    /// It was there before, with other labels than those given now; those that are stored stay.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other_labels: bool,
}

/// The answer, or the refusal where a face is stored as somebody or something else.
pub(super) fn settle(record: &PhotoRecord, outcomes: &[Outcome]) -> Result<Enrolment, ApiError> {
    let mut enrolment = Enrolment {
        photo: record.hash.clone(),
        faces: Vec::with_capacity(outcomes.len()),
        indexed: 0,
        existing: 0,
    };
    for (ordinal, (document, outcome)) in record.faces.iter().zip(outcomes).enumerate() {
        let id = face_id(&record.hash, ordinal);
        let other_labels = match outcome {
            Outcome::Indexed | Outcome::Renamed { .. } => false,
            Outcome::Existing { other_labels } => *other_labels,
            Outcome::Unnamed { .. } => {
                let error = ApiError::plain(Code::Conflict).with("id", id);
                return Err(error.with("stored_person", serde_json::Value::Null));
            }
            Outcome::Conflict { stored } => {
                let error = ApiError::plain(Code::Conflict).with("id", id);
                return Err(error.with("stored_person", stored.as_str()));
            }
            Outcome::OtherEngine { stored } => {
                let error = ApiError::plain(Code::OtherEngine).with("stored", stored.as_str());
                return Err(error.with("wanted", record.engine.as_str()));
            }
            Outcome::Deleted => {
                let reason = "this face was deleted on request and is not stored again; restore_deleted=true, with a key of the scope admin, stores it";
                return Err(ApiError::new(Code::Conflict, reason).with("id", id));
            }
            Outcome::Rejected { reason } => {
                tracing::error!(id, reason, "elasticsearch refused a face");
                return Err(ApiError::plain(Code::ElasticsearchRefused).with("id", id));
            }
        };
        let existing = !outcome.is_written();
        *(if existing {
            &mut enrolment.existing
        } else {
            &mut enrolment.indexed
        }) += 1;
        enrolment
            .faces
            .push(enrolled(id, ordinal, document, existing, other_labels));
    }
    Ok(enrolment)
}

fn enrolled(id: String, ordinal: usize, document: &FaceDocument, existing: bool, other_labels: bool) -> EnrolledFace {
    EnrolledFace {
        id,
        ordinal,
        person: document.person.clone(),
        bbox: document.face.bbox,
        existing,
        other_labels,
    }
}
