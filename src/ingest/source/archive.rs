//! Archives: `tar`, `tar.gz` and `zip`, told by their content, read member by member and never unpacked.
//!
//! A member is `file:///photos.tar#people/Ada/1.jpg`: the fragment is its path, percent-encoded. Folders, links, hidden
//! files and macOS's `__MACOSX` are left out. An archive that breaks off is one failure that names the reason; what was
//! read before stays.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use facedex_face::image::{ImageError, sniff};
use flate2::read::MultiGzDecoder;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use url::Url;

pub use self::kind::{Kind, kind};
use super::folder::{self, claims_to_be_an_image};
use super::{Content, Entry, Given, Held, Sink, Source, Stop, Wanted, tar, zip};

mod kind;

/// What a fragment must not hold as it is, `%` among it so that every name comes back as it was.
const FRAGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'`');

/// Which members of an archive are taken, and what is known of them besides.
#[derive(Debug, Clone)]
pub enum Members {
    /// All, and this is known of each.
    All(Given),
    /// These, by their paths.
    Only(HashMap<String, Given>),
}

/// One archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    kind: Kind,
    limit: u64,
    members: Members,
    /// Hashes of the paths that were met: twice the same path is two photos.
    met: HashSet<u64>,
}

/// A member before its content is read.
#[derive(Debug)]
pub(super) struct Member {
    pub path: Vec<u8>,
    pub size: u64,
    pub modified: Option<SystemTime>,
}

/// Why a walk through an archive, or a member of it, ends early.
#[derive(Debug)]
pub(super) enum End {
    /// The run takes no more.
    Stop,
    /// It cannot be read.
    Broken(String),
}

impl From<Stop> for End {
    fn from(_: Stop) -> Self {
        Self::Stop
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The path of the member that the fragment of an archive's URI names, as [`Entry::key`] has it.
pub fn member_of(fragment: &str) -> String {
    percent_decode_str(fragment).decode_utf8_lossy().into_owned()
}

impl Archive {
    /// An archive at an absolute path. Members of more than `limit` bytes are refused.
    pub fn new(path: PathBuf, kind: Kind, limit: u64, members: Members) -> Self {
        Self {
            path,
            kind,
            limit,
            members,
            met: HashSet::new(),
        }
    }

    /// Offers one member, if it is a photo and wanted; `content` says why it cannot be read where it cannot.
    pub(super) fn offer(
        &mut self,
        sink: &mut Sink,
        member: &Member,
        content: Result<&mut dyn Read, String>,
    ) -> Result<(), End> {
        sink.check()?;
        let path = String::from_utf8_lossy(&member.path).into_owned();
        let hidden = |part: &str| part.len() > 1 && part.starts_with('.') && part != "..";
        if path.split('/').any(|part| hidden(part) || part == "__MACOSX") {
            return Ok(());
        }
        let key = self.distinct(&path);
        let given = match &mut self.members {
            Members::All(given) => given.clone(),
            Members::Only(some) => match some.remove(&key) {
                Some(given) => given,
                None => return Ok(()),
            },
        };
        let mut entry = self.entry(&member.path, key, given);
        entry.size = Some(member.size);
        entry.modified = member.modified;
        // What is named is taken, whatever it is called.
        let claims = matches!(self.members, Members::Only(_)) || claims_to_be_an_image(Path::new(&path));
        let mut bytes = Vec::new();
        let content = match content {
            Ok(content) if claims => content,
            Ok(content) => {
                if let Err(error) = content.take(32).read_to_end(&mut bytes) {
                    let (key, wanted) = (entry.key.clone(), sink.wanted(entry)?);
                    return self.broken(sink, &key, wanted, error.to_string());
                }
                if sniff(&bytes).is_none() {
                    return Ok(sink.skipped()?);
                }
                content
            }
            Err(_) if !claims => return Ok(sink.skipped()?),
            Err(reason) => return Ok(sink.offer(entry, Err(reason))?),
        };
        let key = entry.key.clone();
        let Some(wanted) = sink.wanted(entry)? else {
            return Ok(());
        };
        if member.size > self.limit {
            let reason = ImageError::TooManyBytes { limit: self.limit };
            return Ok(sink.failed(wanted, reason.to_string())?);
        }
        let permit = sink.reserve(member.size);
        let rest = member.size.saturating_sub(bytes.len() as u64);
        bytes.reserve_exact(usize::try_from(rest).unwrap_or(0));
        // One more than declared: a size that is not true must not go unnoticed, and not cost more memory.
        if let Err(error) = content.take(rest + 1).read_to_end(&mut bytes) {
            return self.broken(sink, &key, Some(wanted), error.to_string());
        }
        let (read, declared) = (bytes.len() as u64, member.size);
        if read < declared {
            return self.broken(
                sink,
                &key,
                Some(wanted),
                format!("it ends after {read} of {declared} bytes"),
            );
        }
        if read > declared {
            let reason = format!("the archive declares {declared} bytes, but there are more");
            return Ok(sink.failed(wanted, reason)?);
        }
        let bytes = Bytes::from(bytes);
        Ok(sink.photo(wanted, Content::Bytes(Held { bytes, permit }))?)
    }

    /// A zip's directory says where the next member is; a tar ends with the first that cannot be read.
    fn broken(&self, sink: &mut Sink, key: &str, photo: Option<Wanted>, reason: String) -> Result<(), End> {
        let goes_on = self.kind == Kind::Zip;
        if let Some(photo) = photo
            && (goes_on || matches!(self.members, Members::Only(_)))
        {
            sink.failed(photo, reason.clone())?;
        }
        match goes_on {
            true => Ok(()),
            false => Err(End::Broken(format!("{key}: {reason}"))),
        }
    }

    /// Whether all that is asked for was offered.
    pub(super) fn is_done(&self) -> bool {
        matches!(&self.members, Members::Only(some) if some.is_empty())
    }

    /// The file.
    pub(super) fn open(&self) -> std::io::Result<BufReader<File>> {
        Ok(BufReader::with_capacity(1 << 17, File::open(&self.path)?))
    }

    /// When the archive itself was changed: for members whose header has no time.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.path.metadata().ok()?.modified().ok()
    }

    fn entry(&self, path: &[u8], key: String, given: Given) -> Entry {
        // The fragment of a path that is there twice is its key: it can be named again.
        let path = if String::from_utf8_lossy(path) == key {
            path
        } else {
            key.as_bytes()
        };
        let folder = Path::new(&key).parent().and_then(Path::file_name);
        Entry {
            uri: member_uri(&self.path, path),
            folder: folder.map(|name| name.to_string_lossy().into_owned()),
            key,
            size: None,
            modified: None,
            person: given.person,
            labels: given.labels,
        }
    }

    /// The member's path, with a number where the archive has it more than once.
    fn distinct(&mut self, path: &str) -> String {
        let mut key = path.to_owned();
        let mut number = 1;
        while !self.met.insert(short_hash(&key)) {
            number += 1;
            key = format!("{path} ({number})");
        }
        key
    }
}

impl Source for Archive {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        self.met.clear();
        let ended = match self.kind {
            Kind::Tar => self
                .open()
                .map_err(End::from)
                .and_then(|file| tar::walk(self, file, sink)),
            Kind::TarGz => self
                .open()
                .map_err(End::from)
                .and_then(|file| tar::walk(self, MultiGzDecoder::new(file), sink)),
            Kind::Zip => zip::walk(self, sink),
        };
        let broken = match ended {
            Ok(()) => None,
            Err(End::Stop) => return Err(Stop),
            Err(End::Broken(reason)) => Some(format!("the archive cannot be read any further: {reason}")),
        };
        if let Members::Only(some) = &mut self.members {
            let mut missing: Vec<_> = some.drain().collect();
            missing.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            let reason = broken.unwrap_or_else(|| "the archive has no such member".to_owned());
            for (key, given) in missing {
                let entry = self.entry(key.as_bytes(), key.clone(), given);
                sink.offer(entry, Err(reason.clone()))?;
            }
        } else if let Some(reason) = broken {
            let entry = folder::entry(&self.path, &self.path, None);
            sink.broken(&entry, reason)?;
        }
        Ok(())
    }

    fn counter(&self) -> Option<Box<dyn FnOnce() -> u64 + Send>> {
        let all = matches!(self.members, Members::All(_)) && self.kind.has_quick_count();
        let (kind, path) = (self.kind, self.path.clone());
        all.then(|| Box::new(move || kind.count(&path)) as Box<_>)
    }
}

/// The `file://` URI of an absolute path.
pub(super) fn file_uri(path: &Path) -> String {
    Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from)
}

/// The URI of a member of an archive.
pub(super) fn member_uri(archive: &Path, member: &[u8]) -> String {
    format!("{}#{}", file_uri(archive), percent_encode(member, FRAGMENT))
}

/// Enough of a hash to tell a run's names apart.
pub(super) fn short_hash(text: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests;
