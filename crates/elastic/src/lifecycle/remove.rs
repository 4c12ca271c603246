//! Removes a collection: every index of it, with the aliases, and on demand what is noted of its deleted faces; or those of
//! its indices that are no more needed.

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::Value;

use super::LifecycleError;
use super::migrate::expect_left;
use crate::read::search;
use crate::schema::collection::Collection;
use crate::schema::resolve::unseen;
use crate::schema::tombstones;
use crate::schema::versions::{self, Reach, State, Version};
use crate::transport::client::Payload;
use crate::{Client, Destination, ElasticError};

/// What was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// The collection.
    pub collection: String,
    /// Its indices.
    pub indices: Vec<Version>,
    /// Faces in the index that was searched; absent where it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faces: Option<u64>,
    /// Photos of which deleted faces were noted, and are no more.
    pub tombstones: u64,
    /// Whether that is all there is.
    #[serde(flatten)]
    pub reach: Reach,
}

/// What [`remove`] would remove.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request, or where there is nothing of this name.
pub async fn survey(to: &Destination, with_tombstones: bool) -> Result<Removed, ElasticError> {
    let whole = versions::of(to).await?;
    let is_open = whole
        .versions
        .iter()
        .any(|version| version.state == State::Live && !version.closed);
    let faces = match is_open {
        true => Some(search::count(&to.client, &to.collection, &[]).await?),
        false => None,
    };
    Ok(Removed {
        collection: to.collection.clone(),
        reach: Reach::of(&whole),
        faces,
        tombstones: match with_tombstones {
            true => tombstones::count(to).await?,
            false => 0,
        },
        indices: whole.versions,
    })
}

/// Removes everything, looked up anew, until nothing is left, and says which indices. The index that the name stands for goes
/// last, so that the same command finishes what was cut off.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request. The same command goes on.
pub async fn remove(to: &Destination, with_tombstones: bool) -> Result<Vec<Version>, ElasticError> {
    let mut removed = Vec::new();
    loop {
        let whole = match versions::of(to).await {
            // Its last index has gone with the name.
            Err(ElasticError::NoCollection { .. }) if !removed.is_empty() => return Ok(removed),
            whole => whole?,
        };
        if let Some(index) = whole.hidden.first() {
            return Err(unseen(index));
        }
        if with_tombstones {
            tombstones::forget(to).await?;
        }
        for version in whole.versions.into_iter().rev() {
            drop_index(to, &version.index).await?;
            removed.push(version);
        }
    }
}

/// Removes an index for good.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn drop_index(to: &Destination, index: &str) -> Result<(), ElasticError> {
    let path = format!("/{index}");
    let removed: Result<Value, _> = to
        .json("remove an index", Method::Delete, &path, &[], Payload::None)
        .await;
    match removed {
        // A repeated request, or somebody else's.
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The indices that `retire` would remove: those that migrations left, and on demand the one that a migration began and
/// does not work on any more.
///
/// # Errors
///
/// Refuses an unfinished migration that goes on; fails where Elasticsearch does.
pub async fn retirable(
    client: &Client,
    collection: &Collection,
    unfinished: bool,
) -> Result<(Vec<Version>, Reach), LifecycleError> {
    let mut whole = versions::list(client, collection).await?;
    let reach = Reach::of(&whole);
    whole.versions.retain(|version| match version.state {
        State::Live => false,
        State::Building => unfinished,
        State::Kept => true,
    });
    for version in &whole.versions {
        if version.state == State::Building {
            expect_left(client, &version.index).await?;
        }
    }
    Ok((whole.versions, reach))
}
