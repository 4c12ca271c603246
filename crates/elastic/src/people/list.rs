//! Who is stored: people with the numbers of their faces, page by page in the order of their ids.

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::transport::client::Payload;
use crate::wire::reply::STRICT;
use crate::{Client, ElasticError};

const OPERATION: &str = "list the people";

/// Somebody who is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListedPerson {
    /// `person.id`.
    pub id: String,
    /// The name for people to read that most of their faces have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many faces.
    pub faces: u64,
}

/// A page of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct People {
    /// In the order of their ids.
    pub persons: Vec<ListedPerson>,
    /// Where the next page begins; absent behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// At most `limit` people (1 to 1,000) behind the id `after`; with `search`, those whose id or name has this text in it, in
/// whatever case.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn list(
    client: &Client,
    collection: &str,
    search: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<People, ElasticError> {
    let mut conditions = vec![json!({"exists": {"field": "person.id"}})];
    if let Some(text) = search {
        let pattern = json!({"value": format!("*{}*", literal(text)), "case_insensitive": true});
        conditions.push(json!({"bool": {"should": [
            {"wildcard": {"person.id": pattern}}, {"wildcard": {"person.name": pattern}},
        ]}}));
    }
    let mut composite = json!({"size": limit, "sources": [{"id": {"terms": {"field": "person.id"}}}]});
    if let Some(after) = after {
        composite["after"] = json!({"id": after});
    }
    let names = json!({"terms": {"field": "person.name", "size": 1}});
    let body = json!({
        "size": 0,
        "query": {"bool": {"filter": conditions}},
        "aggs": {"people": {"composite": composite, "aggs": {"names": names}}},
    });
    let path = format!("/{collection}/_search");
    let reply: Value = client
        .read(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
        .await?;
    let buckets = reply["aggregations"]["people"]["buckets"]
        .as_array()
        .ok_or_else(|| ElasticError::unexpected(OPERATION, "no people in the answer"))?;
    let persons: Vec<ListedPerson> = buckets
        .iter()
        .filter_map(|bucket| {
            Some(ListedPerson {
                id: bucket["key"]["id"].as_str()?.to_owned(),
                name: bucket["names"]["buckets"][0]["key"].as_str().map(str::to_owned),
                faces: bucket["doc_count"].as_u64()?,
            })
        })
        .collect();
    let is_last = buckets.len() < limit;
    Ok(People {
        after: persons.last().filter(|_| !is_last).map(|person| person.id.clone()),
        persons,
    })
}

/// A text as itself in a wildcard pattern.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_pattern() {
        assert_eq!(literal("a*b?\\c"), "a\\*b\\?\\\\c");
    }
}
