//! Which faces are good enough: to stand for a person from now on, or to ask who somebody is. docs/accuracy.md has the curves
//! by which the measures were chosen; pose, exposure, contrast and rotation in the picture are stored but foretell nothing.

use crate::Face;

/// What a face must have, measure by measure; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gate {
    /// Least shorter side of the box, in photo pixels.
    pub size: Option<f32>,
    /// Least variance of the Laplacian.
    pub sharpness: Option<f32>,
    /// Least detection score.
    pub score: Option<f32>,
}

/// Gates by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum MinQuality {
    /// Every face will do
    #[default]
    Off,
    /// What a search needs to mean something
    Mild,
    /// What a person should be enrolled with
    Strict,
}

impl MinQuality {
    /// What it asks for.
    pub fn gate(self) -> Gate {
        match self {
            Self::Off => Gate::default(),
            Self::Mild => Gate::SEARCH,
            Self::Strict => Gate::ENROL,
        }
    }
}

impl Gate {
    /// For faces that are searched with: below this, a third of them were not recognised.
    pub const SEARCH: Self = Self {
        size: Some(15.0),
        sharpness: Some(4.0),
        score: Some(0.7),
    };
    /// For faces that people are enrolled with: others will be compared with them for a long time.
    pub const ENROL: Self = Self {
        size: Some(30.0),
        sharpness: Some(10.0),
        score: Some(0.85),
    };

    /// Where the face falls short, in words; nothing if it does not. What comes before the colon is the same for all faces.
    pub fn complaints(&self, face: &Face) -> Vec<String> {
        let quality = &face.quality;
        let least = |least: Option<f32>, is: f32, what: &str, unit: &str| {
            let least = least.filter(|least| is < *least)?;
            let is = (is * 100.0).round() / 100.0;
            Some(format!("{what}: {is}{unit} where {least}{unit} is the least"))
        };
        [
            least(self.size, quality.size, "the face is too small", " pixels"),
            least(self.sharpness, quality.sharpness, "the face is blurred", ""),
            least(self.score, face.score, "hardly a face", ""),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::face_at;

    #[test]
    fn every_measure_has_its_word() {
        let face = face_at(0.0, 0.0, 18.2);
        assert!(Gate::default().complaints(&face).is_empty());
        let all = Gate {
            size: Some(20.0),
            sharpness: Some(2.0),
            score: Some(0.95),
        };
        assert_eq!(
            all.complaints(&face),
            [
                "the face is too small: 18.2 pixels where 20 pixels is the least",
                "the face is blurred: 1 where 2 is the least",
                "hardly a face: 0.9 where 0.95 is the least"
            ]
        );
    }

    #[test]
    fn enrolment_asks_for_at_least_what_searches_ask_for() {
        let (mild, strict) = (MinQuality::Mild.gate(), MinQuality::Strict.gate());
        let at_least =
            |mild: Option<f32>, strict: Option<f32>| mild.is_none_or(|mild| strict.is_some_and(|s| s >= mild));
        assert!(at_least(mild.size, strict.size) && at_least(mild.sharpness, strict.sharpness));
        assert!(at_least(mild.score, strict.score));
        assert_eq!(MinQuality::Off.gate(), Gate::default());
    }
}
