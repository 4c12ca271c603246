//! `facedex identify`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::search::{Answer, FaceAnswer, Took, milliseconds};
use super::{
    CollectionArg, KnnArgs, LimitArgs, NEGATIVE, SUCCESS, client, print_json, print_text, query_engine, tables,
};
use crate::config::{self, GlobalArgs};
use crate::elastic::collection;
use crate::error::Error;
use crate::face::select::FaceChoice;
use crate::query::identify::{Decision, Identification, identify};
use crate::query::photo::QueryPhoto;
use crate::query::search;

/// Says for each face of the photo who it is, or that nobody in the collection is alike enough. Exit code 0 if somebody
/// was recognised, 1 if everybody is unknown.
#[derive(Debug, Args)]
pub(super) struct IdentifyArgs {
    /// Photos of the people to recognise
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    #[command(flatten)]
    collection: CollectionArg,

    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top
    #[arg(long, value_name = "WHICH", default_value = "all")]
    face: FaceChoice,

    #[command(flatten)]
    limit: LimitArgs,

    #[command(flatten)]
    knn: KnnArgs,

    #[command(flatten)]
    limits: config::LimitArgs,
}

pub(super) async fn run(args: &IdentifyArgs, global: &GlobalArgs) -> Result<u8, Error> {
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
            let result: Identification = identify(&client, &collection, &face.embedding, &options, &threshold).await?;
            matched |= result.decision == Decision::Match;
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
        if global.json {
            print_json(&answer)?;
        } else {
            print_text(&tables::identify(&answer, &threshold))?;
        }
    }
    Ok(if matched { SUCCESS } else { NEGATIVE })
}
