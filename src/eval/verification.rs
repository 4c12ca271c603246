//! Verification: is a pair of photos one person? By LFW's protocol: k folds, and what the curve says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bootstrap::{self, intervals};
use super::contact_sheet::BadPair;
use super::extract::{Extracted, Extractor};
use super::folds::{Judged, cross_validate, mean};
use super::pairs::Pair;
use super::plot::{Axis, Plot};
use super::roc::{Comparisons, Curve};
use super::{EvalError, Interval};
use crate::query::verify;

/// The false-accept rates that are reported.
pub const RATES: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// The bootstrap's seed: the same pairs give the same intervals.
const SEED: u64 = 20_261_125;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The engine's fingerprint.
    pub engine: String,
    /// How many pairs were compared.
    pub pairs: usize,
    /// Of these, pairs of one person.
    pub same: usize,
    /// Of these, pairs of two people.
    pub different: usize,
    /// Pairs that could not be compared, since a face was not found; each counts as an error.
    pub undetected: usize,
    /// The photos in which no face was found, or that could not be read.
    pub undetected_photos: Vec<PathBuf>,
    /// Mean share of right answers over the folds, each judged at the threshold that is best for the others.
    pub accuracy: f64,
    /// Standard deviation of the folds' accuracies.
    pub accuracy_std: f64,
    /// Standard error of the mean.
    pub accuracy_standard_error: f64,
    /// 95 % interval, pairs drawn again.
    pub accuracy_interval: Interval,
    /// How many folds.
    pub folds: usize,
    /// Mean of the folds' thresholds.
    pub threshold: f64,
    /// Area under the curve.
    pub auc: f64,
    /// 95 % interval.
    pub auc_interval: Interval,
    /// Equal error rate.
    pub eer: f64,
    /// 95 % interval.
    pub eer_interval: Interval,
    /// True-accept rate at each false-accept rate.
    pub tar_at_far: BTreeMap<String, f64>,
    /// The same with what it rests on.
    pub operating_points: Vec<OperatingPoint>,
    /// Milliseconds from a photo's pixels to its vectors, on one core, median; absent where all photos were known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photo_ms: Option<f64>,
    /// The pairs that went most wrong, of both kinds.
    pub worst: Vec<BadPair>,
    /// The curve, for plots.
    #[serde(skip)]
    pub curve: Curve,
}

/// What a false-accept rate costs.
#[derive(Debug, Clone, Serialize)]
pub struct OperatingPoint {
    /// The false-accept rate that was asked for.
    pub far: f64,
    /// Pairs of two people that are accepted.
    pub false_accepts: u64,
    /// False when the pairs are too few to hold even one false accept at this rate; the figure is then a lower bound.
    pub resolved: bool,
    /// The similarity from which on pairs are accepted; absent where none can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Share of the pairs of one person that are accepted.
    pub tar: f64,
    /// 95 % interval.
    pub interval: Interval,
}

/// Compares the pairs; `worst` pairs of each kind are named.
pub fn verify(extractor: &Extractor<'_>, engine: &str, pairs: &[Pair], worst: usize) -> Result<Report, EvalError> {
    let mut places: BTreeMap<&Path, usize> = BTreeMap::new();
    for photo in pairs.iter().flat_map(|pair| [&pair.a, &pair.b]) {
        let next = places.len();
        places.entry(photo).or_insert(next);
    }
    let mut photos = vec![PathBuf::new(); places.len()];
    for (path, &at) in &places {
        photos[at] = (*path).to_owned();
    }
    let seen = extractor.extract(&photos)?;
    let subjects = |pair: &Pair| [&pair.a, &pair.b].map(|photo| &seen[places[photo.as_path()]]);
    let similarity = |pair: &Pair| {
        let [a, b] = subjects(pair).map(|seen| seen.subject.as_ref());
        Some(verify::similarity(&a?.embedding, &b?.embedding))
    };
    let judged: Vec<Judged> = pairs
        .iter()
        .map(|pair| Judged {
            similarity: similarity(pair),
            same: pair.same,
            fold: pair.fold,
        })
        .collect();
    let undetected = seen.iter().zip(&photos).filter(|(seen, _)| seen.subject.is_none());
    let undetected_photos = undetected.map(|(_, path)| path.clone()).collect();
    let mut report = measure(engine, &judged);
    report.undetected_photos = undetected_photos;
    report.photo_ms = median_ms(&seen);
    report.worst = worst_pairs(pairs, &judged, worst, |pair| {
        subjects(pair).map(|seen| seen.subject.as_ref().map(|face| face.bbox))
    });
    Ok(report)
}

/// The figures of judged pairs.
fn measure(engine: &str, judged: &[Judged]) -> Report {
    let folds = cross_validate(judged);
    let comparisons = Comparisons::new(judged.iter().map(|pair| (pair.similarity, pair.same)));
    let curve = comparisons.curve();
    let kinds: Vec<bool> = comparisons.kinds().collect();
    let [auc_interval, eer_interval, tar @ ..] = intervals::<5>(SEED, |dice| {
        let weights = bootstrap::weights(&kinds, dice);
        let curve = comparisons.weighted(|at| weights[at]);
        let [a, b, c] = RATES.map(|far| curve.at_far(far).tar);
        [curve.auc(), curve.eer(), a, b, c]
    });
    let by_kind: Vec<bool> = judged.iter().map(|pair| pair.same).collect();
    let [accuracy_interval] = intervals(SEED, |dice| {
        let weights = bootstrap::weights(&by_kind, dice);
        let right = weights.iter().zip(&folds.right).filter(|(_, right)| **right);
        [f64::from(right.map(|(weight, _)| weight).sum::<u32>()) / judged.len() as f64]
    });
    let different = by_kind.iter().filter(|same| !**same).count();
    let operating_points: Vec<OperatingPoint> = RATES
        .iter()
        .zip(tar)
        .map(|(&far, interval)| {
            let point = curve.at_far(far);
            OperatingPoint {
                far,
                false_accepts: point.false_accepts,
                resolved: far * different as f64 >= 1.0 - 1e-9,
                threshold: point.threshold.is_finite().then_some(point.threshold),
                tar: point.tar,
                interval,
            }
        })
        .collect();
    Report {
        engine: engine.to_owned(),
        pairs: judged.len(),
        same: judged.len() - different,
        different,
        undetected: judged.iter().filter(|pair| pair.similarity.is_none()).count(),
        undetected_photos: Vec::new(),
        accuracy: folds.mean(),
        accuracy_std: folds.deviation(),
        accuracy_standard_error: folds.deviation() / (folds.accuracies.len() as f64).sqrt(),
        accuracy_interval,
        folds: folds.accuracies.len(),
        threshold: mean(&folds.thresholds),
        auc: curve.auc(),
        auc_interval,
        eer: curve.eer(),
        eer_interval,
        tar_at_far: operating_points
            .iter()
            .map(|point| (point.far.to_string(), point.tar))
            .collect(),
        operating_points,
        photo_ms: None,
        worst: Vec::new(),
        curve,
    }
}

/// The median of what photos took that the cache did not know.
pub(super) fn median_ms(seen: &[Extracted]) -> Option<f64> {
    let mut times: Vec<f64> = seen.iter().filter_map(|seen| seen.took_ms).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// The least alike pairs of one person, those without a face first, and the most alike ones of two people.
fn worst_pairs(
    pairs: &[Pair],
    judged: &[Judged],
    count: usize,
    boxes: impl Fn(&Pair) -> [Option<facedex_face::Rect>; 2],
) -> Vec<BadPair> {
    let mut worst = Vec::new();
    for same in [true, false] {
        let mut kind: Vec<usize> = (0..pairs.len()).filter(|&at| pairs[at].same == same).collect();
        let key = |at: &usize| match judged[*at].similarity {
            None => f64::NEG_INFINITY,
            Some(similarity) if same => similarity,
            Some(similarity) => -similarity,
        };
        kind.sort_by(|a, b| key(a).total_cmp(&key(b)));
        worst.extend(kind.into_iter().take(count).map(|at| BadPair {
            a: pairs[at].a.clone(),
            b: pairs[at].b.clone(),
            same,
            similarity: judged[at].similarity,
            boxes: boxes(&pairs[at]),
        }));
    }
    worst
}

/// The curve as a plot, with a logarithmic false-accept rate.
pub fn plot(report: &Report) -> Plot {
    let least = 1.0 / report.different.max(10) as f64;
    let points = report.curve.points().iter();
    let points: Vec<(f64, f64)> = points.map(|point| (point.far.max(least), point.tar)).collect();
    // Near the top all engines look alike: the axis begins where this one does.
    let lowest = points.iter().find(|(far, _)| *far > least).map_or(0.0, |(_, tar)| *tar);
    Plot {
        title: format!("ROC of {} pairs, {}", report.pairs, report.engine),
        x: Axis {
            name: "false-accept rate".to_owned(),
            range: [least, 1.0],
            logarithmic: true,
        },
        y: Axis {
            name: "true-accept rate".to_owned(),
            range: [((lowest - 0.02) * 20.0).floor().max(0.0) / 20.0, 1.0],
            logarithmic: false,
        },
        curves: vec![(
            format!("AUC {:.4}, EER {:.2} %", report.auc, report.eer * 100.0),
            points,
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_belong_together() {
        // 100 pairs of each kind, overlapping in five of each.
        let pair = |at: usize, same: bool, similarity: f64| Judged {
            similarity: Some(similarity),
            same,
            fold: at % 10,
        };
        let same = (0..100).map(|at| pair(at, true, 0.405 + at as f64 / 1000.0));
        let different = (0..100).map(|at| pair(at, false, 0.31 + at as f64 / 1000.0));
        let judged: Vec<Judged> = same.chain(different).collect();
        let report = measure("e", &judged);
        assert_eq!(
            (report.pairs, report.same, report.different, report.undetected),
            (200, 100, 100, 0)
        );
        assert!(report.accuracy > 0.94 && report.auc > 0.995 && report.eer < 0.05);
        assert_eq!(
            report.tar_at_far.keys().collect::<Vec<_>>(),
            ["0.0001", "0.001", "0.01"]
        );
        let [hundredth, thousandth, ..] = report.operating_points.as_slice() else {
            panic!()
        };
        assert!(hundredth.resolved && !thousandth.resolved);
        assert_eq!((hundredth.false_accepts, thousandth.false_accepts), (1, 0));
        for (value, [low, high]) in [
            (report.accuracy, report.accuracy_interval),
            (report.auc, report.auc_interval),
            (hundredth.tar, hundredth.interval),
        ] {
            assert!(low <= value && value <= high && low < high, "{value} in {low}..{high}");
        }
    }
}
