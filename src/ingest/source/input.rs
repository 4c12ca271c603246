//! What a list or a manifest is read from: a file, a pipe, standard input. Nothing is loaded whole.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, Read, Result as IoResult};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::archive::file_uri;
use crate::ingest::IngestError;

/// The longest line or record.
pub(super) const LONGEST: u64 = 1 << 20;

/// Something that lists photos.
#[derive(Debug)]
pub struct Input {
    /// Where it is, for messages.
    pub(super) uri: String,
    /// Relative paths start here.
    pub(super) base: PathBuf,
    /// `None` is standard input.
    file: Option<(File, u64)>,
}

impl Input {
    /// Opens a file, or standard input if it is `-`.
    pub fn open(path: &Path) -> Result<Self, IngestError> {
        let failed = |reason| IngestError::List {
            path: path.to_owned(),
            reason,
        };
        if path == Path::new("-") {
            return Ok(Self {
                uri: "standard input".to_owned(),
                base: std::env::current_dir().map_err(failed)?,
                file: None,
            });
        }
        let path = std::path::absolute(path).map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let length = if metadata.is_file() { metadata.len() } else { 0 };
        Ok(Self {
            uri: file_uri(&path),
            base: path.parent().unwrap_or(&path).to_owned(),
            file: Some((file, length)),
        })
    }

    /// Its content, as long as it was when it was opened: a run may add to the dead letters that it reads. What is no
    /// file is read by a thread of its own, so that a run that is told to stop need not wait for more of it.
    pub(super) fn content(&mut self, stop: &Arc<AtomicBool>) -> IoResult<Box<dyn BufRead>> {
        let stop = Arc::clone(stop);
        Ok(match &self.file {
            Some((file, 0)) => Box::new(BufReader::new(Pipe::new(file.try_clone()?, stop))),
            Some((file, length)) => Box::new(BufReader::new(file.try_clone()?.take(*length))),
            None => Box::new(BufReader::new(Pipe::new(std::io::stdin(), stop))),
        })
    }
}

/// Reads up to `delimiter`, which is left out. `None` is the end, an error what is too long; then the rest of it is
/// passed over.
pub(super) fn next_line(input: &mut dyn BufRead, delimiter: u8) -> Option<IoResult<Vec<u8>>> {
    let mut line = Vec::new();
    if let Err(error) = input.take(LONGEST).read_until(delimiter, &mut line) {
        return Some(Err(error));
    }
    if line.is_empty() {
        return None;
    }
    if line.last() == Some(&delimiter) {
        line.pop();
    } else if line.len() as u64 == LONGEST {
        let rest = input.skip_until(delimiter);
        return Some(rest.and_then(|_| Err(Error::other("it is longer than 1 MiB"))));
    }
    Some(Ok(line))
}

/// A reader on a thread of its own.
struct Pipe {
    chunks: Receiver<IoResult<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    stop: Arc<AtomicBool>,
}

impl Pipe {
    fn new(mut from: impl Read + Send + 'static, stop: Arc<AtomicBool>) -> Self {
        let (sender, chunks) = sync_channel(4);
        // Nobody waits for it: it ends with what it reads, or with the process.
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = from.read(&mut buffer).map(|read| buffer[..read].to_vec());
                let last = !matches!(&read, Ok(chunk) if !chunk.is_empty());
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        Self {
            chunks,
            chunk: Vec::new(),
            at: 0,
            stop,
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        while self.at == self.chunk.len() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::other("the run was stopped"));
            }
            match self.chunks.recv_timeout(Duration::from_millis(200)) {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
            if self.chunk.is_empty() {
                return Ok(0);
            }
        }
        let take = buffer.len().min(self.chunk.len() - self.at);
        buffer[..take].copy_from_slice(&self.chunk[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}
