//! Where photos come from: files and folders, walked in a fixed order.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::IngestError;
use crate::face::image::sniff;

/// What a walk meets.
#[derive(Debug)]
pub enum Found {
    /// A photo, or a file that the user named.
    Photo(PathBuf),
    /// A file in a folder that is no image.
    Skipped,
    /// A file or folder that cannot be looked at.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// File name endings that claim to be an image: such files are taken, and refused by name if they are none.
const IMAGE_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Checks that every path exists, and drops those that lie inside another: no photo is met twice.
pub fn roots(paths: &[PathBuf]) -> Result<Vec<PathBuf>, IngestError> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in paths {
        let path = std::path::absolute(path).map_err(|_| IngestError::NoSource(path.clone()))?;
        if !path.exists() {
            return Err(IngestError::NoSource(path));
        }
        if roots.iter().any(|root| path.starts_with(root)) {
            continue;
        }
        roots.retain(|root| !root.starts_with(&path));
        roots.push(path);
    }
    Ok(roots)
}

/// Every photo under the roots, folders in order of their entries' names, links followed, hidden files left out.
pub fn walk(roots: &[PathBuf]) -> impl Iterator<Item = Found> + '_ {
    roots.iter().flat_map(|root| {
        WalkDir::new(root)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
            .filter_map(|entry| match entry {
                Ok(entry) if entry.file_type().is_dir() => None,
                Ok(entry) => Some(classify(entry)),
                Err(error) => Some(Found::Unreadable {
                    path: error.path().unwrap_or(root).to_owned(),
                    reason: error
                        .io_error()
                        .map_or_else(|| error.to_string(), std::io::Error::to_string),
                }),
            })
    })
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn classify(entry: DirEntry) -> Found {
    let named_by_user = entry.depth() == 0;
    let path = entry.into_path();
    if named_by_user || claims_to_be_an_image(&path) {
        return Found::Photo(path);
    }
    match begins_like_an_image(&path) {
        Ok(true) => Found::Photo(path),
        Ok(false) => Found::Skipped,
        Err(error) => Found::Unreadable {
            path,
            reason: error.to_string(),
        },
    }
}

fn claims_to_be_an_image(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            IMAGE_EXTENSIONS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(extension))
        })
}

fn begins_like_an_image(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(32).read_to_end(&mut head)?;
    Ok(sniff(&head).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_images_by_name_or_content_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put("b/photo.JPG", b"anything");
        put("b/no-extension", b"\x89PNG\r\n\x1a\n rest");
        put("a/notes.txt", b"text");
        put("a/.hidden.jpg", b"x");
        put(".thumbs/small.jpg", b"x");
        let all = [
            folder.path().join("b"),
            folder.path().to_owned(),
            folder.path().join("a"),
        ];
        let roots = roots(&all).unwrap();
        assert_eq!(roots.len(), 1);
        let mut photos = Vec::new();
        let mut skipped = 0;
        for found in walk(&roots) {
            match found {
                Found::Photo(path) => photos.push(path.strip_prefix(folder.path()).unwrap().to_owned()),
                Found::Skipped => skipped += 1,
                Found::Unreadable { path, reason } => panic!("{path:?}: {reason}"),
            }
        }
        assert_eq!(photos, [PathBuf::from("b/no-extension"), PathBuf::from("b/photo.JPG")]);
        assert_eq!(skipped, 1);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = roots(&[PathBuf::from("no/such/folder")]).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"));
    }
}
