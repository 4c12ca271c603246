//! `facedex eval calibrate`

use std::path::PathBuf;

use clap::Args;
use facedex_face::models::catalog::Additions;
use serde::Serialize;

use super::{ExtractArgs, tables};
use crate::cli::{Models, SUCCESS, additions_file, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::{calibrate, pairs, people, plot};

#[derive(Debug, Args)]
pub(in crate::cli) struct CalibrateArgs {
    /// Photos of many people, a folder a person; wrong names in them look like false matches
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Leave out the people that this file names (a pair file of LFW, or a list of names with a number each), and test
    /// the thresholds with their photos
    #[arg(long, value_name = "FILE")]
    hold_out: Option<PathBuf>,

    /// Among how many faces the held-out people are searched for
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1000, 5000, 13_000])]
    sizes: Vec<usize>,

    /// Only measure: leave the catalog as it is
    #[arg(long)]
    dry_run: bool,

    /// Draw the false-match rate by similarity (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    extract: ExtractArgs,
}

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    pub(super) report: calibrate::Report,
    /// Where the table was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) catalog: Option<PathBuf>,
}

pub(super) fn run(args: &CalibrateArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let photos = people::photos(&args.images)?;
    let held_out = args
        .hold_out
        .as_deref()
        .map(pairs::people)
        .transpose()?
        .unwrap_or_default();
    let models = Models::open(global)?;
    let embedder = &models.recipe.embedder;
    let report = args
        .extract
        .with_extractor(&models, photos.len(), &[], |extractor, engine| {
            Ok(calibrate::calibrate(
                extractor,
                engine,
                embedder,
                &photos,
                &held_out,
                &args.sizes,
            )?)
        })?;
    if let Some(file) = &args.plot {
        plot::save(file, &calibrate::plot(&report))?;
    }
    let catalog = additions_file(global)?;
    if !args.dry_run {
        let source = args.images.file_name().unwrap_or_default().to_string_lossy();
        Additions::read(&catalog)?.calibrate(&catalog, report.calibration(&source))?;
    }
    let answer = Answer {
        report,
        catalog: (!args.dry_run).then_some(catalog),
    };
    show(global, &answer, || tables::calibration(&answer))?;
    Ok(SUCCESS)
}
