//! Photos in a search body give way to their vectors; every other byte stays as it came.
//!
//! One pass of serde_json over the body says where the clauses are (as `RawValue`s, which point into the body); nothing
//! is ever serialised again.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use facedex_face::select::FaceChoice;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::builder::{self, Builder};
use super::counts::{Counted, Similarities, counts_by_queries};
use super::places::Place;

/// Objects and arrays within one another that a body may have. Elasticsearch's own limit of 30 queries within one another
/// takes 90; serde_json would stop at 128.
const MAX_DEPTH: usize = 100;
pub(super) const BUILDER: &str = "query_vector_builder";
const VECTOR: &str = "query_vector";

/// Why a body is refused, in Elasticsearch's manner: a type and a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The error's `type`.
    pub kind: &'static str,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Refusal {
    /// What is asked for is understood and not accepted.
    pub(super) fn illegal(reason: impl Into<String>) -> Self {
        Self {
            kind: "illegal_argument_exception",
            reason: reason.into(),
        }
    }

    /// What is asked for is not understood.
    pub(super) fn parsing(reason: impl Into<String>) -> Self {
        Self {
            kind: "parsing_exception",
            reason: reason.into(),
        }
    }
}

/// A photo in a search body that a vector is to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaceClause {
    /// The bytes of `"query_vector_builder": {..}` in the body, key and value.
    pub span: Range<usize>,
    /// The photo file.
    pub image: Vec<u8>,
    /// Which of its faces.
    pub face: FaceChoice,
}

/// What a search body holds that concerns us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its photos, in order.
    pub photos: Vec<FaceClause>,
    /// The indices that it looks vectors up in.
    pub lookups: Vec<String>,
    /// Where its knn queries have similarities.
    pub similarities: Similarities,
}

/// Finds at most `max_photos` photos in a search body, and refuses what the proxy does not let through anywhere.
pub fn scan(body: &str, max_photos: usize) -> Result<Found, Refusal> {
    let mut scan = Scan {
        body,
        max_photos,
        found: Found::default(),
        refusal: None,
    };
    scan.walk(body, Place::Body, Counted::Never, 0)?;
    Ok(scan.found)
}

/// Puts the vectors where the clauses were, in their order.
pub fn splice(body: &str, clauses: &[(Range<usize>, Vec<f32>)]) -> Result<Vec<u8>, Refusal> {
    let mut spliced = Vec::with_capacity(body.len().min(1 << 16) + clauses.len() * 2048);
    let mut from = 0;
    for (span, vector) in clauses {
        let before = body
            .get(from..span.start)
            .ok_or_else(|| Refusal::parsing("the clauses of the body overlap"))?;
        spliced.extend_from_slice(before.as_bytes());
        spliced.extend_from_slice(b"\"query_vector\":");
        serde_json::to_writer(&mut spliced, vector).map_err(|error| Refusal::parsing(error.to_string()))?;
        from = span.end;
    }
    spliced.extend_from_slice(&body.as_bytes()[from..]);
    Ok(spliced)
}

/// What a walk over a body has met.
struct Scan<'b> {
    body: &'b str,
    max_photos: usize,
    found: Found,
    /// serde's errors are text alone: the refusal behind one waits here.
    refusal: Option<Refusal>,
}

impl<'b> Scan<'b> {
    /// Walks over one JSON value, which is all of `text`.
    fn walk(&mut self, text: &'b str, place: Place, counted: Counted, depth: usize) -> Result<(), Refusal> {
        let mut json = serde_json::Deserializer::from_str(text);
        let walk = Walk {
            scan: self,
            place,
            counted,
            depth,
        };
        let walked = walk.deserialize(&mut json).and_then(|()| json.end());
        walked.map_err(|error| {
            let refusal = self.refusal.take();
            refusal.unwrap_or_else(|| Refusal::parsing(format!("the body is no JSON that can be read: {error}")))
        })
    }

    /// Ends the walk.
    fn refuse<E: serde::de::Error>(&mut self, refusal: Refusal) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    /// Where a part of the body lies in it.
    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize)
    }

    /// Looks at a builder, and says whether it is a photo; one that is not ours passes as it is.
    fn builder(&mut self, key: &'b RawValue, value: &'b RawValue, depth: usize) -> Result<bool, Refusal> {
        match builder::read(value)? {
            Builder::Photo(image, face) => {
                if self.found.photos.len() == self.max_photos {
                    let reason =
                        "more photos than one request may have; send fewer, or raise --max-photos of the server";
                    return Err(Refusal::illegal(reason));
                }
                let end = self.offset(value.get()) + value.get().len();
                self.found.photos.push(FaceClause {
                    span: self.offset(key.get())..end,
                    image,
                    face,
                });
                Ok(true)
            }
            Builder::Lookup(index) => {
                self.found.lookups.push(index);
                Ok(false)
            }
            Builder::Other => self
                .walk(value.get(), Place::Data, Counted::Never, depth)
                .map(|()| false),
        }
    }

    /// Notes how many hits a body asks for. What cannot be read as a number may be none.
    fn size(&mut self, value: &'b RawValue) {
        let size = serde_json::from_str::<u64>(value.get());
        self.found.similarities.no_hits |= size.is_err() || size.is_ok_and(|size| size == 0);
    }
}

/// A value of the body that is to be walked over.
struct Walk<'w, 'b> {
    scan: &'w mut Scan<'b>,
    place: Place,
    counted: Counted,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Walk<'_, 'de> {
    fn descend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let reason = format!("more than {MAX_DEPTH} objects and arrays within one another");
            return Err(self.scan.refuse(Refusal::parsing(reason)));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        self.descend()?;
        let (place, counted, depth) = (self.place.element(), self.counted, self.depth);
        while elements
            .next_element_seed(Walk {
                scan: &mut *self.scan,
                place,
                counted,
                depth,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.descend()?;
        let Self {
            scan,
            place,
            counted,
            depth,
        } = self;
        if place == Place::TermsValue {
            let reason = "[terms] with a lookup is not accepted here: it could read another index; give the terms";
            return Err(scan.refuse(Refusal::illegal(reason)));
        }
        let (mut builders, mut vectors, mut photos) = (0, 0, 0);
        while let Some(raw) = entries.next_key::<&'de RawValue>()? {
            let Text(key) = serde_json::from_str(raw.get()).map_err(A::Error::custom)?;
            if let Some(why) = place.refuses(&key) {
                return Err(scan.refuse(Refusal::illegal(format!("[{key}] is not accepted here: {why}"))));
            }
            if place == Place::Knn && key == BUILDER {
                builders += 1;
                let value = entries.next_value::<&'de RawValue>()?;
                match scan.builder(raw, value, depth) {
                    Ok(photo) => photos += usize::from(photo),
                    Err(refusal) => return Err(scan.refuse(refusal)),
                }
                continue;
            }
            if place == Place::Body && key == "size" {
                scan.size(entries.next_value()?);
                continue;
            }
            scan.found.similarities.by_queries |= place == Place::Agg && counts_by_queries(&key);
            if place == Place::Knn && key == "similarity" {
                scan.found.similarities.note(counted);
            }
            vectors += usize::from(place == Place::Knn && key == VECTOR);
            entries.next_value_seed(Walk {
                scan: &mut *scan,
                place: place.inner(&key),
                counted: counted.inner(place, &key),
                depth,
            })?;
        }
        if photos > 0 && builders > 1 {
            return Err(scan.refuse(Refusal::parsing(format!("[{BUILDER}] stands twice in one knn clause"))));
        }
        if photos > 0 && vectors > 0 {
            let reason = format!("a knn clause has both [{VECTOR}] and [{BUILDER}]; give one of them");
            return Err(scan.refuse(Refusal::illegal(reason)));
        }
        Ok(())
    }
}

/// A string, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
pub(super) struct Text<'b>(#[serde(borrow)] pub(super) Cow<'b, str>);

/// The entries of an object, repeated keys included.
pub(super) struct Entries<'b>(pub(super) Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((Text(key), value)) = entries.next_entry()? {
                    all.push((key, value));
                }
                Ok(Entries(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests;
