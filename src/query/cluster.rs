//! Clustering: faces that are probably one person, through their nearest neighbours in the index. No pair of faces is
//! compared that the index does not bring together, so the work grows with the faces, not with their pairs.
//!
//! Clusters grow by average linkage: the two whose faces are on average most alike are joined, as long as that average
//! reaches the threshold. With vectors summed a cluster, the average over all pairs costs one product.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use facedex_elastic::read::effort::Effort;
use facedex_elastic::read::neighbours::{self, Nearness};
use facedex_elastic::read::vectors::{self, Beside, StoredVector};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::filter::Filter;
use facedex_elastic::{Destination, ElasticError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Searches a request.
const BATCH: usize = 64;
/// Requests that may be unanswered.
const IN_FLIGHT: usize = 4;
/// Pairs below the threshold by this much may still bring two clusters together whose average reaches it.
const SLACK: f64 = 0.1;

/// How faces are grouped.
#[derive(Debug, Clone, Copy)]
pub struct Grouping {
    /// The average similarity that two clusters must reach to become one.
    pub threshold: f64,
    /// Neighbours of each face that are looked at.
    pub neighbours: usize,
    /// How far each shard looks.
    pub effort: Effort,
}

/// All faces of a collection, in order of their ids, and which two were found alike.
pub struct Neighbourhood {
    /// The faces.
    pub faces: Vec<StoredVector>,
    /// Places of two faces, the first smaller, and their similarity.
    pub edges: Vec<(usize, usize, f64)>,
}

/// Reads all vectors and asks the index for the neighbours of each; `told` hears how many are done.
pub async fn neighbourhood(
    to: &Destination,
    collection: &Collection,
    filters: &[Filter],
    grouping: &Grouping,
    progress: impl Fn(usize),
) -> Result<Neighbourhood, ElasticError> {
    let pages = vectors::map(to, collection.shards, filters, Beside::Identity, Arc::new(|page| page)).await?;
    let mut faces: Vec<StoredVector> = pages.into_iter().flatten().collect();
    faces.sort_by(|a, b| a.id.cmp(&b.id));
    let places: HashMap<&str, usize> = faces
        .iter()
        .enumerate()
        .map(|(at, face)| (face.id.as_str(), at))
        .collect();
    let nearness = Nearness {
        // The face itself is its nearest neighbour.
        k: grouping.neighbours + 1,
        effort: grouping.effort,
        min_similarity: grouping.threshold - SLACK,
    };
    let batches = stream::iter(faces.chunks(BATCH).enumerate().map(|(batch, faces)| {
        let vectors: Vec<&[f32]> = faces.iter().map(|face| face.vector.as_slice()).collect();
        async move {
            let found = neighbours::of(&to.client, collection, &vectors, nearness).await?;
            Ok::<_, ElasticError>((batch * BATCH, found))
        }
    }));
    let mut edges = HashMap::new();
    let mut answers = batches.buffer_unordered(IN_FLIGHT);
    let mut done = 0;
    while let Some((first, found)) = answers.try_next().await? {
        done += found.len();
        for (at, neighbours) in found.into_iter().enumerate() {
            for (id, similarity) in neighbours {
                let (a, Some(&b)) = (first + at, places.get(id.as_str())) else {
                    continue;
                };
                if a != b {
                    edges.insert((a.min(b), a.max(b)), similarity);
                }
            }
        }
        progress(done);
    }
    drop(answers);
    let mut edges: Vec<(usize, usize, f64)> = edges.into_iter().map(|((a, b), at)| (a, b, at)).collect();
    edges.sort_by_key(|&(a, b, _)| (a, b));
    Ok(Neighbourhood { faces, edges })
}

/// Two clusters that could be joined.
struct Join {
    average: f64,
    a: usize,
    b: usize,
}

impl PartialEq for Join {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Join {}

impl PartialOrd for Join {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Join {
    /// The most alike first; of equals the oldest clusters, so that the result does not depend on the order of edges.
    fn cmp(&self, other: &Self) -> Ordering {
        self.average
            .total_cmp(&other.average)
            .then_with(|| (other.a, other.b).cmp(&(self.a, self.b)))
    }
}

struct Cluster {
    members: Vec<usize>,
    sum: Vec<f64>,
    /// Sum of the members' squared lengths.
    squares: f64,
    neighbours: HashSet<usize>,
}

impl Cluster {
    /// The average similarity, `1 - d^2 / 2`, over all pairs of the two clusters' faces.
    fn average(&self, other: &Self) -> f64 {
        let (n, m) = (self.members.len() as f64, other.members.len() as f64);
        let product: f64 = self.sum.iter().zip(&other.sum).map(|(a, b)| a * b).sum();
        1.0 - (self.squares / n + other.squares / m) / 2.0 + product / (n * m)
    }
}

/// Groups faces: the places of each group's members, groups of one left out, the largest first.
pub fn group(vectors: &[&[f32]], edges: &[(usize, usize, f64)], threshold: f64) -> Vec<Vec<usize>> {
    let mut clusters: Vec<Option<Cluster>> = vectors
        .iter()
        .enumerate()
        .map(|(at, vector)| {
            let sum: Vec<f64> = vector.iter().map(|value| f64::from(*value)).collect();
            Some(Cluster {
                members: vec![at],
                squares: sum.iter().map(|value| value * value).sum(),
                sum,
                neighbours: HashSet::new(),
            })
        })
        .collect();
    let mut joins = BinaryHeap::new();
    for &(a, b, similarity) in edges {
        for (one, other) in [(a, b), (b, a)] {
            if let Some(cluster) = &mut clusters[one] {
                cluster.neighbours.insert(other);
            }
        }
        if similarity >= threshold {
            joins.push(Join {
                average: similarity,
                a,
                b,
            });
        }
    }
    while let Some(Join { a, b, .. }) = joins.pop() {
        if clusters[a].is_none() || clusters[b].is_none() {
            continue;
        }
        let (Some(mut one), Some(other)) = (clusters[a].take(), clusters[b].take()) else {
            continue;
        };
        one.members.extend(other.members);
        one.squares += other.squares;
        for (sum, more) in one.sum.iter_mut().zip(other.sum) {
            *sum += more;
        }
        one.neighbours.extend(other.neighbours);
        one.neighbours.remove(&a);
        one.neighbours.remove(&b);
        let joined = clusters.len();
        for &neighbour in &one.neighbours {
            if let Some(cluster) = &mut clusters[neighbour] {
                cluster.neighbours.remove(&a);
                cluster.neighbours.remove(&b);
                cluster.neighbours.insert(joined);
                let average = one.average(cluster);
                if average >= threshold {
                    joins.push(Join {
                        average,
                        a: neighbour,
                        b: joined,
                    });
                }
            }
        }
        clusters.push(Some(one));
    }
    let mut groups: Vec<Vec<usize>> = clusters
        .into_iter()
        .flatten()
        .map(|cluster| cluster.members)
        .filter(|members| members.len() > 1)
        .collect();
    for members in &mut groups {
        members.sort_unstable();
    }
    groups.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    groups
}

/// A cluster's name: the same members have the same one, whenever and wherever they are grouped.
pub fn name(faces: &[StoredVector], members: &[usize]) -> String {
    let first = members.first().map_or("", |&at| faces[at].id.as_str());
    format!("c-{}", &blake3::hash(first.as_bytes()).to_hex()[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(degrees: f32) -> Vec<f32> {
        vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
    }

    fn grouped(degrees: &[f32], threshold: f64) -> Vec<Vec<usize>> {
        let vectors: Vec<Vec<f32>> = degrees.iter().map(|degrees| at(*degrees)).collect();
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let mut edges = Vec::new();
        for a in 0..vectors.len() {
            for b in a + 1..vectors.len() {
                edges.push((a, b, crate::query::verify::similarity(vectors[a], vectors[b])));
            }
        }
        group(&vectors, &edges, threshold)
    }

    #[test]
    fn what_is_alike_on_average_is_one_group() {
        assert_eq!(grouped(&[0.0, 5.0, 90.0, 95.0, 180.0], 0.9), [vec![0, 1], vec![2, 3]]);
        assert!(grouped(&[0.0, 60.0], 0.9).is_empty());
    }

    #[test]
    fn a_chain_does_not_become_one_group() {
        // Each is alike its neighbour (cosine 0.94), the ends are opposite.
        let chain: Vec<f32> = (0..10).map(|step| 20.0 * step as f32).collect();
        let groups = grouped(&chain, 0.9);
        assert!(
            groups.len() >= 3 && groups.iter().all(|group| group.len() <= 3),
            "{groups:?}"
        );
    }

    #[test]
    fn averages_are_those_of_all_pairs() {
        let cluster = |degrees: &[f32], first: usize| {
            let vectors: Vec<Vec<f32>> = degrees
                .iter()
                .map(|degrees| at(*degrees).iter().map(|v| v * 1.5).collect())
                .collect();
            let sum = (0..2).map(|d| vectors.iter().map(|v| f64::from(v[d])).sum()).collect();
            let squares = vectors.iter().flatten().map(|v| f64::from(*v).powi(2)).sum();
            let members = (first..first + vectors.len()).collect();
            (
                vectors,
                Cluster {
                    members,
                    sum,
                    squares,
                    neighbours: HashSet::new(),
                },
            )
        };
        let ((a, one), (b, other)) = (cluster(&[0.0, 10.0, 30.0], 0), cluster(&[50.0, 80.0], 3));
        let all = a
            .iter()
            .flat_map(|a| b.iter().map(|b| crate::query::verify::similarity(a, b)));
        assert!((one.average(&other) - all.sum::<f64>() / 6.0).abs() < 1e-6);
    }
}
