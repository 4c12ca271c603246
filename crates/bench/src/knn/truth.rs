//! Made-up faces in memory, and which of them are truly nearest: every one is compared, on all cores.

use crate::vectors::Population;
use facedex_base::similarity::similarity;

/// Faces that are compared with every query before the next ones are: as many as stay in a core's cache.
const BLOCK: usize = 256;

/// Vectors one after the other; their place is their number.
#[derive(Debug, Clone)]
pub struct Vectors {
    /// Numbers in each.
    pub dims: usize,
    /// All of them.
    pub values: Vec<f32>,
}

impl Vectors {
    /// The first faces of a population, of which each person has so many.
    pub fn stored(population: &Population, dims: usize, faces: u64, photos_a_person: u64, threads: usize) -> Self {
        let chunk = faces.div_ceil(threads.max(1) as u64).max(1);
        let parts = std::thread::scope(|scope| {
            let make = |start: u64| {
                let numbers = start..(start + chunk).min(faces);
                move || -> Vec<f32> {
                    numbers
                        .flat_map(|number| population.face(number / photos_a_person, number % photos_a_person))
                        .collect()
                }
            };
            let starts = (0..faces).step_by(chunk as usize);
            let threads: Vec<_> = starts.map(|start| scope.spawn(make(start))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_default())
                .collect::<Vec<_>>()
        });
        Self {
            dims,
            values: parts.concat(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    /// One of them.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.dims..(at + 1) * self.dims]
    }

    /// As `float32`, little-endian, one after the other: what numpy's `fromfile` reads.
    pub fn write(&self, file: &mut impl std::io::Write) -> std::io::Result<()> {
        for block in self.values.chunks(1 << 16) {
            let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// The `k` nearest faces of every query among those that `keep` keeps, best first.
pub fn nearest(
    faces: &Vectors,
    queries: &Vectors,
    k: usize,
    threads: usize,
    keep: impl Fn(u64) -> bool + Sync,
) -> Vec<Vec<u32>> {
    let chunk = faces.len().div_ceil(threads.max(1)).max(1);
    let starts = (0..faces.len()).step_by(chunk);
    let keep = &keep;
    let parts = std::thread::scope(|scope| {
        let search = |start: usize| move || part(faces, queries, k, start..(start + chunk).min(faces.len()), keep);
        let threads: Vec<_> = starts.map(|start| scope.spawn(search(start))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .collect::<Vec<_>>()
    });
    let mut best = vec![Best::new(k); queries.len()];
    for (query, found) in parts.into_iter().flat_map(|part| part.into_iter().enumerate()) {
        for (similarity, number) in found.0 {
            best[query].see(similarity, number);
        }
    }
    let numbers = |best: Best| best.0.into_iter().map(|(_, number)| number).collect();
    best.into_iter().map(numbers).collect()
}

fn part(
    faces: &Vectors,
    queries: &Vectors,
    k: usize,
    range: std::ops::Range<usize>,
    keep: &(impl Fn(u64) -> bool + Sync),
) -> Vec<Best> {
    let mut best = vec![Best::new(k); queries.len()];
    for start in range.clone().step_by(BLOCK) {
        let block: Vec<usize> = (start..(start + BLOCK).min(range.end))
            .filter(|at| keep(*at as u64))
            .collect();
        for (query, best) in best.iter_mut().enumerate() {
            let vector = queries.row(query);
            for &at in &block {
                best.see(similarity(vector, faces.row(at)), at as u32);
            }
        }
    }
    best
}

/// The best so far, best first; of equals the one with the lower number.
#[derive(Debug, Clone)]
struct Best(Vec<(f32, u32)>, usize);

impl Best {
    fn new(k: usize) -> Self {
        Self(Vec::with_capacity(k + 1), k)
    }

    fn see(&mut self, similarity: f32, number: u32) {
        let Self(best, k) = self;
        if best.len() == *k && best.last().is_none_or(|last| similarity < last.0) {
            return;
        }
        let place = best.partition_point(|(s, n)| *s > similarity || (*s == similarity && *n < number));
        best.insert(place, (similarity, number));
        best.truncate(*k);
    }
}

/// How much of the truth was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recall {
    /// Share of the queries whose true nearest face came first.
    pub at_1: f64,
    /// Share of the true ten nearest that were among the ten that came, over all queries.
    pub at_10: f64,
}

impl Recall {
    /// Of the found against the true, both best first. A query for which there is nothing to find does not count.
    pub fn of<'t, T: PartialEq + 't>(pairs: impl Iterator<Item = (&'t [T], &'t [T])>) -> Self {
        const K: usize = 10;
        let (mut queries, mut first, mut wanted, mut found) = (0, 0, 0, 0);
        for (seen, truth) in pairs.filter(|(_, truth)| !truth.is_empty()) {
            let truth = &truth[..K.min(truth.len())];
            let seen = &seen[..K.min(seen.len())];
            queries += 1;
            first += usize::from(seen.first() == truth.first());
            wanted += truth.len();
            found += truth.iter().filter(|one| seen.contains(one)).count();
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Self {
            at_1: share(first, queries),
            at_10: share(found, wanted),
        }
    }
}

/// Recall of the queries of people who are stored, and of strangers.
pub fn recalls<T: PartialEq>(found: &[Vec<T>], truth: &[Vec<T>]) -> (Recall, Recall) {
    let half = truth.len() / 2;
    let of = |range: std::ops::Range<usize>| {
        let end = range.end.min(found.len());
        Recall::of((range.start.min(end)..end).map(|at| (&found[at][..], &truth[at][..])))
    };
    (of(0..half), of(half..truth.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use facedex::query::verify;

    #[test]
    fn the_nearest_are_those_of_a_plain_scan_on_any_number_of_threads() {
        let population = Population::new(32, 3);
        let faces = Vectors::stored(&population, 32, 700, 4, 3);
        assert_eq!(faces.len(), 700);
        assert_eq!(faces.row(401), population.face(100, 1));
        let queries = Vectors::stored(&population, 32, 5, 1, 1);
        let even = |number: u64| number.is_multiple_of(2);
        let plain = |query: usize| -> Vec<u32> {
            let mut all: Vec<u32> = (0..700).filter(|n| even(u64::from(*n))).collect();
            let alike = |n: &u32| verify::similarity(queries.row(query), faces.row(*n as usize));
            all.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
            all.truncate(10);
            all
        };
        for threads in [1, 3, 1000] {
            let found = nearest(&faces, &queries, 10, threads, even);
            assert_eq!(found, (0..5).map(plain).collect::<Vec<_>>());
        }
    }

    #[test]
    fn recall_is_the_share_that_was_found() {
        let all: Vec<u32> = (0..10).collect();
        let swapped = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9];
        let half = [0, 1, 2, 3, 4, 20, 21, 22, 23, 24];
        let recall = Recall::of([(&all[..], &all[..]), (&swapped, &all), (&half, &all), (&[], &all)].into_iter());
        assert_eq!((recall.at_1, recall.at_10), (0.5, 25.0 / 40.0));
        // A filter may leave fewer than ten, or none.
        let few = Recall::of([(&all[..3], &all[..3]), (&[], &[])].into_iter());
        assert_eq!((few.at_1, few.at_10), (1.0, 1.0));
        assert_eq!(Recall::of(std::iter::empty::<(&[u32], &[u32])>()), Recall::default());
    }
}
