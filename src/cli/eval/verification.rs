//! `facedex eval verification`

use std::path::PathBuf;

use clap::Args;

use super::{ExtractArgs, tables};
use crate::cli::{Models, SUCCESS, picture, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::{contact_sheet, pairs, plot, verification};

#[derive(Debug, Args)]
pub(in crate::cli) struct VerificationArgs {
    /// The folder that the pair file speaks of; for LFW's files the one with a folder a person
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Pairs of photos: LFW's View 1 (pairsDevTest.txt) or View 2 (pairs.txt), or CSV with two paths and 1 or 0 (same
    /// person or not), and perhaps the fold
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,

    /// Draw the ROC curve (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Draw a contact sheet of the pairs that went most wrong (PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    worst: Option<PathBuf>,

    /// How many of them, of each kind
    #[arg(long, value_name = "N", default_value_t = 9)]
    worst_pairs: usize,

    #[command(flatten)]
    extract: ExtractArgs,
}

pub(super) fn run(args: &VerificationArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    if let Some(file) = &args.worst {
        picture::check(file)?;
    }
    let pairs = pairs::read(&args.pairs, &args.images)?;
    let models = Models::open(global)?;
    let photos: std::collections::BTreeSet<_> = pairs.iter().flat_map(|pair| [&pair.a, &pair.b]).collect();
    let report = args
        .extract
        .with_extractor(&models, photos.len(), &[], |extractor, engine| {
            Ok(verification::verify(extractor, engine, &pairs, args.worst_pairs)?)
        })?;
    if let Some(file) = &args.plot {
        plot::save(file, &verification::plot(&report))?;
    }
    if let Some(file) = &args.worst {
        contact_sheet::save(file, &report.worst)?;
    }
    show(global, &report, || tables::verification(&report))?;
    Ok(SUCCESS)
}
