//! Every probe compared with every enrolled face.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Faces, Known, RANKS, Searched};
use crate::query::exact;

/// The most alike people of every probe, on all cores.
pub fn search(faces: &Faces, workers: usize) -> Vec<Searched> {
    let next = AtomicUsize::new(0);
    let mut results = vec![Searched::default(); faces.probes.len()];
    let parts = std::thread::scope(|scope| {
        let work = || {
            let mut part = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(probe) = faces.probes.get(at) else { return part };
                part.push((at, one(probe, &faces.gallery)));
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

fn one(probe: &Known, gallery: &[Known]) -> Searched {
    let Some(probe) = &probe.face else {
        return Searched::default();
    };
    let start = Instant::now();
    let mut best: HashMap<&str, f32> = HashMap::new();
    for enrolled in gallery {
        if let Some(face) = &enrolled.face {
            let similarity = exact::similarity(&probe.embedding, &face.embedding);
            let entry = best.entry(&enrolled.person).or_insert(f32::NEG_INFINITY);
            *entry = entry.max(similarity);
        }
    }
    let mut candidates: Vec<(&str, f32)> = best.into_iter().collect();
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
