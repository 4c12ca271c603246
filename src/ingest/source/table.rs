//! Manifests in CSV: a header line, then a photo a record.

use std::cell::Cell;
use std::io::{BufRead, Error, Read, Result as IoResult};
use std::rc::Rc;

use csv::{ReaderBuilder, StringRecord};

use super::input::LONGEST;
use super::list::Row;
use super::names::Fields;

/// The records' line numbers, and what they name.
pub(super) fn rows(content: Box<dyn BufRead>) -> impl Iterator<Item = (u64, Result<Row, String>)> {
    let read = Rc::new(Cell::new(0));
    let bounded = Bounded {
        inner: content,
        read: Rc::clone(&read),
    };
    let mut csv = ReaderBuilder::new().trim(csv::Trim::All).from_reader(bounded);
    let mut header: Option<StringRecord> = None;
    let mut record = StringRecord::new();
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        read.set(0);
        if header.is_none() {
            let found = csv.headers().cloned();
            let named = |found: &StringRecord| found.iter().any(|name| name == "uri" || name == "path");
            let wrong = match found {
                Ok(found) if named(&found) => {
                    header = Some(found);
                    None
                }
                Ok(found) if found.is_empty() => return None,
                Ok(_) => Some("the header names no column uri (or path)".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(wrong) = wrong {
                ended = true;
                return Some((1, Err(wrong)));
            }
        }
        match csv.read_record(&mut record) {
            Ok(false) => None,
            Ok(true) => {
                let line = record.position().map_or(0, csv::Position::line);
                Some((line, row(header.as_ref()?, &record)))
            }
            Err(error) => {
                let line = error
                    .position()
                    .map_or_else(|| csv.position().line(), csv::Position::line);
                // A record of another length, or that is no text, is one bad line. Nothing comes after a failed read.
                ended = matches!(error.kind(), csv::ErrorKind::Io(_));
                Some((line, Err(reason(&error))))
            }
        }
    })
}

fn row(header: &StringRecord, record: &StringRecord) -> Result<Row, String> {
    let mut fields = Fields::default();
    for (key, value) in header.iter().zip(record) {
        fields.set(key, value.to_owned())?;
    }
    fields.row()
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} columns, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// Bounds what one record takes: without its closing quote a field would be the rest of the file.
struct Bounded<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        if self.read.get() > LONGEST {
            return Err(Error::other("a record is longer than 1 MiB: is a quote not closed?"));
        }
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}
