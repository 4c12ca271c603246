//! Fills a collection with made-up faces, as documents like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use facedex_elastic::schema::document::{FaceFields, Person};
use facedex_elastic::write::store::{PhotoFacts, PhotoRecord, WriteMode, store};
use facedex_elastic::{Destination, ElasticError};
use facedex_face::Rect;
use tokio::task::JoinSet;

use super::vectors::{Population, photo_hash};
use crate::error::BenchError;

/// Photos of each person.
pub const PHOTOS_A_PERSON: u64 = 4;
/// Faces a request.
const BATCH: u64 = 1000;
/// Requests that may be unanswered.
const IN_FLIGHT: usize = 4;
/// What made these faces, in place of an engine.
const ENGINE: &str = "synthetic/r1";

/// Faces to make.
#[derive(Debug, Clone)]
pub struct Filling {
    /// How many.
    pub faces: u64,
    /// Which people.
    pub population: Arc<Population>,
    /// The seed of their ids.
    pub seed: u64,
    /// The collection's embedding space.
    pub space: String,
}

/// Writes the faces that are not there yet; `told` hears how many are done.
pub async fn fill(to: &Destination, filling: &Filling, progress: impl Fn(u64)) -> Result<(), BenchError> {
    let done = Arc::new(AtomicU64::new(0));
    let mut writing: JoinSet<Result<u64, ElasticError>> = JoinSet::new();
    let mut starts = (0..filling.faces).step_by(BATCH as usize);
    loop {
        while writing.len() < IN_FLIGHT
            && let Some(start) = starts.next()
        {
            let (to, filling) = (to.clone(), filling.clone());
            writing.spawn(async move {
                let numbers = start..(start + BATCH).min(filling.faces);
                let count = numbers.end - start;
                let making = tokio::task::spawn_blocking(move || {
                    numbers.map(|number| record(&filling, number)).collect::<Vec<_>>()
                });
                let records = making
                    .await
                    .map_err(|error| ElasticError::unexpected("make faces", error))?;
                store(&to, WriteMode::Create, &records).await?;
                Ok(count)
            });
        }
        match writing.join_next().await {
            None => return Ok(()),
            Some(written) => {
                let written = written.map_err(|error| ElasticError::unexpected("make faces", error))??;
                progress(done.fetch_add(written, Ordering::Relaxed) + written);
            }
        }
    }
}

fn record(filling: &Filling, number: u64) -> PhotoRecord {
    let (person, photo) = (number / PHOTOS_A_PERSON, number % PHOTOS_A_PERSON);
    let hash = photo_hash(filling.seed, number);
    let bbox = Rect {
        x: 60.0,
        y: 60.0,
        width: 110.0,
        height: 130.0,
    };
    let facts = PhotoFacts {
        uri: &format!("synthetic:{number}"),
        hash: &hash,
        size: (250, 250),
        space: &filling.space,
        engine: ENGINE,
        run: "synthetic",
        host: "synthetic",
        ..PhotoFacts::default()
    };
    let person_fields = Person {
        id: format!("person-{person}"),
        name: None,
    };
    let face = FaceFields::of(filling.population.face(person, photo), bbox);
    let mut record = PhotoRecord::new(&facts, vec![(face, Some(person_fields))]);
    for document in &mut record.faces {
        document.set_labels(selectivity_labels(number));
    }
    record
}

/// Labels that half, a tenth, a hundredth and a thousandth of the faces carry, for filtered searches.
fn selectivity_labels(number: u64) -> BTreeMap<String, String> {
    [("half", 2), ("tenth", 10), ("hundredth", 100), ("thousandth", 1000)]
        .into_iter()
        .filter(|(_, of)| carries(number, *of))
        .map(|(name, _)| (name.to_owned(), "yes".to_owned()))
        .collect()
}

/// Whether a face carries the label that one of so many people has: by person, so that a filter keeps or drops whole people.
pub fn carries(number: u64, of: u64) -> bool {
    (number / PHOTOS_A_PERSON)
        .wrapping_mul(2_654_435_761)
        .is_multiple_of(of)
}

/// The `_id` of the face of this number.
pub fn face_id(seed: u64, number: u64) -> String {
    format!("{}-0", photo_hash(seed, number))
}
