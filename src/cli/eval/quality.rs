//! `facedex eval quality`

use std::path::PathBuf;

use clap::Args;

use super::{ExtractArgs, tables};
use crate::cli::{Models, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::{people, plot, quality};

#[derive(Debug, Args)]
pub(in crate::cli) struct QualityArgs {
    /// Photos of people, several of each, a folder a person
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Make the photos smaller by these factors first, each photo by the next one, to see what small faces cost
    #[arg(long, value_name = "X,...", value_delimiter = ',', value_parser = parse_factor)]
    shrink: Vec<f32>,

    /// Draw the curves (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    extract: ExtractArgs,
}

fn parse_factor(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|factor| *factor > 0.0 && *factor <= 1.0)
        .ok_or_else(|| "expected a factor above 0, up to 1".to_owned())
}

pub(super) fn run(args: &QualityArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let photos = people::photos(&args.images)?;
    let models = Models::open(global)?;
    let report = args
        .extract
        .with_extractor(&models, photos.len(), &args.shrink, |extractor, engine| {
            Ok(quality::discard(extractor, engine, &models.recipe.embedder, &photos)?)
        })?;
    if let Some(file) = &args.plot {
        plot::save(file, &quality::plot(&report))?;
    }
    show(global, &report, || tables::quality(&report))?;
    Ok(SUCCESS)
}
