//! How well groups of faces agree with the people they are known to be.

use std::collections::HashMap;

use serde::Serialize;

/// Agreement of a clustering with the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Faces whose person is known.
    pub faces: usize,
    /// People among them.
    pub people: usize,
    /// Share of the pairs put together that are one person.
    pub pair_precision: f64,
    /// Share of the pairs of one person that are put together.
    pub pair_recall: f64,
    /// BCubed precision (Bagga and Baldwin, 1998): the mean over faces of the share of its cluster that is its person.
    pub bcubed_precision: f64,
    /// BCubed recall: the mean over faces of the share of its person's faces that are in its cluster.
    pub bcubed_recall: f64,
    /// Harmonic mean of the two.
    pub bcubed_f: f64,
}

/// Holds clusters against people. A face without a cluster is a cluster of its own. `None` where no person is known.
pub fn agreement(faces: &[(Option<&str>, Option<usize>)]) -> Option<Agreement> {
    let known = faces.iter().enumerate().filter_map(|(at, (person, cluster))| {
        // Places above all clusters' numbers stand for clusters of one.
        Some(((*person)?, cluster.map_or((1, at), |cluster| (0, cluster))))
    });
    let (mut people, mut clusters, mut cells) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut count = 0usize;
    for (person, cluster) in known {
        *people.entry(person).or_insert(0u64) += 1;
        *clusters.entry(cluster).or_insert(0u64) += 1;
        *cells.entry((person, cluster)).or_insert(0u64) += 1;
        count += 1;
    }
    if count == 0 {
        return None;
    }
    let pairs = |sizes: &mut dyn Iterator<Item = u64>| sizes.map(|size| size * (size - 1) / 2).sum::<u64>() as f64;
    let right = pairs(&mut cells.values().copied());
    let share = |of: f64| if of > 0.0 { right / of } else { 1.0 };
    let mean = |size: &dyn Fn(&str, &(usize, usize)) -> u64| {
        let each = cells.iter().map(|((person, cluster), count)| {
            let count = *count as f64;
            count * count / size(person, cluster) as f64
        });
        each.sum::<f64>() / count as f64
    };
    let precision = mean(&|_, cluster| clusters[cluster]);
    let recall = mean(&|person, _| people[person]);
    Some(Agreement {
        faces: count,
        people: people.len(),
        pair_precision: share(pairs(&mut clusters.values().copied())),
        pair_recall: share(pairs(&mut people.values().copied())),
        bcubed_precision: precision,
        bcubed_recall: recall,
        bcubed_f: 2.0 * precision * recall / (precision + recall),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Ada's three faces in one cluster with one of Bob's two; the other of Bob's alone; one face of nobody.
        let faces = [
            (Some("ada"), Some(0)),
            (Some("ada"), Some(0)),
            (Some("ada"), Some(0)),
            (Some("bob"), Some(0)),
            (Some("bob"), None),
            (None, Some(0)),
        ];
        let found = agreement(&faces).unwrap();
        assert_eq!((found.faces, found.people), (5, 2));
        assert_eq!((found.pair_precision, found.pair_recall), (0.5, 0.75));
        // Precision: 3 x 3/4, 1/4, 1; recall: 3 x 1, 2 x 1/2.
        assert!((found.bcubed_precision - 3.5 / 5.0).abs() < 1e-12);
        assert!((found.bcubed_recall - 4.0 / 5.0).abs() < 1e-12);
        assert_eq!(agreement(&[(None, None)]), None);
    }
}
