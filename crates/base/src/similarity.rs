//! How alike two embeddings are.

/// How many differences are squared and summed side by side: as many as fit the widest registers.
const LANES: usize = 16;

/// How alike two vectors of a space are: `1 - d^2 / 2` of their Euclidean distance, which for vectors of unit length is their
/// cosine, from -1 to 1. Of vectors of different lengths it compares the first numbers. The sums are of `f32`, in a form that
/// compilers turn into vector instructions: the result is within 1e-5 of its own size of the sum in `f64`.
///
/// ```
/// use facedex_base::similarity::similarity;
///
/// assert_eq!(similarity(&[0.6, 0.8], &[0.6, 0.8]), 1.0);
/// assert_eq!(similarity(&[1.0, 0.0], &[0.0, 1.0]), 0.0);
/// ```
// It is compiled here, where tests optimise it, and not in the crates that call it, where they do not.
#[inline(never)]
pub fn similarity(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_lanes.remainder().iter().zip(b_lanes.remainder());
    let tail: f32 = rest.map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    1.0 - (sums.iter().sum::<f32>() + tail) / 2.0
}
