//! Calibration: which similarity do pairs of two people reach how often? By comparing all photos of different people, and
//! by putting the thresholds that follow to the test on people who had no part in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use facedex_base::similarity::similarity;
use facedex_face::models::catalog::{Calibration, Embedder, FmrPoint};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::extract::Extractor;
use super::people::Photo;
use super::plot::{Axis, Plot};
use super::{EvalError, Interval};
use crate::query::threshold::Threshold;

/// The rates that the table has.
pub const RATES: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
/// A rate counts as shown by the data if so many pairs lie above its similarity; beyond, the tail is drawn out. Fewer can
/// be one person under two names: in LFW some thirty pairs of 28 million are.
const SHOWN: f64 = 100.0;
/// So many of the most alike pairs are the tail.
const TAIL: f64 = 1000.0;
/// Fewer comparisons make no table.
const LEAST: usize = 1000;
/// So many photos of each person are compared. One wrong name among somebody's five hundred photos would otherwise be five
/// hundred false matches, and a few people decide alone.
const PHOTOS_A_PERSON: usize = 5;
/// Similarities are counted in steps of 1 / this.
const STEPS: usize = 10_000;
/// Steps from -1 to 1.
const BINS: usize = 2 * STEPS + 1;
/// People are drawn again in so many groups.
const GROUPS: usize = 16;
const ROUNDS: usize = 200;
const SEED: u64 = 7;
/// The rates at which thresholds are put to the test.
const ASKED: [f64; 3] = [0.1, 0.01, 0.001];

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The engine's fingerprint.
    pub engine: String,
    /// The embedding space.
    pub space: String,
    /// People whose photos were compared.
    pub people: usize,
    /// Their photos with a face, at most five each.
    pub photos: usize,
    /// Photos in which no face was found, those of the people who were held out included.
    pub undetected: usize,
    /// Comparisons of two people.
    pub comparisons: u64,
    /// The similarities of the rates.
    pub table: Vec<FmrPoint>,
    /// People who were held out.
    pub held_out: usize,
    /// How the thresholds do on them.
    pub check: Vec<Check>,
    /// Rates by similarity, for plots.
    #[serde(skip)]
    pub curve: Vec<(f64, f64)>,
}

/// Searches for people who are not there, among so many faces.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Faces that were searched.
    pub gallery: usize,
    /// The false-positive identification rate that was asked for.
    pub max_fpir: f64,
    /// The similarity that the table gives.
    pub threshold: f64,
    /// Whether the rate lies within the table.
    pub calibrated: bool,
    /// Searches.
    pub searches: usize,
    /// The rate that came out.
    pub fpir: f64,
}

/// A photo's face, and whose it is.
struct Face<'s> {
    person: usize,
    hash: &'s str,
    vector: &'s [f32],
}

/// Compares the photos of all people but those who are held out, and tests the result with these.
pub fn calibrate(
    extractor: &Extractor<'_>,
    engine: &str,
    embedder: &Embedder,
    photos: &[Photo],
    held_out: &[String],
    sizes: &[usize],
) -> Result<Report, EvalError> {
    let paths: Vec<PathBuf> = photos.iter().map(|photo| photo.path.clone()).collect();
    let seen = extractor.extract(&paths)?;
    let mut names: Vec<&str> = photos.iter().map(|photo| photo.person.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let is_out: Vec<bool> = names
        .iter()
        .map(|name| held_out.binary_search_by(|other| other.as_str().cmp(name)).is_ok())
        .collect();
    let faces: Vec<Face<'_>> = photos
        .iter()
        .zip(&seen)
        .filter_map(|(photo, seen)| {
            Some(Face {
                person: names.binary_search(&photo.person.as_str()).ok()?,
                hash: &seen.hash,
                vector: &seen.subject.as_ref()?.embedding,
            })
        })
        .collect();
    let few = at_most(PHOTOS_A_PERSON, &faces, names.len());
    let inside: Vec<&Face<'_>> = few.iter().copied().filter(|face| !is_out[face.person]).collect();
    let impostors = Impostors::compare(&inside, extractor.workers);
    let comparisons = impostors.total(&[1; GROUPS]);
    if comparisons < LEAST as u64 {
        return Err(EvalError::TooFew {
            what: "comparisons of different people".to_owned(),
            found: comparisons as usize,
            needed: LEAST,
        });
    }
    let table = impostors.table();
    let calibrated = Embedder {
        fmr: table.clone(),
        comparisons,
        ..embedder.clone()
    };
    let probes: Vec<&Face<'_>> = few.into_iter().filter(|face| is_out[face.person]).collect();
    Ok(Report {
        engine: engine.to_owned(),
        space: embedder.space.clone(),
        people: is_out.iter().filter(|out| !**out).count(),
        photos: inside.len(),
        undetected: seen.len() - faces.len(),
        comparisons,
        curve: impostors.curve(),
        check: check(&calibrated, &faces, &probes, sizes, extractor.workers)?,
        held_out: is_out.iter().filter(|out| **out).count(),
        table,
    })
}

impl Report {
    /// The table as it is kept; `source` says whose photos those were.
    pub fn calibration(&self, source: &str) -> Calibration {
        Calibration {
            space: self.space.clone(),
            comparisons: self.comparisons,
            measured: format!(
                "all pairs of different people among {} photos of {} people, at most {PHOTOS_A_PERSON} each ({source}), {}",
                self.photos, self.people, self.engine
            ),
            fmr: self.table.clone(),
        }
    }
}

/// The first so many faces of each person.
fn at_most<'f, 's>(most: usize, faces: &'f [Face<'s>], people: usize) -> Vec<&'f Face<'s>> {
    let mut counts = vec![0; people];
    let is_early = |face: &&Face<'_>| {
        counts[face.person] += 1;
        counts[face.person] <= most
    };
    faces.iter().filter(is_early).collect()
}

/// How many comparisons of different people lie at each similarity, by the two people's groups.
struct Impostors {
    /// For each pair of groups a count a bin.
    counts: Vec<Vec<u64>>,
}

fn cell(a: usize, b: usize) -> usize {
    let (low, high) = (a.min(b), a.max(b));
    high * (high + 1) / 2 + low
}

fn bin(similarity: f32) -> usize {
    (((similarity.clamp(-1.0, 1.0) + 1.0) * STEPS as f32).floor() as usize).min(BINS - 1)
}

/// The lowest similarity of a bin.
fn floor_of(bin: usize) -> f64 {
    bin as f64 / STEPS as f64 - 1.0
}

impl Impostors {
    /// Compares every two photos of different people. The same picture under two names is no comparison of two people.
    fn compare(faces: &[&Face<'_>], workers: usize) -> Self {
        let next = AtomicUsize::new(0);
        let empty = || vec![vec![0u64; BINS]; GROUPS * (GROUPS + 1) / 2];
        let parts = std::thread::scope(|scope| {
            let work = || {
                let mut counts = empty();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(face) = faces.get(at) else { return counts };
                    for other in &faces[..at] {
                        if other.person != face.person && other.hash != face.hash {
                            let place = cell(face.person % GROUPS, other.person % GROUPS);
                            counts[place][bin(similarity(face.vector, other.vector))] += 1;
                        }
                    }
                }
            };
            let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect::<Vec<_>>()
        });
        let mut counts = empty();
        for part in parts {
            for (sum, more) in counts.iter_mut().flatten().zip(part.into_iter().flatten()) {
                *sum += more;
            }
        }
        Self { counts }
    }

    /// The counts, where each group of people counts so many times.
    fn weighted(&self, weights: &[u64; GROUPS]) -> Vec<u64> {
        let mut sums = vec![0; BINS];
        for a in 0..GROUPS {
            for b in 0..=a {
                let weight = weights[a] * weights[b];
                if weight > 0 {
                    for (sum, count) in sums.iter_mut().zip(&self.counts[cell(a, b)]) {
                        *sum += weight * count;
                    }
                }
            }
        }
        sums
    }

    fn total(&self, weights: &[u64; GROUPS]) -> u64 {
        self.weighted(weights).iter().sum()
    }

    /// The similarity of each rate with its interval, people drawn again.
    fn table(&self) -> Vec<FmrPoint> {
        let all = similarities(&self.weighted(&[1; GROUPS]));
        let mut dice = StdRng::seed_from_u64(SEED);
        let mut rounds: Vec<Vec<f64>> = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let mut weights = [0; GROUPS];
            for _ in 0..GROUPS {
                weights[dice.random_range(0..GROUPS)] += 1;
            }
            rounds.push(
                similarities(&self.weighted(&weights))
                    .into_iter()
                    .map(|(at, _)| at)
                    .collect(),
            );
        }
        let interval = |at: usize| -> Interval {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
            values.sort_by(f64::total_cmp);
            [values[ROUNDS * 25 / 1000], values[ROUNDS * 975 / 1000 - 1]].map(rounded)
        };
        let mut table: Vec<FmrPoint> = Vec::with_capacity(RATES.len());
        for (at, (similarity, extrapolated)) in all.into_iter().enumerate() {
            // Rates that few pairs tell apart must not share a similarity.
            let least = table.last().map_or(-1.0, |before| before.similarity + 1e-4);
            table.push(FmrPoint {
                fmr: RATES[at],
                similarity: rounded(similarity.max(least)),
                interval: Some(interval(at)),
                extrapolated,
            });
        }
        table
    }

    fn curve(&self) -> Vec<(f64, f64)> {
        let counts = self.weighted(&[1; GROUPS]);
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let mut above = 0;
        let mut curve = Vec::new();
        for (bin, count) in counts.iter().enumerate().rev() {
            above += count;
            if above > 0 && bin % 50 == 0 {
                curve.push((floor_of(bin), above as f64 / total));
            }
        }
        curve
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The similarity of each rate, and whether it had to be drawn out from the tail: there, as an exponential whose median excess
/// is that of the most alike pairs. Wrong names move the median little, unlike the mean.
fn similarities(counts: &[u64]) -> Vec<(f64, bool)> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let tail = (TAIL / total).min(RATES[0]);
    let start = at_rate(counts, tail * total);
    let mean_excess = (at_rate(counts, tail * total / 2.0) - start) / std::f64::consts::LN_2;
    RATES
        .iter()
        .map(|&rate| {
            if rate * total >= SHOWN {
                (at_rate(counts, rate * total), false)
            } else {
                ((start + mean_excess * (tail / rate).ln()).min(1.0), true)
            }
        })
        .collect()
}

/// The similarity above which `wanted` comparisons lie, within its bin by proportion.
fn at_rate(counts: &[u64], wanted: f64) -> f64 {
    let mut above = 0.0;
    for (bin, count) in counts.iter().enumerate().rev() {
        let count = *count as f64;
        if above + count >= wanted {
            let share = (wanted - above) / count.max(1.0);
            return floor_of(bin) + (1.0 - share) / STEPS as f64;
        }
        above += count;
    }
    -1.0
}

/// Searches for each probe among `sizes` faces of other people, at the thresholds that the table gives.
fn check(
    embedder: &Embedder,
    faces: &[Face<'_>],
    probes: &[&Face<'_>],
    sizes: &[usize],
    workers: usize,
) -> Result<Vec<Check>, EvalError> {
    let mut gallery: Vec<&Face<'_>> = faces.iter().collect();
    gallery.shuffle(&mut StdRng::seed_from_u64(SEED));
    let mut checks = Vec::new();
    for &size in sizes.iter().filter(|size| **size <= faces.len() && !probes.is_empty()) {
        let gallery = &gallery[..size];
        let next = AtomicUsize::new(0);
        let best: Vec<f32> = std::thread::scope(|scope| {
            let work = || {
                let mut best = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(probe) = probes.get(at) else { return best };
                    let others = gallery
                        .iter()
                        .filter(|face| face.person != probe.person && face.hash != probe.hash);
                    let all = others.map(|face| similarity(face.vector, probe.vector));
                    best.push(all.fold(-1.0, f32::max));
                }
            };
            let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .flatten()
                .collect()
        });
        for max_fpir in ASKED {
            let threshold = Threshold::for_search(embedder, max_fpir, size as u64)?;
            let named = best
                .iter()
                .filter(|best| f64::from(**best) >= threshold.similarity)
                .count();
            checks.push(Check {
                gallery: size,
                max_fpir,
                threshold: threshold.similarity,
                calibrated: threshold.calibrated,
                searches: best.len(),
                fpir: named as f64 / best.len() as f64,
            });
        }
    }
    Ok(checks)
}

/// The false-match rate by similarity.
pub fn plot(report: &Report) -> Plot {
    let least = 1.0 / report.comparisons.max(10) as f64;
    Plot {
        title: format!(
            "{} comparisons of different people, {}",
            report.comparisons, report.engine
        ),
        x: Axis {
            name: "similarity".to_owned(),
            range: [0.0, 1.0],
            logarithmic: false,
        },
        y: Axis {
            name: "false-match rate".to_owned(),
            range: [least, 1.0],
            logarithmic: true,
        },
        curves: vec![
            (
                "measured".to_owned(),
                report.curve.iter().copied().filter(|(at, _)| *at >= 0.0).collect(),
            ),
            (
                "table".to_owned(),
                report.table.iter().map(|point| (point.similarity, point.fmr)).collect(),
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of an exponential tail: a share exp(-20 s) of `total` lies above s.
    fn exponential(total: f64) -> Vec<u64> {
        // Rounded before they are told apart, for in the tail a bin holds less than one.
        let above = |bin: usize| (total * (-20.0 * floor_of(bin).max(0.0)).exp()).round() as u64;
        (0..BINS).map(|bin| above(bin) - above(bin + 1)).collect()
    }

    #[test]
    fn rates_are_met_and_the_tail_is_drawn_out() {
        // 1,000,000,000 comparisons show 1e-6; 100,000 do not, and the tail must lead there.
        for (total, shown) in [(1e9, [true; 5]), (1e5, [true, true, false, false, false])] {
            let found = similarities(&exponential(total));
            for ((rate, (similarity, extrapolated)), shown) in RATES.iter().zip(found).zip(shown) {
                let expected = -rate.ln() / 20.0;
                assert_eq!(extrapolated, !shown, "{total} {rate}");
                let tolerance = if shown { 0.01 } else { 0.06 };
                assert!(
                    (similarity - expected).abs() < tolerance,
                    "{total} {rate}: {similarity}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_few_wrong_names_do_not_bend_the_tail() {
        let total = 1e7;
        let mut counts = exponential(total);
        let clean = similarities(&counts);
        counts[bin(0.95)] += 30;
        for ((clean, _), (with, _)) in clean.iter().zip(similarities(&counts)) {
            assert!((clean - with).abs() < 0.02, "{clean} {with}");
        }
    }

    #[test]
    fn nobody_s_photos_count_more_than_a_few_times() {
        let face = |person| Face {
            person,
            hash: "",
            vector: &[],
        };
        let faces = [0, 1, 0, 0, 1, 2].map(face);
        let kept: Vec<usize> = at_most(2, &faces, 3).iter().map(|face| face.person).collect();
        assert_eq!(kept, [0, 1, 0, 1, 2]);
    }

    #[test]
    fn only_photos_of_different_people_are_compared() {
        let vectors: Vec<Vec<f32>> = [0.0f32, 0.1, 0.2, 1.5].iter().map(|a| vec![a.cos(), a.sin()]).collect();
        let face = |person, hash, at: usize| Face {
            person,
            hash,
            vector: &vectors[at],
        };
        let faces = [face(0, "a", 0), face(0, "b", 1), face(1, "c", 2), face(2, "c", 3)];
        let faces: Vec<&Face<'_>> = faces.iter().collect();
        let impostors = Impostors::compare(&faces, 2);
        let counts = impostors.weighted(&[1; GROUPS]);
        // 0 and 1 with 2 and 3; 2 and 3 have the same bytes, 0 and 1 the same person.
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(counts[bin(similarity(&vectors[0], &vectors[2]))], 1);
        let mut without = [1; GROUPS];
        without[2] = 0;
        assert_eq!(impostors.total(&without), 2);
    }
}
