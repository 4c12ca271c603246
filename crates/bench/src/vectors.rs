//! Vectors distributed like real face embeddings, for collections larger than any photo set at hand.
//!
//! A face is `a m + sqrt(1 - a^2) (r p + sqrt(1 - r^2) e)`: a direction `m` that all faces share, the person's own `p`, the
//! photo's own `e`, and how typical a photo is of its person, `r`. The parameters are fitted to what the default embedder
//! does on real photos: the similarities at false-match rates of 1e-2 to 1e-5 over 29.6 million pairs, and the shares of
//! same-person pairs above them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal, StandardNormal};

/// Mean similarity of two different people, `a^2`.
const COMMON: f64 = 0.105;
/// How unequal the dimensions' variances are: they fall linearly from `1 + SLOPE` to `1 - SLOPE`. This widens the spread
/// of different people's similarities from `1/sqrt(dims)` to what is seen.
const SLOPE: f64 = 0.79;
/// Mean and standard deviation of `r`, and its range.
const TYPICAL: (f64, f64) = (0.836, 0.129);
const RANGE: (f64, f64) = (0.3, 0.985);

/// People without end, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Population {
    seed: u64,
    common: Vec<f64>,
    deviations: Vec<f64>,
}

impl Population {
    /// People in `dims` dimensions.
    pub fn new(dims: usize, seed: u64) -> Self {
        let share = |i: usize| i as f64 / (dims.max(2) - 1) as f64;
        let deviations: Vec<f64> = (0..dims)
            .map(|i| (1.0 + SLOPE * (1.0 - 2.0 * share(i))).sqrt())
            .collect();
        let mut population = Self {
            seed,
            common: Vec::new(),
            deviations,
        };
        population.common = population.direction(&mut population.dice(u64::MAX, u64::MAX));
        population
    }

    /// The L2-normalised embedding of a person's photo, both counted from 0.
    pub fn face(&self, person: u64, photo: u64) -> Vec<f32> {
        let own = self.direction(&mut self.dice(person, u64::MAX));
        let dice = &mut self.dice(person, photo);
        let noise = self.direction(dice);
        let typical = Normal::new(TYPICAL.0, TYPICAL.1).map_or(TYPICAL.0, |normal| normal.sample(dice));
        let typical = typical.clamp(RANGE.0, RANGE.1);
        let rest = (1.0 - typical * typical).sqrt();
        let (shared, apart) = (COMMON.sqrt(), (1.0 - COMMON).sqrt());
        let mixed = self.common.iter().zip(&own).zip(&noise);
        let vector = mixed.map(|((common, own), noise)| shared * common + apart * (typical * own + rest * noise));
        unit(vector.collect()).into_iter().map(|value| value as f32).collect()
    }

    fn direction(&self, dice: &mut StdRng) -> Vec<f64> {
        let values = self.deviations.iter().map(|deviation| {
            let value: f64 = StandardNormal.sample(dice);
            value * deviation
        });
        unit(values.collect())
    }

    /// Randomness of its own for each person and photo, so that any face can be made without those before it.
    fn dice(&self, person: u64, photo: u64) -> StdRng {
        let mut seed = [0; 32];
        for (bytes, value) in seed.chunks_exact_mut(8).zip([self.seed, person, photo]) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        StdRng::from_seed(*blake3::hash(&seed).as_bytes())
    }
}

fn unit(vector: Vec<f64>) -> Vec<f64> {
    let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.into_iter().map(|value| value / norm).collect()
}

/// An id that looks like a photo's hash.
pub fn photo_hash(seed: u64, number: u64) -> String {
    let mut dice = StdRng::seed_from_u64(seed ^ number.rotate_left(32));
    format!("{:032x}", dice.random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use facedex::query::verify::similarity as cosine;
    use facedex_face::models::catalog::Catalog;

    #[test]
    fn the_same_face_is_the_same_vector_of_unit_length() {
        let population = Population::new(128, 7);
        let face = population.face(3, 5);
        assert_eq!(face, Population::new(128, 7).face(3, 5));
        assert_ne!(face, Population::new(128, 8).face(3, 5));
        assert!((cosine(&face, &face) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn different_people_are_as_alike_as_the_catalog_has_measured() {
        let population = Population::new(128, 1);
        let faces: Vec<_> = (0..1500).map(|person| population.face(person, 0)).collect();
        let mut similarities = Vec::new();
        for (i, a) in faces.iter().enumerate() {
            similarities.extend(faces[..i].iter().map(|b| cosine(a, b)));
        }
        let catalog = Catalog::builtin().unwrap();
        let table = catalog.default_embedder().embedder.as_ref().unwrap().fmr.clone();
        for row in table.iter().filter(|row| row.fmr >= 1e-4) {
            let above = similarities.iter().filter(|&&cosine| cosine >= row.similarity).count();
            let rate = above as f64 / similarities.len() as f64;
            assert!((0.5..2.0).contains(&(rate / row.fmr)), "{row:?}: {rate}");
        }
    }

    #[test]
    fn photos_of_one_person_are_as_alike_as_was_measured() {
        let population = Population::new(128, 1);
        let pairs = 5000;
        let similarities: Vec<_> = (0..pairs)
            .map(|person| cosine(&population.face(person, 0), &population.face(person, 1)))
            .collect();
        for (similarity, share) in [
            (0.307, 0.997),
            (0.372, 0.993),
            (0.428, 0.986),
            (0.481, 0.966),
            (0.573, 0.875),
        ] {
            let above = similarities.iter().filter(|&&cosine| cosine >= similarity).count() as f64 / pairs as f64;
            assert!((above - share).abs() < 0.02, "{similarity}: {above}, measured {share}");
        }
    }
}
