//! All stored vectors of a collection, read in slices side by side from one point in time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::schema::document::Person;
use crate::schema::embedding::{self, Fields};
use crate::schema::filter::{self, Filter};
use crate::schema::lenient;
use crate::wire::bulk::Version;
use crate::wire::reply::Reply;
use crate::wire::scan::{Scan, Slice};
use crate::{Destination, ElasticError};

/// Faces a request.
const PAGE: usize = 2000;
/// The least number of slices: several requests keep a single shard's node and this machine busy.
const SLICES: usize = 4;
const OPERATION: &str = "read all vectors";

/// A stored face's vector.
#[derive(Debug, Clone)]
pub struct StoredVector {
    /// The face's `_id`.
    pub id: String,
    /// The embedding.
    pub vector: Vec<f32>,
    /// Who it is, where that was asked for and is known.
    pub person: Option<Person>,
    /// Where the photo was read, where that was asked for.
    pub image: Option<String>,
    /// The cluster that it was put in before, where that was asked for.
    pub cluster: Option<String>,
    /// The document's version.
    pub version: Version,
}

/// What is read besides the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// Who it is, in which photo and cluster.
    Identity,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", default)]
    source: Source,
    #[serde(default)]
    fields: Fields,
    #[serde(rename = "_seq_no")]
    seq_no: i64,
    #[serde(rename = "_primary_term")]
    primary_term: i64,
    sort: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source {
    #[serde(deserialize_with = "lenient::person")]
    person: Option<Person>,
    #[serde(deserialize_with = "lenient::field")]
    image: Image,
    #[serde(deserialize_with = "lenient::field")]
    cluster: Cluster,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image {
    #[serde(deserialize_with = "lenient::some_text")]
    uri: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cluster {
    #[serde(deserialize_with = "lenient::some_text")]
    id: Option<String>,
}

/// Gives every face that meets the conditions to `each`, page by page, and collects what it makes of them. The index has so many
/// `shards`. It is called from
/// several threads, in no order.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or a stored vector cannot be read.
pub async fn map<T: Send + 'static>(
    to: &Destination,
    shards: u32,
    filters: &[Filter],
    beside: Beside,
    each: Arc<dyn Fn(Vec<StoredVector>) -> T + Send + Sync>,
) -> Result<Vec<T>, ElasticError> {
    let versions = to.versions().await?;
    let scan = Scan::open(to).await?;
    let count = SLICES.max(shards as usize);
    let slices = (0..count).map(|slice| {
        let mut body = json!({
            "slice": {"id": slice, "max": count},
            "query": filter::query(filters).unwrap_or_else(|| json!({"match_all": {}})),
            "size": PAGE,
            "sort": ["_shard_doc"],
            "track_total_hits": false,
            "seq_no_primary_term": true,
            "_source": match beside {
                Beside::Nothing => json!(false),
                Beside::Identity => json!(["person", "image.uri", "cluster"]),
            },
        });
        embedding::ask(&mut body, &versions);
        one_slice(scan.slice(), body, Arc::clone(&each))
    });
    let parts = try_join_all(slices).await;
    scan.close().await;
    Ok(parts?.into_iter().flatten().collect())
}

async fn one_slice<T: Send + 'static>(
    mut slice: Slice,
    mut body: Value,
    each: Arc<dyn Fn(Vec<StoredVector>) -> T + Send + Sync>,
) -> Result<Vec<T>, ElasticError> {
    let mut made = Vec::new();
    loop {
        let reply = slice.search(OPERATION, &mut body).await?;
        let each = Arc::clone(&each);
        // Reading a page takes a core for longer than the request: the slices' pages are read side by side.
        let read = tokio::task::spawn_blocking(move || read(&reply, each.as_ref()));
        let page = read
            .await
            .map_err(|error| ElasticError::unexpected(OPERATION, error))??;
        let Some(page) = page else { return Ok(made) };
        made.push(page.made);
        slice.follow(page.pit);
        body["search_after"] = Value::Array(page.after);
    }
}

/// What was made of a page, and how to go on.
struct Page<T> {
    made: T,
    after: Vec<Value>,
    pit: Option<String>,
}

/// Reads a page; none where it is empty.
fn read<T>(
    body: &Bytes,
    each: &(dyn Fn(Vec<StoredVector>) -> T + Send + Sync),
) -> Result<Option<Page<T>>, ElasticError> {
    let reply: Reply<Raw> = serde_json::from_slice(body).map_err(|error| ElasticError::unexpected(OPERATION, error))?;
    let Some(after) = reply.hits.hits.last().map(|hit| hit.sort.clone()) else {
        return Ok(None);
    };
    let vectors = reply.hits.hits.into_iter().map(|hit| {
        let vector = hit.fields.vector().ok_or_else(|| {
            let reason = format!("face {} without a vector", hit.id);
            ElasticError::unexpected(OPERATION, reason)
        })?;
        Ok(StoredVector {
            id: hit.id,
            vector,
            person: hit.source.person,
            image: hit.source.image.uri,
            cluster: hit.source.cluster.id,
            version: Version {
                seq_no: hit.seq_no,
                primary_term: hit.primary_term,
            },
        })
    });
    let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Page {
        made: each(vectors),
        after,
        pit: reply.pit_id,
    }))
}
