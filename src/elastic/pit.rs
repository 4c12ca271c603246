//! A point in time: one and the same state of an index, however long its pages are read.

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Payload;
use super::{Client, Destination, ElasticError};

/// Opens one of the collection or index that `to` names; it lives for `keep` after each request.
pub(super) async fn open(to: &Destination, keep: &str) -> Result<String, ElasticError> {
    #[derive(Deserialize)]
    struct Opened {
        id: String,
    }
    let path = format!("/{}/_pit", to.collection);
    let query = [("keep_alive", keep)];
    let opened: Opened = to
        .json("open a point in time", Method::Post, &path, &query, Payload::None)
        .await?;
    Ok(opened.id)
}

/// Closes it; one that stays open ends by itself.
pub(super) async fn close(client: &Client, id: &str) {
    let body = json!({"id": id});
    let closed: Result<Value, _> = client
        .json(
            "close a point in time",
            Method::Delete,
            "/_pit",
            &[],
            Payload::Json(&body),
        )
        .await;
    if let Err(error) = closed {
        tracing::debug!(
            reason = error.to_string(),
            "a point in time stays open for some minutes"
        );
    }
}
