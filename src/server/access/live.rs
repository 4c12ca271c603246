//! The keys while the server runs: a changed file is taken up within a second or two, a broken one is not.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::KeysError;
use super::file::KeyFile;
use super::keys::KeySet;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// A file that changed less than this before it was read may have changed again within the same tick of its clock.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How often a file that stays broken is mentioned, in looks at it.
const REMIND: u32 = 60;

/// The keys that are in force.
#[derive(Debug)]
pub struct LiveKeys {
    file: KeyFile,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    stamp: Option<Stamp>,
    /// Why the file as it is now is not in force, and for how many looks.
    broken: Option<(String, u32)>,
}

/// What tells one state of the file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl LiveKeys {
    /// Reads the file, which must be good. Without a file there are no keys, unless `required`.
    pub fn open(file: KeyFile, required: bool) -> Result<Self, KeysError> {
        let file_state = file_state(&file);
        let keys = match file.read()? {
            Some(keys) => Some(Arc::new(KeySet::new(keys)?)),
            None if required => return Err(KeysError::Missing(file.path().to_owned())),
            None => None,
        };
        if let Ok(metadata) = fs::metadata(file.path())
            && metadata.mode() & 0o022 != 0
        {
            tracing::warn!(
                "others may write the keys file {}: anyone who can makes keys for himself; chmod go-w it",
                file.path().display()
            );
        }
        let state = State {
            keys,
            stamp: file_state.stamp(),
            broken: None,
        };
        Ok(Self {
            file,
            state: RwLock::new(state),
        })
    }

    /// The keys, or `None` as long as there never was a file.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    /// Why the file as it is now is not in force; then the keys before are.
    pub fn broken(&self) -> Option<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.broken.as_ref().map(|(reason, _)| reason.clone())
    }

    /// Looks whether the file changed and takes it up if it did.
    pub fn refresh(&self) {
        let file_state = file_state(&self.file);
        let known = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            match file_state {
                FileState::Absent => state.keys.is_none(),
                FileState::Unsettled => false,
                FileState::Settled(_) => state.stamp == file_state.stamp(),
            }
        };
        if known {
            return;
        }
        let read = self.file.read().and_then(|keys| match keys {
            Some(keys) => KeySet::new(keys),
            None => Err(KeysError::Missing(self.file.path().to_owned())),
        });
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(keys) => {
                let path = self.file.path().display();
                if state.broken.is_some() {
                    tracing::warn!("the keys file {path} is good again and in force");
                } else if state.keys.as_deref() != Some(&keys) {
                    let active = keys.active(jiff::Timestamp::now());
                    tracing::info!(active, "the keys file {path} changed and is in force");
                }
                metrics::gauge!("facedex_keys_broken").set(0.0);
                *state = State {
                    keys: Some(Arc::new(keys)),
                    stamp: file_state.stamp(),
                    broken: None,
                };
            }
            Err(error) => {
                metrics::gauge!("facedex_keys_broken").set(1.0);
                let reason = error.to_string();
                let attempts = match &state.broken {
                    Some((before, attempts)) if *before == reason => attempts + 1,
                    _ => 0,
                };
                // Somebody wants keys to be asked for: where there were none before, nobody has one.
                let keys = state.keys.get_or_insert_default();
                if attempts % REMIND == 0 {
                    let active = keys.active(jiff::Timestamp::now());
                    tracing::error!(
                        active,
                        "{reason}; the keys that were read before it stay in force, also revoked ones"
                    );
                }
                (state.stamp, state.broken) = (None, Some((reason, attempts)));
            }
        }
    }

    /// Keeps looking, for as long as somebody uses the keys.
    pub async fn watch(keys: std::sync::Weak<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(keys) = keys.upgrade() else { return };
            // Shared folders can hang, which must not hold up requests.
            if tokio::task::spawn_blocking(move || keys.refresh()).await.is_err() {
                tracing::error!("looking at the keys file failed; trying again");
            }
        }
    }
}

/// What one look at the file, without reading it, says.
#[derive(Debug, Clone, Copy)]
enum FileState {
    /// There is none.
    Absent,
    /// It may change once more without looking different.
    Unsettled,
    /// As long as it looks like this it is the same.
    Settled(Stamp),
}

impl FileState {
    fn stamp(self) -> Option<Stamp> {
        match self {
            Self::Settled(stamp) => Some(stamp),
            Self::Absent | Self::Unsettled => None,
        }
    }
}

fn file_state(file: &KeyFile) -> FileState {
    let metadata = match fs::metadata(file.path()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return FileState::Absent,
        // Reading it says what is wrong.
        Err(_) => return FileState::Unsettled,
    };
    let modified = metadata.modified().ok();
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_none_or(|age| age < UNSETTLED) {
        return FileState::Unsettled;
    }
    FileState::Settled(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::access::keys::{Collections, Key, Scope};

    fn add(file: &KeyFile, name: &str) {
        let (key, _) = Key::create(name, Scope::Read, Collections::All, None).unwrap();
        file.edit(|keys| {
            keys.push(key);
            Ok(())
        })
        .unwrap();
    }

    fn open(folder: &tempfile::TempDir) -> (KeyFile, LiveKeys) {
        let file = KeyFile::new(folder.path().join("keys.json"));
        (file.clone(), LiveKeys::open(file, false).unwrap())
    }

    fn count(live: &LiveKeys) -> Option<usize> {
        live.current().map(|keys| keys.active(jiff::Timestamp::now()))
    }

    #[test]
    fn a_changed_file_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let (file, live) = open(&folder);
        assert_eq!(count(&live), None);
        for expected in 1..4 {
            add(&file, &format!("k{expected}"));
            live.refresh();
            assert_eq!(count(&live), Some(expected));
        }
        // Written in place, within one tick of the clock and with the same length.
        let text = fs::read_to_string(file.path()).unwrap();
        fs::write(file.path(), text.replace("k1", "q1")).unwrap();
        live.refresh();
        fs::write(file.path(), text.replace("k1", "x1")).unwrap();
        live.refresh();
        assert!(format!("{:?}", live.current()).contains("\"x1\""));
    }

    #[test]
    fn a_file_that_rests_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, live) = open(&folder);
        add(&file, "a");
        let aged = fs::File::options().write(true).open(file.path()).unwrap();
        aged.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        live.refresh();
        let before = live.current().unwrap();
        live.refresh();
        assert!(Arc::ptr_eq(&before, &live.current().unwrap()));
        add(&file, "b");
        live.refresh();
        assert_eq!(count(&live), Some(2));
    }

    #[test]
    fn a_broken_or_missing_file_keeps_the_last_good_keys_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, live) = open(&folder);
        add(&file, "a");
        live.refresh();
        let good = fs::read(file.path()).unwrap();
        for broken in ["", "{}", "{\"version\":1,\"keys\":[{}]}"] {
            fs::write(file.path(), broken).unwrap();
            live.refresh();
            assert_eq!(count(&live), Some(1), "{broken:?}");
            assert!(live.broken().unwrap().contains("keys.json"), "{:?}", live.broken());
        }
        fs::remove_file(file.path()).unwrap();
        live.refresh();
        assert_eq!(count(&live), Some(1), "removing the file must not let everybody in");
        assert!(live.broken().is_some());
        fs::write(file.path(), good).unwrap();
        live.refresh();
        assert_eq!((count(&live), live.broken()), (Some(1), None));
    }

    #[test]
    fn a_broken_file_closes_a_server_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (file, live) = open(&folder);
        fs::write(file.path(), "{").unwrap();
        live.refresh();
        assert_eq!(count(&live), Some(0));
        fs::remove_file(file.path()).unwrap();
        add(&file, "a");
        live.refresh();
        assert_eq!((count(&live), live.broken()), (Some(1), None));
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_good_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        assert!(matches!(LiveKeys::open(file.clone(), true), Err(KeysError::Missing(_))));
        fs::write(file.path(), "{").unwrap();
        assert!(matches!(LiveKeys::open(file, false), Err(KeysError::Broken { .. })));
    }
}
