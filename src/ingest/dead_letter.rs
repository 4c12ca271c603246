//! The dead-letter file: one JSON line a photo that could not be used, on disk before the run goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Failure, IngestError};

/// An append-only file that is made when the first photo fails.
#[derive(Debug)]
pub struct DeadLetter {
    path: PathBuf,
    file: Option<File>,
}

impl DeadLetter {
    /// Nothing is created yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Appends one failure.
    pub fn write(&mut self, failure: &Failure) -> Result<(), IngestError> {
        self.append(failure).map_err(|source| IngestError::DeadLetter {
            path: self.path.clone(),
            source,
        })
    }

    /// Where the failures are, if there are any.
    pub fn written(&self) -> Option<&Path> {
        self.file.as_ref().map(|_| self.path.as_path())
    }

    fn append(&mut self, failure: &Failure) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(failure)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => self
                .file
                .insert(OpenOptions::new().create(true).append(true).open(&self.path)?),
        };
        // One write a line: a crash can tear the last line only.
        file.write_all(&line)
    }
}
