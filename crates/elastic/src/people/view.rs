//! Faces of one and the same state of an index, page by page.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::PAGE;
use crate::wire::scan::Scan;
use crate::{Destination, ElasticError};

pub(crate) struct View(Scan);

impl View {
    /// Of the collection or index that `to` names.
    pub(crate) async fn open(to: &Destination) -> Result<Self, ElasticError> {
        Ok(Self(Scan::open(to).await?))
    }

    /// The faces behind `after` that `what` (query, fields) asks for; hits have versions.
    pub(crate) async fn page<T: DeserializeOwned>(
        &mut self,
        what: &Value,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<T>, ElasticError> {
        let mut body = what.clone();
        body["size"] = json!(PAGE);
        body["sort"] = json!([{"_shard_doc": "asc"}]);
        body["seq_no_primary_term"] = json!(true);
        if let Some(after) = after {
            body["search_after"] = Value::Array(after);
        }
        self.0.search("look at all faces", body).await
    }

    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}
