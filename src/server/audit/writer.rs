//! The thread that writes the audit log: groups of lines, each synced once.
//!
//! What could not be written is kept and tried again, up to a limit; beyond it lines are lost, and a line tells how many.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use super::{AuditError, now};
use crate::ingest::dead_letter::end_torn_line;

/// Lines that wait for the thread.
const QUEUE: usize = 10_000;
/// Lines of one group.
const GROUP: usize = 1000;
/// Bytes that wait for a disk that takes nothing.
const KEPT: usize = 8 << 20;
/// How soon a disk that took nothing is tried again by itself.
const RETRY: Duration = Duration::from_secs(1);
/// How often a disk that takes nothing is mentioned.
const REMIND: Duration = Duration::from_secs(60);

/// A line, with its end, on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// It tells what was done: if it cannot be written now, it is later.
    pub(super) is_needed: bool,
    /// Who waits.
    pub(super) done: Option<oneshot::Sender<Result<(), AuditError>>>,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Log {
    lines: SyncSender<Line>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    failing: Mutex<Option<String>>,
    lost: AtomicU64,
}

impl Log {
    pub(super) fn failing(&self) -> Option<String> {
        let failing = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.clone()
    }

    /// Never waits.
    pub(super) fn send(&self, line: Line) -> Result<(), AuditError> {
        self.lines.try_send(line).map_err(|error| {
            let (TrySendError::Full(line) | TrySendError::Disconnected(line)) = error;
            if line.is_needed && self.shared.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!("the audit log falls behind and loses lines");
            }
            AuditError::Behind
        })
    }
}

/// Opens the file and starts the thread, which ends when nobody can send any more.
pub(super) fn open(path: &Path) -> Result<Log, AuditError> {
    let mut writer = Writer {
        path: path.to_owned(),
        file: None,
        kept: Vec::new(),
        shared: Arc::default(),
        mentioned: None,
    };
    let failed = |error: std::io::Error| AuditError::Write {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    writer.reopen().map_err(failed)?;
    let (lines, receiver) = sync_channel(QUEUE);
    let shared = writer.shared.clone();
    std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(&receiver))
        .map_err(failed)?;
    Ok(Log { lines, shared })
}

struct Writer {
    path: PathBuf,
    file: Option<Target>,
    /// Whole lines that the disk has not taken yet.
    kept: Vec<u8>,
    shared: Arc<Shared>,
    mentioned: Option<Instant>,
}

struct Target {
    file: File,
    inode: (u64, u64),
    /// A device or a pipe can be neither cut nor synced.
    is_file: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Line>) {
        loop {
            let mut group = Vec::new();
            let wait = if self.kept.is_empty() { Duration::MAX } else { RETRY };
            match lines.recv_timeout(wait) {
                Ok(line) => group.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(Vec::new()),
            }
            group.extend(lines.try_iter().take(GROUP));
            self.write(group);
        }
    }

    fn write(&mut self, group: Vec<Line>) {
        let mut bytes = self.kept.clone();
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = json!({"@timestamp": now(), "action": "lost_lines", "lines": lost});
            bytes.extend_from_slice(format!("{line}\n").as_bytes());
        }
        group.iter().for_each(|line| bytes.extend_from_slice(&line.bytes));
        let result = self.append(&bytes).map_err(|error| AuditError::Write {
            path: self.path.clone(),
            reason: error.to_string(),
        });
        match &result {
            Ok(()) => {
                self.kept.clear();
                if self.mentioned.take().is_some() {
                    tracing::warn!("the audit log {} can be written again", self.path.display());
                    self.tell(None);
                }
            }
            Err(error) => {
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
                self.keep(&group);
                self.tell(Some(error.to_string()));
                if self.mentioned.is_none_or(|at| at.elapsed() >= REMIND) {
                    let waiting = self.kept.len();
                    tracing::error!(waiting, "{error}; changes are refused, searches are not");
                    self.mentioned = Some(Instant::now());
                }
            }
        }
        for line in group {
            // Who waited may have left.
            let _ = line.done.map(|done| done.send(result.clone()));
        }
    }

    fn keep(&mut self, group: &[Line]) {
        for line in group.iter().filter(|line| line.is_needed) {
            if self.kept.len() + line.bytes.len() <= KEPT {
                self.kept.extend_from_slice(&line.bytes);
            } else {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn tell(&self, failing: Option<String>) {
        metrics::gauge!("facedex_audit_failing").set(f64::from(u8::from(failing.is_some())));
        *self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    /// All of it is on disk, or nothing.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Whoever rotates logs moves the file away: the lines go to where the path leads.
        let now = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some((metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if now.is_none() || self.file.as_ref().map(|target| target.inode) != now {
            self.reopen()?;
        }
        let Some(target) = &mut self.file else {
            return Err(ErrorKind::NotFound.into());
        };
        let before = target.file.metadata()?.len();
        let mut result = target.file.write_all(bytes);
        if target.is_file {
            result = result.and_then(|()| target.file.sync_data());
        }
        if result.is_err() {
            // A part of a line may be there. If it cannot be cut off, opening the file again ends that line.
            let _ = target.file.set_len(before);
            self.file = None;
        }
        result
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        // The lock on the old file goes first: it may be the same one.
        self.file = None;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(std::io::Error::other("another facedex writes it; give each its own"));
                }
                // Not every file system has locks.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            end_torn_line(&mut file)?;
        }
        self.file = Some(Target {
            file,
            inode: (metadata.dev(), metadata.ino()),
            is_file: metadata.is_file(),
        });
        Ok(())
    }
}
