//! Photos by name: lists, manifests and dead letters. A name is a path, a `file://` URI (with `#` and a member's path: a
//! photo in an archive), an `http(s)://` or an `s3://` URL.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use facedex_base::address::without_login;
use url::Url;

use super::archive::{self, Archive, Members};
use super::folder::{self, Folder, claims_to_be_an_image};
use super::paths::archive_kind;
use super::{Content, Entry, Given, Sink, Source, Stop};

/// Members of one archive that are named one after the other are read in one go, up to this many.
const TOGETHER: usize = 100_000;

/// A photo that is named.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// A path or a URL.
    pub name: PathBuf,
    /// Whom it shows, and its labels.
    pub given: Given,
}

/// Something that names photos, line by line: the line's number, and the row or what is wrong with it.
pub type Rows<'r> = &'r mut dyn Iterator<Item = (u64, Result<Row, String>)>;

/// How names are understood.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The list's own URI, for lines that name nothing.
    pub list: String,
    /// Relative paths start here.
    pub base: PathBuf,
    /// Members of archives that are larger are refused.
    pub limit: u64,
    /// Whether folders may be named.
    pub folders: bool,
}

/// Where a named photo is.
#[derive(Debug, PartialEq)]
enum Place {
    File(PathBuf),
    Member(PathBuf, String),
    Remote(Url),
}

impl Naming {
    /// Offers every photo that the rows name.
    pub fn walk(&self, rows: Rows<'_>, sink: &mut Sink) -> Result<(), Stop> {
        let mut together = Together::default();
        for (line, row) in rows {
            // An interrupted list is no bad line.
            sink.check()?;
            let placed = row.and_then(|row| Ok((self.place(&row.name)?, row)));
            match placed {
                Ok((Place::Member(archive, member), row)) => {
                    if together.archive != archive || together.members.len() >= TOGETHER {
                        self.walk_members(&mut together, sink)?;
                        together.archive = archive;
                    }
                    together.members.insert(member, row.given);
                }
                Ok((Place::File(path), row)) => self.offer_file(path, row, sink)?,
                Ok((Place::Remote(url), row)) => offer_remote(url, row.given, sink)?,
                Err(reason) => {
                    let entry = entry(format!("line {line}"), self.list.clone(), Given::default());
                    sink.offer(entry, Err(format!("line {line}: {reason}")))?;
                }
            }
        }
        self.walk_members(&mut together, sink)
    }

    fn walk_members(&self, together: &mut Together, sink: &mut Sink) -> Result<(), Stop> {
        let Together { archive, members } = std::mem::take(together);
        if members.is_empty() {
            return Ok(());
        }
        match archive_kind(&archive) {
            Some(kind) => Archive::new(archive, kind, self.limit, Members::Only(members)).walk(sink),
            None => {
                let reason = match std::fs::metadata(&archive) {
                    Ok(_) => "its archive is no tar, tar.gz or zip".to_owned(),
                    Err(error) => format!("cannot read its archive: {error}"),
                };
                for (member, given) in members {
                    let uri = archive::member_uri(&archive, member.as_bytes());
                    sink.offer(entry(member, uri, given), Err(reason.clone()))?;
                }
                Ok(())
            }
        }
    }

    fn offer_file(&self, path: PathBuf, row: Row, sink: &mut Sink) -> Result<(), Stop> {
        let metadata = path.metadata();
        if metadata.as_ref().is_ok_and(|metadata| metadata.is_dir()) && self.folders {
            return match Folder::new(std::slice::from_ref(&path)) {
                Ok(mut folder) => folder.walk(sink),
                Err(error) => sink.broken(&folder::entry(&path, &path, None), error.to_string()),
            };
        }
        if !claims_to_be_an_image(&path)
            && let Some(kind) = archive_kind(&path)
        {
            return Archive::new(path, kind, self.limit, Members::All(row.given)).walk(sink);
        }
        let mut entry = folder::entry(&path, &path, metadata.as_ref().ok());
        // As it is written: the same on every machine.
        entry.key = row.name.to_string_lossy().into_owned();
        (entry.person, entry.labels) = (row.given.person, row.given.labels);
        let content = match metadata {
            Ok(metadata) if metadata.is_dir() => {
                Err("it is a folder; name its photos, or give it as a PATH".to_owned())
            }
            Ok(_) => Ok(Content::File(path)),
            Err(error) => Err(error.to_string()),
        };
        sink.offer(entry, content)
    }

    fn place(&self, name: &Path) -> Result<Place, String> {
        let Some((text, (scheme, _))) = name.to_str().and_then(|text| Some((text, text.split_once("://")?))) else {
            return Ok(Place::File(self.base.join(name)));
        };
        let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
        match url.scheme() {
            "s3" if url.query().is_some() || url.fragment().is_some() => {
                Err(format!("{text:?}: write ? as %3F and # as %23 in an object's key"))
            }
            "http" | "https" | "s3" => Ok(Place::Remote(url)),
            "file" => {
                let path = url.to_file_path().map_err(|()| format!("{text:?} is no local file"))?;
                Ok(match url.fragment() {
                    Some(member) => Place::Member(path, archive::member_of(member)),
                    None => Place::File(path),
                })
            }
            _ => Err(format!(
                "{scheme:?} in {text:?} is not supported; paths and file, http, https and s3 URLs are"
            )),
        }
    }
}

/// Offers a photo at a URL. What is stored has no credentials.
pub(super) fn offer_remote(url: Url, given: Given, sink: &mut Sink) -> Result<(), Stop> {
    let uri = String::from(without_login(&url));
    let mut entry = entry(uri.clone(), uri, given);
    let mut parts = url.path_segments().into_iter().flatten().rev().skip(1);
    entry.folder = parts.next().filter(|part| !part.is_empty()).map(archive::member_of);
    sink.offer(entry, Ok(Content::Remote(url)))
}

fn entry(key: String, uri: String, given: Given) -> Entry {
    Entry {
        key,
        uri,
        folder: None,
        size: None,
        modified: None,
        person: given.person,
        labels: given.labels,
    }
}

#[derive(Default)]
struct Together {
    archive: PathBuf,
    members: HashMap<String, Given>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_or_urls() {
        let naming = Naming {
            list: "list".to_owned(),
            base: "/base".into(),
            limit: 1,
            folders: false,
        };
        let place = |name: &str| naming.place(Path::new(name));
        assert_eq!(place("a#b.jpg"), Ok(Place::File("/base/a#b.jpg".into())));
        assert_eq!(place("/a/b.jpg"), Ok(Place::File("/a/b.jpg".into())));
        assert_eq!(place("file:///a%20b.jpg"), Ok(Place::File("/a b.jpg".into())));
        let member = Place::Member("/x.tar".into(), "a #1.jpg".to_owned());
        assert_eq!(place("file:///x.tar#a%20%231.jpg"), Ok(member));
        let url: Url = "s3://bucket/key.jpg".parse().unwrap();
        assert_eq!(place("s3://bucket/key.jpg"), Ok(Place::Remote(url)));
        assert!(place("ftp://host/a.jpg").unwrap_err().contains("not supported"));
        assert!(place("http://").is_err());
        let url = "https://ada:secret@host/p?q=1".parse().unwrap();
        assert_eq!(without_login(&url).as_str(), "https://host/p?q=1");
    }
}
