//! The dead-letter file: one JSON line a photo that could not be used, on disk before the run goes on.

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
    /// Makes sure that it can be written, before a run depends on it; a new file is made when the first photo fails.
    pub fn new(path: PathBuf) -> Result<Self, IngestError> {
        let letters = Self { path, file: None };
        let is_new = !letters.path.exists();
        let check = || -> std::io::Result<()> {
            let mut first = [0];
            // Appending to somebody's photo would be one way to lose it.
            if letters.path.is_file() && File::open(&letters.path)?.read(&mut first)? == 1 && first != *b"{" {
                return Err(std::io::Error::other("it is there, and no dead-letter file"));
            }
            drop(open(&letters.path)?);
            if is_new {
                std::fs::remove_file(&letters.path)
            } else {
                Ok(())
            }
        };
        check().map_err(|source| letters.failed(source))?;
        Ok(letters)
    }

    /// Appends one failure.
    pub fn write(&mut self, failure: &Failure) -> Result<(), IngestError> {
        self.append(failure).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> IngestError {
        IngestError::DeadLetter {
            path: self.path.clone(),
            source,
        }
    }

    /// Puts everything on disk; where the failures are, if there are any.
    pub fn finish(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        // They are written; only a power cut could lose them, and the summary counts them.
        let _ = file.sync_data();
        Some(self.path.display().to_string())
    }

    fn append(&mut self, failure: &Failure) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(failure)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path)?),
        };
        // One write a line: a crash can tear the last line only.
        file.write_all(&line)
    }
}

/// Opens the file for appending, after a line that a crash may have torn.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    end_torn_line(&mut file)?;
    Ok(file)
}

/// Ends the last line, which a crash may have torn, so that what is appended next does not continue it.
pub(crate) fn end_torn_line(file: &mut File) -> std::io::Result<()> {
    // A device has no length to go back from.
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}
