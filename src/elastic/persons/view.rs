//! A point in time: pages of one and the same state of an index, however many faces there are.

use elasticsearch::http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{PAGE, STRICT};
use crate::elastic::bulk;
use crate::elastic::client::Payload;
use crate::elastic::document::StoredFace;
use crate::elastic::{Destination, ElasticError, pit};

#[derive(Deserialize)]
pub(in crate::elastic) struct Reply<T> {
    pub(in crate::elastic) hits: Hits<T>,
}

#[derive(Deserialize)]
pub(in crate::elastic) struct Hits<T> {
    #[serde(default)]
    pub(in crate::elastic) total: Total,
    pub(in crate::elastic) hits: Vec<T>,
}

#[derive(Default, Deserialize)]
pub(in crate::elastic) struct Total {
    pub(in crate::elastic) value: u64,
}

/// A face that is to be changed.
#[derive(Deserialize)]
pub(in crate::elastic) struct Versioned {
    #[serde(rename = "_id")]
    pub(in crate::elastic) id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    #[serde(rename = "_source", default)]
    pub(in crate::elastic) source: Option<StoredFace>,
    #[serde(default)]
    pub(in crate::elastic) sort: Vec<Value>,
}

impl Versioned {
    pub(in crate::elastic) fn version(&self) -> bulk::Version {
        bulk::Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }
}

/// How long a point in time lives on after each request: longer than a migration makes writers wait in between.
const KEEP: &str = "10m";

pub(in crate::elastic) struct View {
    id: String,
}

impl View {
    /// Of the collection or index that `to` names.
    pub(in crate::elastic) async fn open(to: &Destination) -> Result<Self, ElasticError> {
        let id = pit::open(to, KEEP).await?;
        Ok(Self { id })
    }

    /// The faces behind `after` that `what` (query, fields) asks for; hits have versions.
    pub(in crate::elastic) async fn page<T: DeserializeOwned>(
        &self,
        to: &Destination,
        what: &Value,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<T>, ElasticError> {
        let mut body = what.clone();
        body["pit"] = json!({"id": self.id, "keep_alive": KEEP});
        body["size"] = json!(PAGE);
        body["sort"] = json!([{"_shard_doc": "asc"}]);
        body["seq_no_primary_term"] = json!(true);
        if let Some(after) = after {
            body["search_after"] = Value::Array(after);
        }
        let reply: Reply<T> = to
            .json(
                "look at all faces",
                Method::Post,
                "/_search",
                &[STRICT],
                Payload::Json(&body),
            )
            .await?;
        Ok(reply.hits.hits)
    }

    pub(in crate::elastic) async fn close(self, to: &Destination) {
        pit::close(&to.client, &self.id).await;
    }
}
