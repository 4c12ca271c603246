//! Where fetched files belong.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{CatalogError, RuntimeFacts};

/// The folder for everything that can be fetched again: `FACEDEX_CACHE_DIR`, else `XDG_CACHE_HOME/facedex`, else
/// `~/.cache/facedex` (on macOS too: shell scripts follow the same rule).
///
/// # Errors
///
/// Fails where the environment names neither the folder nor a home.
pub fn cache_dir() -> Result<PathBuf, CatalogError> {
    cache_dir_from(|name| std::env::var_os(name), std::env::home_dir())
}

/// The folder for what must outlive a cleared cache (journals): `XDG_STATE_HOME/facedex`, else `~/.local/state/facedex`.
///
/// # Errors
///
/// Fails where the environment names neither the folder nor a home.
pub fn state_dir() -> Result<PathBuf, CatalogError> {
    variable("XDG_STATE_HOME")
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
        .map(|base| base.join("facedex"))
        .ok_or(CatalogError::NoHome)
}

/// The folder of the model files: `given`, else `FACEDEX_MODELS_DIR`, else `models` in the cache.
///
/// # Errors
///
/// Fails where the environment names neither the folder nor a home.
pub fn models_dir(given: Option<&Path>) -> Result<PathBuf, CatalogError> {
    match given.map(Path::to_path_buf).or_else(|| variable("FACEDEX_MODELS_DIR")) {
        Some(path) => Ok(path),
        None => Ok(cache_dir()?.join("models")),
    }
}

/// ONNX Runtime's shared library: `ORT_DYLIB_PATH`, else `PACKAGE/VERSION/` in the cache.
///
/// # Errors
///
/// Fails where the environment names neither the folder nor a home.
pub fn runtime_library(runtime: &RuntimeFacts) -> Result<PathBuf, CatalogError> {
    match given_runtime_library() {
        Some(path) => Ok(path),
        None => Ok(cache_dir()?
            .join(runtime.package.split("==").next().unwrap_or_default())
            .join(&runtime.version)
            .join(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"))),
    }
}

/// The shared library that the user named in `ORT_DYLIB_PATH`; such a one is never fetched or checked.
pub(crate) fn given_runtime_library() -> Option<PathBuf> {
    variable("ORT_DYLIB_PATH")
}

fn variable(name: &str) -> Option<PathBuf> {
    non_empty(std::env::var_os(name))
}

fn non_empty(value: Option<OsString>) -> Option<PathBuf> {
    value.filter(|v| !v.is_empty()).map(PathBuf::from)
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<PathBuf, CatalogError> {
    if let Some(own) = non_empty(variable("FACEDEX_CACHE_DIR")) {
        return Ok(own);
    }
    non_empty(variable("XDG_CACHE_HOME"))
        .or_else(|| home.map(|home| home.join(".cache")))
        .map(|base| base.join("facedex"))
        .ok_or(CatalogError::NoHome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_environment() {
        let dir = |own: &str, xdg: &str, home: Option<&str>| {
            cache_dir_from(
                |name| match name {
                    "FACEDEX_CACHE_DIR" => Some(own.into()),
                    "XDG_CACHE_HOME" => Some(xdg.into()),
                    _ => None,
                },
                home.map(PathBuf::from),
            )
        };
        assert_eq!(dir("/own", "/xdg", Some("/home")).unwrap(), Path::new("/own"));
        assert_eq!(dir("", "/xdg", Some("/home")).unwrap(), Path::new("/xdg/facedex"));
        assert_eq!(dir("", "", Some("/home")).unwrap(), Path::new("/home/.cache/facedex"));
        assert!(matches!(dir("", "", None), Err(CatalogError::NoHome)));
    }

    #[test]
    fn a_given_models_folder_comes_first() {
        assert_eq!(models_dir(Some(Path::new("/m"))).unwrap(), Path::new("/m"));
    }
}
