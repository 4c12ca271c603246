//! Every probe compared with every enrolled face, and what several faces of a person make of their similarities.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use facedex_base::similarity::similarity;

use super::{Faces, Known, RANKS, Searched};

/// What a person's similarity is, of several enrolled faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fusion {
    /// That of the most alike face.
    Max,
    /// The mean of the so many most alike ones, or of all where there are fewer.
    MeanOfTop(usize),
    /// Each of the so many faces that are most alike of all has a vote; equal votes are told apart by the most alike face.
    Vote(usize),
}

impl Fusion {
    /// `least` is the similarity from which on faces vote.
    fn of(self, mut similarities: Vec<f32>, least: f32) -> f32 {
        similarities.sort_by(|a, b| b.total_cmp(a));
        let most = match self {
            Self::Max => 1,
            Self::MeanOfTop(count) => count,
            Self::Vote(voters) => {
                let votes = similarities.partition_point(|similarity| *similarity >= least);
                let best = similarities.first().copied().unwrap_or(-1.0);
                return (votes as f32 + best) / (voters + 1) as f32;
            }
        };
        similarities.truncate(most);
        similarities.iter().sum::<f32>() / similarities.len().max(1) as f32
    }

    /// The similarity from which on faces vote.
    fn least<'s>(self, all: impl Iterator<Item = &'s f32>) -> f32 {
        let Self::Vote(voters) = self else { return -1.0 };
        let mut all: Vec<f32> = all.copied().collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all.get(voters.saturating_sub(1)).copied().unwrap_or(-1.0)
    }
}

/// The most alike people of every probe, on all cores; fewer where `is_over` says so before the end.
pub fn search(faces: &Faces, fusion: Fusion, workers: usize, is_over: &(dyn Fn() -> bool + Sync)) -> Vec<Searched> {
    let next = AtomicUsize::new(0);
    let mut results = vec![Searched::default(); faces.probes.len()];
    let parts = std::thread::scope(|scope| {
        let work = || {
            let mut part = Vec::new();
            while !is_over() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(probe) = faces.probes.get(at) else { return part };
                part.push((at, one(probe, &faces.gallery, fusion)));
            }
            part
        };
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect::<Vec<_>>()
    });
    for (at, one) in parts.into_iter().flatten() {
        results[at] = one;
    }
    results
}

fn one(probe: &Known, gallery: &[Known], fusion: Fusion) -> Searched {
    let Some(probe) = &probe.face else {
        return Searched::default();
    };
    let start = Instant::now();
    let mut people: HashMap<&str, Vec<f32>> = HashMap::new();
    for enrolled in gallery {
        if let Some(face) = &enrolled.face {
            let similarity = similarity(&probe.embedding, &face.embedding);
            people.entry(&enrolled.person).or_default().push(similarity);
        }
    }
    let least = fusion.least(people.values().flatten());
    let fused = people
        .into_iter()
        .map(|(person, similarities)| (person, fusion.of(similarities, least)));
    let mut candidates: Vec<(&str, f32)> = fused.collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    candidates.truncate(RANKS);
    Searched {
        candidates: candidates
            .into_iter()
            .map(|(person, similarity)| (person.to_owned(), f64::from(similarity)))
            .collect(),
        took_ms: start.elapsed().as_secs_f64() * 1e3,
    }
}

#[cfg(test)]
mod tests {
    use super::Fusion;

    #[test]
    fn several_faces_are_one_similarity() {
        let faces = vec![0.5, 0.875, 0.75];
        let fused = |fusion: Fusion| fusion.of(faces.clone(), fusion.least(faces.iter()));
        assert_eq!(fused(Fusion::Max), 0.875);
        assert_eq!(fused(Fusion::MeanOfTop(2)), 0.8125);
        assert_eq!(fused(Fusion::MeanOfTop(9)), 2.125 / 3.0);
        // Two of the three vote.
        assert_eq!(fused(Fusion::Vote(2)), 2.875 / 3.0);
    }
}
