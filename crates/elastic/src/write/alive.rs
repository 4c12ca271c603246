//! Signs of life of long work, kept in the index that it works on, so that nobody undoes it while it goes on, and everybody
//! knows that it has died.
//!
//! They are the `meta` of a field in the index's mapping: of two who change an index's `_meta` at once one would undo the other,
//! and a field's `meta` stands alone. Elasticsearch takes five texts of 50 characters there. Which field it is means nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use elasticsearch::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::transport::client::Payload;
use crate::{Client, ElasticError};

/// How often work says that it is alive.
const BEAT: Duration = Duration::from_secs(20);
/// A sign that takes longer is given up for the next one.
const SLOWEST: Duration = Duration::from_secs(10);
/// Work that has not said so for as long is dead.
pub(crate) const DEAD: Duration = Duration::from_secs(180);

/// A sign of life of this process: when, its number, and among which processes that number is its own.
pub(crate) fn sign() -> String {
    format!("{} {} {}", Timestamp::now().as_second(), std::process::id(), here())
}

/// This machine since it was started, and this process's namespace on it; empty where the system does not tell, or does not
/// show the processes of others.
fn here() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
    match (boot, namespace, Path::new("/proc/1").exists()) {
        (Some(boot), Some(namespace), true) => {
            let text = format!("{boot}\0{}", namespace.display());
            blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
        }
        _ => String::new(),
    }
}

/// Whether there is a process of this number. One that has ended and that nobody has asked for yet (a zombie) is none.
fn is_running(process: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process).join("stat")).unwrap_or_default();
    // The state stands behind the name, which is in brackets and may have some itself.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether who gave the sign may still be at work.
pub(crate) fn is_recent(sign: &str, now: Timestamp) -> bool {
    let mut parts = sign.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (second, process, place) = (next(), next(), next());
    let Some(second) = second
        .parse()
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
    else {
        return false;
    };
    // Of a process among ours more is known: it is there, or it is not.
    let is_gone = !place.is_empty() && place == here() && !is_running(process);
    !is_gone && now.duration_since(second).unsigned_abs() < DEAD
}

/// Whether somebody else than this process gave the sign and may still be at work.
fn is_others(sign: &str, now: Timestamp) -> bool {
    let giver = |sign: &str| sign.split_once(' ').map(|(_, giver)| giver.to_owned());
    giver(sign) != giver(&self::sign()) && is_recent(sign, now)
}

/// The field below `ingest` in whose `meta` an index says that it is being worked on as a whole.
const FIELD: &str = "host";

/// A part of a mapping: somebody does `work` on the index from the first moment on.
pub(crate) fn begun(work: &str) -> Value {
    noted(FIELD, &json!({work: sign()}))
}

/// Shows that this process does `work` on an index, at once and from now on.
pub(crate) async fn show(client: &Arc<Client>, index: &str, work: &'static str) -> Result<Alive, ElasticError> {
    let (client, index) = (Arc::clone(client), index.to_owned());
    let beat = move || {
        let (client, index) = (Arc::clone(&client), index.clone());
        async move { write_note(&client, &index, FIELD, &json!({work: sign()})).await }
    };
    beat().await?;
    Ok(Alive::keep(beat))
}

/// Takes back that an index is being worked on.
pub(crate) async fn forget(client: &Client, index: &str) -> Result<(), ElasticError> {
    write_note(client, index, FIELD, &json!({})).await
}

/// Whether somebody else does `work` on an index; none where nobody ever said so.
pub(crate) async fn is_shown(client: &Client, index: &str, work: &str) -> Result<Option<bool>, ElasticError> {
    let mapping = mapping(client, index).await?;
    let sign = note(&mapping, FIELD)[work].as_str();
    Ok(sign.map(|sign| is_others(sign, Timestamp::now())))
}

/// Work that shows signs of life until it is stopped or dropped.
#[derive(Debug)]
pub struct Alive {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Alive {
    /// Gives a sign with `beat` every few seconds.
    pub(crate) fn keep<F>(beat: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), ElasticError>> + Send,
    {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while stopped.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
                // There are more until anybody takes the work for dead.
                match tokio::time::timeout(SLOWEST, beat()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(reason = error.to_string(), "no sign of life was given"),
                    Err(_) => tracing::debug!("a sign of life took too long"),
                }
            }
        });
        Self {
            task,
            stop: stop.drop_guard(),
        }
    }

    /// Gives no more signs. One that is under way is waited for: it would undo what is noted next.
    pub async fn stop(self) {
        drop(self.stop);
        // It ends by itself, and panics nowhere.
        let _ = self.task.await;
    }
}

/// What is noted at a keyword field below `ingest`, by an index's mapping.
pub(crate) fn note<'m>(mapping: &'m Value, field: &str) -> &'m Value {
    &mapping["properties"]["ingest"]["properties"][field]["meta"]
}

/// A keyword field below `ingest` with a note, as a part of a mapping.
pub(crate) fn noted(field: &str, note: &Value) -> Value {
    let keyword = json!({"type": "keyword", "meta": note});
    json!({"ingest": {"properties": {field: keyword}}})
}

/// Notes something at a keyword field below `ingest` in place of what was there.
pub(crate) async fn write_note(client: &Client, index: &str, field: &str, note: &Value) -> Result<(), ElasticError> {
    put_mapping(client, index, &json!({"properties": noted(field, note)})).await
}

/// Changes an index's mapping.
pub(crate) async fn put_mapping(client: &Client, index: &str, mapping: &Value) -> Result<(), ElasticError> {
    let path = format!("/{index}/_mapping");
    let _: Value = client
        .json(
            "leave a note in the index",
            Method::Put,
            &path,
            &[],
            Payload::Json(mapping),
        )
        .await?;
    Ok(())
}

/// An index's mapping.
pub(crate) async fn mapping(client: &Client, index: &str) -> Result<Value, ElasticError> {
    let path = format!("/{index}/_mapping");
    let mut reply: Value = client
        .read("read the index's notes", Method::Get, &path, &[], Payload::None)
        .await?;
    Ok(reply[index]["mappings"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_recent_while_its_process_is_there_or_has_said_so_lately() {
        let now = Timestamp::now();
        let old = DEAD.as_secs() as i64 + 1;
        let is_recent = |age: i64, process: u32, place: &str| {
            let sign = format!("{} {process} {place}", now.as_second() - age);
            super::is_recent(&sign, now)
        };
        let here = here();
        assert!(is_recent(1, std::process::id(), &here));
        assert!(!is_recent(old, std::process::id(), &here));
        assert!(is_recent(1, 1 << 30, "elsewhere"));
        assert!(is_recent(1, 1 << 30, ""));
        assert!(!is_recent(old, 1, "elsewhere"));
        // Larger than any process's number.
        #[cfg(target_os = "linux")]
        assert!(!is_recent(1, 1 << 30, &here));
        assert!(!super::is_recent("", now));
        // An answer that was lost makes nobody wait for himself.
        assert!(!is_others(&sign(), now));
        assert!(is_others(&format!("{} 1 elsewhere", now.as_second()), now));
        assert!(sign().len() <= 50);
    }

    #[tokio::test]
    async fn what_is_stopped_gives_no_sign_any_more() {
        let alive = Alive::keep(|| async { Ok(()) });
        tokio::time::timeout(Duration::from_secs(5), alive.stop())
            .await
            .unwrap();
    }
}
