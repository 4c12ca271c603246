//! `facedex eval`

mod calibrate;
mod identification;
mod quality;
mod tables;
mod verification;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use facedex_face::models::catalog;
use facedex_face::select::FaceChoice;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Models, cores};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::error::Error;
use crate::eval::cache::Cache;
use crate::eval::extract::Extractor;
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    /// Say how well pairs of photos are told to be one person or two
    ///
    /// Accuracy by k-fold cross-validation, the area under the ROC curve, the equal error rate, and the true-accept rate
    /// at fixed false-accept rates, each with a 95 % bootstrap interval. A pair in which a face is not found counts as
    /// an error.
    Verification(verification::VerificationArgs),
    /// Say how well people are found among those enrolled, and strangers told to be unknown
    ///
    /// Closed-set rank 1, 5 and 10, and the open-set false-negative identification rate at fixed false-positive ones,
    /// through Elasticsearch and by comparing with everybody, so that the index's own loss shows. Makes collections named
    /// eval-... and removes them.
    Identification(identification::IdentificationArgs),
    /// Measure which similarity two people's photos reach how often, and use that from now on
    ///
    /// Compares all photos of different people and writes the table of false-match rates into the user's catalog, where
    /// --max-fmr and --max-fpir find it. Rates beyond what the photos show are drawn out from the tail and marked. The
    /// people whom --hold-out names take no part; they are the strangers on whom the thresholds are then tested.
    Calibrate(calibrate::CalibrateArgs),
    /// Show which measures of a face's quality foretell that its person is not recognised
    ///
    /// Error-versus-discard curves: of the pairs of one person the worst by each measure are left out, and the errors of the
    /// rest are counted.
    Quality(quality::QualityArgs),
}

pub(super) async fn run(command: &EvalCommand, global: &GlobalArgs) -> Result<u8, Error> {
    match command {
        EvalCommand::Verification(args) => verification::run(args, global),
        EvalCommand::Identification(args) => identification::run(args, global).await,
        EvalCommand::Quality(args) => quality::run(args, global),
        EvalCommand::Calibrate(args) => calibrate::run(args, global),
    }
}

/// How photos are looked at.
#[derive(Debug, Args)]
#[command(next_help_heading = "Photos")]
pub(super) struct ExtractArgs {
    /// Which face of a photo is the person that it is filed under: central or largest
    #[arg(long, value_name = "WHICH", default_value = "central")]
    face: FaceChoice,

    /// Look at every photo anew; otherwise what an engine saw is kept in the cache, by the photo's bytes
    #[arg(long)]
    no_cache: bool,

    /// Where what was seen is kept [default: evaluations in ~/.cache/facedex]
    #[arg(
        long,
        env = "FACEDEX_EMBEDDINGS_DIR",
        value_name = "DIR",
        conflicts_with = "no_cache"
    )]
    embeddings_dir: Option<PathBuf>,

    /// Photos that are looked at side by side [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

impl ExtractArgs {
    /// Gives `work` what looks at photos, with a bar that counts them up to `photos`, and the engine's fingerprint. Photos are
    /// made smaller by the factors in `shrink`.
    pub(super) fn with_extractor<T>(
        &self,
        models: &Models,
        photos: usize,
        shrink: &[f32],
        work: impl FnOnce(&Extractor<'_>, &str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let fingerprint = models.recipe.fingerprint();
        let bar = terminal::BARS.add(ProgressBar::new(photos as u64));
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {pos}/{len} photos [{wide_bar}] {per_sec} {eta} left")
        {
            bar.set_style(style);
        }
        let extractor = Extractor {
            engine: &|| models.load(1),
            cache: if self.no_cache {
                Cache::none()
            } else {
                Cache::open(&self.cache_folder()?, &fingerprint)?
            },
            workers: self.workers.map_or_else(cores, usize::from),
            limits: (&self.limits).into(),
            subject: self.face,
            shrink: shrink.to_vec(),
            done: &|| bar.inc(1),
        };
        let result = work(&extractor, &fingerprint);
        bar.finish_and_clear();
        result
    }

    fn cache_folder(&self) -> Result<PathBuf, Error> {
        Ok(match &self.embeddings_dir {
            Some(folder) => folder.clone(),
            None => catalog::cache_dir()?.join("evaluations"),
        })
    }
}
