//! Files that name photos: plain lists, manifests, dead letters.

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;
use std::path::PathBuf;

use facedex_elastic::schema::document::Person;
use serde_json::{Map, Value};

use super::archive::short_hash;
use super::input::{Input, next_line};
use super::list::{Naming, Row};
use super::{Given, Sink, Source, Stop, table};

/// How a file names photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One a line.
    Lines,
    /// One up to each NUL.
    Null,
    /// CSV with a header, or a JSON object a line: told by its content.
    Manifest,
    /// The dead-letter file of an earlier run.
    DeadLetter,
}

/// A file that names photos.
#[derive(Debug)]
pub struct Names {
    input: Input,
    form: Form,
    naming: Naming,
}

impl Names {
    /// Members of archives that have more than `limit` bytes are refused.
    pub fn new(input: Input, form: Form, limit: u64) -> Self {
        let naming = Naming {
            list: input.uri.clone(),
            base: input.base.clone(),
            limit,
            folders: form == Form::DeadLetter,
        };
        Self { input, form, naming }
    }
}

impl Source for Names {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let content = self.input.content(&sink.stop).and_then(|mut content| {
            let begin = content.fill_buf()?;
            // A mark that some editors put before UTF-8.
            let mark = if begin.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
            content.consume(mark);
            let is_json = content.fill_buf()?.trim_ascii_start().starts_with(b"{");
            Ok((content, is_json))
        });
        let (mut content, is_json) = match content {
            Ok(content) => content,
            Err(error) => {
                let mut nothing = std::iter::once((1, Err(error.to_string())));
                return self.naming.walk(&mut nothing, sink);
            }
        };
        let mut seen = HashSet::new();
        match self.form {
            Form::Lines => self.naming.walk(&mut lines(&mut content, b'\n').map(plain), sink),
            Form::Null => self.naming.walk(&mut lines(&mut content, b'\0').map(plain), sink),
            Form::Manifest if !is_json => self.naming.walk(&mut table::rows(content), sink),
            Form::Manifest => self.naming.walk(&mut lines(&mut content, b'\n').map(json), sink),
            // A photo that failed in several runs is there as often.
            Form::DeadLetter => self.naming.walk(
                &mut lines(&mut content, b'\n').map(dead_letter).filter(|(_, row)| {
                    row.as_ref()
                        .map_or(true, |row| seen.insert(short_hash(&format!("{row:?}"))))
                }),
                sink,
            ),
        }
    }
}

type Line = (u64, Result<Vec<u8>, String>);

/// The lines that are not blank, without line ends, with their numbers.
fn lines(input: &mut dyn BufRead, delimiter: u8) -> impl Iterator<Item = Line> {
    let lines = (1..).map_while(move |number| Some((number, next_line(input, delimiter)?)));
    let mut broken = false;
    lines
        .map(move |(number, line)| {
            let line = line.map(|mut line| {
                if delimiter == b'\n' && line.last() == Some(&b'\r') {
                    line.pop();
                }
                line
            });
            (number, line.map_err(|error| error.to_string()))
        })
        .take_while(move |(_, line)| {
            // Two errors in a row: it will not get better.
            let go_on = !(broken && line.is_err());
            broken = line.is_err();
            go_on
        })
        .filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty()))
}

fn plain((number, line): Line) -> (u64, Result<Row, String>) {
    let row = line.and_then(|line| {
        Ok(Row {
            name: path(line)?,
            given: Given::default(),
        })
    });
    (number, row)
}

#[cfg(unix)]
fn path(bytes: Vec<u8>) -> Result<PathBuf, String> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path(bytes: Vec<u8>) -> Result<PathBuf, String> {
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|error| error.to_string())
}

fn json((number, line): Line) -> (u64, Result<Row, String>) {
    (number, line.and_then(|line| parse(&line, &[])))
}

fn dead_letter((number, line): Line) -> (u64, Result<Row, String>) {
    let not_labels = ["@timestamp", "stage", "reason", "run"];
    (number, line.and_then(|line| parse(&line, &not_labels)))
}

/// Makes a row of a JSON object; `not_labels` are keys that mean nothing.
fn parse(line: &[u8], not_labels: &[&str]) -> Result<Row, String> {
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut fields = Fields::default();
    for (key, value) in object {
        if not_labels.contains(&key.as_str()) {
            continue;
        }
        match value {
            // {"person": {"id": ..}} is person.id, {"labels": {"year": ..}} is labels.year.
            Value::Object(inner) if key == "person" || key == "labels" => {
                for (inner, value) in inner {
                    fields.set(&format!("{key}.{inner}"), text(&key, value)?)?;
                }
            }
            value => fields.set(&key, text(&key, value)?)?,
        }
    }
    fields.row()
}

fn text(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(format!("the value of {key:?} is neither text nor a number")),
    }
}

/// A row while its fields come in.
#[derive(Default)]
pub(super) struct Fields {
    name: Option<String>,
    id: Option<String>,
    person: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Fields {
    /// Takes a field; an empty value is none.
    pub(super) fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let place = match key {
            "uri" | "path" => &mut self.name,
            "person.id" => &mut self.id,
            "person.name" => &mut self.person,
            label => {
                let label = label.strip_prefix("labels.").unwrap_or(label);
                if !value.is_empty() {
                    self.labels.insert(label.to_owned(), value);
                }
                return Ok(());
            }
        };
        if !value.is_empty() && place.replace(value).is_some() {
            return Err(format!("{key:?} is given twice (uri and path are the same)"));
        }
        Ok(())
    }

    /// The row, if the fields make one.
    pub(super) fn row(self) -> Result<Row, String> {
        let name = self.name.ok_or("it has no uri (or path)")?;
        let person = match (self.id, self.person) {
            (Some(id), name) => Some(Person { id, name }),
            (None, None) => None,
            (None, Some(_)) => return Err("it has a person.name but no person.id".to_owned()),
        };
        Ok(Row {
            name: name.into(),
            given: Given {
                person,
                labels: self.labels,
            },
        })
    }
}

#[cfg(test)]
mod tests;
