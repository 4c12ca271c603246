//! `facedex eval identification`

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use facedex_elastic::schema::layout::{IndexType, Layout};
use facedex_elastic::write::scratch;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{ExtractArgs, tables};
use crate::cli::effort::EffortArgs;
use crate::cli::{Models, SUCCESS, client, cores, ingest, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::EvalError;
use crate::eval::identification::exact::Fusion;
use crate::eval::identification::{self, Faces, Measured, exact, indexed};
use crate::eval::people::{Split, photos, split};
use crate::eval::plot;
use crate::query::search::SearchOptions;
use crate::terminal;

/// Photos that vote.
const VOTERS: usize = 5;

#[derive(Debug, Args)]
pub(in crate::cli) struct IdentificationArgs {
    /// Photos to enrol, a folder a person
    #[arg(long, value_name = "DIR", requires = "probes", required_unless_present = "images")]
    gallery: Option<PathBuf>,

    /// Photos to search with, a folder a person; people without a folder in the gallery are the strangers
    #[arg(long, value_name = "DIR", requires = "gallery")]
    probes: Option<PathBuf>,

    /// Photos that are split into both: of people with several photos some are enrolled and the others searched with,
    /// people of one photo are the strangers
    #[arg(long, value_name = "DIR", conflicts_with_all = ["gallery", "probes"])]
    images: Option<PathBuf>,

    /// How many photos of each person are enrolled at most, with --images
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    enrol: u32,

    /// What decides which photos are enrolled
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How people are searched for: exact, or a type of index (hnsw, int8_hnsw, int4_hnsw, bbq_hnsw, flat); exact
    /// comparison with the mean of the similarities of a person's two or three most alike photos or of all (mean2, mean3,
    /// mean) instead of the highest, or with votes of the five most alike photos (vote); the figures at the top of the JSON
    /// are the first one's
    #[arg(long, value_name = "WAY,...", value_delimiter = ',', default_values = ["int8_hnsw", "exact"])]
    through: Vec<Way>,

    /// Also with galleries of this many photos
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    sizes: Vec<usize>,

    #[command(flatten)]
    effort: EffortArgs,

    /// Draw the trade-off of the error rates (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    extract: ExtractArgs,
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Exact(Fusion),
    Index(IndexType),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Exact(Fusion::Max) => "exact",
            Self::Exact(Fusion::MeanOfTop(2)) => "mean2",
            Self::Exact(Fusion::MeanOfTop(3)) => "mean3",
            Self::Exact(Fusion::MeanOfTop(_)) => "mean",
            Self::Exact(Fusion::Vote(_)) => "vote",
            Self::Index(index_type) => index_type.name(),
        }
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact(Fusion::Max)),
            "mean2" => Ok(Self::Exact(Fusion::MeanOfTop(2))),
            "mean3" => Ok(Self::Exact(Fusion::MeanOfTop(3))),
            "mean" => Ok(Self::Exact(Fusion::MeanOfTop(usize::MAX))),
            "vote" => Ok(Self::Exact(Fusion::Vote(VOTERS))),
            name => IndexType::from_str(name, false).map(Self::Index),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) engine: String,
    /// The first of the runs.
    #[serde(flatten)]
    pub(super) first: Measured,
    /// Photos in which no face was found: enrolled ones, and those searched with.
    pub(super) undetected: [usize; 2],
    /// Photos to search with that are enrolled as well, and were left out.
    pub(super) enrolled_probes: usize,
    pub(super) runs: Vec<Measured>,
}

pub(super) async fn run(args: &IdentificationArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let asked = args.effort.asked()?;
    let mut whole = whole_split(args)?;
    let enrolled_probes = whole.without_enrolled_probes()?;
    expect_searches(&whole, enrolled_probes)?;
    let models = Models::open(global)?;
    let client = match args.through.iter().any(|way| matches!(way, Way::Index(_))) {
        true => {
            let client = client(global)?;
            client.info().await?;
            scratch::sweep(&client).await?;
            Some(Arc::new(client))
        }
        false => None,
    };
    let splits = args.sizes.iter().map(|size| whole.of_size(*size, args.seed));
    let splits: Vec<Split> = std::iter::once(whole.clone()).chain(splits).collect();
    let photos = splits
        .iter()
        .map(|split| split.gallery.len() + split.probes.len())
        .sum();
    let embedder = models.recipe.embedder.clone();
    let (engine, all) = args.extract.with_extractor(&models, photos, &[], |extractor, engine| {
        let faces = splits.iter().map(|split| identification::embed(extractor, split));
        Ok((engine.to_owned(), faces.collect::<Result<Vec<Faces>, _>>()?))
    })?;
    let mut runs = Vec::new();
    let stop = interrupted();
    for faces in &all {
        for way in &args.through {
            let (name, searches) = match (way, &client) {
                (Way::Index(index_type), Some(client)) => {
                    let layout = Layout {
                        index_type: *index_type,
                        ..Layout::default()
                    };
                    let options = SearchOptions {
                        k: identification::RANKS,
                        asked,
                        stored: faces.gallery.len() as u64,
                        filters: Vec::new(),
                        exact: false,
                    };
                    let stop = stop.cancelled();
                    let found = indexed::search(client, faces, &embedder, &engine, &layout, &options, stop).await?;
                    (index_type.name(), found.ok_or(Error::Interrupted)?)
                }
                (Way::Exact(fusion), _) => (
                    way.name(),
                    exact::search(faces, *fusion, cores(), &|| stop.is_cancelled()),
                ),
                // A client is there as soon as one way needs it.
                (Way::Index(_), None) => continue,
            };
            if stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            runs.push(identification::measure(name, faces, &searches, &embedder)?);
        }
    }
    if let Some(file) = &args.plot {
        plot::save(file, &identification::plot(&runs))?;
    }
    let without = |faces: &[identification::Known]| faces.iter().filter(|known| known.face.is_none()).count();
    let report = Report {
        engine,
        first: runs[0].clone(),
        enrolled_probes,
        undetected: [without(&all[0].gallery), without(&all[0].probes)],
        runs,
    };
    show(global, &report, || tables::identification(&report))?;
    Ok(SUCCESS)
}

/// Cancelled at the first interrupt, so that the collections on the cluster are removed.
fn interrupted() -> CancellationToken {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if ingest::interrupt().await.is_ok() {
            interrupted.cancel();
        }
    });
    stop
}

/// Says before the work what cannot be measured; an error where that is everything.
fn expect_searches(split: &Split, enrolled_probes: usize) -> Result<(), EvalError> {
    let nothing = |reason: &str| {
        let reason = reason.to_owned();
        Err(EvalError::NothingToMeasure { reason })
    };
    if split.gallery.is_empty() {
        return nothing("nobody has two photos, one to enrol and one to search with");
    }
    if enrolled_probes > 0 {
        terminal::note(&format!(
            "{enrolled_probes} photos to search with are enrolled as well; they would find themselves, and are left out"
        ));
    }
    match split.searches() {
        (0, 0) => return nothing("there is no photo to search with that is not enrolled as well"),
        (0, _) => {
            terminal::note("no photo is of an enrolled person: ranks and false-negative rates cannot be measured")
        }
        (_, 0) => terminal::note(
            "no photo is of a stranger: false-positive rates, and what they cost, cannot be measured; people of one photo, or \
             without a folder in the gallery, are strangers",
        ),
        _ => {}
    }
    Ok(())
}

fn whole_split(args: &IdentificationArgs) -> Result<Split, Error> {
    Ok(match (&args.gallery, &args.probes, &args.images) {
        (Some(gallery), Some(probes), _) => Split {
            gallery: photos(gallery)?,
            probes: photos(probes)?,
        },
        (_, _, Some(images)) => split(&photos(images)?, args.enrol as usize, args.seed),
        // The command line demands one of them.
        _ => Split::default(),
    })
}
