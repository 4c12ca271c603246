//! What a user adds to the catalog: models, ensembles, and calibrations of embedding spaces.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Catalog, CatalogError, Embedder, Ensemble, FmrPoint, Model};

/// The file's name in the models' folder, where none is given.
pub const FILE: &str = "catalog.toml";

/// A user's catalog.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Additions {
    /// Models besides those that are built in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Model>,
    /// Ensembles likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ensembles: Vec<Ensemble>,
    /// False-match tables that go before those of the models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calibrations: Vec<Calibration>,
}

/// A measured false-match table of a space.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The space.
    pub space: String,
    /// How many comparisons of different people it rests on.
    pub comparisons: u64,
    /// How it was measured.
    pub measured: String,
    /// The table.
    pub fmr: Vec<FmrPoint>,
}

impl Additions {
    /// Reads a user's catalog; one that is not there is empty.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be read or is no catalog.
    pub fn read(path: &Path) -> Result<Self, CatalogError> {
        let bad = |reason: String| CatalogError::Additions {
            path: path.to_owned(),
            reason,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| bad(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(bad(error.to_string())),
        }
    }

    /// Puts a calibration in the place of the space's earlier one and writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be written.
    pub fn calibrate(mut self, path: &Path, calibration: Calibration) -> Result<(), CatalogError> {
        let bad = |reason: String| CatalogError::Additions {
            path: path.to_owned(),
            reason,
        };
        self.calibrations.retain(|earlier| earlier.space != calibration.space);
        self.calibrations.push(calibration);
        let text = toml::to_string(&self).map_err(|error| bad(error.to_string()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| bad(error.to_string()))
    }
}

impl Catalog {
    /// The built-in catalog with a user's additions.
    ///
    /// # Errors
    ///
    /// Fails where the user's catalog cannot be read, or contradicts the built-in one.
    pub fn with_additions(path: &Path) -> Result<Self, CatalogError> {
        let mut catalog = Self::builtin()?;
        let additions = Additions::read(path)?;
        catalog.models.extend(additions.models);
        catalog.ensembles.extend(additions.ensembles);
        for calibration in additions.calibrations {
            let embedder = catalog
                .space_mut(&calibration.space)
                .ok_or_else(|| CatalogError::Additions {
                    path: path.to_owned(),
                    reason: format!("no embedder has the space {:?} that it calibrates", calibration.space),
                })?;
            embedder.fmr = calibration.fmr;
            embedder.comparisons = calibration.comparisons;
            embedder.measured = calibration.measured;
        }
        catalog.check()?;
        Ok(catalog)
    }

    fn space_mut(&mut self, space: &str) -> Option<&mut Embedder> {
        let single = self.models.iter_mut().filter_map(|model| model.embedder.as_mut());
        let ensembles = self.ensembles.iter_mut().map(|ensemble| &mut ensemble.embedder);
        single.chain(ensembles).find(|embedder| embedder.space == space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "sface-2021dec@arcface-112";

    fn calibration(similarity: f64) -> Calibration {
        let point = |fmr, similarity, extrapolated| FmrPoint {
            fmr,
            similarity,
            interval: Some([similarity - 0.01, similarity + 0.01]),
            extrapolated,
        };
        Calibration {
            space: SPACE.to_owned(),
            comparisons: 5000,
            measured: "a test".to_owned(),
            fmr: vec![point(1e-2, similarity, false), point(1e-4, similarity + 0.1, true)],
        }
    }

    #[test]
    fn a_calibration_is_written_replaced_and_goes_before_the_model_s_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/catalog.toml");
        let table = || {
            let catalog = Catalog::with_additions(&path).unwrap();
            catalog.default_embedder().embedder.clone().unwrap().fmr
        };
        assert_eq!(
            table().len(),
            Catalog::builtin()
                .unwrap()
                .default_embedder()
                .embedder
                .as_ref()
                .unwrap()
                .fmr
                .len()
        );
        for similarity in [0.3, 0.35] {
            let additions = Additions::read(&path).unwrap();
            additions.calibrate(&path, calibration(similarity)).unwrap();
            assert_eq!(table(), calibration(similarity).fmr);
        }
        assert_eq!(Additions::read(&path).unwrap().calibrations.len(), 1);
    }

    #[test]
    fn mistakes_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.toml");
        for (text, expected) in [
            ("[[calibration]]\n", "unknown field"),
            (
                "[[calibrations]]\nspace='x@y'\ncomparisons=9\nmeasured=''\nfmr=[]\n",
                "no embedder has the space",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Catalog::with_additions(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("catalog.toml"), "{error}");
        }
    }
}
