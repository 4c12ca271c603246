//! Folders that are watched: after a first walk, photos are taken as they appear, once they are complete.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::folder::Folder;
use super::{Sink, Source, Stop};
use crate::ingest::IngestError;

/// A file that nobody closed or renamed is complete when it has not changed for so long.
const QUIET: Duration = Duration::from_secs(2);

/// How often it is looked whether files are complete, and whether the run is to end.
const TICK: Duration = Duration::from_millis(250);

/// Events that may wait.
const EVENTS: usize = 10_000;

/// Folders, and what appears in them.
pub struct Watch {
    folder: Folder,
    roots: Vec<PathBuf>,
    events: Receiver<notify::Result<Event>>,
    /// Reports as long as it is held.
    _watcher: RecommendedWatcher,
}

/// A file that may not be complete.
struct Growing {
    size: u64,
    modified: Option<SystemTime>,
    since: Instant,
}

/// What an event says of a file.
#[derive(Debug, PartialEq)]
enum News {
    /// It is complete.
    Complete,
    /// It is there, or changed.
    Changed,
    /// Nothing that matters.
    None,
}

impl Watch {
    /// Starts watching now, so that nothing is missed that appears during the first walk.
    pub fn new(paths: &[PathBuf]) -> Result<Self, IngestError> {
        if let Some(path) = paths.iter().find(|path| !path.is_dir()) {
            return Err(IngestError::NoFolder(path.clone()));
        }
        let folder = Folder::new(paths)?;
        let failed = |error: notify::Error| IngestError::Watch(error.to_string());
        // Bounded: who falls behind is told by the system that events were lost, and looks at everything again.
        let (sender, events) = sync_channel(EVENTS);
        let mut watcher = notify::recommended_watcher(move |event| {
            // It fails when the walk has ended.
            let _ = sender.send(event);
        })
        .map_err(failed)?;
        let roots: Vec<PathBuf> = folder.roots().map(Path::to_owned).collect();
        for root in &roots {
            watcher.watch(root, RecursiveMode::Recursive).map_err(failed)?;
        }
        Ok(Self {
            folder,
            roots,
            events,
            _watcher: watcher,
        })
    }

    fn root_of(&self, path: &Path) -> Option<&PathBuf> {
        self.roots.iter().find(|root| path.starts_with(root))
    }

    /// Offers a file that is complete, or what is in a folder that appeared.
    fn take(&self, path: &Path, sink: &mut Sink) -> Result<(), Stop> {
        match self.root_of(path) {
            // It may be gone again.
            Some(root) if path.exists() => Folder::part(root, path).walk(sink),
            _ => Ok(()),
        }
    }

    fn note(&self, event: &Event, growing: &mut HashMap<PathBuf, Growing>, sink: &mut Sink) -> Result<(), Stop> {
        let news = news(event.kind);
        for path in &event.paths {
            let hidden = self.root_of(path).is_none_or(|root| is_hidden(root, path));
            if hidden || news == News::None {
                continue;
            }
            if path.is_dir() {
                // What was in it before it was watched has no events of its own.
                if matches!(
                    event.kind,
                    EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
                ) {
                    for file in Folder::part(path, path).paths() {
                        growing.entry(file.clone()).or_insert_with(|| Growing::of(&file));
                    }
                }
            } else if news == News::Complete {
                growing.remove(path);
                self.take(path, sink)?;
            } else {
                growing.insert(path.clone(), Growing::of(path));
            }
        }
        Ok(())
    }
}

impl Source for Watch {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        self.folder.walk(sink)?;
        let mut growing = HashMap::new();
        let mut looked = Instant::now();
        loop {
            sink.check()?;
            match self.events.recv_timeout(TICK) {
                // Events were lost: everything is looked at again, and what is stored already stays as it is.
                Ok(Ok(event)) if event.need_rescan() => self.folder.walk(sink)?,
                Ok(Ok(event)) => self.note(&event, &mut growing, sink)?,
                Ok(Err(error)) => tracing::warn!("watching: {error}"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if looked.elapsed() < TICK {
                continue;
            }
            looked = Instant::now();
            let mut quiet = Vec::new();
            growing.retain(|path: &PathBuf, known: &mut Growing| {
                let now = Growing::of(path);
                if (now.size, now.modified) != (known.size, known.modified) {
                    *known = now;
                }
                let complete = known.since.elapsed() >= QUIET;
                if complete {
                    quiet.push(path.clone());
                }
                !complete
            });
            for path in quiet {
                self.take(&path, sink)?;
            }
        }
    }
}

impl Growing {
    fn of(path: &Path) -> Self {
        let metadata = path.metadata().ok();
        Self {
            size: metadata.as_ref().map_or(0, std::fs::Metadata::len),
            modified: metadata.and_then(|metadata| metadata.modified().ok()),
            since: Instant::now(),
        }
    }
}

fn news(kind: EventKind) -> News {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => News::Complete,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => News::Complete,
        // Both names in one event, the old one first: it is gone, which `take` sees. A file's new name has a `To` too.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both | RenameMode::From)) => News::None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Name(_)) => {
            News::Changed
        }
        _ => News::None,
    }
}

/// Whether the file, or a folder between the root and it, is hidden.
fn is_hidden(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().any(|part| part.as_encoded_bytes().starts_with(b"."))
}
