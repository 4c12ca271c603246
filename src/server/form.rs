//! Options of a request, in JSON or as text, into one struct that knows the types, the defaults and the names.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::error::{ApiError, Code};

/// The options, before they are looked at.
#[derive(Debug)]
pub enum Given {
    /// Text: the query string, the parts of a form. A name may be repeated.
    Text(BTreeMap<String, Vec<String>>),
    /// A JSON object.
    Json(Map<String, Value>),
}

impl Given {
    /// Adds text under a name.
    pub fn push(map: &mut BTreeMap<String, Vec<String>>, name: String, text: String) {
        map.entry(name).or_default().push(text);
    }

    /// The options as the struct has them. What it does not know is refused by name.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        match self {
            Self::Text(fields) => {
                let pairs = fields.into_iter().map(|(name, texts)| (name, Texts(texts)));
                serde_path_to_error::deserialize(MapDeserializer::new(pairs)).map_err(|error| refusal(&error))
            }
            Self::Json(object) => {
                serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| refusal(&error))
            }
        }
    }
}

fn refusal(error: &serde_path_to_error::Error<impl fmt::Display>) -> ApiError {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    // Names that are missing have no path, and the message has the name.
    match path.as_str() {
        "." | "?" => ApiError::new(Code::BadRequest, reason),
        path => ApiError::parameter(path, reason),
    }
}

/// What was given under one name.
struct Texts(Vec<String>);

type TextError = serde::de::value::Error;

impl Texts {
    fn only(self) -> Result<String, TextError> {
        let count = self.0.len();
        match (self.0.into_iter().next(), count) {
            (Some(text), 1) => Ok(text),
            _ => Err(TextError::custom(format!("given {count} times; once is meant"))),
        }
    }

    fn parse<T: std::str::FromStr>(self, what: &str) -> Result<T, TextError> {
        let text = self.only()?;
        text.parse()
            .map_err(|_| TextError::custom(format!("{:?} is no {what}", shorten(&text))))
    }
}

/// What a text says, as Python and forms write it, too.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// The beginning of a text that somebody sent, for a message.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

impl IntoDeserializer<'_, TextError> for Texts {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident => $visit:ident, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
            visitor.$visit(self.parse($what)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Texts {
    type Error = TextError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        visitor.visit_string(self.only()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        let text = self.only()?;
        let truth =
            truth(&text).ok_or_else(|| TextError::custom(format!("{:?} is no true or false", shorten(&text))))?;
        visitor.visit_bool(truth)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextError> {
        let each = self.0.into_iter().map(|text| Self(vec![text]));
        visitor.visit_seq(SeqDeserializer::new(each))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TextError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextError> {
        visitor.visit_enum(self.only()?.into_deserializer())
    }

    parsed! {
        deserialize_u16 => visit_u16, "whole number from 0 to 65535";
        deserialize_u32 => visit_u32, "whole number from 0 on";
        deserialize_u64 => visit_u64, "whole number from 0 on";
        deserialize_f32 => visit_f32, "number";
        deserialize_f64 => visit_f64, "number";
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        collection: String,
        k: Option<u16>,
        #[serde(default)]
        filter: Vec<String>,
        #[serde(default)]
        thumbnail: bool,
    }

    fn text(pairs: &[(&str, &str)]) -> Result<Options, ApiError> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            Given::push(&mut fields, (*name).to_owned(), (*value).to_owned());
        }
        Given::Text(fields).read()
    }

    fn json(text: &str) -> Result<Options, ApiError> {
        let Value::Object(object) = serde_json::from_str(text).unwrap() else {
            panic!("no object: {text}")
        };
        Given::Json(object).read()
    }

    #[test]
    fn text_and_json_say_the_same() {
        let from_text = text(&[
            ("collection", "c"),
            ("k", "3"),
            ("filter", "a=1"),
            ("filter", "b=2"),
            ("thumbnail", "true"),
        ])
        .unwrap();
        let from_json = json(r#"{"collection": "c", "k": 3, "filter": ["a=1", "b=2"], "thumbnail": true}"#).unwrap();
        assert_eq!(from_text, from_json);
        assert_eq!(text(&[("collection", "c")]).unwrap().k, None);
    }

    #[test]
    fn refusals_name_the_option() {
        let refused = |result: Result<Options, ApiError>| result.unwrap_err().message;
        for (message, name) in [
            (refused(text(&[("collection", "c"), ("k", "many")])), "k"),
            (refused(text(&[("collection", "c"), ("k", "1"), ("k", "2")])), "k"),
            (refused(text(&[("k", "1")])), "collection"),
            (refused(text(&[("collection", "c"), ("kk", "1")])), "kk"),
            (refused(json(r#"{"collection": "c", "k": "3"}"#)), "k"),
            (refused(json(r#"{"collection": "c", "filter": "a=1"}"#)), "filter"),
            (refused(json(r#"{"collection": 3}"#)), "collection"),
        ] {
            assert!(message.contains(name), "{name}: {message}");
        }
    }
}
