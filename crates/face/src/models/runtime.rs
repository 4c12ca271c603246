//! ONNX Runtime: the shared library, and networks with a reused input buffer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::RgbImage;
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;

use super::catalog::{self, Catalog, CatalogError, Colour, Model, Provider, Role};
use super::fetch::{self, FetchError, Places, State};

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The shared library is not where it should be.
    #[error(
        "no ONNX Runtime library at {path}; run `facedex models fetch`, or point ORT_DYLIB_PATH at libonnxruntime {minimum} or newer"
    )]
    NoLibrary {
        /// Where it was looked for.
        path: PathBuf,
        /// The oldest release that is accepted.
        minimum: String,
    },
    /// The shared library was found and refused.
    #[error(
        "cannot use the ONNX Runtime library at {path}: {reason}; facedex needs {minimum} or newer: run `facedex models fetch`, or point ORT_DYLIB_PATH at one"
    )]
    BadLibrary {
        /// The library's path.
        path: PathBuf,
        /// The oldest release that is accepted.
        minimum: String,
        /// The loader's words.
        reason: String,
    },
    /// The shared library in the cache is not the one that was fetched.
    #[error(
        "the ONNX Runtime library {path} is damaged, or is another one than that of the catalog; remove it and run `facedex models fetch`, or name one of your own in ORT_DYLIB_PATH"
    )]
    UnknownLibrary {
        /// The library's path.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A model file is missing.
    #[error(
        "no model file {path} ({model}); run `facedex models fetch {model}`, or point FACEDEX_MODELS_DIR at a folder that has it"
    )]
    NoModel {
        /// Where it was looked for.
        path: PathBuf,
        /// The model's name in the catalog.
        model: String,
    },
    /// A model file is not the one that the catalog describes.
    #[error(
        "the model file {path} is damaged, or is another one than the catalog's {model}; remove it and run `facedex models fetch`"
    )]
    UnknownModel {
        /// The file's path.
        path: PathBuf,
        /// The model's name in the catalog.
        model: String,
    },
    /// A model file is there but does not load.
    #[error("cannot load the model file {path}: {reason}; remove it and run `facedex models fetch`")]
    BadModel {
        /// The file's path.
        path: PathBuf,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// A network failed while it ran.
    #[error("the model {model} failed: {reason}")]
    Failed {
        /// The model's name in the catalog.
        model: String,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// A network's outputs are not those that the catalog's entry promises.
    #[error("the model {model} gave no usable output {output:?}; its file is not the one that the catalog describes")]
    UnexpectedOutput {
        /// The model's name in the catalog.
        model: String,
        /// The output that was asked for.
        output: String,
    },
    /// A folder is not known.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog gives the model another role.
    #[error("the model {0} is no embedder")]
    WrongRole(String),
}

/// The loaded library and the folder of the models.
pub struct Runtime {
    environment: Environment,
    models_dir: PathBuf,
    provider: Provider,
}

/// Refuses a library of the cache that the catalog does not know. Of one that the user names the digest is said.
fn expect_known(catalog: &Catalog, models_dir: Option<&Path>, provider: Provider) -> Result<(), RuntimeError> {
    if let Some(path) = catalog::given_runtime_library() {
        if tracing::enabled!(tracing::Level::INFO) {
            let sha256 = fetch::file_digest(&path)?.unwrap_or_default();
            tracing::info!(path = %path.display(), sha256, "loading the ONNX Runtime library that ORT_DYLIB_PATH names");
        }
        return Ok(());
    }
    let places = Places::from_environment(catalog, models_dir, provider)?;
    // Of a platform without digests nothing is known.
    let is_known = fetch::known_library_state(&places)? == State::Present || places.runtime.platform().is_none();
    match is_known {
        true => Ok(()),
        false => Err(RuntimeError::UnknownLibrary { path: places.library }),
    }
}

impl Runtime {
    /// Loads the ONNX Runtime that the provider needs; a process can do so once. `models_dir` is where the models are, if
    /// not in the usual place.
    ///
    /// # Errors
    ///
    /// Fails where the library is missing, is not the one of the catalog, is too old, or cannot be loaded.
    pub fn open(catalog: &Catalog, models_dir: Option<&Path>, provider: Provider) -> Result<Self, RuntimeError> {
        let facts = catalog.runtime(provider);
        let (path, minimum) = (catalog::runtime_library(facts)?, facts.minimum.clone());
        if !path.is_file() {
            return Err(RuntimeError::NoLibrary { path, minimum });
        }
        expect_known(catalog, models_dir, provider)?;
        let bad = |reason: String| RuntimeError::BadLibrary {
            path: path.clone(),
            minimum: minimum.clone(),
            reason,
        };
        let environment = ort::init_from(&path)
            .map_err(|error| bad(error.to_string()))?
            .with_name("facedex")
            .build()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            environment,
            models_dir: catalog::models_dir(models_dir)?,
            provider,
        })
    }

    /// Loads a model; one run of it may use `threads` cores.
    ///
    /// # Errors
    ///
    /// Fails where the model's file is missing, is not the one of the catalog, or is refused by ONNX Runtime.
    pub fn load(&self, model: &Model, threads: usize) -> Result<Network, RuntimeError> {
        let path = self.models_dir.join(&model.file);
        if !path.is_file() {
            return Err(RuntimeError::NoModel {
                path,
                model: model.name.clone(),
            });
        }
        let provider = match model.role {
            Role::Embedder => self.provider,
            Role::Detector | Role::Stage | Role::Refiner => Provider::Cpu,
        };
        let session = match provider {
            Provider::Cpu => self.session(&path, threads, provider),
            Provider::OpenVino => self.session(&path, threads, provider).or_else(|reason| {
                tracing::warn!(%reason, "OpenVINO cannot be used: running on ONNX Runtime's own kernels");
                self.session(&path, threads, Provider::Cpu)
            }),
        };
        let session = session.map_err(|error| RuntimeError::BadModel {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(Network {
            session,
            name: model.name.clone(),
            colour: model.input.colour,
            mean: model.input.mean,
            scale: 1.0 / model.input.std,
            input: Vec::new(),
            running: Duration::ZERO,
        })
    }

    fn session(&self, path: &Path, threads: usize, provider: Provider) -> ort::Result<Session> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Spinning threads would take cores from the other workers and from Elasticsearch.
            .with_intra_op_spinning(false)?;
        let mut builder = match provider {
            Provider::Cpu => builder,
            Provider::OpenVino => builder.with_execution_providers([openvino(threads)])?,
        };
        builder.commit_from_file(path)
    }
}

/// OpenVINO on the processor, in single precision: vectors agree with ONNX Runtime's own.
fn openvino(threads: usize) -> ExecutionProviderDispatch {
    ep::OpenVINO::default()
        .with_device_type("CPU")
        .with_precision("FP32")
        .with_num_threads(threads)
        // OpenVINO would bind the thread of every worker to the same core.
        .with_arbitrary_config("load_config", r#"{"CPU": {"ENABLE_CPU_PINNING": "NO"}}"#)
        .build()
        .error_on_failure()
}

/// A model with one image input, ready to run.
pub struct Network {
    session: Session,
    name: String,
    colour: Colour,
    mean: f32,
    scale: f32,
    input: Vec<f32>,
    running: Duration,
}

impl Network {
    /// Writes an image into the input: planes of normalised samples, in the model's colour order.
    pub fn fill_from(&mut self, image: &RgbImage) {
        self.fill_padded(image, image.width(), image.height());
    }

    /// The same with zeros to the right and below, up to `width` x `height`, which must not be smaller than the image.
    pub fn fill_padded(&mut self, image: &RgbImage, width: u32, height: u32) {
        let (width, plane) = (width as usize, width as usize * height as usize);
        self.input.clear();
        self.input.resize(3 * plane, 0.0);
        let order = match self.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        };
        let (mean, scale) = (self.mean, self.scale);
        for (channel, values) in order.into_iter().zip(self.input.chunks_exact_mut(plane)) {
            for (row, samples) in values.chunks_exact_mut(width).zip(image.rows()) {
                for (value, pixel) in row.iter_mut().zip(samples) {
                    *value = (f32::from(pixel.0[channel]) - mean) * scale;
                }
            }
        }
    }

    /// The time that its runs took since this was last asked: inference alone, without what prepares it.
    pub fn take_running(&mut self) -> Duration {
        std::mem::take(&mut self.running)
    }

    /// Runs the model over what was filled in; `shape` is batch, channels, height, width.
    ///
    /// # Errors
    ///
    /// Fails where ONNX Runtime does.
    pub fn run(&mut self, shape: [usize; 4]) -> Result<Outputs<'_>, RuntimeError> {
        let failed = |error: ort::Error| RuntimeError::Failed {
            model: self.name.clone(),
            reason: error.to_string(),
        };
        let input = TensorRef::from_array_view((shape, self.input.as_slice())).map_err(failed)?;
        let start = Instant::now();
        let values = self.session.run(ort::inputs![input]).map_err(failed)?;
        self.running += start.elapsed();
        Ok(Outputs {
            model: &self.name,
            values,
        })
    }
}

/// What a run gave.
pub struct Outputs<'n> {
    model: &'n str,
    values: SessionOutputs<'n>,
}

impl Outputs<'_> {
    /// The values of the output called `name`, flattened.
    ///
    /// # Errors
    ///
    /// Fails where the model has no such output, or it is not of floats.
    pub fn of(&self, name: &str) -> Result<&[f32], RuntimeError> {
        self.values
            .get(name)
            .and_then(|value| value.try_extract_tensor::<f32>().ok())
            .map(|(_, values)| values)
            .ok_or_else(|| self.unexpected(name))
    }

    /// The values of the first output, which must be `length` long.
    ///
    /// # Errors
    ///
    /// Fails where the first output is not of floats, or not of this length.
    pub fn only(&self, length: usize) -> Result<&[f32], RuntimeError> {
        self.values
            .keys()
            .next()
            .and_then(|name| self.of(name).ok())
            .filter(|values| values.len() == length)
            .ok_or_else(|| self.unexpected("embedding"))
    }

    fn unexpected(&self, output: &str) -> RuntimeError {
        RuntimeError::UnexpectedOutput {
            model: self.model.to_owned(),
            output: output.to_owned(),
        }
    }
}
