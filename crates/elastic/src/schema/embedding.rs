//! How stored vectors are asked for, read and written: as base64 of big-endian float32 where every node knows that (read from
//! 9.4 on, written from 9.3 on), else as arrays of numbers. The bits are the same; base64 takes half of the bytes and less time
//! on both sides (docs/benchmarks.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use crate::schema::layout::VECTOR_FIELD;
use crate::transport::node_versions::{Version, Versions};

/// From here on `docvalue_fields` gives vectors as base64.
const READS_BASE64: Version = Version::new(9, 4, 0);
/// From here on documents may hold them so.
const WRITES_BASE64: Version = Version::new(9, 3, 0);

/// How a vector stands in a document that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An array of numbers.
    Numbers,
    /// Base64 of big-endian float32.
    Base64,
}

impl Form {
    /// What all of these nodes take.
    pub fn of(versions: &Versions) -> Self {
        match versions.all_from(WRITES_BASE64) {
            true => Self::Base64,
            false => Self::Numbers,
        }
    }

    /// A vector as it is written.
    pub(crate) fn written(self, vector: &[f32]) -> Written<'_> {
        match self {
            Self::Numbers => Written::Numbers(vector),
            Self::Base64 => Written::Base64(base64(vector)),
        }
    }
}

/// A vector in a document that is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Written<'v> {
    Numbers(&'v [f32]),
    Base64(String),
}

/// Asks a search for its hits' vectors.
pub(crate) fn ask(body: &mut Value, versions: &Versions) {
    match versions.all_from(READS_BASE64) {
        true => body["docvalue_fields"] = json!([{"field": VECTOR_FIELD, "format": "binary"}]),
        false => body["fields"] = json!([VECTOR_FIELD]),
    }
}

/// What a hit's `fields` have of its vector. Arrays are of `N`: `f32` where they are compared, `Number` where they are kept with the
/// very digits that the document has.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fields<N = f32> {
    #[serde(rename = "face.embedding", default = "Found::none")]
    vector: Found<N>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Found<N> {
    Base64([String; 1]),
    Numbers(Vec<N>),
}

impl<N> Found<N> {
    fn none() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl<N> Default for Fields<N> {
    fn default() -> Self {
        Self { vector: Found::none() }
    }
}

impl Fields {
    /// The vector, where the hit has one.
    pub(crate) fn vector(&self) -> Option<Vec<f32>> {
        match &self.vector {
            Found::Numbers(numbers) => Some(numbers.clone()).filter(|numbers| !numbers.is_empty()),
            Found::Base64([text]) => floats(text),
        }
    }
}

impl Fields<Number> {
    /// The vector, where the hit has one.
    pub(crate) fn vector(&self) -> Option<Vec<f32>> {
        match &self.vector {
            Found::Numbers(numbers) if numbers.is_empty() => None,
            Found::Numbers(numbers) => numbers.iter().map(|number| Some(number.as_f64()? as f32)).collect(),
            Found::Base64([text]) => floats(text),
        }
    }

    /// The same as an array of JSON's numbers.
    pub(crate) fn numbers(&self) -> Option<Value> {
        match &self.vector {
            Found::Numbers(numbers) => Some(json!(numbers)).filter(|_| !numbers.is_empty()),
            Found::Base64([text]) => floats(text).map(|vector| numbers(&vector)),
        }
    }

    /// The same in the form in which it is written.
    pub(crate) fn to_write(&self, form: Form) -> Option<Value> {
        match form {
            Form::Numbers => self.numbers(),
            Form::Base64 => self.vector().map(|vector| json!(base64(&vector))),
        }
    }
}

fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (numbers, rest) = bytes.as_chunks();
    (rest.is_empty() && !numbers.is_empty()).then(|| numbers.iter().map(|four| f32::from_be_bytes(*four)).collect())
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_be_bytes()).collect();
    STANDARD.encode(bytes)
}

/// A vector as an array of JSON's numbers, each with as few digits as tell it from all others.
fn numbers(vector: &[f32]) -> Value {
    // A number of JSON's has 64 bits: the nearest of these would be written with digits that mean nothing.
    let shortest = |number: &f32| {
        number
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, |number| json!(number))
    };
    vector.iter().map(shortest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: Value) -> Option<Vec<f32>> {
        let kept: Fields<Number> = serde_json::from_value(fields.clone()).unwrap();
        let compared: Fields = serde_json::from_value(fields).unwrap();
        assert_eq!(kept.vector(), compared.vector());
        compared.vector()
    }

    proptest! {
        #[test]
        fn a_vector_has_the_same_bits_in_every_form(vector in prop::collection::vec(-1e3_f32..1e3, 1..40)) {
            for form in [Form::Numbers, Form::Base64] {
                let written = serde_json::to_value(form.written(&vector)).unwrap();
                let in_fields = match form {
                    Form::Numbers => written,
                    Form::Base64 => json!([written]),
                };
                let found = read(json!({VECTOR_FIELD: in_fields})).unwrap();
                prop_assert!(found.iter().zip(&vector).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            // With as few digits as any; which of two equally short numbers is taken does not matter.
            let text = numbers(&vector).to_string();
            prop_assert_eq!(text.len(), serde_json::to_string(&vector).unwrap().len());
            let again: Vec<f32> = serde_json::from_str(&text).unwrap();
            prop_assert!(again.iter().zip(&vector).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn what_is_no_vector_is_none() {
        for fields in [
            json!({}),
            json!({VECTOR_FIELD: []}),
            json!({VECTOR_FIELD: ["AAA="]}),
            json!({VECTOR_FIELD: ["*"]}),
            json!({VECTOR_FIELD: [""]}),
        ] {
            assert_eq!(read(fields.clone()), None, "{fields}");
        }
    }
}
