//! A stored face with its version, so that a change meets what was looked at.

use serde::Deserialize;
use serde_json::Value;

use super::document::StoredFace;
use crate::wire::bulk;

/// A face that is to be changed.
#[derive(Deserialize)]
pub(crate) struct Versioned {
    #[serde(rename = "_id")]
    pub(crate) id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    #[serde(rename = "_source", default)]
    pub(crate) source: Option<StoredFace>,
    #[serde(default)]
    pub(crate) sort: Vec<Value>,
}

impl Versioned {
    /// The version at which it was found.
    pub(crate) fn version(&self) -> bulk::Version {
        bulk::Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }
}
