//! The audit log of commands that change what is stored for good.

use std::path::PathBuf;

use axum::http::StatusCode;
use clap::Args;
use facedex_elastic::Destination;
use facedex_face::models::catalog;

use crate::error::Error;
use crate::server::audit::{Action, Audit, Entry};

/// Where it is written.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Append to this file what was done, when and by whom; give each server and each concurrent command its own
    /// [default: ~/.local/state/facedex/audit.ndjson]
    #[arg(long, env = "FACEDEX_PERSON_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl AuditArgs {
    /// Opens the log.
    pub(super) fn open(&self) -> Result<CommandLog, Error> {
        let path = match &self.audit_log {
            Some(path) => path.clone(),
            None => {
                let folder = catalog::state_dir()?;
                std::fs::create_dir_all(&folder)?;
                folder.join("audit.ndjson")
            }
        };
        Ok(CommandLog(Audit::open(Some(&path))?))
    }
}

/// A log that a command writes to.
pub(super) struct CommandLog(Audit);

impl CommandLog {
    /// A line, on disk before anything is done.
    pub(super) async fn begin(&self, action: Action, places: &[Destination], persons: &[&str]) -> Result<Entry, Error> {
        let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
        let entry = Entry::of_command(&self.0, action, &user);
        places.iter().for_each(|to| entry.collection_of(&to.collection, &to.id));
        persons.iter().for_each(|person| entry.person(person));
        entry.started().await?;
        Ok(entry)
    }

    /// The line's end, on disk before the result is shown.
    pub(super) async fn end<T>(&self, entry: &Entry, result: Result<T, Error>) -> Result<T, Error> {
        entry.ends(match &result {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        });
        let written = entry.written().await;
        let result = result?;
        written?;
        Ok(result)
    }
}
