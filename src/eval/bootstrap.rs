//! Bootstrap intervals: the same figures from pairs drawn again, with replacement.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Interval;

/// How often pairs are drawn again.
pub const ROUNDS: usize = 1000;

/// How often each of the members counts in a resample, where members of a kind stand for those of the same kind.
pub fn weights(kinds: &[bool], dice: &mut StdRng) -> Vec<u32> {
    let mut weights = vec![0; kinds.len()];
    for kind in [true, false] {
        let members: Vec<usize> = (0..kinds.len()).filter(|&at| kinds[at] == kind).collect();
        for _ in 0..members.len() {
            weights[members[dice.random_range(0..members.len())]] += 1;
        }
    }
    weights
}

/// The middle 95 % of what `figure` is in each of [`ROUNDS`] rounds. The same seed gives the same rounds.
pub fn intervals<const N: usize>(seed: u64, mut figure: impl FnMut(&mut StdRng) -> [f64; N]) -> [Interval; N] {
    let mut dice = StdRng::seed_from_u64(seed);
    let rounds: Vec<[f64; N]> = (0..ROUNDS).map(|_| figure(&mut dice)).collect();
    std::array::from_fn(|at| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
        values.sort_by(f64::total_cmp);
        [values[ROUNDS * 25 / 1000], values[ROUNDS * 975 / 1000 - 1]]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resamples_keep_the_number_of_each_kind() {
        let kinds = [true, true, true, false, false];
        let mut dice = StdRng::seed_from_u64(1);
        for _ in 0..20 {
            let weights = weights(&kinds, &mut dice);
            assert_eq!(
                (weights[..3].iter().sum::<u32>(), weights[3..].iter().sum::<u32>()),
                (3, 2)
            );
        }
    }

    #[test]
    fn the_interval_of_a_share_is_the_binomial_one() {
        // 200 of 1,000: a standard deviation of 0.01265.
        let kinds: Vec<bool> = vec![true; 1000];
        let share = |weights: &[u32]| f64::from(weights[..200].iter().sum::<u32>()) / 1000.0;
        let [[low, high]] = intervals(7, |dice| [share(&weights(&kinds, dice))]);
        assert!((low - (0.2 - 1.96 * 0.01265)).abs() < 0.005, "{low}");
        assert!((high - (0.2 + 1.96 * 0.01265)).abs() < 0.005, "{high}");
        let again = intervals(7, |dice| [share(&weights(&kinds, dice))]);
        assert_eq!([[low, high]], again);
    }
}
