//! Identification: who is it, among those enrolled, or nobody? Closed-set ranks and open-set error rates (NIST's and
//! ISO/IEC 19795-1's terms), through Elasticsearch and by exact comparison.

pub mod exact;
pub mod indexed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use facedex_face::Face;
use facedex_face::models::catalog::Embedder;
use serde::Serialize;

use super::EvalError;
use super::extract::Extractor;
use super::people::{Photo, Split};
use super::plot::{Axis, Plot};
use crate::query::threshold::Threshold;

/// Candidates that are looked at.
pub const RANKS: usize = 10;
/// The false-positive identification rates that are reported.
pub const RATES: [f64; 3] = [1e-1, 1e-2, 1e-3];
/// The rate that the calibrated threshold is asked for.
const ASKED_FPIR: f64 = 0.01;

/// A face whose person is known.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who.
    pub person: String,
    /// Where the photo is.
    pub path: PathBuf,
    /// The subject's face; none where it was not found.
    pub face: Option<Face>,
}

/// What is enrolled and what is searched with, embedded.
#[derive(Debug, Clone)]
pub struct Faces {
    /// Enrolled.
    pub gallery: Vec<Known>,
    /// Searched with.
    pub probes: Vec<Known>,
}

/// People by similarity, the most alike first.
pub type Candidates = Vec<(String, f64)>;

/// The searches of a gallery.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// How candidates were found: `exact`, or the index's type.
    pub through: String,
    /// Faces in the gallery.
    pub gallery: usize,
    /// People in the gallery.
    pub people: usize,
    /// Searches for people who are there.
    pub mated: usize,
    /// Searches for people who are not.
    pub strangers: usize,
    /// Share of the searches for people who are there that name them first; absent without such searches, as are the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank1: Option<f64>,
    /// Among the first five people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank5: Option<f64>,
    /// Among the first ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank10: Option<f64>,
    /// False-negative identification rate at each false-positive one: the share of searches for people who are there that
    /// name nobody, or somebody else. Takes searches for both.
    pub fnir_at_fpir: BTreeMap<String, f64>,
    /// The similarities that this takes; empty without searches for strangers.
    pub threshold_at_fpir: BTreeMap<String, f64>,
    /// What the calibrated threshold does, for a `max_fpir` of 1 % and this gallery; absent for an embedder without a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<Calibrated>,
    /// Median milliseconds of a search.
    pub search_ms: f64,
    /// The false-positive and false-negative rates at each threshold, for plots.
    #[serde(skip)]
    pub tradeoff: Vec<(f64, f64)>,
}

/// A threshold from the embedder's table, put to the test.
#[derive(Debug, Clone, Serialize)]
pub struct Calibrated {
    /// The rate that was asked for.
    pub max_fpir: f64,
    /// The similarity that the table gives.
    pub threshold: f64,
    /// Whether the table reaches that far.
    pub in_table: bool,
    /// The rate that came out; absent without searches for strangers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fpir: Option<f64>,
    /// What it costs; absent without searches for people who are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fnir: Option<f64>,
}

/// A search's result: the candidates, or none where no face was found.
#[derive(Debug, Clone, Default)]
pub struct Searched {
    /// The most alike people.
    pub candidates: Candidates,
    /// How long it took.
    pub took_ms: f64,
}

/// Embeds both sides of a split.
pub fn embed(extractor: &Extractor<'_>, split: &Split) -> Result<Faces, EvalError> {
    let side = |photos: &[Photo]| -> Result<Vec<Known>, EvalError> {
        let paths: Vec<PathBuf> = photos.iter().map(|photo| photo.path.clone()).collect();
        let seen = extractor.extract(&paths)?;
        Ok(photos
            .iter()
            .zip(seen)
            .map(|(photo, seen)| Known {
                person: photo.person.clone(),
                path: photo.path.clone(),
                face: seen.subject,
            })
            .collect())
    };
    Ok(Faces {
        gallery: side(&split.gallery)?,
        probes: side(&split.probes)?,
    })
}

/// The figures of the searches, one a probe. A probe without a face finds nobody, a gallery photo without one is not found.
pub fn measure(
    through: &str,
    faces: &Faces,
    searches: &[Searched],
    embedder: &Embedder,
) -> Result<Measured, EvalError> {
    let enrolled: BTreeSet<&str> = faces.gallery.iter().map(|known| known.person.as_str()).collect();
    let gallery = faces.gallery.iter().filter(|known| known.face.is_some()).count();
    let (mut mated, mut strangers) = (Vec::new(), Vec::new());
    for (probe, search) in faces.probes.iter().zip(searches) {
        let best = search
            .candidates
            .first()
            .map_or(f64::NEG_INFINITY, |(_, similarity)| *similarity);
        if enrolled.contains(probe.person.as_str()) {
            let rank = search.candidates.iter().position(|(person, _)| *person == probe.person);
            mated.push((rank, best));
        } else {
            strangers.push(best);
        }
    }
    strangers.sort_by(|a, b| b.total_cmp(a));
    let within = |ranks: usize| {
        let found = mated.iter().filter(|(rank, _)| rank.is_some_and(|rank| rank < ranks));
        share(found.count(), mated.len())
    };
    let fpir = |threshold: f64| share(strangers.partition_point(|best| *best >= threshold), strangers.len());
    let fnir = |threshold: f64| {
        let found = mated
            .iter()
            .filter(|(rank, best)| *rank == Some(0) && *best >= threshold);
        share(found.count(), mated.len()).map(|found| 1.0 - found)
    };
    // Just above the first stranger who may no longer be named.
    let at = |rate: f64| {
        let allowed = (rate * strangers.len() as f64 + 1e-9) as usize;
        strangers.get(allowed).map_or(f64::MIN, |best| best.next_up())
    };
    let rates = RATES.iter().filter(|_| !strangers.is_empty());
    let thresholds: Vec<(String, f64)> = rates.map(|rate| (rate.to_string(), at(*rate))).collect();
    let calibrated = match embedder.fmr.is_empty() {
        true => None,
        false => Some(Threshold::for_search(embedder, ASKED_FPIR, gallery as u64)?),
    };
    let mut times: Vec<f64> = searches.iter().map(|search| search.took_ms).collect();
    times.sort_by(f64::total_cmp);
    let mut tradeoff: Vec<(f64, f64)> = strangers
        .iter()
        .step_by((strangers.len() / 400).max(1))
        .filter(|best| best.is_finite())
        .filter_map(|best| fpir(*best).zip(fnir(*best)))
        .collect();
    tradeoff.dedup();
    Ok(Measured {
        through: through.to_owned(),
        gallery,
        people: enrolled.len(),
        mated: mated.len(),
        strangers: strangers.len(),
        rank1: within(1),
        rank5: within(5),
        rank10: within(RANKS),
        fnir_at_fpir: thresholds
            .iter()
            .filter_map(|(name, at)| Some((name.clone(), fnir(*at)?)))
            .collect(),
        threshold_at_fpir: thresholds.into_iter().collect(),
        calibrated: calibrated.map(|calibrated| Calibrated {
            max_fpir: ASKED_FPIR,
            threshold: calibrated.similarity,
            in_table: calibrated.calibrated,
            fpir: fpir(calibrated.similarity),
            fnir: fnir(calibrated.similarity),
        }),
        search_ms: times.get(times.len() / 2).copied().unwrap_or_default(),
        tradeoff,
    })
}

/// A part of a whole, where there is a whole.
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The trade-off of all that was measured, in one plot.
pub fn plot(measured: &[Measured]) -> Plot {
    let strangers = measured.iter().map(|one| one.strangers).max().unwrap_or(1);
    let least = 1.0 / strangers.max(10) as f64;
    let curves: Vec<(String, Vec<(f64, f64)>)> = measured
        .iter()
        .map(|one| (format!("{}, {} faces", one.through, one.gallery), one.tradeoff.clone()))
        .collect();
    let highest = curves.iter().flat_map(|(_, points)| points).map(|(_, fnir)| *fnir);
    Plot {
        title: "identification of people who are enrolled and people who are not".to_owned(),
        x: Axis {
            name: "false-positive identification rate".to_owned(),
            range: [least, 1.0],
            logarithmic: true,
        },
        y: Axis {
            name: "false-negative identification rate".to_owned(),
            range: [0.0, highest.fold(0.05, f64::max)],
            logarithmic: false,
        },
        curves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cache::tests::face_at;
    use facedex_face::models::catalog::Catalog;

    fn known(person: &str) -> Known {
        Known {
            person: person.to_owned(),
            path: PathBuf::new(),
            face: Some(face_at(0.0, 0.0, 9.0)),
        }
    }

    fn searched(candidates: &[(&str, f64)]) -> Searched {
        Searched {
            candidates: candidates
                .iter()
                .map(|(person, at)| ((*person).to_owned(), *at))
                .collect(),
            took_ms: 1.0,
        }
    }

    #[test]
    fn ranks_and_rates_are_counted() {
        let faces = Faces {
            gallery: vec![known("ada"), known("bob")],
            probes: ["ada", "ada", "bob", "bob", "cyd", "dan"].map(known).to_vec(),
        };
        let searches = [
            searched(&[("ada", 0.9), ("bob", 0.2)]),
            searched(&[("bob", 0.6), ("ada", 0.5)]),
            searched(&[("bob", 0.4)]),
            Searched::default(),
            searched(&[("ada", 0.5)]),
            searched(&[("bob", 0.1)]),
        ];
        let catalog = Catalog::builtin().unwrap();
        let embedder = catalog.default_embedder().embedder.as_ref().unwrap();
        let measured = measure("exact", &faces, &searches, embedder).unwrap();
        assert_eq!((measured.mated, measured.strangers, measured.people), (4, 2, 2));
        assert_eq!((measured.rank1, measured.rank5), (Some(0.5), Some(0.75)));
        // No stranger may be named: the threshold lies above 0.5, and of the four only the first is named rightly.
        assert_eq!(measured.fnir_at_fpir["0.01"], 0.75);
        assert!(measured.threshold_at_fpir["0.01"] > 0.5 && measured.threshold_at_fpir["0.01"] < 0.500001);
        let calibrated = measured.calibrated.unwrap();
        assert!((calibrated.threshold - 0.33).abs() < 0.05);
        assert_eq!((calibrated.fpir, calibrated.fnir), (Some(0.5), Some(0.5)));

        // Without strangers, and without people who are there, what can be measured is.
        let half = |range: std::ops::Range<usize>| {
            let faces = Faces {
                probes: faces.probes[range.clone()].to_vec(),
                ..faces.clone()
            };
            measure("exact", &faces, &searches[range], embedder).unwrap()
        };
        let known = half(0..4);
        assert_eq!((known.rank1, known.threshold_at_fpir.len()), (Some(0.5), 0));
        let calibrated = known.calibrated.unwrap();
        assert_eq!((calibrated.fpir, calibrated.fnir), (None, Some(0.5)));
        let strangers = half(4..6);
        assert_eq!((strangers.rank1, strangers.fnir_at_fpir.len()), (None, 0));
        let calibrated = strangers.calibrated.unwrap();
        assert_eq!((calibrated.fpir, calibrated.fnir), (Some(0.5), None));
    }
}
