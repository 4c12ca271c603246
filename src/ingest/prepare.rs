//! One photo's bytes to its documents: decode, find faces, label the subject.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use facedex_elastic::schema::document::{FaceDocument, FaceFields, ImageFields, IngestFields, ModelFields, Person};
use facedex_elastic::write::store::PhotoRecord;
use facedex_face::gate::Gate;
use facedex_face::image::{Encoded, ImageError, Limits};
use facedex_face::likeness;
use facedex_face::select::Subject;
use facedex_face::{Face, FaceEngine, thumbnail};
use image::RgbImage;

use super::profile::{Times, Work};
use super::reader::Loaded;
use super::source::Entry;
use super::{Failure, Stage, now};
use crate::budget::ThreadBudget;

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
    /// Which face is the person that a photo was given.
    pub subject: Subject,
    /// What the face of a named person must have.
    pub gate: Gate,
    /// Given to every face, under those of the source.
    pub labels: BTreeMap<String, String>,
    /// Store a small picture with each face.
    pub thumbnails: bool,
}

/// What tells a photo's file.
#[derive(Debug, Clone)]
pub struct FileKeys {
    /// The hash of its bytes.
    pub hash: String,
    /// The hash of its coded picture, see [`likeness::coded`].
    pub coded: Option<String>,
    /// EXIF's orientation, 1 to 8.
    pub orientation: u8,
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

impl Refused {
    fn stage(&self) -> Stage {
        match self {
            Self::Several(_) => Stage::Subject,
            Self::Poor(_) => Stage::Quality,
        }
    }
}

/// A photo that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// What is known of it.
    pub entry: Entry,
    /// Its faces' documents.
    pub record: PhotoRecord,
}

impl Recipe {
    /// Takes one photo through all stages up to its documents, and says how long each took.
    /// The room for its pixels is taken from `pixels`, which all workers share.
    pub fn prepare(
        &self,
        engine: &mut FaceEngine,
        photo: Loaded,
        pixels: &ThreadBudget,
        times: &mut Times,
    ) -> Result<Prepared, Box<Failure>> {
        let start = Instant::now();
        let Loaded { entry, held, hash } = photo;
        let fail = |stage, reason: String| Box::new(Failure::new(&entry, stage, reason, &self.run));
        // Photos come from anywhere: a decoder that panics on one of them must not take the run with it.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let mut encoded = Encoded::open(&held.bytes, &self.limits)?;
            let room = pixels.reserve(encoded.memory());
            let orientation = encoded.orientation();
            Ok::<_, ImageError>((encoded.decode()?, room, orientation))
        }));
        let (photo, _room, orientation) = decoded
            .map_err(|_| fail(Stage::Decode, "the decoder panicked on this file".to_owned()))?
            .map_err(|error| fail(Stage::Decode, error.to_string()))?;
        let coded = likeness::coded(&held.bytes);
        drop(held);
        times.add(Work::Decode, start.elapsed());
        let faces = catch_unwind(AssertUnwindSafe(|| engine.faces(&photo)))
            .map_err(|_| fail(Stage::Detect, "the face engine panicked on this photo".to_owned()))?
            .map_err(|error| fail(Stage::Detect, error.to_string()))?;
        let spent = engine.spent();
        times.inference += spent.inference;
        times.add(Work::Detect, spent.detect);
        times.add(Work::Refine, spent.refine);
        times.add(Work::Align, spent.align);
        times.add(Work::Embed, spent.embed);
        let start = Instant::now();
        let record = self
            .record(
                &entry,
                FileKeys {
                    hash,
                    coded,
                    orientation,
                },
                &photo,
                faces,
                engine.fingerprint(),
                &engine.embedder().space,
            )
            .map_err(|refused| fail(refused.stage(), refused.to_string()))?;
        times.add(Work::Document, start.elapsed());
        Ok(Prepared { entry, record })
    }

    /// The documents of a photo's faces.
    pub fn record(
        &self,
        entry: &Entry,
        file: FileKeys,
        photo: &RgbImage,
        faces: Vec<Face>,
        engine: &str,
        space: &str,
    ) -> Result<PhotoRecord, Refused> {
        let labelled = match &entry.person {
            None => vec![false; faces.len()],
            Some(_) => self
                .subject
                .labels(&faces, photo.width(), photo.height())
                .ok_or(Refused::Several(faces.len()))?,
        };
        // The photo as a whole is left out: its faces are stored together or not at all, and a person's bystanders without
        // the person are of no use.
        let named = faces.iter().zip(&labelled).filter(|(_, is_person)| **is_person);
        let complaints: Vec<String> = named.flat_map(|(face, _)| self.gate.complaints(face)).collect();
        if !complaints.is_empty() {
            return Err(Refused::Poor(complaints));
        }
        let image = ImageFields {
            uri: entry.uri.clone(),
            hash: file.hash.clone(),
            coded: file.coded,
            orientation: file.orientation,
            likeness: Some(likeness::of(photo).to_hex()),
            width: photo.width(),
            height: photo.height(),
            faces: u32::try_from(faces.len()).unwrap_or(u32::MAX),
            engine: engine.to_owned(),
            unfinished: false,
            previous: Vec::new(),
        };
        let mut labels = self.labels.clone();
        labels.extend(entry.labels.clone());
        let documents = faces
            .into_iter()
            .zip(labelled)
            .enumerate()
            .map(|(ordinal, (face, is_person))| {
                let person = entry.person.clone().filter(|_| is_person);
                let mut document = self.document(face, person, &image, space, photo);
                document.set_labels(labels.clone());
                document.ordinal = ordinal;
                document
            })
            .collect();
        Ok(PhotoRecord {
            name_is_folders: entry.person.is_some() && entry.person == entry.person_of_folder(),
            hash: file.hash,
            engine: image.engine,
            run: self.run.clone(),
            faces: documents,
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
        FaceDocument {
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
            cluster: None,
            model: ModelFields {
                space: space.to_owned(),
            },
            ingest: IngestFields {
                run: self.run.clone(),
                host: self.host.clone(),
            },
            ordinal: 0,
        }
    }
}
