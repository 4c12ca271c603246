//! What others wrote into an index: a field of another type than ours reads as absent, so that one document costs no whole answer.
//!
//! For `#[serde(deserialize_with = "...")]`, with `default` for fields that may be missing.

use std::collections::BTreeMap;

use facedex_base::Rect;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::schema::document::Person;

/// Whatever it is, or its default.
pub(crate) fn field<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(T::deserialize(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Text, empty where there is none.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(as_text(&Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Text, where there is some.
pub(crate) fn some_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(as_text(&Value::deserialize(deserializer)?))
}

/// A moment, RFC 3339: Elasticsearch also takes milliseconds since 1970.
pub(crate) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(match value.as_i64() {
        Some(millis) => jiff::Timestamp::from_millisecond(millis)
            .ok()
            .map(|moment| moment.to_string()),
        None => as_text(&value),
    })
}

/// A box: Elasticsearch takes numbers as text, too.
pub(crate) fn rect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rect, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let side = |name: &str| {
        let text = as_text(&value[name]).unwrap_or_default();
        text.parse::<f32>()
            .map_err(|_| D::Error::custom(format!("no box: {name}")))
    };
    Ok(Rect {
        x: side("x")?,
        y: side("y")?,
        width: side("width")?,
        height: side("height")?,
    })
}

/// A person, where the document names one.
pub(crate) fn person<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Person>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(as_text(&value["id"]).map(|id| Person {
        id,
        name: as_text(&value["name"]),
    }))
}

/// Labels may be numbers or nested: they read as text, and nested keys joined by dots.
pub(crate) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    fn flatten(prefix: &str, value: Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let name = match prefix {
                        "" => key,
                        prefix => format!("{prefix}.{key}"),
                    };
                    flatten(&name, value, into);
                }
            }
            Value::String(text) => {
                into.insert(prefix.to_owned(), text);
            }
            Value::Null => {}
            other => {
                into.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let mut labels = BTreeMap::new();
    flatten("", Value::deserialize(deserializer)?, &mut labels);
    Ok(labels)
}

/// As Elasticsearch indexes a keyword: numbers and truth values are text too. Of several values the first.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Array(values) => values.iter().find_map(as_text),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::document::StoredFace;

    #[test]
    fn a_field_of_another_type_costs_no_other() {
        let read = |source: Value| StoredFace::deserialize(source).unwrap();
        let whole = json!({
            "@timestamp": "2026-11-30T00:00:00Z", "person": {"id": "p", "name": "P"},
            "image": {"uri": "u", "hash": "h", "width": 3}, "face": {"box": {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0}},
        });
        let strange = [
            ("/person/id", json!(7)),
            ("/person/id", json!(["p", "q"])),
            ("/person", json!({"name": "P"})),
            ("/person", json!("P")),
            ("/face/box/x", json!("one")),
            ("/face/box", json!(null)),
            ("/face", json!({"score": 0.9})),
            ("/image/hash", json!(null)),
            ("/image/uri", json!(["a", "b"])),
            ("/image", json!(null)),
            ("/image/width", json!("wide")),
            ("/@timestamp", json!(1_700_000_000_000_u64)),
        ];
        for (at, value) in strange {
            let mut source = whole.clone();
            *source.pointer_mut(at).unwrap() = value.clone();
            let face = read(source);
            let person = face.person.map(|person| person.id);
            let expected = match (at, &value) {
                ("/person/id", Value::Number(_)) => Some("7"),
                ("/person", _) => None,
                _ => Some("p"),
            };
            assert_eq!(person.as_deref(), expected, "{at} {value}");
            assert_eq!(face.face.is_some(), !at.starts_with("/face"), "{at} {value}");
            assert_eq!(face.image.uri.is_empty(), at == "/image", "{at} {value}");
            assert!(face.timestamp.unwrap().starts_with("202"), "{at} {value}");
        }
        assert!(read(json!({})).face.is_none());
        let text = json!({"face": {"box": {"x": "1", "y": 2, "width": 3.5, "height": "4"}}});
        assert_eq!(
            read(text).face.map(|face| (face.bbox.x, face.bbox.width)),
            Some((1.0, 3.5))
        );
    }

    #[test]
    fn labels_of_others_read_as_text() {
        let stored = StoredFace::deserialize(json!({"labels": {"year": 2026, "a": {"b": "c"}, "n": null}})).unwrap();
        let shown: Vec<_> = stored
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(shown, ["a.b=c", "year=2026"]);
    }
}
