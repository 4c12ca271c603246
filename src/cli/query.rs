//! What `search` and `identify` have in common: photos in, each chosen face asked about, an answer a photo out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use facedex_elastic::read::effort::MAX_CANDIDATES;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::filter::Filter;
use facedex_elastic::schema::resolve;
use facedex_elastic::{Client, ElasticError};
use facedex_face::Face;
use facedex_face::gate::Gate;
use facedex_face::select::FaceChoice;
use serde::Serialize;

use super::effort::EffortArgs;
use super::{ERROR, NEGATIVE, SUCCESS, client, query_engine};
use crate::config::{self, GlobalArgs};
use crate::error::Error;
use crate::query::QueryError;
use crate::query::answer::{FaceAnswer, Took, milliseconds};
use crate::query::photo::QueryPhoto;
use crate::query::search::{Limit, SearchOptions, threshold};
use crate::query::threshold::{MAX_FPIR, Threshold};
use crate::terminal;

/// Photos to ask about, and how.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// Photos of the people in question
    #[arg(required = true, value_name = "PHOTO")]
    pub(super) photos: Vec<PathBuf>,

    #[command(flatten)]
    collection: super::CollectionArg,

    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top
    #[arg(long, value_name = "WHICH", default_value = "all")]
    face: FaceChoice,

    #[command(flatten)]
    decision: DecisionArgs,

    #[command(flatten)]
    knn: KnnArgs,

    #[command(flatten)]
    limits: config::PhotoLimitArgs,
}

/// What decides whether a hit is a match.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decision")]
struct DecisionArgs {
    /// Share of searches for people who are not in the collection that may name somebody; the similarity that this
    /// needs rises with the number of faces searched
    #[arg(long, value_name = "RATE", default_value_t = MAX_FPIR)]
    max_fpir: f64,

    /// Match from this cosine on, whatever false matches it brings
    #[arg(long, value_name = "COSINE", value_parser = super::parse_similarity, allow_negative_numbers = true)]
    min_similarity: Option<f64>,
}

/// How hard to look, and among which faces.
#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
struct KnnArgs {
    /// How many results
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    k: u16,

    #[command(flatten)]
    effort: EffortArgs,

    /// Read every stored vector and compare it here, so that the index's approximation can miss nobody. The whole
    /// collection comes over the wire for each face asked about (about 1.5 kB a stored face of 128 dimensions)
    #[arg(long, conflicts_with_all = ["candidates", "rescored"])]
    exact: bool,

    /// Only faces that meet this condition (field=value or field!=value, for example person.id=ada, labels.album=1927);
    /// may be repeated: one field's values are alternatives, different fields must all hold
    #[arg(long, value_name = "FIELD=VALUE")]
    filter: Vec<Filter>,
}

/// The answer for one photo.
#[derive(Debug, Serialize)]
pub(super) struct Answer<T> {
    pub(super) photo: String,
    pub(super) collection: String,
    pub(super) faces: Vec<FaceAnswer<T>>,
    pub(super) took: Took,
}

/// Where questions go.
pub(super) struct Target {
    pub(super) client: Arc<Client>,
    pub(super) collection: Collection,
    pub(super) options: SearchOptions,
}

/// Asks `find` about each chosen face of each photo and gives each photo's answers to `show`. Says whether some of
/// several photos could not be used.
pub(super) async fn each_photo<T>(
    args: &QueryArgs,
    global: &GlobalArgs,
    find: impl AsyncFn(&Target, &Face, &Threshold) -> Result<T, ElasticError>,
    mut show: impl FnMut(&QueryPhoto, &Answer<T>, &Threshold) -> Result<(), Error>,
) -> Result<bool, Error> {
    let asked = args.knn.effort.asked()?;
    let client = client(global)?;
    let mut target = Target {
        collection: resolve::open(&client, &args.collection.collection).await?,
        client: Arc::new(client),
        options: SearchOptions {
            k: args.knn.k.into(),
            asked,
            // Counted for each photo: the collection may grow meanwhile.
            stored: 0,
            filters: args.knn.filter.clone(),
            exact: args.knn.exact,
        },
    };
    let limit = match args.decision.min_similarity {
        Some(similarity) => Limit::MinSimilarity(similarity),
        None => Limit::MaxFpir(args.decision.max_fpir),
    };
    let mut engine = query_engine(global)?;
    target.collection.expect_space(&engine.embedder().space)?;
    let limits = (&args.limits).into();
    let mut failed = false;
    for path in &args.photos {
        let start = Instant::now();
        let photo = QueryPhoto::load(&mut engine, path, &limits);
        let chosen = photo.and_then(|photo| Ok((photo.choose(args.face)?, photo)));
        let (chosen, photo) = match chosen {
            Ok(chosen) => chosen,
            // One that cannot be used does not keep the others from an answer.
            Err(error @ (QueryError::Image { .. } | QueryError::NoFace { .. } | QueryError::NoSuchFace { .. }))
                if args.photos.len() > 1 =>
            {
                failed = true;
                terminal::note(&format!("error: {error}"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let photo_ms = milliseconds(start);
        let start = Instant::now();
        let filters = &target.options.filters;
        let (threshold, stored) =
            threshold(&target.client, &target.collection, engine.embedder(), filters, limit).await?;
        target.options.stored = stored;
        let mut faces = Vec::with_capacity(chosen.len());
        for ordinal in chosen {
            let face = photo.faces[ordinal].clone();
            for complaint in Gate::SEARCH.complaints(&face) {
                let note = format!("warning: face {ordinal} of {}: {complaint}", photo.path);
                terminal::note(&format!("{note}; its answer means little"));
            }
            let result = find(&target, &face, &threshold).await?;
            faces.push(FaceAnswer {
                ordinal,
                face: Some(face),
                result,
            });
        }
        let answer = Answer {
            photo: photo.path.clone(),
            collection: target.collection.name.clone(),
            faces,
            took: Took {
                photo_ms,
                search_ms: milliseconds(start),
            },
        };
        show(&photo, &answer, &threshold)?;
    }
    Ok(failed)
}

/// The exit code of a question: some photo failed, somebody matched, or nobody.
pub(super) fn exit_code(failed: bool, matched: bool) -> u8 {
    match (failed, matched) {
        (true, _) => ERROR,
        (false, true) => SUCCESS,
        (false, false) => NEGATIVE,
    }
}
