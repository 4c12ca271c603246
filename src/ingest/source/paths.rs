//! What the command line names: folders, photos, archives, patterns, and several of them one after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::MatchOptions;
use url::Url;

use super::archive::{self, Archive, Members};
use super::bucket::Prefix;
use super::folder::Folder;
use super::list::offer_remote;
use super::{Given, Sink, Source, Stop};
use crate::ingest::IngestError;
use crate::ingest::fetch::Fetcher;

/// Sources that are walked one after the other.
pub struct Several(pub Vec<Box<dyn Source>>);

impl Source for Several {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        self.0.iter_mut().try_for_each(|source| source.walk(sink))
    }

    fn counter(&self) -> Option<Box<dyn FnOnce() -> u64 + Send>> {
        let counters: Option<Vec<_>> = self.0.iter().map(|source| source.counter()).collect();
        let counters = counters?;
        Some(Box::new(move || counters.into_iter().map(|count| count()).sum()))
    }
}

/// Opens what is there under these paths. A file that is an archive by its content is walked as one; archives inside
/// folders are files that are no images. A URL is one photo, or, `s3://` with a `/` at its end, a part of a bucket. A path that does not exist but has `*`, `?` or `[` in it is a pattern, as a
/// shell would have expanded it. Members of archives that have more than `limit` bytes are refused.
pub fn open(paths: &[PathBuf], limit: u64, fetch: &Arc<Fetcher>) -> Result<Vec<Box<dyn Source>>, IngestError> {
    let mut found = Vec::new();
    let mut remote: Vec<Box<dyn Source>> = Vec::new();
    for path in paths {
        if let Some(url) = remote_url(path) {
            remote.push(if Prefix::is_one(&url) {
                Box::new(Prefix::new(url, Arc::clone(fetch)))
            } else {
                Box::new(Remote(url))
            });
        } else if path.exists() {
            found.push(path.clone());
        } else {
            found.extend(expand(path)?);
        }
    }
    let (mut plain, mut archives) = (Vec::new(), Vec::new());
    for path in found {
        match archive_kind(&path) {
            Some(kind) => {
                let path = std::path::absolute(&path).map_err(|_| IngestError::NoSource(path))?;
                if !archives.iter().any(|(known, _)| *known == path) {
                    archives.push((path, kind));
                }
            }
            None => plain.push(path),
        }
    }
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if !plain.is_empty() {
        sources.push(Box::new(Folder::new(&plain)?));
    }
    for (path, kind) in archives {
        let members = Members::All(Given::default());
        sources.push(Box::new(Archive::new(path, kind, limit, members)));
    }
    sources.extend(remote);
    Ok(sources)
}

/// One photo at a URL.
struct Remote(Url);

impl Source for Remote {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        offer_remote(self.0.clone(), Given::default(), sink)
    }

    fn counter(&self) -> Option<Box<dyn FnOnce() -> u64 + Send>> {
        Some(Box::new(|| 1))
    }
}

fn remote_url(path: &Path) -> Option<Url> {
    let url = Url::parse(path.to_str().filter(|text| text.contains("://"))?).ok()?;
    matches!(url.scheme(), "http" | "https" | "s3").then_some(url)
}

/// The kind of archive, without opening pipes, which would take from them what they hold.
pub(super) fn archive_kind(path: &Path) -> Option<archive::Kind> {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file())
        .then(|| archive::kind(path))?
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, IngestError> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '['])) else {
        return Err(IngestError::NoSource(path.to_owned()));
    };
    // As shells do: hidden files are asked for by name, and `*` stays within a folder.
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob::glob_with(pattern, options).map_err(|error| IngestError::BadPattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    let mut found = Vec::new();
    for path in matches {
        match path {
            Ok(path) => found.push(path),
            Err(error) => tracing::warn!("cannot look into {}: {}", error.path().display(), error.error()),
        }
    }
    if found.is_empty() {
        return Err(IngestError::NoMatch(pattern.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::source::testing::{outline, walk};

    #[test]
    fn patterns_are_expanded_and_archives_are_told_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        for name in ["a/1.jpg", "a/b/2.jpg", "a/b/3.png", "a/.4.jpg"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, "c/5.jpg", &b"x"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        std::fs::write(at("named-like-a-photo.jpg"), &tar).unwrap();
        std::fs::write(at("a/inside.tar"), &tar).unwrap();
        let fetch = Arc::new(Fetcher::new(false, std::time::Duration::from_secs(1)).unwrap());
        let mut sources = Several(open(&[at("**/*.jpg"), at("a/b"), at("a")], 9, &fetch).unwrap());
        let offers = walk(&mut sources);
        let (mut photos, failures, skipped) = outline(&offers);
        photos.sort_unstable();
        assert_eq!(photos, ["1.jpg", "b/2.jpg", "b/3.png", "c/5.jpg"]);
        assert_eq!((failures.len(), skipped), (0, 1), "the archive inside the folder");

        let error = |name: &str| open(&[at(name)], 9, &fetch).err().unwrap().to_string();
        assert!(error("z/*.jpg").starts_with("no file or folder matches"));
        assert!(error("[").contains("is no pattern"));
        assert!(error("missing").contains("no such file or folder"));
    }
}
