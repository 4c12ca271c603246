//! The dead-letter file: one JSON line a photo that could not be used, written before the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
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
            None => {
                let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                // A full disk or a crash can have torn the last line: what is appended next must not continue it.
                if ends_torn(&self.path).unwrap_or(false) {
                    file.write_all(b"\n")?;
                }
                self.file.insert(file)
            }
        };
        // One write a line: a crash can tear the last line only.
        file.write_all(&line)
    }
}

fn ends_torn(path: &Path) -> std::io::Result<bool> {
    let metadata = std::fs::metadata(path)?;
    // Pipes and devices have no end to look at.
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
