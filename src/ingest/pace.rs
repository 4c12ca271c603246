//! How much is sent at once: halved when the cluster says that it is too much, growing slowly while it does not.

/// Additive increase, multiplicative decrease (Chiu and Jain, 1989) of batch size and of batches in flight.
#[derive(Debug, Clone)]
pub struct Pace {
    most_faces: f64,
    most_in_flight: f64,
    faces: f64,
    in_flight: f64,
}

/// Fewer faces than this make requests whose overhead outweighs them.
const FEWEST_FACES: f64 = 8.0;

impl Pace {
    /// Starts at the limits.
    pub fn new(most_faces: usize, most_in_flight: usize) -> Self {
        Self {
            most_faces: most_faces as f64,
            most_in_flight: most_in_flight as f64,
            faces: most_faces as f64,
            in_flight: most_in_flight as f64,
        }
    }

    /// Faces that the next batch may have.
    pub fn faces(&self) -> usize {
        self.faces as usize
    }

    /// Batches that may be unanswered.
    pub fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// A batch was answered; `throttled` if anything was sent back as too much since the last one.
    pub fn landed(&mut self, throttled: bool) {
        if throttled {
            self.faces = (self.faces / 2.0).max(FEWEST_FACES.min(self.most_faces));
            self.in_flight = (self.in_flight / 2.0).max(1.0);
        } else {
            self.faces = (self.faces + self.most_faces / 32.0).min(self.most_faces);
            self.in_flight = (self.in_flight + 0.125).min(self.most_in_flight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_at_once_and_grows_back_slowly() {
        let mut pace = Pace::new(500, 4);
        pace.landed(true);
        assert_eq!((pace.faces(), pace.in_flight()), (250, 2));
        for _ in 0..20 {
            pace.landed(true);
        }
        assert_eq!((pace.faces(), pace.in_flight()), (8, 1));
        pace.landed(false);
        assert!(pace.faces() < 30 && pace.in_flight() == 1);
        for _ in 0..100 {
            pace.landed(false);
        }
        assert_eq!((pace.faces(), pace.in_flight()), (500, 4));
        let mut small = Pace::new(1, 1);
        small.landed(true);
        assert_eq!((small.faces(), small.in_flight()), (1, 1));
    }
}
