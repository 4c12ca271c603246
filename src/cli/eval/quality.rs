//! `facedex eval quality`

use std::path::PathBuf;

use clap::Args;

use super::{LookArgs, tables};
use crate::cli::{Models, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::{people, plot, quality};

#[derive(Debug, Args)]
pub(in crate::cli) struct QualityArgs {
    /// Photos of people, several of each, a folder a person
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Draw the curves (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    look: LookArgs,
}

pub(super) fn run(args: &QualityArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let photos = people::photos(&args.images)?;
    let models = Models::open(global)?;
    let report = args.look.with_looker(&models, photos.len(), |looker, engine| {
        Ok(quality::discard(looker, engine, &models.recipe.embedder, &photos)?)
    })?;
    if let Some(file) = &args.plot {
        plot::save(file, &quality::plot(&report))?;
    }
    show(global, &report, || tables::quality(&report))?;
    Ok(SUCCESS)
}
