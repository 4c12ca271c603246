//! Files and folders, walked in a fixed order.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use url::Url;
use walkdir::{DirEntry, WalkDir};

use super::{Content, Entry, Sink, Source, Stop};
use crate::face::image::sniff;
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
    roots: Vec<PathBuf>,
}

impl Folder {
    /// Checks that every path exists, and drops those that lie inside another: no photo is met twice.
    pub fn new(paths: &[PathBuf]) -> Result<Self, IngestError> {
        let mut roots: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = resolve(path).ok_or_else(|| IngestError::NoSource(path.clone()))?;
            if roots.iter().any(|root| path.starts_with(root)) {
                continue;
            }
            roots.retain(|root| !root.starts_with(&path));
            roots.push(path);
        }
        Ok(Self { roots })
    }

    fn files(&self) -> impl Iterator<Item = (&Path, Result<DirEntry, walkdir::Error>)> {
        self.roots.iter().flat_map(|root| {
            WalkDir::new(root)
                .follow_links(true)
                .sort_by_file_name()
                .into_iter()
                .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
                .filter(|entry| !matches!(entry, Ok(entry) if entry.file_type().is_dir()))
                .map(move |entry| (root.as_path(), entry))
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
                    let path = error.path().unwrap_or(root);
                    let reason = error
                        .io_error()
                        .map_or_else(|| error.to_string(), std::io::Error::to_string);
                    sink.failed(&entry(root, path, None), reason)?;
                    continue;
                }
            };
            let metadata = file.metadata().ok();
            let named_by_user = file.depth() == 0;
            let path = file.into_path();
            let mut entry = entry(root, &path, metadata.as_ref());
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
                        sink.failed(&entry, error.to_string())?;
                        continue;
                    }
                }
            }
            if sink.wants(&mut entry)? {
                sink.photo(entry, Content::File(path))?;
            }
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

fn entry(root: &Path, path: &Path, metadata: Option<&Metadata>) -> Entry {
    let key = path.strip_prefix(root).unwrap_or(path);
    // A root that is a file itself has no path below it.
    let key = if key.as_os_str().is_empty() {
        path.file_name().map_or(path, Path::new)
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
    use std::sync::Arc;

    use super::*;
    use crate::ingest::journal::Journal;
    use crate::ingest::source::{Budget, Offer};

    /// Walks a source and gives what it offered.
    fn walk(source: &mut dyn Source) -> Vec<Offer> {
        let tasks = tokio::runtime::Runtime::new().unwrap();
        let (offers, taken) = async_channel::unbounded();
        let mut sink = Sink {
            shard: None,
            person_from_dir: false,
            journal: Arc::new(Journal::none()),
            budget: Budget::new(1 << 20),
            run: "r".to_owned(),
            offers,
            tasks: tasks.handle().clone(),
            stop: Default::default(),
        };
        source.walk(&mut sink).unwrap();
        drop(sink);
        std::iter::from_fn(|| taken.try_recv().ok()).collect()
    }

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
