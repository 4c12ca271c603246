//! Documents by their ids, as they are now: writes that no refresh has made searchable yet are seen.

use std::collections::HashMap;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::CLOSED;
use crate::transport::client::Payload;
use crate::wire::bulk::Version;
use crate::{Destination, ElasticError};

#[derive(Deserialize)]
struct Reply<T> {
    docs: Vec<Doc<T>>,
}

/// A document as `_mget` and searches give it.
#[derive(Deserialize)]
pub(crate) struct Doc<T> {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source")]
    source: Option<T>,
    #[serde(rename = "_seq_no")]
    seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<i64>,
    /// The document's shard could not be asked: that is not the same as no such document.
    error: Option<DocError>,
}

#[derive(Deserialize)]
struct DocError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    index: Option<String>,
}

impl<T> Doc<T> {
    pub(crate) fn versioned(self) -> Option<(String, (T, Version))> {
        let version = Version {
            seq_no: self.seq_no?,
            primary_term: self.primary_term?,
        };
        Some((self.id, (self.source?, version)))
    }
}

/// These fields of the documents that are there, with their versions.
pub(crate) async fn mget<T: DeserializeOwned>(
    from: &Destination,
    operation: &str,
    ids: &[&str],
    fields: &str,
) -> Result<HashMap<String, (T, Version)>, ElasticError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let query = [("_source_includes", fields)];
    let (path, body) = (format!("/{}/_mget", from.collection), json!({"ids": ids}));
    // A shard that is away answers for its documents with an error each, inside a success.
    let all_answered = |reply: &Reply<T>| match reply.docs.iter().find_map(|doc| doc.error.as_ref()) {
        None if reply.docs.len() == ids.len() => Ok(()),
        None => Err(ElasticError::Garbled {
            operation: operation.to_owned(),
            reason: format!("{} ids went out, {} documents came back", ids.len(), reply.docs.len()),
        }),
        Some(error) if error.kind == "index_not_found_exception" => Err(ElasticError::NoCollection {
            name: from.collection.clone(),
        }),
        Some(error) if error.kind == CLOSED => Err(ElasticError::Closed {
            index: error.index.clone().unwrap_or_else(|| from.collection.clone()),
        }),
        Some(error) => Err(ElasticError::Refused {
            operation: operation.to_owned(),
            status: 503,
            kind: error.kind.clone(),
            reason: error.reason.clone().unwrap_or_default(),
        }),
    };
    let reply: Reply<T> = from
        .json_checked(
            operation,
            Method::Post,
            &path,
            &query,
            Payload::Json(&body),
            all_answered,
        )
        .await?;
    Ok(reply.docs.into_iter().filter_map(Doc::versioned).collect())
}
