//! One photo's bytes to its documents, on a worker's thread.

use std::time::Instant;

use facedex_elastic::write::store::PhotoRecord;
use facedex_face::image::{ImageError, Limits};
use facedex_face::{DecodedPhoto, FaceEngine, likeness};

use super::profile::{Times, Work};
use super::reader::Loaded;
use super::source::Entry;
use super::{Failure, Stage};
use crate::budget::ThreadBudget;
use crate::enrol::{About, Enroller, Refused};

/// How photos become documents in a run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What a photo may cost.
    pub limits: Limits,
    /// Makes the documents.
    pub enroller: Enroller,
}

/// A photo that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// What is known of it.
    pub entry: Entry,
    /// Its faces' documents.
    pub record: PhotoRecord,
}

impl From<&Refused> for Stage {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Several(_) => Self::Subject,
            Refused::Poor(_) => Self::Quality,
        }
    }
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
        let fail = |stage, reason: String| Box::new(Failure::new(&entry, stage, reason, &self.enroller.run));
        let reserve = |bytes| Ok::<_, ImageError>(pixels.reserve(bytes));
        let (photo, _room) = DecodedPhoto::new(&held.bytes, &self.limits, reserve)
            .map_err(|error| fail(Stage::Decode, error.to_string()))?;
        let coded = likeness::coded(&held.bytes);
        drop(held);
        times.add(Work::Decode, start.elapsed());
        let photo = photo
            .faces(engine)
            .map_err(|error| fail(Stage::Detect, error.to_string()))?;
        let spent = engine.spent();
        times.inference += spent.inference;
        times.add(Work::Detect, spent.detect);
        times.add(Work::Refine, spent.refine);
        times.add(Work::Align, spent.align);
        times.add(Work::Embed, spent.embed);
        let start = Instant::now();
        let about = About {
            uri: entry.uri.clone(),
            hash,
            coded,
            person: entry.person.clone(),
            name_is_folders: entry.person.is_some() && entry.person == entry.person_of_folder(),
            labels: entry.labels.clone(),
        };
        let record = self
            .enroller
            .record(about, photo, engine)
            .map_err(|refused| fail(Stage::from(&refused), refused.to_string()))?;
        times.add(Work::Document, start.elapsed());
        Ok(Prepared { entry, record })
    }
}
