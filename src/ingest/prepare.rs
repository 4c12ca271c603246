//! One photo to its documents: read, hash, decode, find faces, label the subject.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use url::Url;

use super::{Failure, Stage};
use crate::elastic::document::{FaceDocument, FaceFields, ImageFields, IngestFields, ModelFields, Person, image_hash};
use crate::elastic::store::PhotoRecord;
use crate::face::image::{ImageError, Limits, decode, read};
use crate::face::select::Subject;
use crate::face::{Face, FaceEngine, thumbnail};

/// Side of a stored thumbnail, in pixels.
const THUMBNAIL: u32 = 128;

/// What is the same for all photos of a run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The run's UUID.
    pub run: String,
    /// The machine's name.
    pub host: String,
    /// What a photo may cost.
    pub limits: Limits,
    /// Name the person after the folder that holds the photo.
    pub person_from_dir: bool,
    /// Which face is that person.
    pub subject: Subject,
    /// Given to every face.
    pub labels: BTreeMap<String, String>,
    /// Store a small picture with each face.
    pub thumbnails: bool,
}

/// A photo that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// The file.
    pub path: PathBuf,
    /// The person that it was given.
    pub person: Option<String>,
    /// Its faces' documents.
    pub record: PhotoRecord,
}

impl Recipe {
    /// Takes one photo through all stages up to its documents.
    pub fn prepare(&self, engine: &mut FaceEngine, path: &Path) -> Result<Prepared, Box<Failure>> {
        let person = self.person_of(path);
        let fail = |stage, reason: String| Box::new(self.failure(path, stage, reason, person.as_ref()));
        let bytes = read(path, &self.limits).map_err(|error| match error {
            ImageError::Io(_) => fail(Stage::Read, error.to_string()),
            _ => fail(Stage::Decode, error.to_string()),
        })?;
        let hash = image_hash(&bytes);
        // Photos come from anywhere: a decoder that panics on one of them must not take the run with it.
        let photo = catch_unwind(AssertUnwindSafe(|| decode(&bytes, &self.limits)))
            .map_err(|_| fail(Stage::Decode, "the decoder panicked on this file".to_owned()))?
            .map_err(|error| fail(Stage::Decode, error.to_string()))?;
        let faces = engine
            .faces(&photo)
            .map_err(|error| fail(Stage::Detect, error.to_string()))?;
        let labelled = match &person {
            None => vec![false; faces.len()],
            Some(_) => self
                .subject
                .labels(&faces, photo.width(), photo.height())
                .ok_or_else(|| {
                    let reason = format!("{} faces where --subject only expects one", faces.len());
                    fail(Stage::Subject, reason)
                })?,
        };
        let image = ImageFields {
            uri: uri_of(path),
            hash: hash.clone(),
            width: photo.width(),
            height: photo.height(),
            engine: engine.fingerprint().to_owned(),
        };
        let space = engine.embedder().space.clone();
        let documents = faces
            .into_iter()
            .zip(labelled)
            .map(|(face, is_person)| {
                let person = person.clone().filter(|_| is_person);
                self.document(face, person, &image, &space, &photo)
            })
            .collect();
        Ok(Prepared {
            path: path.to_owned(),
            person: person.map(|person| person.id),
            record: PhotoRecord {
                hash,
                engine: image.engine,
                run: self.run.clone(),
                faces: documents,
            },
        })
    }

    /// The record of a photo that cannot be used.
    pub fn failure(&self, path: &Path, stage: Stage, reason: String, person: Option<&Person>) -> Failure {
        Failure {
            timestamp: now(),
            path: path.to_owned(),
            stage,
            reason,
            person: person.map(|person| person.id.clone()),
            run: self.run.clone(),
        }
    }

    fn person_of(&self, path: &Path) -> Option<Person> {
        let folder = path.parent()?.file_name()?.to_string_lossy();
        self.person_from_dir.then(|| Person {
            name: Some(folder.replace('_', " ")),
            id: folder.into_owned(),
        })
    }

    fn document(
        &self,
        face: Face,
        person: Option<Person>,
        image: &ImageFields,
        space: &str,
        photo: &RgbImage,
    ) -> FaceDocument {
        let thumbnail = self.thumbnails.then(|| thumbnail::jpeg(photo, &face.bbox, THUMBNAIL));
        let mut document = FaceDocument {
            timestamp: now(),
            face: FaceFields {
                embedding: face.embedding,
                bbox: face.bbox,
                landmarks: face.landmarks,
                score: face.score,
                quality: face.quality,
                // A face without a thumbnail is still a face.
                thumbnail: thumbnail.and_then(Result::ok).map(|jpeg| BASE64_STANDARD.encode(jpeg)),
            },
            person,
            image: image.clone(),
            labels: BTreeMap::new(),
            label_pairs: Vec::new(),
            model: ModelFields {
                space: space.to_owned(),
            },
            ingest: IngestFields {
                run: self.run.clone(),
                host: self.host.clone(),
            },
        };
        document.set_labels(self.labels.clone());
        document
    }
}

/// `file:///...` of an absolute path.
fn uri_of(path: &Path) -> String {
    Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from)
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
