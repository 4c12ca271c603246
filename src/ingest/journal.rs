//! The journal: which photos are done, so that a run that is taken up again need not look at them.
//!
//! A file for each (cluster, collection, engine): a header line, then one line of 32 hexadecimal digits a finished photo,
//! only ever appended and synced in groups. A line that a crash tore is not 32 digits and is passed over. A photo is
//! entered when Elasticsearch has acknowledged all of its faces, never before. The worst that a lost entry costs is that
//! the photo is looked at again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::source::Entry;

/// Which documents the journal's photos became. Another cluster, another collection (also one of the same name that was
/// made anew) or another engine has another journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalKey {
    /// The cluster's UUID.
    pub cluster: String,
    /// The collection's own UUID.
    pub collection_id: String,
    /// The collection's name, for people who open the file.
    pub collection: String,
    /// The engine's fingerprint.
    pub engine: String,
    /// Options that decide which faces of a photo are stored, and as whom.
    pub options: String,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} the journal {path}: {source}; free space, choose another folder with --journal-dir, or do without with --no-journal"
)]
pub struct JournalError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// A photo's line in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u128);

/// What was done before this run, and what this run does.
pub struct Journal {
    path: PathBuf,
    done: HashSet<Mark>,
    file: Option<Mutex<File>>,
}

impl Journal {
    /// A journal that knows nothing and keeps nothing.
    pub fn none() -> Self {
        Self {
            path: PathBuf::new(),
            done: HashSet::new(),
            file: None,
        }
    }

    /// Opens the journal of `key` in `folder`. With `ignore_done` what it holds is not taken for done, and is added to.
    pub fn open(folder: &Path, key: &JournalKey, ignore_done: bool) -> Result<Self, JournalError> {
        let path = folder.join(key.file_name());
        let failed = |action: &'static str| {
            let path = path.clone();
            move |source| JournalError { action, path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed("create the folder of"))?;
        let former = folder.join(key.former().file_name());
        if !path.exists() && former.exists() {
            std::fs::rename(&former, &path).map_err(failed("move"))?;
            tracing::warn!(
                path = path.display().to_string(),
                "an earlier facedex noted photos as done without the labels, pictures and measures that it stored them with; these are taken to be those of this run, --no-journal looks at every photo"
            );
        }
        let is_new = !path.exists();
        if is_new {
            warn_of_others(folder, key);
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(failed("open"))?;
        let mut done = HashSet::new();
        if is_new {
            let mut header = serde_json::to_vec(key).map_err(|error| failed("write")(error.into()))?;
            header.push(b'\n');
            file.write_all(&header).map_err(failed("write"))?;
        } else {
            // A crash can have torn the last line: what is appended next must not continue it.
            file.write_all(b"\n").map_err(failed("write"))?;
            if !ignore_done {
                let reader = BufReader::new(File::open(&path).map_err(failed("read"))?);
                for line in reader.split(b'\n') {
                    done.extend(Mark::parse(&line.map_err(failed("read"))?));
                }
            }
        }
        Ok(Self {
            path,
            done,
            file: Some(Mutex::new(file)),
        })
    }

    /// Photos that earlier runs finished.
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether no earlier run finished any.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Whether an earlier run finished this photo, as it is now.
    pub fn is_done(&self, entry: &Entry) -> bool {
        Mark::of(entry).is_some_and(|mark| self.done.contains(&mark))
    }

    /// Enters photos that are done, and comes back when that is on disk.
    pub fn enter(&self, marks: &[Mark]) -> Result<(), JournalError> {
        let Some(file) = &self.file else { return Ok(()) };
        if marks.is_empty() {
            return Ok(());
        }
        let lines: String = marks.iter().map(|mark| format!("{:032x}\n", mark.0)).collect();
        let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // One write a group: on one machine, runs that share a journal do not tear each other's lines.
        file.write_all(lines.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|source| JournalError {
                action: "write",
                path: self.path.clone(),
                source,
            })
    }
}

impl Mark {
    /// The photo as it is now: where it is, its size and time of change, and whom the source says it shows. `None` where
    /// the source knows no size: such a photo may change unnoticed and is always looked at.
    pub fn of(entry: &Entry) -> Option<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(entry.uri.as_bytes());
        part(&entry.size?.to_le_bytes());
        let modified = entry.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        part(&modified.unwrap_or_default().as_nanos().to_le_bytes());
        for text in [
            entry.person.as_ref().map(|person| person.id.as_str()),
            entry.person.as_ref().and_then(|person| person.name.as_deref()),
        ] {
            part(text.unwrap_or_default().as_bytes());
        }
        for (key, value) in &entry.labels {
            part(key.as_bytes());
            part(value.as_bytes());
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Some(Self(u128::from_le_bytes(first)))
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() == 32)?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl JournalKey {
    /// The key under which releases before 0.2 kept the same journal: they noted the first of the options alone.
    fn former(&self) -> Self {
        Self {
            options: self.options.split(' ').next().unwrap_or_default().to_owned(),
            ..self.clone()
        }
    }

    fn file_name(&self) -> String {
        format!("{}-{}.journal", self.collection, self.digest())
    }

    fn digest(&self) -> String {
        let parts = [&self.cluster, &self.collection_id, &self.engine, &self.options];
        let text = parts.map(|part| format!("{}:{part}", part.len())).concat();
        blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
    }
}

/// Says so where the same collection has a journal of other options: its photos will be looked at again.
fn warn_of_others(folder: &Path, key: &JournalKey) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let header = File::open(entry.path())
            .ok()
            .and_then(|file| BufReader::new(file).lines().next()?.ok())
            .and_then(|line| serde_json::from_str::<JournalKey>(&line).ok());
        let Some(other) = header.filter(|other| other.collection_id == key.collection_id && other != key) else {
            continue;
        };
        let changed = if other.engine == key.engine {
            "options"
        } else {
            "engine"
        };
        tracing::warn!(
            before = if changed == "engine" {
                &other.engine
            } else {
                &other.options
            },
            now = if changed == "engine" { &key.engine } else { &key.options },
            "the {changed} changed since an earlier run into {}: its journal is not used, every photo is looked at again",
            key.collection
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(engine: &str) -> JournalKey {
        JournalKey {
            cluster: "c".to_owned(),
            collection_id: "i".to_owned(),
            collection: "faces".to_owned(),
            engine: engine.to_owned(),
            options: String::new(),
        }
    }

    fn entry(name: &str) -> Entry {
        Entry {
            key: name.to_owned(),
            uri: format!("file:///{name}"),
            folder: None,
            size: Some(7),
            modified: Some(UNIX_EPOCH),
            person: None,
            labels: Default::default(),
        }
    }

    fn mark(name: &str) -> Mark {
        Mark::of(&entry(name)).unwrap()
    }

    #[test]
    fn remembers_what_was_entered_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &key("e"), false).unwrap();
        journal.enter(&[mark("a"), mark("b")]).unwrap();
        assert!(!journal.is_done(&entry("a")), "a run takes its own entries for new");
        let again = Journal::open(folder.path(), &key("e"), false).unwrap();
        assert!(again.is_done(&entry("a")) && again.is_done(&entry("b")) && !again.is_done(&entry("c")));
        for changed in [
            Entry {
                size: Some(8),
                ..entry("a")
            },
            Entry {
                modified: Some(UNIX_EPOCH + std::time::Duration::from_nanos(1)),
                ..entry("a")
            },
            Entry {
                labels: [("k".to_owned(), "v".to_owned())].into(),
                ..entry("a")
            },
            Entry {
                size: None,
                ..entry("a")
            },
        ] {
            assert!(!again.is_done(&changed), "{changed:?}");
        }
        assert!(Journal::open(folder.path(), &key("other"), false).unwrap().is_empty());
        assert!(Journal::open(folder.path(), &key("e"), true).unwrap().is_empty());
    }

    #[test]
    fn a_journal_of_before_is_taken_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let of = |options: &str| JournalKey {
            options: options.to_owned(),
            ..key("e")
        };
        let open = |options: &str| Journal::open(folder.path(), &of(options), false).unwrap();
        open("subject=largest").enter(&[mark("a")]).unwrap();
        assert!(open("subject=largest labels={\"a\": \"1\"}").is_done(&entry("a")));
        assert!(open("subject=largest labels={\"a\": \"1\"}").is_done(&entry("a")));
        // Other options are other work.
        assert!(!open("subject=largest labels={\"a\": \"2\"}").is_done(&entry("a")));
    }

    #[test]
    fn a_torn_last_line_costs_its_photo_alone() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &key("e"), false).unwrap();
        journal.enter(&[mark("a"), mark("b")]).unwrap();
        let path = std::fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let bytes = std::fs::read(&path).unwrap();
        for torn in 1..34 {
            std::fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
            let journal = Journal::open(folder.path(), &key("e"), false).unwrap();
            // Only the line end is missing when one byte is.
            assert_eq!(journal.len(), if torn == 1 { 2 } else { 1 }, "{torn} bytes torn off");
            assert!(journal.is_done(&entry("a")));
            journal.enter(&[mark("b")]).unwrap();
            assert!(
                Journal::open(folder.path(), &key("e"), false)
                    .unwrap()
                    .is_done(&entry("b"))
            );
        }
    }
}
