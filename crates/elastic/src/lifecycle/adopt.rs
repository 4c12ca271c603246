//! Says which index a collection is, where others have made that doubtful: it was cloned, restored, shrunk, or its aliases went
//! apart. The index that the name stands for becomes the collection; or it is a copy and gets an id of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::schema::collection::{self, Collection};
use crate::schema::document::StoredFace;
use crate::schema::mapping::{self, FACES};
use crate::schema::resolve::{self, Indices, Stray, survey, unseen};
use crate::schema::tombstones;
use crate::schema::versions::{self, Reach};
use crate::transport::client::Payload;
use crate::wire::bulk::{self, Operation, Verdict};
use crate::wire::mget::mget;
use crate::{Destination, ElasticError};

/// What was found, and done unless it was a rehearsal.
#[derive(Debug, Clone, Serialize)]
pub struct Adopted {
    /// The collection.
    pub collection: String,
    /// The index that its name stands for.
    pub index: String,
    /// The collection's id; a new one where the index is a copy.
    pub collection_id: String,
    /// Faces that were deleted on request, were there again and are removed.
    pub removed: u64,
    /// Indices that are copies, each with an id of its own now.
    pub separated: Vec<Separated>,
    /// Aliases by which the collection is written that stood for another index, and stand for this one now.
    pub moved: Vec<String>,
    /// Whether that is all there is.
    #[serde(flatten)]
    pub reach: Reach,
    /// The ids of the removed faces.
    #[serde(skip)]
    pub ids: BTreeSet<String>,
}

/// An index that is no part of a collection any more.
#[derive(Debug, Clone, Serialize)]
pub struct Separated {
    /// The index.
    pub index: String,
    /// Its id.
    pub collection_id: String,
    /// Faces in it that were deleted from the collection on request. They are there still.
    pub holds_deleted: u64,
}

/// What an audit log says was deleted, where the tombstones were lost with a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// When each face was deleted, by its id. One that was stored later is another one.
    pub faces: BTreeMap<String, jiff::Timestamp>,
}

/// Makes the index that the name stands for the collection. What was deleted on request is removed from it, and every other
/// index of the same id that is no part of it gets an id of its own.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request,
/// or where the index is closed, blocked or hidden by an alias's filter.
pub async fn adopt(to: &Destination, deletions: &Deletions, dry_run: bool) -> Result<Adopted, ElasticError> {
    let (collection, strays) = resolve::found(&to.client, &to.collection).await?;
    let indices = survey(&to.client).await?;
    let mut adopted = begin(to, &collection, &indices).await?;
    adopted.moved = strays.iter().map(|stray| stray.alias.clone()).collect();
    let (_, copies) = versions::sorted(&collection, &indices);
    for copy in copies {
        adopted
            .separated
            .push(separate(to, &collection, &copy, &indices, dry_run).await?);
    }
    if dry_run {
        adopted.ids.extend(again(to, &collection, deletions).await?);
    } else {
        // The tombstones need the fields, and the deletions the aliases.
        tombstones::prepare(to, &collection.names).await?;
        note(to, &collection, deletions).await?;
        adopted.ids = remove_deleted(to, &collection).await?;
        move_aliases(to, &collection, &strays).await?;
        mapping::bring_up_if_there(&to.client, FACES, &collection.index).await?;
    }
    adopted.removed = adopted.ids.len() as u64;
    Ok(adopted)
}

/// The ids of what would be removed.
async fn again(to: &Destination, collection: &Collection, deletions: &Deletions) -> Result<Vec<String>, ElasticError> {
    let noted = tombstones::stored_again(&to.client, collection).await?;
    let logged = stored(to, collection, deletions).await?;
    Ok(noted.into_iter().map(|(id, _)| id).chain(logged.into_keys()).collect())
}

/// Writes the tombstones of what the audit log says was deleted and is stored.
async fn note(to: &Destination, collection: &Collection, deletions: &Deletions) -> Result<(), ElasticError> {
    let logged = stored(to, collection, deletions).await?;
    let noted: Vec<_> = logged
        .iter()
        .map(|(id, face)| tombstones::of_face(to, id, Some(face)))
        .collect();
    tombstones::add(to, &noted).await
}

async fn stored(
    to: &Destination,
    collection: &Collection,
    deletions: &Deletions,
) -> Result<HashMap<String, StoredFace>, ElasticError> {
    let ids: Vec<&str> = deletions.faces.keys().map(String::as_str).collect();
    let mut found = HashMap::new();
    for some in ids.chunks(BATCH) {
        let fields = "@timestamp,image,face.box,face.score,person";
        let some = mget::<StoredFace>(&to.at(&collection.index), "look for deleted faces", some, fields).await?;
        let was_there = |id: &str, face: &StoredFace| {
            let stored = face
                .timestamp
                .as_deref()
                .and_then(|stored| stored.parse::<jiff::Timestamp>().ok());
            stored.is_some_and(|stored| stored < deletions.faces[id])
        };
        let some = some.into_iter().map(|(id, (face, _))| (id, face));
        found.extend(some.filter(|(id, face)| was_there(id, face)));
    }
    Ok(found)
}

/// Faces that are looked up at once.
const BATCH: usize = 1000;

/// Gives the index that the name stands for an id of its own.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or where the index takes no writes.
pub async fn adopt_as_copy(to: &Destination, dry_run: bool) -> Result<Adopted, ElasticError> {
    let (collection, strays) = resolve::found(&to.client, &to.collection).await?;
    let indices = survey(&to.client).await?;
    let mut adopted = begin(to, &collection, &indices).await?;
    adopted.moved = strays.iter().map(|stray| stray.alias.clone()).collect();
    let separated = separate(to, &collection, &collection.index, &indices, dry_run).await?;
    adopted.collection_id.clone_from(&separated.collection_id);
    adopted.separated.push(separated);
    if !dry_run {
        move_aliases(to, &collection, &strays).await?;
    }
    Ok(adopted)
}

async fn begin(to: &Destination, collection: &Collection, indices: &Indices) -> Result<Adopted, ElasticError> {
    let mut reach = Reach {
        sees_all: to.client.sees_all_indices().await?,
        ..Reach::ALL
    };
    for (index, _) in indices.iter().filter(|(_, described)| described.is_hidden) {
        reach.miss(index, &unseen(index));
    }
    Ok(Adopted {
        collection: collection.name.clone(),
        index: collection.index.clone(),
        collection_id: collection.collection_id.clone(),
        removed: 0,
        separated: Vec::new(),
        moved: Vec::new(),
        reach,
        ids: BTreeSet::new(),
    })
}

/// Gives an index an id of its own. What was deleted from the collection it was copied from is counted, not touched: the copy
/// is somebody's.
async fn separate(
    to: &Destination,
    collection: &Collection,
    index: &str,
    indices: &Indices,
    dry_run: bool,
) -> Result<Separated, ElasticError> {
    let of_copy = Collection {
        index: index.to_owned(),
        ..collection.clone()
    };
    let described = indices
        .get(index)
        .ok_or_else(|| ElasticError::unexpected("look at all indices", format!("{index} is gone; run it again")))?;
    let holds_deleted = match resolve::is_closed(described) {
        true => 0,
        false => tombstones::brought_back(&to.client, &of_copy).await?,
    };
    let separated = Separated {
        index: index.to_owned(),
        collection_id: uuid::Uuid::new_v4().to_string(),
        holds_deleted,
    };
    if !dry_run {
        let mut meta = described.mappings["_meta"].clone();
        meta["collection_id"] = json!(separated.collection_id);
        meta["copy_of"] = json!(collection.collection_id);
        mapping::put_meta(&to.client, index, &meta).await?;
        mapping::bring_up_if_there(&to.client, FACES, index).await?;
    }
    Ok(separated)
}

/// Removes what was deleted on request and is there again. Comes back when a look finds none.
async fn remove_deleted(to: &Destination, collection: &Collection) -> Result<BTreeSet<String>, ElasticError> {
    let at = to.at(&collection.index);
    let mut removed = BTreeSet::new();
    loop {
        at.refresh().await?;
        let again = tombstones::stored_again(&to.client, collection).await?;
        let found = again.len();
        let operations: Vec<Operation> = again
            .into_iter()
            .map(|(id, version)| Operation::delete(id, version))
            .collect();
        let verdicts = bulk::execute(&at, &operations).await?;
        bulk::expect_done("remove faces that were deleted on request", &verdicts)?;
        // A version that has changed is looked at again.
        let done = operations.into_iter().zip(verdicts);
        let done = done.filter(|(_, verdict)| !matches!(verdict, Verdict::Taken { .. }));
        removed.extend(done.map(|(operation, _)| operation.id));
        if found == 0 {
            return Ok(removed);
        }
    }
}

/// Lets the aliases by which the collection is written stand for its index alone, in one step.
async fn move_aliases(to: &Destination, collection: &Collection, strays: &[Stray]) -> Result<(), ElasticError> {
    if strays.is_empty() {
        return Ok(());
    }
    let mut actions = Vec::new();
    for Stray { index, alias } in strays {
        actions.push(json!({"remove": {"index": index, "alias": alias}}));
        // One of another space is no more written by.
        if *alias == collection::write_alias(&collection.name, &collection.space) {
            actions.push(json!({"add": {"index": collection.index, "alias": alias}}));
        }
    }
    let _: Value = to
        .json(
            "move the alias",
            Method::Post,
            "/_aliases",
            &[],
            Payload::Json(&json!({"actions": actions})),
        )
        .await?;
    Ok(())
}
