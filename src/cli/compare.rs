//! `facedex models compare`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use facedex_face::{Precision, Recipe};
use serde::Serialize;

use super::eval::ExtractArgs;
use super::tables::{rendered, table};
use super::{Models, SUCCESS, catalog, runtime, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::{pairs, verification};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The folder that the pair file speaks of
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Pairs of photos, as `facedex eval verification` takes them
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,

    /// Which embedders [default: all of the catalog]
    #[arg(long, value_name = "MODEL,...", value_delimiter = ',')]
    embedders: Vec<String>,

    /// Which detectors [default: the default one]
    #[arg(long, value_name = "MODEL,...", value_delimiter = ',')]
    detectors: Vec<String>,

    /// At which precisions
    #[arg(long, value_name = "HOW,...", value_delimiter = ',', default_values_t = [Precision::Balanced])]
    precisions: Vec<Precision>,

    #[command(flatten)]
    extract: ExtractArgs,
}

#[derive(Serialize)]
struct Comparison {
    pairs: usize,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    detector: String,
    embedder: String,
    precision: Precision,
    dims: usize,
    licences: Vec<String>,
    commercial_use: bool,
    #[serde(flatten)]
    report: verification::Report,
}

pub(super) fn run(args: &CompareArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let catalog = catalog(global)?;
    let pairs = pairs::read(&args.pairs, &args.images)?;
    let photos: BTreeSet<_> = pairs.iter().flat_map(|pair| [&pair.a, &pair.b]).collect();
    let named = |given: &[String], default: Vec<&str>| match given {
        [] => default.into_iter().map(str::to_owned).collect(),
        given => given.to_vec(),
    };
    let detectors: Vec<String> = named(&args.detectors, vec![&catalog.default_detector().name]);
    let embedders: Vec<String> = named(&args.embedders, catalog.embedders());
    let runtime = runtime(global)?;
    let mut rows = Vec::new();
    for detector in &detectors {
        for embedder in &embedders {
            for &precision in &args.precisions {
                let recipe = Recipe::new(&catalog, Some(detector), Some(embedder), precision)?;
                let models = Models::of(recipe, Arc::clone(&runtime), global)?;
                let report = args
                    .extract
                    .with_extractor(&models, photos.len(), &[], |extractor, engine| {
                        Ok(verification::verify(extractor, engine, &pairs, 0)?)
                    })?;
                let used = models.recipe.models();
                let licences: BTreeSet<&String> = used.iter().map(|model| &model.licence).collect();
                rows.push(Row {
                    detector: detector.clone(),
                    embedder: embedder.clone(),
                    precision,
                    dims: models.recipe.embedder.dims,
                    licences: licences.into_iter().cloned().collect(),
                    commercial_use: used.iter().all(|model| model.commercial_use),
                    report,
                });
            }
        }
    }
    let comparison = Comparison {
        pairs: pairs.len(),
        rows,
    };
    show(global, &comparison, || text(&comparison))?;
    Ok(SUCCESS)
}

fn text(comparison: &Comparison) -> String {
    let header = [
        "detector",
        "embedder",
        "precision",
        "dims",
        "accuracy",
        "+-",
        "TAR@0.01",
        "TAR@0.001",
        "EER",
        "ms",
        "licences",
    ];
    let mut rows = table(&header, &[3, 4, 5, 6, 7, 8, 9]);
    for row in &comparison.rows {
        let (report, percent) = (&row.report, |value: f64| format!("{:.2}", value * 100.0));
        let tar = |far: &str| report.tar_at_far.get(far).map_or(String::new(), |tar| percent(*tar));
        rows.add_row(vec![
            row.detector.clone(),
            row.embedder.clone(),
            row.precision.to_string(),
            row.dims.to_string(),
            percent(report.accuracy),
            percent(report.accuracy_standard_error),
            tar("0.01"),
            tar("0.001"),
            percent(report.eer),
            report.photo_ms.map_or("known".to_owned(), |ms| format!("{ms:.1}")),
            row.licences.join(", ")
                + if row.commercial_use {
                    ""
                } else {
                    " (NOT for commercial use)"
                },
        ]);
    }
    format!(
        "{}{} pairs; rates in percent; ms a photo on one core, median, of photos that were not known\n",
        rendered(&rows),
        comparison.pairs
    )
}
