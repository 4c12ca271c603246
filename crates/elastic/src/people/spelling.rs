//! Under which spellings a person is stored: an id with a blank behind it, or with its accents apart, is the same person's.

use std::collections::BTreeSet;

use elasticsearch::http::Method;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;

use crate::schema::document::normal_name;
use crate::transport::client::Payload;
use crate::wire::reply::STRICT;
use crate::{Destination, ElasticError};

/// The setting of Elasticsearch that forbids regular expressions.
const EXPENSIVE: &str = "search.allow_expensive_queries";
/// Ids that one answer brings.
const PAGE: usize = 1000;
/// What `str::trim` takes for blank, for a class of Lucene's regular expressions.
const BLANKS: &str = "\u{9}-\u{d}\u{20}\u{85}\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";

/// Adds the ids of an index that are spellings of the person's, as searches see them.
pub(crate) async fn add_spellings(
    to: &Destination,
    index: &str,
    person: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), ElasticError> {
    let wanted = normal_name(person);
    let Some(base) = wanted.nfd().next() else {
        return Ok(());
    };
    // What can begin a spelling: everything that is this character with or without marks.
    let first: String = beginnings(base).map(escaped).collect();
    let value = format!("[{BLANKS}]*[{first}].*");
    let every = json!({"match_all": {}});
    let mut query = json!({"regexp": {"person.id": {"value": value, "flags": "NONE"}}});
    let path = format!("/{index}/_search");
    let mut after = Value::Null;
    loop {
        let mut composite = json!({"size": PAGE, "sources": [{"id": {"terms": {"field": "person.id"}}}]});
        if !after.is_null() {
            composite["after"] = after.take();
        }
        let body = json!({"size": 0, "query": query, "aggs": {"ids": {"composite": composite}}});
        let reply: Result<Value, _> = to
            .json(
                "look for a person's spellings",
                Method::Post,
                &path,
                &STRICT,
                Payload::Json(&body),
            )
            .await;
        let mut reply = match reply {
            // An operator may have forbidden regular expressions: then all ids are looked at.
            Err(ElasticError::Refused { reason, .. }) if reason.contains(EXPENSIVE) && query != every => {
                query = every.clone();
                after = Value::Null;
                continue;
            }
            reply => reply?,
        };
        let mut ids = reply["aggregations"]["ids"].take();
        let buckets = ids["buckets"].as_array().map_or(&[][..], Vec::as_slice);
        let is_last = buckets.len() < PAGE;
        for id in buckets.iter().filter_map(|bucket| bucket["key"]["id"].as_str()) {
            if normal_name(id) == wanted {
                found.insert(id.to_owned());
            }
        }
        after = ids["after_key"].take();
        if is_last || after.is_null() {
            return Ok(());
        }
    }
}

/// The characters that begin with this one when their marks are taken apart (Unicode's NFD), itself among them.
fn beginnings(base: char) -> impl Iterator<Item = char> {
    // Beyond the first plane only compatibility ideographs come apart.
    let composed = (0x80..=0xFFFF).chain(0x2_F800..=0x2_FA1F).filter_map(char::from_u32);
    let composed = composed.filter(move |character| character.nfd().next() == Some(base) && *character != base);
    std::iter::once(base).chain(composed)
}

/// A character as itself in a regular expression.
fn escaped(character: char) -> String {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        format!("\\{character}")
    } else {
        character.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_begins_with_the_same_letter() {
        let of = |base| beginnings(base).collect::<Vec<_>>();
        for letter in ['A', '\u{c2}', '\u{1ea4}', '\u{212b}'] {
            assert!(of('A').contains(&letter), "{letter}");
        }
        assert!(!of('A').contains(&'a') && of('5') == ['5']);
        assert_eq!(escaped(']'), "\\]");
    }
}
