//! The receiver operating characteristic of a set of comparisons, and what is read off it.

/// Comparisons, from the most alike on. One that could not be made, for want of a face, stands last and matches at no
/// threshold.
#[derive(Debug, Clone)]
pub struct Comparisons {
    sorted: Vec<(f64, bool)>,
}

/// A place on the curve: what accepting from this similarity on brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The similarity from which on pairs are accepted; infinite where none is.
    pub threshold: f64,
    /// Share of the pairs of two people that are accepted (false-accept rate).
    pub far: f64,
    /// Share of the pairs of one person that are accepted (true-accept rate).
    pub tar: f64,
    /// How many pairs of two people that is.
    pub false_accepts: u64,
}

/// The curve, from nothing accepted to everything accepted.
#[derive(Debug, Clone)]
pub struct Curve {
    points: Vec<Point>,
}

impl Comparisons {
    /// From each pair's similarity, if it has one, and whether it is one person's.
    pub fn new(pairs: impl Iterator<Item = (Option<f64>, bool)>) -> Self {
        let mut sorted: Vec<(f64, bool)> = pairs
            .map(|(similarity, same)| (similarity.unwrap_or(f64::NEG_INFINITY), same))
            .collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { sorted }
    }

    /// Whether each pair, from the most alike on, is one person's.
    pub fn kinds(&self) -> impl Iterator<Item = bool> {
        self.sorted.iter().map(|(_, same)| *same)
    }

    /// The curve; each pair counts once.
    pub fn curve(&self) -> Curve {
        self.weighted(|_| 1)
    }

    /// The curve where the pair at each place, from the most alike on, counts `weight` times.
    pub fn weighted(&self, weight: impl Fn(usize) -> u32) -> Curve {
        let totals = [true, false].map(|kind| {
            let of_kind = self.sorted.iter().enumerate().filter(|(_, (_, same))| *same == kind);
            of_kind.map(|(at, _)| u64::from(weight(at))).sum::<u64>()
        });
        let [same, different] = totals.map(|total| total.max(1) as f64);
        let (mut accepted, mut points) = ([0u64; 2], Vec::with_capacity(self.sorted.len() + 1));
        let point = |threshold: f64, accepted: [u64; 2]| Point {
            threshold,
            tar: accepted[0] as f64 / same,
            far: accepted[1] as f64 / different,
            false_accepts: accepted[1],
        };
        points.push(point(f64::INFINITY, accepted));
        for (at, (similarity, is_same)) in self.sorted.iter().enumerate() {
            accepted[usize::from(!is_same)] += u64::from(weight(at));
            // Equal similarities are accepted together or not at all.
            let next = self.sorted.get(at + 1).map(|(next, _)| *next);
            if next != Some(*similarity) {
                points.push(point(*similarity, accepted));
            }
        }
        Curve { points }
    }
}

impl Curve {
    /// The places, by rising false-accept rate.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The place with the most true accepts whose false-accept rate is at most `far`.
    pub fn at_far(&self, far: f64) -> Point {
        let within = |point: &&Point| point.far <= far + 1e-12 && point.threshold > f64::NEG_INFINITY;
        *self.points.iter().take_while(within).last().unwrap_or(&self.points[0])
    }

    /// Area under the curve: the chance that a pair of one person is more alike than one of two.
    pub fn auc(&self) -> f64 {
        let strip = |pair: &[Point]| (pair[1].far - pair[0].far) * (pair[1].tar + pair[0].tar) / 2.0;
        self.points.windows(2).map(strip).sum()
    }

    /// Equal error rate: where as large a share of the one is accepted as of the other rejected, between two places if need
    /// be.
    pub fn eer(&self) -> f64 {
        let difference = |point: &Point| point.far - (1.0 - point.tar);
        let crossing = self.points.windows(2).find(|pair| difference(&pair[1]) >= 0.0);
        let Some([before, after]) = crossing.map(|pair| [pair[0], pair[1]]) else {
            return 1.0;
        };
        let (low, high) = (difference(&before), difference(&after));
        let share = if high > low { -low / (high - low) } else { 0.0 };
        before.far + share * (after.far - before.far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(same: &[f64], different: &[f64]) -> Curve {
        let pairs = same.iter().map(|s| (Some(*s), true));
        Comparisons::new(pairs.chain(different.iter().map(|s| (Some(*s), false)))).curve()
    }

    #[test]
    fn what_is_read_off_agrees_with_counting() {
        let curve = curve(&[0.9, 0.8, 0.4, 0.3], &[0.5, 0.35, 0.2, 0.1]);
        // 13 of the 16 pairings are in the right order.
        assert!((curve.auc() - 13.0 / 16.0).abs() < 1e-12);
        assert_eq!((curve.at_far(0.0).tar, curve.at_far(0.0).threshold), (0.5, 0.8));
        assert_eq!((curve.at_far(0.25).tar, curve.at_far(0.25).false_accepts), (0.75, 1));
        assert_eq!(curve.at_far(0.5).tar, 1.0);
        assert!((curve.eer() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn separated_kinds_are_perfect_and_equal_ones_are_chance() {
        let apart = curve(&[0.9, 0.8], &[0.2, 0.1]);
        assert_eq!((apart.auc(), apart.eer(), apart.at_far(0.0).tar), (1.0, 0.0, 1.0));
        let tied = curve(&[0.5, 0.5], &[0.5, 0.5]);
        assert_eq!((tied.auc(), tied.eer(), tied.at_far(0.1).tar), (0.5, 0.5, 0.0));
    }

    #[test]
    fn a_pair_without_a_face_is_accepted_at_no_rate() {
        let pairs = [(Some(0.9), true), (None, true), (Some(0.1), false), (None, false)];
        let curve = Comparisons::new(pairs.into_iter()).curve();
        assert_eq!(curve.at_far(1.0).tar, 0.5);
        assert_eq!(curve.points().last().map(|point| point.tar), Some(1.0));
    }

    #[test]
    fn weights_are_repetitions() {
        let once = [
            (Some(0.9), true),
            (Some(0.5), false),
            (Some(0.4), true),
            (Some(0.2), false),
        ];
        let weights = [2, 1, 3, 0];
        let repeated = once.iter().zip(weights).flat_map(|(pair, weight)| vec![*pair; weight]);
        let by_weight = Comparisons::new(once.into_iter()).weighted(|at| weights[at] as u32);
        let by_hand = Comparisons::new(repeated).curve();
        assert!((by_weight.auc() - by_hand.auc()).abs() < 1e-12);
        assert!((by_weight.eer() - by_hand.eer()).abs() < 1e-12);
    }
}
