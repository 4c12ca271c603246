//! A photo whose faces are to be stored.

use std::collections::BTreeMap;

use facedex_base::Rect;

use crate::schema::document::{
    FaceDocument, FaceFields, ImageFields, IngestFields, ModelFields, Person, TIMESTAMP, face_id,
};
use crate::schema::tombstones::{Lifted, PhotoKeys};

/// A photo with all of its faces, in order of their ordinals.
#[derive(Debug, Clone)]
pub struct PhotoRecord {
    /// The photo's hash, the first part of its faces' ids.
    pub hash: String,
    /// The engine that found the faces.
    pub engine: String,
    /// The run that writes them.
    pub run: String,
    /// Whether the person's name was made of a folder's: one that is stored for the same id is better.
    pub name_is_folders: bool,
    /// One a face that is to be stored.
    pub faces: Vec<FaceDocument>,
}

/// A photo, as somebody knows it who stores its faces. What is not known stays as it is by default.
#[derive(Debug, Clone, Default)]
pub struct PhotoFacts<'p> {
    /// Where it was read.
    pub uri: &'p str,
    /// The hash of its file, see [`image_hash`](crate::schema::document::image_hash).
    pub hash: &'p str,
    /// The hash of its coded picture, which stays when what is written around the picture changes.
    pub coded: Option<String>,
    /// What its picture looks like, in hexadecimal digits: tells a copy that was saved again.
    pub likeness: Option<String>,
    /// EXIF's orientation, 1 to 8; 0 counts as 1.
    pub orientation: u8,
    /// Its upright size, width and height, in pixels.
    pub size: (u32, u32),
    /// The embedding space of its faces' vectors.
    pub space: &'p str,
    /// What found and embedded the faces, by a name that changes when it does. A photo's faces come from one engine.
    pub engine: &'p str,
    /// The run that writes them: a UUID, the same for all photos of it.
    pub run: &'p str,
    /// The machine that writes them.
    pub host: &'p str,
}

impl PhotoRecord {
    /// The faces of a photo, all of them, in order from the top; each with the person whom it shows, where that is known.
    pub fn new(photo: &PhotoFacts<'_>, faces: Vec<(FaceFields, Option<Person>)>) -> Self {
        let timestamp = jiff::Timestamp::now().strftime(TIMESTAMP).to_string();
        let image = ImageFields {
            uri: photo.uri.to_owned(),
            hash: photo.hash.to_owned(),
            coded: photo.coded.clone(),
            likeness: photo.likeness.clone(),
            orientation: photo.orientation.max(1),
            width: photo.size.0,
            height: photo.size.1,
            faces: u32::try_from(faces.len()).unwrap_or(u32::MAX),
            engine: photo.engine.to_owned(),
            unfinished: false,
            previous: Vec::new(),
        };
        let document = |(ordinal, (face, person))| FaceDocument {
            timestamp: timestamp.clone(),
            face,
            person,
            image: image.clone(),
            labels: BTreeMap::new(),
            label_pairs: Vec::new(),
            cluster: None,
            model: ModelFields {
                space: photo.space.to_owned(),
            },
            ingest: IngestFields {
                run: photo.run.to_owned(),
                host: photo.host.to_owned(),
            },
            ordinal,
        };
        let faces = faces.into_iter().enumerate().map(document).collect();
        Self {
            hash: photo.hash.to_owned(),
            engine: photo.engine.to_owned(),
            run: photo.run.to_owned(),
            name_is_folders: false,
            faces,
        }
    }

    /// What tells the photo, for its tombstones.
    pub fn keys(&self) -> PhotoKeys {
        match self.faces.first() {
            Some(face) => (&face.image).into(),
            None => PhotoKeys::of_file(&self.hash),
        }
    }

    /// What may come back of it, if that was deleted: the face of the person whom it is given to; without a person, what was
    /// nobody's.
    pub fn lifted(&self) -> Lifted {
        let named = self.faces.iter().filter(|face| face.person.is_some());
        let boxes: Vec<Rect> = named.map(|face| face.face.bbox).collect();
        Lifted {
            photo: self.keys(),
            unnamed: boxes.is_empty(),
            boxes,
        }
    }

    /// The `_id` of the face at this place of `faces`.
    pub(super) fn id(&self, place: usize) -> String {
        face_id(&self.hash, self.faces[place].ordinal)
    }
}
