//! Faces, and whose they are, to the documents of a photo: the same for ingest and for enrolment by request.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use facedex_elastic::schema::document::{FaceFields, Person};
use facedex_elastic::write::store::{PhotoFacts, PhotoRecord};
use facedex_face::gate::Gate;
use facedex_face::select::Subject;
use facedex_face::{Face, FaceEngine, Photo, likeness, thumbnail};

/// Side of a stored thumbnail, in pixels.
const THUMBNAIL: u32 = 128;

/// What is the same for all photos of a run.
#[derive(Debug, Clone)]
pub struct Enroller {
    /// The run's UUID.
    pub run: String,
    /// The machine's name.
    pub host: String,
    /// Which face is the person that a photo was given.
    pub subject: Subject,
    /// What the face of a named person must have.
    pub gate: Gate,
    /// Given to every face, under those of its photo.
    pub labels: BTreeMap<String, String>,
    /// Store a small picture with each face.
    pub thumbnails: bool,
}

/// What is known of a photo besides what it shows.
#[derive(Debug, Clone)]
pub struct About {
    /// Where it is, without credentials.
    pub uri: String,
    /// The hash of its bytes, see [`image_hash`](facedex_elastic::schema::document::image_hash).
    pub hash: String,
    /// The hash of its coded picture, see [`likeness::coded`].
    pub coded: Option<String>,
    /// Who it is of, if that was said.
    pub person: Option<Person>,
    /// Whether it was said by a folder's name alone.
    pub name_is_folders: bool,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
}

/// Why no documents are made of a photo whose faces were found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// [`Subject::Only`] met several faces.
    #[error("{0} faces where --subject only expects one")]
    Several(usize),
    /// The named person's face falls short of the gate.
    #[error("{}", .0.join("; "))]
    Poor(Vec<String>),
}

impl Enroller {
    /// The documents of a photo's faces, which `engine` found. All of them, or none: a person's bystanders without the
    /// person are of no use.
    pub fn record(&self, about: About, photo: Photo, engine: &FaceEngine) -> Result<PhotoRecord, Refused> {
        let (width, height) = photo.pixels.dimensions();
        let faces = &photo.faces;
        let is_person = match &about.person {
            None => vec![false; faces.len()],
            Some(_) => {
                let labelled = self.subject.labels(faces, width, height);
                labelled.ok_or(Refused::Several(faces.len()))?
            }
        };
        let named = faces.iter().zip(&is_person).filter(|(_, is_person)| **is_person);
        let complaints: Vec<String> = named.flat_map(|(face, _)| self.gate.complaints(face)).collect();
        if !complaints.is_empty() {
            return Err(Refused::Poor(complaints));
        }
        let facts = PhotoFacts {
            uri: &about.uri,
            hash: &about.hash,
            coded: about.coded,
            likeness: Some(likeness::of(&photo.pixels).to_hex()),
            orientation: photo.orientation,
            size: (width, height),
            space: &engine.embedder().space,
            engine: engine.fingerprint(),
            run: &self.run,
            host: &self.host,
        };
        let with_person = photo.faces.into_iter().zip(is_person).map(|(face, is_person)| {
            // A face without a thumbnail is still a face.
            let thumbnail = self
                .thumbnails
                .then(|| thumbnail::jpeg(&photo.pixels, &face.bbox, THUMBNAIL));
            let thumbnail = thumbnail.and_then(Result::ok).map(|jpeg| BASE64_STANDARD.encode(jpeg));
            let person = about.person.clone().filter(|_| is_person);
            (fields(face, thumbnail), person)
        });
        let mut record = PhotoRecord::new(&facts, with_person.collect());
        record.name_is_folders = about.name_is_folders;
        let mut labels = self.labels.clone();
        labels.extend(about.labels);
        for document in &mut record.faces {
            document.set_labels(labels.clone());
        }
        Ok(record)
    }
}

/// A face as it is stored.
pub fn fields(face: Face, thumbnail: Option<String>) -> FaceFields {
    FaceFields {
        embedding: face.embedding,
        bbox: face.bbox,
        landmarks: face.landmarks,
        score: face.score,
        quality: face.quality,
        thumbnail,
    }
}
