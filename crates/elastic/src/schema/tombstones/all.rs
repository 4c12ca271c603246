//! All tombstones of a collection, page by page: counted, exported, taken away, bound to its id.

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DeletedFaces, INDEX, OPERATION, add_to_index, make_index};
use crate::schema::mapping::{self, TOMBSTONES};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Operation, Version};
use crate::wire::reply::{Reply, STRICT};
use crate::{Client, Destination, ElasticError};

/// Tombstones that searches read at once.
pub(super) const PAGE: usize = 1000;

/// A tombstone of a photo, as a search finds it.
#[derive(Clone, Deserialize)]
pub(super) struct Found {
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    #[serde(rename = "_source")]
    pub(super) source: DeletedFaces,
    pub(super) sort: Vec<Value>,
}

impl Found {
    pub(super) fn version(&self) -> Version {
        Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }
}

/// A page of the tombstones that meet the query, behind `after`; none where nothing was ever deleted on request.
pub(super) async fn page(
    client: &Client,
    query: &Value,
    after: Option<&Vec<Value>>,
) -> Result<Vec<Found>, ElasticError> {
    let mut body = json!({
        "query": query, "size": PAGE, "sort": [{"image.hash": "asc"}], "seq_no_primary_term": true,
        "_source": ["image", "faces"],
    });
    if let Some(after) = after {
        body["search_after"] = json!(after);
    }
    let path = format!("/{INDEX}/_search");
    let reply: Result<Reply<Found>, _> = client
        .read(
            "look for deleted faces",
            Method::Post,
            &path,
            &STRICT,
            Payload::Json(&body),
        )
        .await;
    match reply {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        reply => Ok(reply?.hits.hits),
    }
}

/// Those that an earlier release noted by a collection's name alone.
pub(super) fn unbound(names: &[String]) -> Value {
    json!({"bool": {"filter": [{"terms": {"collection": names}}], "must_not": [{"exists": {"field": "collection_id"}}]}})
}

/// Binds what an earlier release noted by one of the collection's names to the collection's id, and says so.
pub(crate) async fn prepare(to: &Destination, names: &[String]) -> Result<(), ElasticError> {
    let mut bound = 0;
    let query = unbound(names);
    loop {
        let found = to.patiently(|| page(&to.client, &query, None)).await?;
        if found.is_empty() {
            break;
        }
        if bound == 0 {
            make_index(to).await?;
        }
        bound += found.len();
        let mut faces = Vec::new();
        for photo in &found {
            let of_photo = photo.source.faces.iter();
            faces.extend(of_photo.map(|face| (photo.source.image.clone(), face.clone())));
        }
        // The new ones first: at no moment is a deleted face without one.
        add_to_index(to, &faces).await?;
        remove(to, found).await?;
    }
    if bound > 0 {
        tracing::warn!(
            photos = bound,
            collection = to.collection,
            "an earlier facedex noted deleted faces by the collection's name; they belong to this collection now, whatever it is called"
        );
    }
    Ok(())
}

/// Leaves what an earlier release noted by this name to the collection that had the name: the one that is made now is
/// another one.
pub(crate) async fn leave_to_the_former(client: &Client, name: &str) -> Result<(), ElasticError> {
    const OPERATION: &str = "leave deleted faces to the former collection";
    let names = [name.to_owned()];
    while let found @ [_, ..] = page(client, &unbound(&names), None).await?.as_slice() {
        mapping::bring_up_if_there(client, TOMBSTONES, INDEX).await?;
        let mut lines = String::new();
        for photo in found {
            lines.push_str(&json!({"update": {"_id": photo.id}}).to_string());
            lines.push('\n');
            lines.push_str(&json!({"doc": {"collection_id": FORMER}}).to_string());
            lines.push('\n');
        }
        let path = format!("/{INDEX}/_bulk");
        let query = [("refresh", "true")];
        let reply: Value = client
            .json(OPERATION, Method::Post, &path, &query, Payload::Ndjson(&lines.into()))
            .await?;
        if reply["errors"] != false {
            return Err(ElasticError::unexpected(
                OPERATION,
                "some were not changed; run it again",
            ));
        }
    }
    Ok(())
}

/// The id of the collections that were removed before ids were noted.
const FORMER: &str = "former";

/// The collection's next tombstones behind `after`, a photo each, and where they end.
pub(crate) async fn next_page(
    to: &Destination,
    after: Option<&Vec<Value>>,
) -> Result<Option<(Vec<DeletedFaces>, Vec<Value>)>, ElasticError> {
    let names = [to.collection.clone()];
    let query = json!({"bool": {"should": [own(to), unbound(&names)]}});
    let found = to.patiently(|| page(&to.client, &query, after)).await?;
    let Some(last) = found.last() else {
        return Ok(None);
    };
    let last = last.sort.clone();
    Ok(Some((found.into_iter().map(|photo| photo.source).collect(), last)))
}

/// Of how many of the collection's photos something is noted.
pub(crate) async fn count(to: &Destination) -> Result<u64, ElasticError> {
    let path = format!("/{INDEX}/_count");
    let body = json!({"query": own(to)});
    let counted: Result<Value, _> = to
        .json("count deleted faces", Method::Post, &path, &[], Payload::Json(&body))
        .await;
    match counted {
        Err(error) if error.is_not_found() => Ok(0),
        counted => counted?["count"]
            .as_u64()
            .ok_or_else(|| ElasticError::unexpected("count deleted faces", "no count in the answer")),
    }
}

/// Takes all of the collection's tombstones away.
pub(crate) async fn forget(to: &Destination) -> Result<(), ElasticError> {
    let query = own(to);
    loop {
        let found = to.patiently(|| page(&to.client, &query, None)).await?;
        if found.is_empty() {
            return Ok(());
        }
        remove(to, found).await?;
    }
}

pub(super) fn own(to: &Destination) -> Value {
    json!({"term": {"collection_id": to.id}})
}

async fn remove(to: &Destination, photos: Vec<Found>) -> Result<(), ElasticError> {
    let removals: Vec<Operation> = photos
        .into_iter()
        .map(|photo| {
            let version = photo.version();
            Operation::delete(photo.id, version)
        })
        .collect();
    bulk::expect_done(OPERATION, &bulk::execute(&to.at(INDEX), &removals).await?)?;
    to.at(INDEX).refresh().await
}
