//! A collection as lines of JSON: a header, a line a face with its vector, one a photo of which faces were deleted on request, and
//! a last line that says how many faces there are. The order is
//! that of the photos' hashes, so that an export that was cut off goes on from its last photo, with nothing but the file.

use std::io::{BufRead, Write};

use facedex_base::space::Metric;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lifecycle::LifecycleError;
use crate::lifecycle::walk::{Read, Walk, with_view};
use crate::schema::collection::Collection;
use crate::schema::tombstones;
use crate::schema::tombstones::DeletedFaces;
use crate::{Destination, ElasticError};

/// The format's version.
const FORMAT: u32 = 2;
/// The first one: it knew nothing of deleted faces.
const FIRST: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    pub facedex_export: u32,
    /// The collection's name when it was exported.
    pub collection: String,
    /// Its UUID.
    pub collection_id: String,
    /// The embedding space of the vectors.
    pub space: String,
    /// Numbers in a vector.
    pub dims: u32,
    /// How vectors are compared; exports of earlier versions do not say, and held vectors to be compared by their cosine.
    #[serde(default)]
    pub metric: Metric,
}

impl Header {
    /// The header of a collection's export.
    pub fn of(collection: &Collection) -> Self {
        Self {
            facedex_export: FORMAT,
            collection: collection.name.clone(),
            collection_id: collection.collection_id.clone(),
            space: collection.space.clone(),
            dims: collection.dims,
            metric: collection.metric,
        }
    }

    /// Reads a header, and refuses what this version cannot read.
    ///
    /// # Errors
    ///
    /// The reason: no header, or one of a later format.
    pub fn parse(line: &str) -> Result<Self, String> {
        let header: Self =
            serde_json::from_str(line).map_err(|error| format!("the first line is no header of an export: {error}"))?;
        if !(FIRST..=FORMAT).contains(&header.facedex_export) {
            return Err(format!(
                "it has format {}, this facedex reads {FIRST} to {FORMAT}",
                header.facedex_export
            ));
        }
        check_space(&header.space)?;
        Ok(header)
    }
}

/// Refuses what could not be a part of an alias's name.
///
/// # Errors
///
/// The reason.
pub fn check_space(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '@' | '-' | '.' | '_' | '+');
    if (1..=200).contains(&name.len()) && name.chars().all(plain) {
        Ok(())
    } else {
        Err("a space's name is 1 to 200 of a-z, 0-9, @, -, ., _ and +".to_owned())
    }
}

/// A line that is not the first.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A face.
    Face {
        /// Its `_id`.
        #[serde(rename = "_id")]
        id: String,
        /// Its document.
        #[serde(rename = "_source")]
        source: Value,
    },
    /// A photo of which faces were deleted on request.
    Deleted {
        /// Which, and where in it.
        deleted: DeletedFaces,
    },
    /// The end.
    End {
        /// Faces before it.
        faces: u64,
    },
}

/// How far an export has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are good; what follows is written anew.
    pub bytes: u64,
    /// Faces in them.
    pub faces: u64,
    /// The format that the file was begun in; none where it is to be begun.
    pub format: Option<u32>,
    /// The photo to go on with; the first where there is none.
    pub from: Option<String>,
    /// Nothing is missing.
    pub complete: bool,
}

/// Looks at an export that may have been cut off, of this very collection. Its last photo may be torn: it is exported anew.
///
/// # Errors
///
/// The reason: another collection's export, or one that cannot be read.
pub fn progress(mut file: impl BufRead, wanted: &Header) -> Result<Progress, String> {
    #[derive(Deserialize)]
    struct Short {
        #[serde(rename = "_source")]
        source: Option<ShortSource>,
        faces: Option<u64>,
        deleted: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct ShortSource {
        #[serde(default)]
        image: ShortImage,
    }
    #[derive(Default, Deserialize)]
    struct ShortImage {
        hash: Option<String>,
    }
    let mut line = String::new();
    let mut read = |line: &mut String| {
        line.clear();
        file.read_line(line).map_err(|error| error.to_string())
    };
    let mut offset = read(&mut line)? as u64;
    if !line.ends_with('\n') {
        // Not even the header is whole.
        return Ok(Progress::default());
    }
    let found = Header::parse(&line)?;
    let format = found.facedex_export;
    let found = Header {
        facedex_export: wanted.facedex_export,
        ..found
    };
    if found != *wanted {
        return Err("it is an export of another collection, or of an earlier one of this name".to_owned());
    }
    let mut progress = Progress {
        bytes: offset,
        format: Some(format),
        ..Progress::default()
    };
    let mut faces = 0;
    loop {
        let length = read(&mut line)? as u64;
        let Some(short) = serde_json::from_str::<Short>(&line)
            .ok()
            .filter(|_| line.ends_with('\n'))
        else {
            return Ok(progress);
        };
        if short.faces == Some(faces) && short.source.is_none() {
            progress.complete = true;
            progress.faces = faces;
            return Ok(progress);
        }
        if short.deleted.is_some() {
            offset += length;
            continue;
        }
        let hash = short.source.and_then(|source| source.image.hash);
        if hash.is_some() && hash != progress.from {
            progress = Progress {
                bytes: offset,
                faces,
                format: Some(format),
                from: hash,
                complete: false,
            };
        }
        faces += 1;
        offset += length;
    }
}

/// Writes what is missing and says how many faces the export has in all.
///
/// # Errors
///
/// Fails where the collection cannot be read or the file cannot be written.
pub async fn export(
    at: &Destination,
    header: &Header,
    progress: Progress,
    out: &mut impl Write,
) -> Result<u64, LifecycleError> {
    if progress.bytes == 0 {
        write_line(out, header)?;
    }
    let mut faces = progress.faces;
    with_view(at, async |view| {
        let mut walk = Walk::new(Read::Documents, progress.from.clone());
        while let Some(photo) = walk.next(view).await? {
            for face in photo.faces {
                let source = face.document().ok_or_else(|| {
                    ElasticError::unexpected("export a face", format!("{} is no face's document", face.id))
                })?;
                write_line(out, &Line::Face { id: face.id, source })?;
                faces += 1;
            }
        }
        Ok::<_, LifecycleError>(())
    })
    .await?;
    // A file that an earlier release began has no place for them.
    if progress.format.is_none_or(|format| format > FIRST) {
        let mut after = None;
        while let Some((photos, last)) = tombstones::next_page(at, after.as_ref()).await? {
            for deleted in photos {
                write_line(out, &json!({"deleted": deleted}))?;
            }
            after = Some(last);
        }
    }
    write_line(out, &json!({"faces": faces}))?;
    out.flush().map_err(LifecycleError::Write)?;
    Ok(faces)
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> Result<(), LifecycleError> {
    let mut line = serde_json::to_vec(value).map_err(|error| LifecycleError::Write(error.into()))?;
    line.push(b'\n');
    out.write_all(&line).map_err(LifecycleError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            facedex_export: FORMAT,
            collection: "c".to_owned(),
            collection_id: "u".to_owned(),
            space: "s".to_owned(),
            dims: 1,
            metric: Metric::Cosine,
        }
    }

    fn text(lines: &[&str]) -> String {
        let first = serde_json::to_string(&header()).unwrap();
        [&[first.as_str()], lines].concat().join("\n") + "\n"
    }

    const A: &str = r#"{"_id":"a-0","_source":{"image":{"hash":"a"}}}"#;
    const B: &str = r#"{"_id":"b-0","_source":{"image":{"hash":"b"}}}"#;
    const B1: &str = r#"{"_id":"b-1","_source":{"image":{"hash":"b"}}}"#;

    #[test]
    fn an_export_goes_on_with_its_last_photo() {
        let whole = text(&[A, B, B1]);
        let upto = text(&[A]).len() as u64;
        let expected = Progress {
            bytes: upto,
            faces: 1,
            format: Some(FORMAT),
            from: Some("b".to_owned()),
            complete: false,
        };
        assert_eq!(progress(whole.as_bytes(), &header()), Ok(expected.clone()));
        // Torn in the last line.
        assert_eq!(progress(&whole.as_bytes()[..whole.len() - 3], &header()), Ok(expected));
        let done = progress(text(&[A, B, B1, r#"{"faces":3}"#]).as_bytes(), &header()).unwrap();
        assert!(done.complete && done.faces == 3);
        let deleted = r#"{"deleted":{"image":{"hash":"c"},"faces":[]}}"#;
        let done = progress(text(&[A, B, deleted, r#"{"faces":2}"#]).as_bytes(), &header()).unwrap();
        assert!(done.complete && done.faces == 2);
        // Cut off between the deleted ones: the last photo is written anew, and they after it.
        let cut = progress(text(&[A, B, deleted]).as_bytes(), &header()).unwrap();
        assert_eq!((cut.complete, cut.bytes), (false, upto));
        // Begun by an earlier release.
        let former = whole.replacen("\"facedex_export\":2", "\"facedex_export\":1", 1);
        assert_eq!(progress(former.as_bytes(), &header()).unwrap().format, Some(1));
        assert_eq!(progress(&whole.as_bytes()[..5], &header()), Ok(Progress::default()));
        let other = Header {
            space: "other".to_owned(),
            ..header()
        };
        assert!(progress(whole.as_bytes(), &other).is_err());
    }
}
