//! Faces that were deleted on request and are there again: a snapshot was restored, or somebody wrote them by another way.

use elasticsearch::http::Method;
use serde_json::{Value, json};

use super::all::{page, unbound};
use super::{Tombstone, Tombstones};
use crate::schema::collection::Collection;
use crate::schema::versioned::Versioned;
use crate::transport::client::Payload;
use crate::wire::bulk::Version;
use crate::wire::reply::{MAX_HITS, Reply, STRICT};
use crate::{Client, ElasticError};

/// Photos whose faces are looked for at once: all of their faces fit into one answer.
const PHOTOS: usize = 100;

/// How many faces of the collection's index were deleted on request and are there again.
pub(crate) async fn brought_back(client: &Client, collection: &Collection) -> Result<u64, ElasticError> {
    Ok(stored_again(client, collection).await?.len() as u64)
}

/// These faces, by id.
pub(crate) async fn stored_again(
    client: &Client,
    collection: &Collection,
) -> Result<Vec<(String, Version)>, ElasticError> {
    // What an earlier release noted by the name may be the collection's as well.
    let own = json!({"term": {"collection_id": collection.collection_id}});
    let query = json!({"bool": {"should": [own, unbound(&collection.names)]}});
    let mut again = Vec::new();
    let mut after: Option<Vec<Value>> = None;
    loop {
        let found = page(client, &query, after.as_ref()).await?;
        let Some(last) = found.last() else {
            return Ok(again);
        };
        after = Some(last.sort.clone());
        let photos = found
            .into_iter()
            .map(|photo| (photo.source.image.hash, photo.source.faces));
        again.extend(of_photos(client, &collection.index, &photos.collect()).await?);
    }
}

/// The deleted faces of these photos that are stored.
async fn of_photos(client: &Client, index: &str, photos: &Tombstones) -> Result<Vec<(String, Version)>, ElasticError> {
    const OPERATION: &str = "look for deleted faces";
    let hashes: Vec<&str> = photos.keys().map(String::as_str).collect();
    let mut again = Vec::new();
    for some in hashes.chunks(PHOTOS) {
        let body = json!({
            "query": {"terms": {"image.hash": some}}, "size": MAX_HITS, "seq_no_primary_term": true,
            "_source": ["image.hash", "face.box", "face.score"],
        });
        let path = format!("/{index}/_search");
        let reply: Reply<Versioned> = client
            .read(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
            .await?;
        if reply.hits.hits.len() == MAX_HITS {
            return Err(ElasticError::unexpected(OPERATION, "more faces than photos can have"));
        }
        for hit in reply.hits.hits {
            let version = hit.version();
            let stored = hit.source.unwrap_or_default();
            let bbox = stored.face.as_ref().map(|face| face.bbox);
            let covers = |tombstone: &Tombstone| bbox.is_none_or(|bbox| tombstone.covers(&bbox));
            if photos.get(&stored.image.hash).is_some_and(|all| all.iter().any(covers)) {
                again.push((hit.id, version));
            }
        }
    }
    Ok(again)
}
