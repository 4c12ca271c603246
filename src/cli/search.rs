//! `facedex search`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::{
    CollectionArg, KnnArgs, LimitArgs, NEGATIVE, SUCCESS, client, picture, print_json, print_text, query_engine, tables,
};
use crate::config::{self, GlobalArgs};
use crate::elastic::collection;
use crate::error::Error;
use crate::face::Face;
use crate::face::select::FaceChoice;
use crate::query::photo::QueryPhoto;
use crate::query::search::{self, SearchResult};

/// Prints the stored faces that look like those in the photo, best first, down to the threshold. Exit code 0 if there
/// is a match, 1 if there is none.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Photos to search with
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    #[command(flatten)]
    collection: CollectionArg,

    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top
    #[arg(long, value_name = "WHICH", default_value = "all")]
    face: FaceChoice,

    /// Draw the photo with its boxes beside the matches and save it (PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    #[command(flatten)]
    limit: LimitArgs,

    #[command(flatten)]
    knn: KnnArgs,

    #[command(flatten)]
    limits: config::LimitArgs,
}

/// The answer for one photo.
#[derive(Debug, Serialize)]
pub(super) struct Answer<T> {
    pub(super) photo: String,
    pub(super) collection: String,
    pub(super) faces: Vec<FaceAnswer<T>>,
    pub(super) took: Took,
}

/// The answer for one face.
#[derive(Debug, Serialize)]
pub(super) struct FaceAnswer<T> {
    /// The face's number in the photo, from 0.
    pub(super) ordinal: usize,
    #[serde(flatten)]
    pub(super) face: Face,
    #[serde(flatten)]
    pub(super) result: T,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Took {
    /// Reading, decoding, detecting and embedding.
    pub(super) photo_ms: f64,
    /// Elasticsearch: counting and the kNN searches.
    pub(super) search_ms: f64,
}

pub(super) fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 100.0
}

pub(super) async fn run(args: &SearchArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let client = client(global)?;
    let collection = collection::open(&client, &args.collection.collection).await?;
    let mut engine = query_engine(global)?;
    collection.expect_space(&engine.embedder().space)?;
    let options = args.knn.options();
    let mut matched = false;
    for path in &args.photos {
        let start = Instant::now();
        let photo = QueryPhoto::load(&mut engine, path, &(&args.limits).into())?;
        let chosen = photo.choose(args.face)?;
        let photo_ms = milliseconds(start);
        let start = Instant::now();
        let threshold = search::threshold(
            &client,
            &collection,
            engine.embedder(),
            &options.filters,
            args.limit.limit(),
        )
        .await?;
        let mut faces = Vec::with_capacity(chosen.len());
        for ordinal in chosen {
            let face = photo.faces[ordinal].clone();
            let result: SearchResult =
                search::search(&client, &collection, &face.embedding, &options, &threshold).await?;
            matched |= !result.hits.is_empty();
            faces.push(FaceAnswer { ordinal, face, result });
        }
        let answer = Answer {
            photo: photo.path.clone(),
            collection: collection.name.clone(),
            faces,
            took: Took {
                photo_ms,
                search_ms: milliseconds(start),
            },
        };
        if let Some(file) = &args.picture {
            picture::save(file, &photo, &answer)?;
        }
        if global.json {
            print_json(&answer)?;
        } else {
            print_text(&tables::search(&answer, &threshold))?;
        }
    }
    Ok(if matched { SUCCESS } else { NEGATIVE })
}
