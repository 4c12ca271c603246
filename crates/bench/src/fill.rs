//! Fills a collection with made-up faces, as documents like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use facedex_elastic::schema::document::{FaceDocument, FaceFields, ImageFields, IngestFields, ModelFields, Person};
use facedex_elastic::write::store::{PhotoRecord, WriteMode, store};
use facedex_elastic::{Destination, ElasticError};
use facedex_face::Rect;
use facedex_face::geometry::Point;
use facedex_face::quality::Quality;
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
pub async fn fill(to: &Destination, filling: &Filling, told: impl Fn(u64)) -> Result<(), BenchError> {
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
                told(done.fetch_add(written, Ordering::Relaxed) + written);
            }
        }
    }
}

fn record(filling: &Filling, number: u64) -> PhotoRecord {
    let (person, photo) = (number / PHOTOS_A_PERSON, number % PHOTOS_A_PERSON);
    let hash = photo_hash(filling.seed, number);
    let mut document = FaceDocument {
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
        face: FaceFields {
            embedding: filling.population.face(person, photo),
            bbox: Rect {
                x: 60.0,
                y: 60.0,
                width: 110.0,
                height: 130.0,
            },
            landmarks: [Point { x: 0.0, y: 0.0 }; 5],
            score: 0.9,
            quality: Quality {
                size: 110.0,
                sharpness: 0.5,
                brightness: 0.5,
                contrast: 0.2,
                yaw: 0.0,
                roll: 0.0,
                visible: 1.0,
            },
            thumbnail: None,
        },
        person: Some(Person {
            id: format!("person-{person}"),
            name: None,
        }),
        image: ImageFields {
            uri: format!("synthetic:{number}"),
            hash: hash.clone(),
            coded: None,
            likeness: None,
            orientation: 1,
            width: 250,
            height: 250,
            faces: 1,
            engine: ENGINE.to_owned(),
            unfinished: false,
            previous: Vec::new(),
        },
        labels: BTreeMap::new(),
        label_pairs: Vec::new(),
        cluster: None,
        model: ModelFields {
            space: filling.space.clone(),
        },
        ingest: IngestFields {
            run: "synthetic".to_owned(),
            host: "synthetic".to_owned(),
        },
        ordinal: 0,
    };
    document.set_labels(selectivity_labels(number));
    PhotoRecord {
        name_is_folders: false,
        hash,
        engine: ENGINE.to_owned(),
        run: "synthetic".to_owned(),
        faces: vec![document],
    }
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
