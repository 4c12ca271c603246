//! Photos whose people are known: a folder a person. Who is enrolled, who is asked about, who stays unknown.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{EvalError, io_error};

/// A photo of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Who.
    pub person: String,
    /// Where.
    pub path: PathBuf,
}

/// What an identification is measured by.
#[derive(Debug, Clone, Default)]
pub struct Split {
    /// Enrolled photos.
    pub gallery: Vec<Photo>,
    /// Photos that are searched with: of enrolled people and of strangers.
    pub probes: Vec<Photo>,
}

/// All photos in the folders of `root`, each of which is named after a person; by name.
pub fn photos(root: &Path) -> Result<Vec<Photo>, EvalError> {
    let mut photos = Vec::new();
    for folder in sorted(root)? {
        if !folder.is_dir() {
            continue;
        }
        let person = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = sorted(&folder)?.into_iter().filter(|path| is_image(path));
        photos.extend(files.map(|path| Photo {
            person: person.clone(),
            path,
        }));
    }
    if photos.is_empty() {
        return Err(EvalError::TooFew {
            what: format!("photos in folders named after people in {}", root.display()),
            found: 0,
            needed: 1,
        });
    }
    Ok(photos)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let entries = std::fs::read_dir(folder).map_err(io_error(folder))?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(io_error(folder))?.path()))
        .collect::<Result<Vec<_>, EvalError>>()?;
    paths.retain(|path| {
        !path
            .file_name()
            .unwrap_or_default()
            .as_encoded_bytes()
            .starts_with(b".")
    });
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    path.is_file() && image::ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled())
}

/// Splits the photos of people who have several: `enrol` of each, at most all but one, are enrolled and the others searched
/// with. People of one photo stay out of the gallery: their searches should find nobody. The seed decides which photo is
/// which.
pub fn split(photos: &[Photo], enrol: usize, seed: u64) -> Split {
    let mut people: BTreeMap<&str, Vec<&Photo>> = BTreeMap::new();
    for photo in photos {
        people.entry(&photo.person).or_default().push(photo);
    }
    let mut dice = StdRng::seed_from_u64(seed);
    let mut split = Split::default();
    for mut own in people.into_values() {
        own.shuffle(&mut dice);
        let enrolled = enrol.min(own.len() - 1);
        split
            .gallery
            .extend(own[..enrolled].iter().map(|photo| (*photo).clone()));
        split
            .probes
            .extend(own[enrolled..].iter().map(|photo| (*photo).clone()));
    }
    split
}

impl Split {
    /// Leaves the searches with photos out that are enrolled as well, by their content: they would find themselves. Gives how
    /// many there were.
    pub fn without_enrolled_probes(&mut self) -> Result<usize, EvalError> {
        let hash = |photo: &Photo| -> Result<blake3::Hash, EvalError> {
            let mut hasher = blake3::Hasher::new();
            let file = std::fs::File::open(&photo.path).map_err(io_error(&photo.path))?;
            std::io::copy(&mut std::io::BufReader::new(file), &mut hasher).map_err(io_error(&photo.path))?;
            Ok(hasher.finalize())
        };
        let enrolled = self.gallery.iter().map(hash).collect::<Result<HashSet<_>, _>>()?;
        let before = self.probes.len();
        let mut kept = Vec::with_capacity(before);
        for probe in std::mem::take(&mut self.probes) {
            if !enrolled.contains(&hash(&probe)?) {
                kept.push(probe);
            }
        }
        self.probes = kept;
        Ok(before - self.probes.len())
    }

    /// How many searches are for people who are enrolled, and how many for strangers.
    pub fn searches(&self) -> (usize, usize) {
        let enrolled = self.enrolled();
        let mated = self
            .probes
            .iter()
            .filter(|photo| enrolled.contains(photo.person.as_str()))
            .count();
        (mated, self.probes.len() - mated)
    }

    /// The same with `size` photos in the gallery: whole people are drawn, and the probes of those who are not are left out.
    /// Strangers stay.
    pub fn of_size(&self, size: usize, seed: u64) -> Self {
        let mut people: Vec<&str> = self.enrolled().into_iter().collect();
        people.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut left = size;
        let mut chosen = BTreeSet::new();
        for person in people {
            let faces = self.gallery.iter().filter(|photo| photo.person == person).count();
            if faces <= left {
                left -= faces;
                chosen.insert(person);
            }
        }
        let all = self.enrolled();
        let is_in = |photo: &&Photo| chosen.contains(photo.person.as_str());
        let stays = |photo: &&Photo| is_in(photo) || !all.contains(photo.person.as_str());
        Self {
            gallery: self.gallery.iter().filter(is_in).cloned().collect(),
            probes: self.probes.iter().filter(stays).cloned().collect(),
        }
    }

    /// Everybody who is in the gallery.
    pub fn enrolled(&self) -> BTreeSet<&str> {
        self.gallery.iter().map(|photo| photo.person.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photos_of(people: &[(&str, usize)]) -> Vec<Photo> {
        let photo = |person: &str, at: usize| Photo {
            person: person.to_owned(),
            path: format!("{person}/{at}.jpg").into(),
        };
        people
            .iter()
            .flat_map(|(person, count)| (0..*count).map(move |at| photo(person, at)))
            .collect()
    }

    #[test]
    fn people_of_one_photo_are_strangers_and_nothing_is_on_both_sides() {
        let photos = photos_of(&[("ada", 4), ("bob", 2), ("cyd", 1)]);
        for (enrol, gallery) in [(1, 2), (2, 3), (9, 4)] {
            let split = split(&photos, enrol, 3);
            assert_eq!((split.gallery.len(), split.probes.len()), (gallery, 7 - gallery));
            assert_eq!(split.enrolled(), ["ada", "bob"].into());
            assert!(split.gallery.iter().all(|photo| !split.probes.contains(photo)));
            for person in ["ada", "bob", "cyd"] {
                assert!(split.probes.iter().any(|photo| photo.person == person));
            }
        }
        let order = |seed| split(&photos, 1, seed).gallery;
        assert_eq!(order(3), order(3));
        assert!((0..9).any(|seed| order(seed) != order(3)));
    }

    #[test]
    fn a_smaller_gallery_keeps_the_strangers() {
        let split = split(&photos_of(&[("ada", 3), ("bob", 3), ("cyd", 1)]), 2, 1);
        let small = split.of_size(2, 1);
        assert_eq!((small.gallery.len(), small.enrolled().len()), (2, 1));
        assert_eq!(small.probes.len(), 2, "one of the enrolled person, one of the stranger");
        assert!(small.probes.iter().any(|photo| photo.person == "cyd"));
    }
}
