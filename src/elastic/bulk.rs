//! `_bulk`: every item's own result is checked, only failed items are sent again, and none is dropped.

use bytes::{BufMut, Bytes, BytesMut};
use elasticsearch::http::Method;
use serde::Deserialize;

use super::client::{Payload, Reply};
use super::error::BLOCKED;
use super::retry::{Backoff, RetryPolicy};
use super::{Client, ElasticError};

/// What to do with one document.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write it unless the id is taken.
    Create(Bytes),
    /// Write it, over another of the same id.
    Index(Bytes),
    /// Remove it; with a version, only if it is still that one.
    Delete(Option<Version>),
}

/// A document's version, from the answer to its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    seq_no: i64,
    primary_term: i64,
}

/// One line (or two) of a bulk request.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The document's `_id`.
    pub id: String,
    /// What to do with it.
    pub action: Action,
}

/// How one operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done, and acknowledged.
    Done(Option<Version>),
    /// The id is taken (409). `unanswered` says that an earlier attempt of this very operation got no answer, so that it
    /// may be the one that wrote the document.
    Taken {
        /// See above.
        unanswered: bool,
    },
    /// Nothing to delete.
    Missing,
    /// Refused for good.
    Rejected {
        /// HTTP status of the item.
        status: u16,
        /// The error's `type`.
        kind: String,
        /// Elasticsearch's words.
        reason: String,
    },
}

impl Operation {
    /// Bytes that the operation takes in a request.
    fn encoded_len(&self) -> usize {
        let source = match &self.action {
            Action::Create(source) | Action::Index(source) => source.len(),
            Action::Delete(_) => 0,
        };
        // The action line is `{"create":{"_id":"..."}}` and two line ends.
        source + self.id.len() + 24
    }

    fn write(&self, out: &mut BytesMut) {
        // Ids are hexadecimal digits and a dash: nothing in them needs escaping.
        match &self.action {
            Action::Create(source) => {
                out.put_slice(format!("{{\"create\":{{\"_id\":\"{}\"}}}}\n", self.id).as_bytes());
                out.put_slice(source);
                out.put_u8(b'\n');
            }
            Action::Index(source) => {
                out.put_slice(format!("{{\"index\":{{\"_id\":\"{}\"}}}}\n", self.id).as_bytes());
                out.put_slice(source);
                out.put_u8(b'\n');
            }
            Action::Delete(None) => {
                out.put_slice(format!("{{\"delete\":{{\"_id\":\"{}\"}}}}\n", self.id).as_bytes());
            }
            Action::Delete(Some(version)) => {
                let line = format!(
                    "{{\"delete\":{{\"_id\":\"{}\",\"if_seq_no\":{},\"if_primary_term\":{}}}}}\n",
                    self.id, version.seq_no, version.primary_term
                );
                out.put_slice(line.as_bytes());
            }
        }
    }
}

#[derive(Deserialize)]
struct BulkReply {
    items: Vec<std::collections::HashMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<ItemError>,
    #[serde(rename = "_seq_no")]
    seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<i64>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    caused_by: Option<Box<ItemError>>,
}

/// Sends the operations and comes back when each of them has its verdict, in order; retries as long as the policy says.
///
/// Fails only where going on makes no sense: credentials, a missing collection, or the policy's limit. Everything sent
/// with `require_alias`, so that a mistyped collection can never become an index of its own.
pub async fn execute(
    client: &Client,
    collection: &str,
    operations: &[Operation],
    policy: RetryPolicy,
) -> Result<Vec<Verdict>, ElasticError> {
    let mut verdicts: Vec<Option<Verdict>> = vec![None; operations.len()];
    let mut unanswered = vec![false; operations.len()];
    let mut backoff = Backoff::new(policy);
    let mut queue = vec![(0..operations.len()).collect::<Vec<_>>()];
    while let Some(batch) = queue.pop() {
        if batch.is_empty() {
            continue;
        }
        let answer = match send(client, collection, operations, &batch).await {
            Ok(reply) => judge(&reply, operations, &batch, collection)?,
            Err(error @ ElasticError::Unreachable { .. }) => Answer::NotNow {
                reason: error.to_string(),
                retry_after: None,
                maybe_done: true,
            },
            Err(error) => return Err(error),
        };
        let (again, reason, retry_after) = match answer {
            Answer::TooLarge if batch.len() > 1 => {
                let half = batch.len() / 2;
                queue.push(batch[half..].to_vec());
                queue.push(batch[..half].to_vec());
                continue;
            }
            Answer::TooLarge => {
                verdicts[batch[0]] = Some(Verdict::Rejected {
                    status: 413,
                    kind: "content_too_large".to_owned(),
                    reason: "one face's document is larger than the cluster accepts".to_owned(),
                });
                continue;
            }
            Answer::NotNow {
                reason,
                retry_after,
                maybe_done,
            } => {
                if maybe_done {
                    batch.iter().for_each(|&at| unanswered[at] = true);
                }
                (batch, reason, retry_after)
            }
            Answer::Items { items, repeated } => {
                let mut again = Vec::new();
                let mut reason = String::new();
                for (&at, item) in batch.iter().zip(items) {
                    unanswered[at] |= repeated;
                    match item {
                        ItemAnswer::Final(Verdict::Taken { .. }) => {
                            verdicts[at] = Some(Verdict::Taken {
                                unanswered: unanswered[at],
                            });
                        }
                        ItemAnswer::Final(verdict) => verdicts[at] = Some(verdict),
                        ItemAnswer::NotNow(why) => {
                            reason = why;
                            again.push(at);
                        }
                    }
                }
                if again.len() < batch.len() {
                    backoff.progress();
                }
                (again, reason, None)
            }
        };
        if again.is_empty() {
            continue;
        }
        let Some(pause) = backoff.pause(retry_after) else {
            return Err(ElasticError::GaveUp {
                seconds: backoff.stuck_for().as_secs(),
                reason,
            });
        };
        tracing::warn!(
            documents = again.len(),
            pause_ms = pause.as_millis() as u64,
            reason,
            "will send again"
        );
        tokio::time::sleep(pause).await;
        queue.push(again);
    }
    // Every index left the queue with a verdict; the fallback keeps the promise even if that were wrong.
    Ok(verdicts
        .into_iter()
        .map(|verdict| {
            verdict.unwrap_or_else(|| Verdict::Rejected {
                status: 0,
                kind: "no_verdict".to_owned(),
                reason: "elasticsearch gave no result for this document".to_owned(),
            })
        })
        .collect())
}

async fn send(
    client: &Client,
    collection: &str,
    operations: &[Operation],
    batch: &[usize],
) -> Result<Reply, ElasticError> {
    let mut lines = BytesMut::with_capacity(batch.iter().map(|&at| operations[at].encoded_len() + 64).sum());
    for &at in batch {
        operations[at].write(&mut lines);
    }
    let query = [
        ("require_alias", "true"),
        (
            "filter_path",
            "items.*.status,items.*.error,items.*._seq_no,items.*._primary_term",
        ),
    ];
    let path = format!("/{collection}/_bulk");
    client
        .send(Method::Post, &path, &query, Payload::Ndjson(&lines.freeze()))
        .await
}

enum Answer {
    Items {
        items: Vec<ItemAnswer>,
        repeated: bool,
    },
    TooLarge,
    NotNow {
        reason: String,
        retry_after: Option<std::time::Duration>,
        /// The request may have been carried out, though no answer says so.
        maybe_done: bool,
    },
}

enum ItemAnswer {
    Final(Verdict),
    NotNow(String),
}

/// What an answer means for the batch it belongs to.
fn judge(reply: &Reply, operations: &[Operation], batch: &[usize], collection: &str) -> Result<Answer, ElasticError> {
    let not_now = |reason: String, maybe_done: bool| Answer::NotNow {
        reason,
        retry_after: reply.retry_after,
        maybe_done: maybe_done || reply.repeated,
    };
    match reply.status {
        200..=299 => match serde_json::from_slice::<BulkReply>(&reply.body) {
            Ok(parsed) if parsed.items.len() == batch.len() => {
                let mut items = Vec::with_capacity(batch.len());
                for (&at, item) in batch.iter().zip(parsed.items) {
                    let item = item
                        .into_values()
                        .next()
                        .ok_or_else(|| ElasticError::unexpected("a bulk request", "an item without a result"))?;
                    items.push(judge_item(item, &operations[at], collection)?);
                }
                Ok(Answer::Items {
                    items,
                    repeated: reply.repeated,
                })
            }
            Ok(parsed) => Ok(not_now(
                format!(
                    "{} documents went out, {} results came back",
                    batch.len(),
                    parsed.items.len()
                ),
                true,
            )),
            Err(error) => Ok(not_now(format!("the answer cannot be read: {error}"), true)),
        },
        413 => Ok(Answer::TooLarge),
        429 => Ok(not_now("too many requests (429)".to_owned(), false)),
        // A gateway says 502 and 504 also when the node behind it has done the work.
        500..=599 => Ok(not_now(format!("status {}", reply.status), true)),
        403 if is_blocked(&reply.body) => Ok(not_now(
            "the index or cluster takes no writes for now".to_owned(),
            false,
        )),
        404 => Err(ElasticError::NoCollection {
            name: collection.to_owned(),
        }),
        status => Err(ElasticError::from_reply("write documents", status, &reply.body)),
    }
}

fn is_blocked(body: &[u8]) -> bool {
    body.windows(BLOCKED.len()).any(|window| window == BLOCKED.as_bytes())
}

fn judge_item(item: Item, operation: &Operation, collection: &str) -> Result<ItemAnswer, ElasticError> {
    let (kind, reason) = item
        .error
        .map(|error| {
            let reason = error.reason.unwrap_or_default();
            let cause = error.caused_by.and_then(|cause| cause.reason);
            let reason = cause.map_or_else(|| reason.clone(), |cause| format!("{reason}: {cause}"));
            (error.kind, reason)
        })
        .unwrap_or_default();
    Ok(match item.status {
        200..=299 => ItemAnswer::Final(Verdict::Done(
            item.seq_no
                .zip(item.primary_term)
                .map(|(seq_no, primary_term)| Version { seq_no, primary_term }),
        )),
        404 if matches!(operation.action, Action::Delete(_)) && kind.is_empty() => ItemAnswer::Final(Verdict::Missing),
        404 => {
            return Err(ElasticError::NoCollection {
                name: collection.to_owned(),
            });
        }
        409 => ItemAnswer::Final(Verdict::Taken { unanswered: false }),
        403 if kind == BLOCKED => ItemAnswer::NotNow(reason),
        401 | 403 => return Err(ElasticError::Forbidden { reason }),
        429 | 500..=599 => ItemAnswer::NotNow(format!("{kind}: {reason}")),
        status => ItemAnswer::Final(Verdict::Rejected { status, kind, reason }),
    })
}
