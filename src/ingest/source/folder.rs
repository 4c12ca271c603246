//! Files and folders, walked in a fixed order.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use facedex_face::image::sniff;
use url::Url;
use walkdir::{DirEntry, WalkDir};

use super::{Content, Entry, Sink, Source, Stop};
use crate::ingest::IngestError;

/// File name endings that claim to be an image: such files are taken, and refused by name if they are none.
/// Formats that are not read are among them, so that such photos are named and not passed over.
const IMAGE_EXTENSIONS: [&str; 23] = [
    "jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "cr2",
    "cr3", "nef", "arw", "dng", "orf", "rw2", "raf", "psd",
];

/// Photos, and folders that are walked recursively: entries in order of their names, links followed, hidden files left
/// out.
#[derive(Debug, Clone)]
pub struct Folder {
    roots: Vec<Root>,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    /// Keys are relative to it.
    base: PathBuf,
    /// What a user names is taken whatever it is called.
    named: bool,
}

impl Folder {
    /// Checks that every path exists, and drops those that lie inside another: no photo is met twice.
    pub fn new(paths: &[PathBuf]) -> Result<Self, IngestError> {
        let mut roots: Vec<PathBuf> = Vec::new();
        let mut given = BTreeSet::new();
        for path in paths {
            let path = resolve(path).ok_or_else(|| IngestError::NoSource(path.clone()))?;
            if given.insert(path.clone()) {
                roots.push(path);
            }
        }
        roots.retain(|root| !root.ancestors().skip(1).any(|above| given.contains(above)));
        let named = |path: PathBuf| Root {
            base: path.clone(),
            path,
            named: true,
        };
        Ok(Self {
            roots: roots.into_iter().map(named).collect(),
        })
    }

    /// What is at `path`, a file or a folder, as a walk of the folder `base` would come upon it.
    pub(super) fn part(base: &Path, path: &Path) -> Self {
        let root = Root {
            path: path.to_owned(),
            base: base.to_owned(),
            named: false,
        };
        Self { roots: vec![root] }
    }

    /// Where the walk begins.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| root.path.as_path())
    }

    /// Every file that a walk would look at.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files().filter_map(|(_, file)| Some(file.ok()?.into_path()))
    }

    fn files(&self) -> impl Iterator<Item = (&Root, Result<DirEntry, walkdir::Error>)> {
        self.roots.iter().flat_map(|root| {
            WalkDir::new(&root.path)
                .follow_links(true)
                .sort_by_file_name()
                .into_iter()
                .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
                .filter(|entry| !matches!(entry, Ok(entry) if entry.file_type().is_dir()))
                .map(move |entry| (root, entry))
        })
    }
}

/// The absolute path without links and dots, but for the last part: a link's own name may be what labels a photo.
fn resolve(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let resolved = match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => std::fs::canonicalize(parent).ok()?.join(name),
        _ => std::fs::canonicalize(&absolute).ok()?,
    };
    resolved.exists().then_some(resolved)
}

impl Source for Folder {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        for (root, found) in self.files() {
            let file = match found {
                Ok(file) => file,
                // What a loop leads back to is walked already.
                Err(error) if error.loop_ancestor().is_some() => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(&root.path);
                    let reason = error
                        .io_error()
                        .map_or_else(|| error.to_string(), std::io::Error::to_string);
                    sink.broken(&entry(&root.base, path, None), reason)?;
                    continue;
                }
            };
            let metadata = file.metadata().ok();
            let named_by_user = root.named && file.depth() == 0;
            let path = file.into_path();
            let entry = entry(&root.base, &path, metadata.as_ref());
            // Opening a pipe waits for somebody to write to it; sockets and devices are no photos either.
            if !named_by_user && !metadata.is_some_and(|metadata| metadata.is_file()) {
                sink.skipped()?;
                continue;
            }
            if !named_by_user && !claims_to_be_an_image(&path) {
                match begins_like_an_image(&path) {
                    Ok(true) => {}
                    Ok(false) => {
                        sink.skipped()?;
                        continue;
                    }
                    Err(error) => {
                        sink.offer(entry, Err(error.to_string()))?;
                        continue;
                    }
                }
            }
            sink.offer(entry, Ok(Content::File(path)))?;
        }
        Ok(())
    }

    fn counter(&self) -> Option<Box<dyn FnOnce() -> u64 + Send>> {
        let folder = self.clone();
        Some(Box::new(move || {
            let photos = folder.files().filter(|(_, file)| {
                file.as_ref()
                    .is_ok_and(|file| file.depth() == 0 || claims_to_be_an_image(file.path()))
            });
            photos.count() as u64
        }))
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

pub(super) fn entry(root: &Path, path: &Path, metadata: Option<&Metadata>) -> Entry {
    let key = path.strip_prefix(root).unwrap_or(path);
    // A root that is a file itself has no path below it. Its name alone would put all of `*/1.jpg` into one shard.
    let key = if key.as_os_str().is_empty() {
        path.strip_prefix(path.ancestors().nth(2).unwrap_or(path))
            .unwrap_or(path)
    } else {
        key
    };
    let url = Url::from_file_path(path).ok();
    // A name that is no text keeps its bytes, percent-encoded as in the URI: two such folders must not become one person.
    let encoded = || Some(url.as_ref()?.path_segments()?.rev().nth(1)?.to_owned());
    let folder = path.parent().and_then(Path::file_name);
    Entry {
        key: key.to_string_lossy().into_owned(),
        folder: folder.and_then(|name| name.to_str().map(str::to_owned).or_else(encoded)),
        uri: url.map_or_else(|| path.display().to_string(), String::from),
        size: metadata.map(Metadata::len),
        modified: metadata.and_then(|metadata| metadata.modified().ok()),
        person: None,
        labels: Default::default(),
    }
}

pub(super) fn claims_to_be_an_image(path: &Path) -> bool {
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
    use crate::ingest::source::Offer;
    use crate::ingest::source::testing::walk;

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
        let mut source = Folder::new(&all).unwrap();
        assert_eq!(source.roots.len(), 1);
        let mut photos = Vec::new();
        let mut skipped = 0;
        for offer in walk(&mut source) {
            match offer {
                Offer::Photo(item) => photos.push((item.entry.key, item.entry.folder.unwrap())),
                Offer::Skipped => skipped += 1,
                other => panic!("{other:?}"),
            }
        }
        let expected = [("b/no-extension", "b"), ("b/photo.JPG", "b")];
        assert_eq!(
            photos,
            expected.map(|(key, folder)| (key.to_owned(), folder.to_owned()))
        );
        assert_eq!(skipped, 1);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = Folder::new(&[PathBuf::from("no/such/folder")]).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"));
    }
}
