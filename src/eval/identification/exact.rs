//! Every probe compared with every enrolled face, and what several faces of a person make of their similarities.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Faces, Known, RANKS, Searched};
use crate::query::exact;

/// What a person's similarity is, of several enrolled faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fusion {
    /// That of the most alike face.
    Max,
    /// The mean of the so many most alike ones, or of all where there are fewer.
    MeanOfTop(usize),
}

impl Fusion {
    fn of(self, mut similarities: Vec<f32>) -> f32 {
        similarities.sort_by(|a, b| b.total_cmp(a));
        let most = match self {
            Self::Max => 1,
            Self::MeanOfTop(count) => count,
        };
        similarities.truncate(most);
        similarities.iter().sum::<f32>() / similarities.len().max(1) as f32
    }
}

/// The most alike people of every probe, on all cores.
pub fn search(faces: &Faces, fusion: Fusion, workers: usize) -> Vec<Searched> {
    let next = AtomicUsize::new(0);
    let mut results = vec![Searched::default(); faces.probes.len()];
    let parts = std::thread::scope(|scope| {
        let work = || {
            let mut part = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(probe) = faces.probes.get(at) else { return part };
                part.push((at, one(probe, &faces.gallery, fusion)));
            }
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
            let similarity = exact::similarity(&probe.embedding, &face.embedding);
            people.entry(&enrolled.person).or_default().push(similarity);
        }
    }
    let fused = people
        .into_iter()
        .map(|(person, similarities)| (person, fusion.of(similarities)));
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
        assert_eq!(Fusion::Max.of(faces.clone()), 0.875);
        assert_eq!(Fusion::MeanOfTop(2).of(faces.clone()), 0.8125);
        assert_eq!(Fusion::MeanOfTop(9).of(faces), 2.125 / 3.0);
    }
}
