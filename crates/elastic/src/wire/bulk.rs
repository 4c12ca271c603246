//! `_bulk`: every item's own result is checked, only failed items are sent again, and none is dropped.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use elasticsearch::http::Method;
use serde::Deserialize;

use crate::error::{BLOCKED, CLOSED};
use crate::transport::client::{Payload, Reply};
use crate::transport::retry::Backoff;
use crate::{Destination, ElasticError};

/// What to do with one document.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write it unless the id is taken.
    Create(Bytes),
    /// Write it over another of the same id, if that is still this version.
    Replace(Bytes, Version),
    /// Write it, unless one of this version or a newer one is there. The version is the writer's own (`external`), and is
    /// kept.
    Put(Bytes, u64),
    /// Merge these fields into it (a body of `_update`: the vector stays), if it is still this version.
    Update(Bytes, Version),
    /// Remove it, if it is still this version.
    Delete(Version),
}

/// A document's version, from the answer to its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// `_seq_no`
    pub seq_no: i64,
    /// `_primary_term`
    pub primary_term: i64,
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
    /// The id is taken, or another version is there (409). `unanswered` says that an earlier attempt of this very operation got no answer, so that it
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

/// Refuses what Elasticsearch refused for good. What others changed meanwhile is the caller's to look at again.
///
/// # Errors
///
/// [`ElasticError::Refused`] with Elasticsearch's reason.
pub(crate) fn expect_done(operation: &str, verdicts: &[Verdict]) -> Result<(), ElasticError> {
    let refused = verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Rejected { status, kind, reason } => Some(ElasticError::Refused {
            operation: operation.to_owned(),
            status: *status,
            kind: kind.clone(),
            reason: reason.clone(),
        }),
        _ => None,
    });
    refused.map_or(Ok(()), Err)
}

impl Operation {
    /// Deletes a document, as it was at this version.
    pub fn delete(id: String, version: Version) -> Self {
        Self {
            id,
            action: Action::Delete(version),
        }
    }

    /// Bytes that the operation takes in a request.
    fn encoded_len(&self) -> usize {
        let source = match &self.action {
            Action::Create(source)
            | Action::Replace(source, _)
            | Action::Put(source, _)
            | Action::Update(source, _) => source.len(),
            Action::Delete(_) => 0,
        };
        // The action line is `{"create":{"_id":"..."}}` and two line ends.
        source + self.id.len() + 24
    }

    fn write(&self, out: &mut BytesMut) {
        let if_still = |version: &Version| {
            format!(
                ",\"if_seq_no\":{},\"if_primary_term\":{}",
                version.seq_no, version.primary_term
            )
        };
        let (verb, condition, source) = match &self.action {
            Action::Create(source) => ("create", String::new(), Some(source)),
            Action::Replace(source, version) => ("index", if_still(version), Some(source)),
            Action::Put(source, version) => {
                let condition = format!(",\"version\":{version},\"version_type\":\"external\"");
                ("index", condition, Some(source))
            }
            Action::Update(changes, version) => ("update", if_still(version), Some(changes)),
            Action::Delete(version) => ("delete", if_still(version), None),
        };
        // Ours are hexadecimal digits and a dash, but others may have written to the index too.
        let id = serde_json::Value::from(self.id.as_str());
        out.put_slice(format!("{{\"{verb}\":{{\"_id\":{id}{condition}}}}}\n").as_bytes());
        if let Some(source) = source {
            out.put_slice(source);
            out.put_u8(b'\n');
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
    index: Option<String>,
    caused_by: Option<Box<ItemError>>,
}

/// Sends the operations and comes back when each of them has its verdict, in order; retries as long as the policy says.
///
/// Fails only where going on makes no sense: credentials, a missing collection, or the policy's limit. What goes to a
/// collection is sent with `require_alias`, so that a mistyped one can never become an index of its own.
///
/// # Errors
///
/// [`ElasticError::GaveUp`] when the policy's time is over; a refusal of the whole request that no repeating would change.
pub async fn execute(to: &Destination, operations: &[Operation]) -> Result<Vec<Verdict>, ElasticError> {
    let mut job = Job {
        operations,
        verdicts: vec![None; operations.len()],
        unanswered: vec![false; operations.len()],
    };
    let mut backoff = Backoff::new(to.policy);
    let mut queue = vec![(0..operations.len()).collect::<Vec<_>>()];
    while let Some(batch) = queue.pop() {
        if batch.is_empty() {
            continue;
        }
        let answer = match send(to, operations, &batch).await {
            Ok(reply) => judge(&reply, operations, &batch, &to.collection)?,
            Err(error) if error.is_transient() => Answer::NotNow {
                reason: error.to_string(),
                retry_after: None,
                maybe_done: true,
                throttled: false,
            },
            Err(error) => return Err(error),
        };
        let sent = batch.len();
        let again = job.settle(batch, answer, to);
        if again.batches.iter().map(Vec::len).sum::<usize>() < sent || again.batches.len() > 1 {
            to.progress(&mut backoff);
        }
        if let Some(reason) = &again.reason {
            let count = again.batches.iter().map(Vec::len).sum();
            to.wait(&mut backoff, count, reason, again.retry_after).await?;
        }
        queue.extend(again.batches);
    }
    // Every operation left the queue with a verdict; the fallback keeps the promise even if that were wrong.
    let none = || Verdict::Rejected {
        status: 0,
        kind: "no_verdict".to_owned(),
        reason: "elasticsearch gave no result for this document".to_owned(),
    };
    Ok(job
        .verdicts
        .into_iter()
        .map(|verdict| verdict.unwrap_or_else(none))
        .collect())
}

/// Operations on their way to verdicts.
struct Job<'o> {
    operations: &'o [Operation],
    verdicts: Vec<Option<Verdict>>,
    /// An attempt got no answer: it may have been carried out.
    unanswered: Vec<bool>,
}

/// What is to be sent again, and after which pause: none where there is no reason.
#[derive(Default)]
struct Again {
    batches: Vec<Vec<usize>>,
    reason: Option<String>,
    retry_after: Option<Duration>,
}

impl Job<'_> {
    /// Enters the verdicts of an answer.
    fn settle(&mut self, batch: Vec<usize>, answer: Answer, to: &Destination) -> Again {
        match answer {
            Answer::TooLarge if batch.len() > 1 => {
                let half = batch.len() / 2;
                Again {
                    batches: vec![batch[half..].to_vec(), batch[..half].to_vec()],
                    ..Again::default()
                }
            }
            Answer::TooLarge => {
                self.verdicts[batch[0]] = Some(Verdict::Rejected {
                    status: 413,
                    kind: "content_too_large".to_owned(),
                    reason: format!(
                        "the document of {} bytes is larger than the cluster accepts",
                        self.operations[batch[0]].encoded_len()
                    ),
                });
                Again::default()
            }
            Answer::NotNow {
                reason,
                retry_after,
                maybe_done,
                throttled,
            } => {
                to.pulse.throttled.fetch_add(u64::from(throttled), Ordering::Relaxed);
                for &at in &batch {
                    self.unanswered[at] |= maybe_done;
                }
                Again {
                    batches: vec![batch],
                    reason: Some(reason),
                    retry_after,
                }
            }
            Answer::Items { items, repeated } => {
                let mut left = Vec::new();
                let mut reason = None;
                for (&at, item) in batch.iter().zip(items) {
                    self.unanswered[at] |= repeated;
                    match item {
                        ItemAnswer::Final(Verdict::Taken { .. }) => {
                            let unanswered = self.unanswered[at];
                            self.verdicts[at] = Some(Verdict::Taken { unanswered });
                        }
                        ItemAnswer::Final(verdict) => self.verdicts[at] = Some(verdict),
                        ItemAnswer::NotNow { why, throttled } => {
                            to.pulse.throttled.fetch_add(u64::from(throttled), Ordering::Relaxed);
                            reason = Some(why);
                            left.push(at);
                        }
                    }
                }
                Again {
                    batches: vec![left],
                    reason,
                    retry_after: None,
                }
            }
        }
    }
}

async fn send(to: &Destination, operations: &[Operation], batch: &[usize]) -> Result<Reply, ElasticError> {
    let mut lines = BytesMut::with_capacity(batch.iter().map(|&at| operations[at].encoded_len() + 64).sum());
    for &at in batch {
        operations[at].write(&mut lines);
    }
    let lines = lines.freeze();
    let query = [
        ("require_alias", if to.is_index { "false" } else { "true" }),
        (
            "filter_path",
            "items.*.status,items.*.error,items.*._seq_no,items.*._primary_term",
        ),
    ];
    let path = format!("/{}/_bulk", to.collection);
    let start = Instant::now();
    let reply = to
        .client
        .send(Method::Post, &path, &query, Payload::Ndjson(&lines))
        .await?;
    to.pulse.answered(lines.len(), start.elapsed());
    Ok(reply)
}

enum Answer {
    Items {
        items: Vec<ItemAnswer>,
        repeated: bool,
    },
    TooLarge,
    NotNow {
        reason: String,
        retry_after: Option<Duration>,
        /// The request may have been carried out, though no answer says so.
        maybe_done: bool,
        /// The cluster has too much to do.
        throttled: bool,
    },
}

enum ItemAnswer {
    Final(Verdict),
    NotNow { why: String, throttled: bool },
}

/// What an answer means for the batch it belongs to.
fn judge(reply: &Reply, operations: &[Operation], batch: &[usize], collection: &str) -> Result<Answer, ElasticError> {
    let not_now = |reason: String, maybe_done: bool| Answer::NotNow {
        reason,
        retry_after: reply.retry_after,
        maybe_done: maybe_done || reply.repeated,
        throttled: reply.status == 429,
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
        // A gateway says 408, 502 and 504 also when the node behind it has done the work.
        408 | 500..=599 => Ok(not_now(format!("status {}", reply.status), true)),
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
    let index = item.error.as_ref().and_then(|error| error.index.clone());
    let (kind, reason) = item
        .error
        .map(|error| {
            let reason = error.reason.unwrap_or_default();
            let cause = error.caused_by.and_then(|cause| cause.reason);
            let reason = cause.map_or_else(|| reason.clone(), |cause| format!("{reason}: {cause}"));
            (error.kind, reason)
        })
        .unwrap_or_default();
    if kind == CLOSED {
        return Err(ElasticError::Closed {
            index: index.unwrap_or_else(|| collection.to_owned()),
        });
    }
    Ok(match item.status {
        200..=299 => ItemAnswer::Final(Verdict::Done(
            item.seq_no
                .zip(item.primary_term)
                .map(|(seq_no, primary_term)| Version { seq_no, primary_term }),
        )),
        404 if matches!(operation.action, Action::Delete(_)) && kind.is_empty() => ItemAnswer::Final(Verdict::Missing),
        404 if kind == "document_missing_exception" => ItemAnswer::Final(Verdict::Missing),
        404 => {
            return Err(ElasticError::NoCollection {
                name: collection.to_owned(),
            });
        }
        409 => ItemAnswer::Final(Verdict::Taken { unanswered: false }),
        403 if kind == BLOCKED => ItemAnswer::NotNow {
            why: reason,
            throttled: false,
        },
        401 | 403 => return Err(ElasticError::Forbidden { reason }),
        429 | 500..=599 => ItemAnswer::NotNow {
            why: format!("{kind}: {reason}"),
            throttled: item.status == 429,
        },
        status => ItemAnswer::Final(Verdict::Rejected { status, kind, reason }),
    })
}
