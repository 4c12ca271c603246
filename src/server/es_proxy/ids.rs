//! Which documents an answer names, for the audit log, read from the bytes as they pass.

use std::io::Write;

use crate::server::audit::Entry;

/// Ids longer than Elasticsearch takes are none.
const LONGEST: usize = 512;

/// Looks for `"_id":".."` in an answer that comes in pieces.
#[derive(Debug, Default)]
struct Ids {
    state: State,
    id: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in a string.
    #[default]
    Between,
    /// In a string that may be the key, so many bytes of which are there.
    Key(usize),
    /// In another string; `true` after a backslash.
    Other(bool),
    /// The key is there, the colon is awaited.
    Colon,
    /// The value's beginning is awaited.
    Value,
    /// In the id; `true` after a backslash.
    Id(bool),
}

const KEY: &[u8] = b"_id";

impl Ids {
    /// Reads a piece and gives the ids that end in it.
    fn read(&mut self, bytes: &[u8], mut found: impl FnMut(&str)) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Between | State::Colon, b'"') => State::Key(0),
                (State::Between, _) => State::Between,
                (State::Key(length), b'"') if length == KEY.len() => State::Colon,
                (State::Key(length), _) if KEY.get(length) == Some(&byte) => State::Key(length + 1),
                (State::Key(_), b'"') => State::Between,
                (State::Key(_), _) => State::Other(byte == b'\\'),
                (State::Other(false), b'"') => State::Between,
                (State::Other(escaped), _) => State::Other(byte == b'\\' && !escaped),
                (State::Colon, b':') => State::Value,
                (State::Value, b'"') => {
                    self.id.clear();
                    State::Id(false)
                }
                (State::Colon | State::Value, b' ' | b'\n' | b'\r' | b'\t') => self.state,
                (State::Colon | State::Value, _) => State::Between,
                (State::Id(false), b'"') => {
                    if let Ok(id) = std::str::from_utf8(&self.id)
                        && self.id.len() <= LONGEST
                    {
                        found(id);
                    }
                    State::Between
                }
                (State::Id(escaped), _) => {
                    if self.id.len() <= LONGEST {
                        self.id.push(byte);
                    }
                    State::Id(byte == b'\\' && !escaped)
                }
            };
        }
    }
}

/// Reads an answer and notes what it names.
pub(super) struct Named {
    ids: Ids,
    entry: Entry,
}

impl Named {
    /// For a request's line in the audit log.
    pub(super) fn for_log(entry: &Entry) -> Self {
        Self {
            ids: Ids::default(),
            entry: entry.clone(),
        }
    }

    /// Reads a piece.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.ids.read(bytes, |id| self.entry.face(id));
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_however_the_answer_is_cut() {
        let answer = br#"{"hits":[{"_index":"_id","_id":"ab-0","_source":{"x":"\"_id\":\"no\"","_ids":"no","labels":{"_id\"":"no"}}},
            {"_id" : "cd-1","y":["_id","no"]}, {"_id":7}, {"_id":"q\"x"}]}"#;
        for size in [1, 2, 7, answer.len()] {
            let (mut ids, mut found) = (Ids::default(), Vec::new());
            for piece in answer.chunks(size) {
                ids.read(piece, |id| found.push(id.to_owned()));
            }
            assert_eq!(found, ["ab-0", "cd-1", "q\\\"x"], "pieces of {size}");
        }
    }
}
