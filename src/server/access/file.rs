//! The file that keeps the keys: replaced as a whole, by one writer at a time, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::KeysError;
use super::keys::{Key, KeySet};

/// The form of the file that this version reads and writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    keys: Vec<Key>,
}

/// Where the keys are kept.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file at this path; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys; `None` where there is no file.
    pub fn read(&self) -> Result<Option<Vec<Key>>, KeysError> {
        match fs::read(&self.path) {
            Ok(bytes) => self.parse(&bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("read", source)),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Vec<Key>, KeysError> {
        let broken = |reason: String| KeysError::Broken {
            path: self.path.clone(),
            reason,
        };
        let content: Content = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
        if content.version != VERSION {
            return Err(broken(format!("its version is {}, not {VERSION}", content.version)));
        }
        KeySet::new(content.keys.clone()).map_err(|error| broken(error.to_string()))?;
        Ok(content.keys)
    }

    /// Changes the keys. Two that do so at once come one after the other, and a reader sees the file before or after,
    /// never in between.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeysError>) -> Result<T, KeysError> {
        // A link stays one: what it leads to is replaced.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(|error| self.failed("make the folder of", error))?;
        let _lock = lock(&target).map_err(|error| self.failed("lock", error))?;
        let mut keys = self.read()?.unwrap_or_default();
        let result = change(&mut keys)?;
        KeySet::new(keys.clone())?;
        let content = Content { version: VERSION, keys };
        replace(folder, &target, &content).map_err(|error| self.failed("write", error))?;
        Ok(result)
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> KeysError {
        KeysError::File {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

/// Waits until no other process changes the file. The lock is a file of its own, since the other one is replaced, and it
/// stays: removing it would let two in.
fn lock(target: &Path) -> std::io::Result<File> {
    let mut name = target.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(name)?;
    file.lock()?;
    Ok(file)
}

fn replace(folder: &Path, target: &Path, content: &Content) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    // Its mode is 0600 from the beginning.
    let mut file = tempfile::Builder::new().prefix(".keys-").tempfile_in(folder)?;
    file.write_all(&text)?;
    if let Ok(old) = fs::metadata(target) {
        let new = file.as_file().metadata()?;
        // `sudo facedex keys create` must not take the file away from the server, which is another user.
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::chown(file.path(), Some(old.uid()), Some(old.gid())).map_err(|error| {
                let owner = old.uid();
                std::io::Error::new(
                    error.kind(),
                    format!("it belongs to user {owner}: {error}; run as that user"),
                )
            })?;
        }
    }
    file.as_file().sync_all()?;
    file.persist(target)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server::access::keys::{Collections, Scope};

    fn key(name: &str) -> Key {
        Key::create(name, Scope::Read, Collections::All, None).unwrap().0
    }

    fn add(file: &KeyFile, name: &str) {
        file.edit(|keys| {
            keys.push(key(name));
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("deep/er/keys.json"));
        assert!(file.read().unwrap().is_none());
        add(&file, "a");
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        add(&file, "b");
        let names: Vec<String> = file.read().unwrap().unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["a", "b"]);
        let left: Vec<_> = fs::read_dir(file.path().parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "the keys and the lock: {left:?}");
    }

    #[test]
    fn writers_lose_nothing_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        std::thread::scope(|threads| {
            for thread in 0..8 {
                let file = &file;
                threads.spawn(move || (0..8).for_each(|number| add(file, &format!("k{thread}-{number}"))));
            }
            // A reader meanwhile sees whole files only.
            threads.spawn(|| (0..200).for_each(|_| drop(file.read().unwrap())));
        });
        assert_eq!(file.read().unwrap().unwrap().len(), 64);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        add(&file, "a");
        let before = fs::read(file.path()).unwrap();
        let twice = file.edit(|keys| {
            keys.push(key("a"));
            Ok(())
        });
        assert!(matches!(twice, Err(KeysError::NameTaken(_))));
        assert_eq!(fs::read(file.path()).unwrap(), before);
        // A broken file is not replaced by an empty one.
        for broken in [
            "",
            "{\"version\": 1, \"keys\": [",
            "[]",
            "{\"version\": 2, \"keys\": []}",
        ] {
            fs::write(file.path(), broken).unwrap();
            let refused = file.edit(|keys| {
                keys.push(key("b"));
                Ok(())
            });
            assert!(matches!(refused, Err(KeysError::Broken { .. })), "{broken:?}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), broken);
        }
    }

    #[test]
    fn a_link_to_the_file_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let real = KeyFile::new(folder.path().join("real.json"));
        add(&real, "a");
        let link = KeyFile::new(folder.path().join("link.json"));
        std::os::unix::fs::symlink(real.path(), link.path()).unwrap();
        add(&link, "b");
        assert!(fs::symlink_metadata(link.path()).unwrap().is_symlink());
        assert_eq!(real.read().unwrap().unwrap().len(), 2);
    }
}
