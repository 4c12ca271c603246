//! Which measures of a face's quality foretell errors: error-versus-discard curves (Grother and Tabassi, 2007). Of the pairs
//! of one person those whose worse photo is worst are left out, more and more of them; a measure earns its place if the
//! false-non-match rate of the rest falls.

use std::collections::BTreeMap;
use std::path::PathBuf;

use facedex_face::Face;
use facedex_face::models::catalog::Embedder;
use serde::Serialize;

use super::EvalError;
use super::extract::Extractor;
use super::people::Photo;
use super::plot::{Axis, Plot};
use crate::query::threshold::Threshold;
use crate::query::verify;

/// The false-match rate at whose threshold errors are counted.
const FMR: f64 = 1e-4;
/// Most pairs of one person, so that people of many photos do not decide alone.
const PAIRS_A_PERSON: usize = 50;
/// Shares of the pairs that are left out.
const DISCARDS: [f64; 7] = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3];

/// A measure, as a number that is higher for better faces.
type Measure = (&'static str, fn(&Face) -> f32);

/// What is measured of every face.
const MEASURES: [Measure; 8] = [
    ("size", |face| face.quality.size),
    ("sharpness", |face| face.quality.sharpness),
    ("frontal", |face| -face.quality.yaw.abs()),
    ("upright", |face| -face.quality.roll.abs()),
    ("detection score", |face| face.score),
    ("exposure", |face| -(face.quality.brightness - 0.5).abs()),
    ("contrast", |face| face.quality.contrast),
    ("visible", |face| face.quality.visible),
];

/// The curves.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The engine's fingerprint.
    pub engine: String,
    /// Pairs of one person.
    pub pairs: usize,
    /// The similarity below which they are errors.
    pub threshold: f64,
    /// Share of the pairs below it.
    pub fnmr: f64,
    /// The shares that are left out.
    pub discards: Vec<f64>,
    /// For each measure the error rate of what is left.
    pub measures: BTreeMap<String, Vec<f64>>,
    /// For each measure where the worse photo of a pair stands that is just left in.
    pub limits: BTreeMap<String, Vec<f32>>,
    /// Photos in which no face was found.
    pub undetected: usize,
}

/// Draws the curves of a folder of people.
pub fn discard(
    extractor: &Extractor<'_>,
    engine: &str,
    embedder: &Embedder,
    photos: &[Photo],
) -> Result<Report, EvalError> {
    let paths: Vec<PathBuf> = photos.iter().map(|photo| photo.path.clone()).collect();
    let seen = extractor.extract(&paths)?;
    let mut people: BTreeMap<&str, Vec<&Face>> = BTreeMap::new();
    for (photo, seen) in photos.iter().zip(&seen) {
        if let Some(face) = &seen.subject {
            people.entry(&photo.person).or_default().push(face);
        }
    }
    let pairs: Vec<(&Face, &Face)> = people.values().flat_map(|faces| some_pairs(faces)).collect();
    if pairs.len() < 100 {
        return Err(EvalError::TooFew {
            what: "pairs of photos of one person".to_owned(),
            found: pairs.len(),
            needed: 100,
        });
    }
    let threshold = Threshold::for_comparison(embedder, FMR)?.similarity;
    let wrong: Vec<bool> = pairs
        .iter()
        .map(|(a, b)| verify::similarity(&a.embedding, &b.embedding) < threshold)
        .collect();
    let (mut measures, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for (name, measure) in MEASURES {
        let worse: Vec<f32> = pairs.iter().map(|(a, b)| measure(a).min(measure(b))).collect();
        let (left, from) = errors_left(&worse, &wrong);
        measures.insert(name.to_owned(), left);
        limits.insert(name.to_owned(), from);
    }
    Ok(Report {
        engine: engine.to_owned(),
        pairs: pairs.len(),
        threshold,
        fnmr: share(&wrong),
        discards: DISCARDS.to_vec(),
        measures,
        limits,
        undetected: seen.iter().filter(|seen| seen.subject.is_none()).count(),
    })
}

/// Every two faces, at most [`PAIRS_A_PERSON`] spread evenly.
fn some_pairs<'f>(faces: &[&'f Face]) -> Vec<(&'f Face, &'f Face)> {
    let mut all = Vec::new();
    for (at, a) in faces.iter().enumerate() {
        all.extend(faces[at + 1..].iter().map(|b| (*a, *b)));
    }
    let step = all.len().div_ceil(PAIRS_A_PERSON).max(1);
    all.into_iter().step_by(step).collect()
}

fn share(wrong: &[bool]) -> f64 {
    wrong.iter().filter(|wrong| **wrong).count() as f64 / wrong.len().max(1) as f64
}

/// The error rate that is left when the worst shares are left out, and from which quality on that is.
fn errors_left(quality: &[f32], wrong: &[bool]) -> (Vec<f64>, Vec<f32>) {
    let mut order: Vec<usize> = (0..quality.len()).collect();
    order.sort_by(|a, b| quality[*a].total_cmp(&quality[*b]));
    let sorted: Vec<bool> = order.iter().map(|at| wrong[*at]).collect();
    let cuts = DISCARDS.map(|discard| (discard * sorted.len() as f64) as usize);
    (
        cuts.iter().map(|cut| share(&sorted[*cut..])).collect(),
        cuts.iter().map(|cut| quality[order[*cut]]).collect(),
    )
}

/// The curves as a plot.
pub fn plot(report: &Report) -> Plot {
    let curve = |(name, errors): (&String, &Vec<f64>)| {
        let points = report.discards.iter().copied().zip(errors.iter().copied());
        (name.clone(), points.collect())
    };
    Plot {
        title: format!("{} pairs of one person, FMR {FMR}, {}", report.pairs, report.engine),
        x: Axis {
            name: "share of the pairs that is left out".to_owned(),
            range: [0.0, 0.3],
            logarithmic: false,
        },
        y: Axis {
            name: "false-non-match rate of the rest".to_owned(),
            range: [0.0, report.fnmr.max(0.001) * 1.5],
            logarithmic: false,
        },
        curves: report.measures.iter().map(curve).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_that_knows_takes_the_errors_away() {
        let wrong: Vec<bool> = (0..100).map(|at| at < 10).collect();
        let knows: Vec<f32> = (0..100).map(|at| at as f32).collect();
        let against: Vec<f32> = knows.iter().map(|value| -value).collect();
        let (left, from) = errors_left(&knows, &wrong);
        assert_eq!((left[0], left[3]), (0.1, 0.0));
        assert_eq!((from[0], from[3]), (0.0, 10.0));
        assert!(errors_left(&against, &wrong).0[3] > 0.1);
    }
}
