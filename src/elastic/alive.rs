//! Signs of life of long work, kept in the index that it works on, so that nobody undoes it while it goes on, and everybody
//! knows that it has died.
//!
//! They are the `meta` of a field in the index's mapping: of two who change an index's `_meta` at once one would undo the other,
//! and a field's `meta` stands alone. Elasticsearch takes five texts of 50 characters there.

use std::path::Path;
use std::time::Duration;

use elasticsearch::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::client::Payload;
use super::{Client, ElasticError};

/// How often work says that it is alive.
const BEAT: Duration = Duration::from_secs(20);
/// Work that has not said so for as long is dead.
pub(super) const DEAD: Duration = Duration::from_secs(90);
/// As much of a host's name as there is room for.
const HOST: usize = 24;

/// A sign of life of this process.
pub(super) fn sign() -> String {
    format!("{} {} {}", Timestamp::now().as_second(), std::process::id(), here())
}

fn here() -> String {
    let host = gethostname::gethostname();
    host.to_string_lossy().chars().take(HOST).collect()
}

/// Whether who gave the sign may still be at work.
pub(super) fn is_recent(sign: &str, now: Timestamp) -> bool {
    let mut parts = sign.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (second, process, host) = (next(), next(), next());
    let Some(second) = second
        .parse()
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
    else {
        return false;
    };
    // Of a process of this machine more is known: it is there, or it is not.
    let is_gone = host == here() && Path::new("/proc/self").exists() && !Path::new("/proc").join(process).exists();
    !is_gone && now.duration_since(second).unsigned_abs() < DEAD
}

/// Gives a sign with `beat` every few seconds, until the answer is dropped.
pub(super) fn keep<F>(beat: impl Fn() -> F + Send + 'static) -> AbortOnDropHandle<()>
where
    F: Future<Output = Result<(), ElasticError>> + Send,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            if let Err(error) = beat().await {
                // There are more until anybody takes the work for dead.
                tracing::debug!(reason = error.to_string(), "no sign of life was given");
            }
        }
    }))
}

/// What is noted at a keyword field below `ingest`, by an index's mapping.
pub(super) fn note<'m>(mapping: &'m Value, field: &str) -> &'m Value {
    &mapping["properties"]["ingest"]["properties"][field]["meta"]
}

/// Notes something at a keyword field below `ingest` in place of what was there.
pub(super) async fn write_note(client: &Client, index: &str, field: &str, note: &Value) -> Result<(), ElasticError> {
    let keyword = json!({"type": "keyword", "meta": note});
    put_mapping(
        client,
        index,
        &json!({"properties": {"ingest": {"properties": {field: keyword}}}}),
    )
    .await
}

/// Changes an index's mapping.
pub(super) async fn put_mapping(client: &Client, index: &str, mapping: &Value) -> Result<(), ElasticError> {
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
pub(super) async fn mapping(client: &Client, index: &str) -> Result<Value, ElasticError> {
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
        let is_recent = |age: i64, process: u32, host: &str| {
            let sign = format!("{} {process} {host}", now.as_second() - age);
            super::is_recent(&sign, now)
        };
        let here = here();
        assert!(is_recent(1, std::process::id(), &here));
        assert!(!is_recent(100, std::process::id(), &here));
        assert!(is_recent(1, 1, "another host"));
        assert!(!is_recent(100, 1, "another host"));
        // Larger than any process's number.
        #[cfg(target_os = "linux")]
        assert!(!is_recent(1, 1 << 30, &here));
        assert!(!super::is_recent("", now));
        assert!(sign().len() <= 50);
    }
}
