//! k-fold accuracy: each fold is judged at the threshold that is best for the others.

/// A comparison of a fold.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// None where a face was not found.
    pub similarity: Option<f64>,
    /// Whether it is one person.
    pub same: bool,
    /// Its fold, from 0.
    pub fold: usize,
}

/// How the folds went.
#[derive(Debug, Clone)]
pub struct Folds {
    /// Share of right answers in each fold.
    pub accuracies: Vec<f64>,
    /// The threshold that each fold was judged at.
    pub thresholds: Vec<f64>,
    /// Whether each pair was judged rightly; one without a face is not.
    pub right: Vec<bool>,
}

impl Folds {
    /// The mean of the folds' accuracies.
    pub fn mean(&self) -> f64 {
        mean(&self.accuracies)
    }

    /// Their standard deviation, with n - 1.
    pub fn deviation(&self) -> f64 {
        let (mean, count) = (self.mean(), self.accuracies.len());
        let squares: f64 = self.accuracies.iter().map(|one| (one - mean).powi(2)).sum();
        (squares / count.saturating_sub(1).max(1) as f64).sqrt()
    }
}

/// The arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Judges every pair at the threshold that its fold had no part in.
pub fn cross_validate(pairs: &[Judged]) -> Folds {
    let count = pairs.iter().map(|pair| pair.fold + 1).max().unwrap_or(0);
    let mut folds = Folds {
        accuracies: Vec::with_capacity(count),
        thresholds: Vec::with_capacity(count),
        right: vec![false; pairs.len()],
    };
    for fold in 0..count {
        // A single fold has nothing but itself.
        let others = pairs.iter().filter(|pair| pair.fold != fold || count == 1);
        let threshold = best_threshold(others);
        let (mut members, mut right) = (0, 0);
        for (at, pair) in pairs.iter().enumerate().filter(|(_, pair)| pair.fold == fold) {
            members += 1;
            let is_right = pair
                .similarity
                .is_some_and(|similarity| (similarity >= threshold) == pair.same);
            folds.right[at] = is_right;
            right += usize::from(is_right);
        }
        folds.accuracies.push(right as f64 / f64::from(members.max(1)));
        folds.thresholds.push(threshold);
    }
    folds
}

/// The similarity that separates the two kinds with the fewest errors: halfway between the two pairs around it, and of
/// several as good the middle one.
fn best_threshold<'p>(pairs: impl Iterator<Item = &'p Judged>) -> f64 {
    let mut sorted: Vec<(f64, bool)> = pairs.filter_map(|pair| Some((pair.similarity?, pair.same))).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some(&(highest, _)) = sorted.first() else {
        return 0.0;
    };
    // Accepting the first n pairs is right for the same people among them and the different ones after them.
    let mut right = sorted.iter().filter(|(_, same)| !same).count() as i64;
    let (mut best, mut places) = (right, vec![highest + 1e-9]);
    for (at, (similarity, same)) in sorted.iter().enumerate() {
        right += if *same { 1 } else { -1 };
        let next = sorted.get(at + 1).map(|(next, _)| *next);
        if next == Some(*similarity) {
            continue;
        }
        let place = next.map_or(*similarity, |next| f64::midpoint(*similarity, next));
        match right.cmp(&best) {
            std::cmp::Ordering::Greater => (best, places) = (right, vec![place]),
            std::cmp::Ordering::Equal => places.push(place),
            std::cmp::Ordering::Less => {}
        }
    }
    places[places.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(similarity: f64, same: bool, fold: usize) -> Judged {
        Judged {
            similarity: Some(similarity),
            same,
            fold,
        }
    }

    #[test]
    fn a_fold_is_judged_by_the_others() {
        // Alone, the second fold would be perfect at 0.85; the first one's best threshold gets half of it wrong.
        let pairs = [
            pair(0.6, true, 0),
            pair(0.2, false, 0),
            pair(0.9, true, 1),
            pair(0.8, false, 1),
        ];
        let folds = cross_validate(&pairs);
        assert_eq!(folds.accuracies, [0.5, 0.5]);
        assert!((folds.thresholds[1] - 0.4).abs() < 1e-12 && (folds.thresholds[0] - 0.85).abs() < 1e-12);
        assert_eq!(folds.right, [false, true, true, false]);
        assert_eq!((folds.mean(), folds.deviation()), (0.5, 0.0));
    }

    #[test]
    fn a_pair_without_a_face_is_wrong_either_way() {
        let mut pairs = vec![
            pair(0.9, true, 0),
            pair(0.1, false, 0),
            pair(0.9, true, 1),
            pair(0.1, false, 1),
        ];
        for same in [true, false] {
            pairs.push(Judged {
                similarity: None,
                same,
                fold: 1,
            });
        }
        assert_eq!(cross_validate(&pairs).accuracies, [1.0, 0.5]);
    }
}
