//! Out of the segments too: a deleted document stays in its segment's files, vector and all, until a merge writes them anew.
//!
//! A merge keeps what copies of the shard may still have to be told, so it takes some rounds until these have caught up
//! (Elasticsearch renews what it keeps for them twice a minute).

use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::schema::versions::{self, Reach};
use crate::transport::client::Payload;
use crate::{Destination, ElasticError};

/// How long between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How many looks until a merge that changed nothing is asked for again.
const PATIENCE: u32 = 5;
/// How long Elasticsearch is given to remove the files of former copies.
const FORMER_PATIENCE: Duration = Duration::from_secs(30);
/// How long between two looks at them: each opens the files, and Elasticsearch removes none that are open.
const FORMER_PAUSE: Duration = Duration::from_secs(5);

/// How far a purge came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Whether that is all of the collection.
    #[serde(flatten)]
    pub reach: Reach,
    /// No copy that is there holds a deleted document, every copy is there, and no node keeps files of a former copy.
    pub complete: bool,
    /// Documents that are deleted and still in segments, over all copies.
    pub left: u64,
    /// Copies that are not there. Their files may hold what was deleted, until they are back and purged.
    pub missing_copies: u64,
    /// Folders of copies that Elasticsearch placed elsewhere while their node was away. They hold what was deleted until
    /// it removes them, which it does when shards move next.
    pub former_copies: u64,
}

impl Purged {
    /// Where there is nothing to purge.
    pub const NOTHING: Self = Self {
        reach: Reach::ALL,
        complete: true,
        left: 0,
        missing_copies: 0,
        former_copies: 0,
    };

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            reach: self.reach.and(other.reach),
            complete: self.complete && other.complete,
            left: self.left + other.left,
            missing_copies: self.missing_copies + other.missing_copies,
            former_copies: self.former_copies + other.former_copies,
        }
    }
}

/// Removes deleted documents from the files of every index behind the collection. Comes back when that is done, or when
/// `limit` is over.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request. What is left when the time is over is in the answer.
pub async fn purge(to: &Destination, limit: Duration) -> Result<Purged, ElasticError> {
    let whole = versions::of(to).await?;
    let mut purged = Purged {
        reach: Reach::of(&whole),
        complete: whole.hidden.is_empty(),
        ..Purged::NOTHING
    };
    for version in whole.versions {
        let done = match version.expect_open() {
            Ok(()) => purge_index(&to.at(&version.index), limit).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => purged = purged.and(done),
            Err(error) => {
                purged.complete = false;
                purged.reach.miss(&version.index, &error);
            }
        }
    }
    Ok(purged)
}

async fn purge_index(at: &Destination, limit: Duration) -> Result<Purged, ElasticError> {
    let start = Instant::now();
    // Without this a segment is written anew only where a tenth of it is deleted.
    set_policy(at, json!(0)).await?;
    let ended = rounds(at, start, limit).await;
    set_policy(at, Value::Null).await?;
    ended
}

async fn rounds(at: &Destination, start: Instant, limit: Duration) -> Result<Purged, ElasticError> {
    let mut looks = 0;
    loop {
        if looks % PATIENCE == 0 {
            // What is written and not yet committed is in the transaction log as well.
            post(at, "_flush", &[("force", "true"), ("wait_if_ongoing", "true")]).await?;
            let expunge = [("only_expunge_deletes", "true"), ("wait_for_completion", "false")];
            post(at, "_forcemerge", &expunge).await?;
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
        let mut purged = count_deleted(at).await?;
        if purged.complete || (purged.left == 0 && purged.missing_copies > 0) || start.elapsed() >= limit {
            // Where it is not complete anyhow, there is nothing to wait for.
            let patience = if purged.complete {
                FORMER_PATIENCE
            } else {
                Duration::ZERO
            };
            purged.former_copies = former_copies(at, limit.min(start.elapsed() + patience), start).await?;
            purged.complete &= purged.former_copies == 0;
            // The files of before go with the commit that names them, and with the searches that read them.
            at.refresh().await?;
            post(at, "_flush", &[("force", "true"), ("wait_if_ongoing", "true")]).await?;
            return Ok(purged);
        }
    }
}

/// What is still there.
async fn count_deleted(at: &Destination) -> Result<Purged, ElasticError> {
    const OPERATION: &str = "look for deleted documents";
    at.refresh().await?;
    let path = format!("/{}/_stats/docs,merge", at.collection);
    let by_copy = [("level", "shards")];
    let stats: Value = at.json(OPERATION, Method::Get, &path, &by_copy, Payload::None).await?;
    let total = &stats["_all"]["total"];
    let number = |value: &Value| {
        value
            .as_u64()
            .ok_or_else(|| ElasticError::unexpected(OPERATION, "no figures"))
    };
    // A copy keeps its commit of before until it knows that all others have what is in the new one.
    let shards = stats["indices"].as_object().into_iter().flatten();
    let copies = shards.flat_map(|(_, index)| index["shards"].as_object().into_iter().flatten());
    let mut copies = copies.flat_map(|(_, copies)| copies.as_array().into_iter().flatten());
    let agree = copies.all(|copy| copy["seq_no"]["global_checkpoint"] == copy["seq_no"]["max_seq_no"]);
    let left = number(&total["docs"]["deleted"])?;
    let path = format!("/_cluster/health/{}", at.collection);
    let health: Value = at.json(OPERATION, Method::Get, &path, &[], Payload::None).await?;
    let missing_copies = number(&health["unassigned_shards"])? + number(&health["initializing_shards"])?;
    let idle = number(&total["merges"]["current"])? == 0;
    Ok(Purged {
        reach: Reach::ALL,
        complete: left == 0 && missing_copies == 0 && agree && idle,
        left,
        missing_copies,
        former_copies: 0,
    })
}

/// How many folders of former copies there are, after some time in which Elasticsearch may remove them.
async fn former_copies(at: &Destination, until: Duration, start: Instant) -> Result<u64, ElasticError> {
    const OPERATION: &str = "look for files of former copies";
    let path = format!("/{}/_shard_stores", at.collection);
    loop {
        let all = [("status", "all")];
        let reply = at.json(OPERATION, Method::Get, &path, &all, Payload::None).await?;
        let former = unused(&reply).map_err(|reason| ElasticError::unexpected(OPERATION, reason))?;
        if former == 0 || start.elapsed() >= until {
            return Ok(former);
        }
        tokio::time::sleep(FORMER_PAUSE).await;
    }
}

/// The stores that no copy of a shard uses, by the answer of `_shard_stores`.
fn unused(reply: &Value) -> Result<u64, &'static str> {
    if reply["failures"]
        .as_array()
        .is_some_and(|failures| !failures.is_empty())
    {
        return Err("not all nodes answered; run it again");
    }
    let indices = reply["indices"].as_object().ok_or("no indices")?;
    let shards = indices.values().flat_map(|index| index["shards"].as_object()).flatten();
    let stores = shards.flat_map(|(_, shard)| shard["stores"].as_array()).flatten();
    Ok(stores.filter(|store| store["allocation"] == "unused").count() as u64)
}

async fn post(at: &Destination, what: &str, query: &[(&str, &str)]) -> Result<(), ElasticError> {
    let path = format!("/{}/{what}", at.collection);
    let _: Value = at
        .json(
            "remove deleted documents from the segments",
            Method::Post,
            &path,
            query,
            Payload::None,
        )
        .await?;
    Ok(())
}

/// Whether a purge that was cut off has left its merge policy in the index.
pub(crate) async fn is_left_behind(to: &Destination, index: &str) -> Result<bool, ElasticError> {
    const SETTING: &str = "index.merge.policy.expunge_deletes_allowed";
    let path = format!("/{index}/_settings/{SETTING}");
    let flat = [("flat_settings", "true")];
    let reply: Value = to
        .json("read an index's settings", Method::Get, &path, &flat, Payload::None)
        .await?;
    Ok(!reply[index]["settings"][SETTING].is_null())
}

/// Gives an index the usual merge policy back, where a purge that was cut off has left its own. Says whether it did.
pub(crate) async fn repair(to: &Destination, index: &str) -> Result<bool, ElasticError> {
    let is_left = is_left_behind(to, index).await?;
    if is_left {
        set_policy(&to.at(index), Value::Null).await?;
    }
    Ok(is_left)
}

async fn set_policy(at: &Destination, share: Value) -> Result<(), ElasticError> {
    let settings = json!({"index": {"merge": {"policy": {"expunge_deletes_allowed": share}}}});
    at.put_settings("change the merge policy", &at.collection, &settings)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_without_a_copy_count_and_a_node_that_did_not_answer_is_no_answer() {
        let stores = |allocations: &[&str]| {
            let stores: Vec<Value> = allocations
                .iter()
                .map(|allocation| json!({"node": {"name": "n1"}, "allocation_id": "x", "allocation": allocation}))
                .collect();
            json!({"indices": {"faces": {"shards": {"0": {"stores": stores}}}}})
        };
        assert_eq!(unused(&stores(&["primary", "replica"])), Ok(0));
        assert_eq!(unused(&stores(&["primary", "unused", "unused"])), Ok(2));
        let mut failed = stores(&["primary"]);
        failed["failures"] = json!([{"reason": {"type": "failed_node_exception"}}]);
        assert!(unused(&failed).is_err());
        assert!(unused(&json!({})).is_err());
    }
}
