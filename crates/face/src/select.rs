//! Which face of a photo is meant.

use std::str::FromStr;

use crate::engine::Face;
use crate::geometry::Point;

/// Which faces of a query photo take part.
///
/// ```
/// use facedex_face::select::FaceChoice;
///
/// assert_eq!("largest".parse(), Ok(FaceChoice::Largest));
/// assert_eq!("2".parse(), Ok(FaceChoice::Ordinal(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaceChoice {
    /// Every face.
    #[default]
    All,
    /// The one with the largest box.
    Largest,
    /// The one nearest to the photo's middle.
    Central,
    /// The one with this ordinal, counted from 0 in (y, x) order.
    Ordinal(usize),
}

impl FromStr for FaceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "largest" => Ok(Self::Largest),
            "central" => Ok(Self::Central),
            _ => text
                .parse()
                .map(Self::Ordinal)
                .map_err(|_| "expected all, largest, central or a face's number, counted from 0".to_owned()),
        }
    }
}

impl FaceChoice {
    /// The ordinals of the chosen faces; empty where the choice names none of them.
    pub fn ordinals(self, faces: &[Face], width: u32, height: u32) -> Vec<usize> {
        match self {
            Self::All => (0..faces.len()).collect(),
            Self::Largest => largest(faces).into_iter().collect(),
            Self::Central => central(faces, width, height).into_iter().collect(),
            Self::Ordinal(ordinal) => (ordinal < faces.len()).then_some(ordinal).into_iter().collect(),
        }
    }
}

/// Which face of a photo of a named person is that person; the others are bystanders and stay unlabelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Subject {
    /// The face nearest to the photo's middle.
    #[default]
    Central,
    /// The face with the largest box.
    Largest,
    /// The only face; a photo with several is refused.
    Only,
    /// Every face.
    All,
}

impl Subject {
    /// Whether each face is the named person. `None` where [`Subject::Only`] meets several faces.
    pub fn labels(self, faces: &[Face], width: u32, height: u32) -> Option<Vec<bool>> {
        let one = |chosen: Option<usize>| (0..faces.len()).map(|i| Some(i) == chosen).collect();
        match self {
            Self::Central => Some(one(central(faces, width, height))),
            Self::Largest => Some(one(largest(faces))),
            Self::Only => (faces.len() <= 1).then(|| vec![true; faces.len()]),
            Self::All => Some(vec![true; faces.len()]),
        }
    }
}

fn largest(faces: &[Face]) -> Option<usize> {
    let area = |i: &usize| faces[*i].bbox.area();
    // The first of equals, so that the choice does not depend on the order of evaluation.
    (0..faces.len()).max_by(|a, b| area(a).total_cmp(&area(b)).then(b.cmp(a)))
}

fn central(faces: &[Face], width: u32, height: u32) -> Option<usize> {
    let middle = Point {
        x: width as f32 / 2.0,
        y: height as f32 / 2.0,
    };
    let distance = |i: &usize| {
        let centre = faces[*i].bbox.centre();
        (centre.x - middle.x).hypot(centre.y - middle.y)
    };
    (0..faces.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::face_at;

    #[test]
    fn chooses_by_place_size_and_number() {
        let faces = [
            face_at(0.0, 0.0, 10.0),
            face_at(40.0, 40.0, 20.0),
            face_at(0.0, 60.0, 40.0),
        ];
        assert_eq!(FaceChoice::Central.ordinals(&faces, 100, 100), [1]);
        assert_eq!(FaceChoice::Largest.ordinals(&faces, 100, 100), [2]);
        assert_eq!(FaceChoice::All.ordinals(&faces, 100, 100), [0, 1, 2]);
        assert_eq!(FaceChoice::Ordinal(1).ordinals(&faces, 100, 100), [1]);
        assert!(FaceChoice::Ordinal(3).ordinals(&faces, 100, 100).is_empty());
        assert!(FaceChoice::Central.ordinals(&[], 100, 100).is_empty());
        assert_eq!(
            Subject::Central.labels(&faces, 100, 100),
            Some(vec![false, true, false])
        );
        assert_eq!(Subject::Only.labels(&faces, 100, 100), None);
        assert_eq!(Subject::Only.labels(&faces[..1], 100, 100), Some(vec![true]));
    }

    #[test]
    fn parses_what_the_command_line_offers() {
        assert_eq!("2".parse(), Ok(FaceChoice::Ordinal(2)));
        assert_eq!("largest".parse(), Ok(FaceChoice::Largest));
        assert!("biggest".parse::<FaceChoice>().is_err());
    }
}
