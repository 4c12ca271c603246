//! `facedex collection adopt` and `delete`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use facedex_elastic::lifecycle::LifecycleError;
use facedex_elastic::lifecycle::adopt::{self, Adopted, Deletions};
use facedex_elastic::lifecycle::remove::{self, Removed};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::resolve;
use facedex_elastic::{Client, Destination};
use serde::{Deserialize, Serialize};

use super::{NameArg, PatienceArgs};
use crate::cli::audit::AuditArgs;
use crate::cli::confirm::{ConfirmArgs, confirmed};
use crate::cli::{SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::server::audit::Action;

/// How it is done.
#[derive(Debug, Args)]
struct HowArgs {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Be content with the indices that this account may see; otherwise that they are not all is an error
    #[arg(long)]
    visible_only: bool,

    #[command(flatten)]
    audit: AuditArgs,

    #[command(flatten)]
    patience: PatienceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AdoptArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// The index is a copy: give it an id of its own, and leave the collection to the other index
    #[arg(long)]
    as_copy: bool,

    /// An audit log whose deletions from this collection are done again, where a snapshot has brought back what was noted of
    /// deleted faces as well; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "as_copy")]
    deleted_by: Vec<PathBuf>,

    #[command(flatten)]
    how: HowArgs,
}

/// The deletions from a collection that audit logs have, and the lines that name less than what was deleted.
fn deletions(files: &[PathBuf], collection: &Collection) -> Result<(Deletions, Vec<String>), Error> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "@timestamp")]
        timestamp: jiff::Timestamp,
        action: String,
        outcome: String,
        collections: Vec<String>,
        #[serde(default)]
        collection_ids: Vec<String>,
        faces: Ids,
        persons: Ids,
    }
    #[derive(Deserialize)]
    struct Ids {
        ids: Vec<String>,
        total: usize,
    }
    let (mut found, mut short) = (Deletions::default(), Vec::new());
    for file in files {
        let unusable = |reason: String| LifecycleError::File {
            path: file.clone(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let line: Line = match serde_json::from_str(line) {
                Ok(line) => line,
                // A machine that died wrote half of it.
                Err(_) if !line.ends_with('\n') => continue,
                Err(error) => {
                    let reason = format!("line {}: {error}; it is no audit log", number + 1);
                    return Err(unusable(reason).into());
                }
            };
            let deletes = match line.action.as_str() {
                "delete_person" | "delete_old_faces" => true,
                // This line names the face before anything is done.
                "forget_face" => matches!(line.outcome.as_str(), "success" | "unknown"),
                _ => false,
            };
            let is_ours = match line.collection_ids.is_empty() {
                true => line.collections.iter().any(|name| collection.names.contains(name)),
                false => line.collection_ids.contains(&collection.collection_id),
            };
            if !(deletes && is_ours) {
                continue;
            }
            if line.faces.total > line.faces.ids.len() || line.outcome == "unknown" {
                let who = line.persons.ids.join(", ");
                short.push(format!(
                    "{} line {} ({} {who})",
                    file.display(),
                    number + 1,
                    line.action
                ));
            }
            let faces = line.faces.ids.into_iter();
            found.faces.extend(faces.map(|id| (id, line.timestamp)));
        }
    }
    Ok((found, short))
}

#[derive(Serialize)]
struct AdoptReport<'a> {
    #[serde(flatten)]
    adopted: &'a Adopted,
    dry_run: bool,
}

pub(super) async fn adopt(args: &AdoptArgs, client: Client, global: &GlobalArgs) -> Result<u8, Error> {
    let client = Arc::new(client);
    let found = resolve::in_doubt(&client, &args.collection.name).await?;
    let (deletions, short) = deletions(&args.deleted_by, &found)?;
    let to = Destination::new(client, &found, args.how.patience.policy());
    if args.how.dry_run {
        let adopted = run(args, &to, &deletions).await?;
        show_adopted(args, &adopted, global)?;
        expect_whole(args, &adopted, &short)?;
        return Ok(SUCCESS);
    }
    let log = args.how.audit.open()?;
    let entry = log
        .begin(Action::AdoptCollection, std::slice::from_ref(&to), &[])
        .await?;
    let adopted = match run(args, &to, &deletions).await {
        Ok(adopted) => adopted,
        Err(error) => return log.end(&entry, Err(error)).await,
    };
    adopted.ids.iter().for_each(|id| entry.face(id));
    let ended = log.end(&entry, expect_whole(args, &adopted, &short)).await;
    // What was done before an error was done.
    show_adopted(args, &adopted, global)?;
    ended.map(|()| SUCCESS)
}

async fn run(args: &AdoptArgs, to: &Destination, deletions: &Deletions) -> Result<Adopted, Error> {
    Ok(match args.as_copy {
        true => adopt::adopt_as_copy(to, args.how.dry_run).await?,
        false => adopt::adopt(to, deletions, args.how.dry_run).await?,
    })
}

/// Refuses less than all; `short` lines of a log may have deleted more than they say.
fn expect_whole(args: &AdoptArgs, adopted: &Adopted, short: &[String]) -> Result<(), Error> {
    adopted.reach.expect_all(args.how.visible_only)?;
    match short {
        [] => Ok(()),
        short => Err(Error::ShortLog(short.join("; "))),
    }
}

fn show_adopted(args: &AdoptArgs, adopted: &Adopted, global: &GlobalArgs) -> Result<(), Error> {
    let report = AdoptReport {
        adopted,
        dry_run: args.how.dry_run,
    };
    show(global, &report, || adopted_text(&report))
}

fn adopted_text(report: &AdoptReport<'_>) -> String {
    let Adopted {
        collection,
        index,
        removed,
        separated,
        moved,
        ..
    } = report.adopted;
    let would = if report.dry_run { "would be" } else { "is" };
    let mut text = match separated.iter().any(|copy| copy.index == *index) {
        true => String::new(),
        false => format!("{collection} {would} index {index}\n"),
    };
    if *removed > 0 {
        text.push_str(&format!(
            "{removed} faces in it that were deleted on request: {}\n",
            if report.dry_run { "would be removed" } else { "removed" }
        ));
    }
    for alias in moved {
        text.push_str(&format!("alias {alias} {would} its own\n"));
    }
    for copy in separated {
        text.push_str(&format!(
            "index {} {would} a collection of its own, id {}\n",
            copy.index, copy.collection_id
        ));
        if copy.holds_deleted > 0 {
            text.push_str(&format!(
                "warning: it holds {} faces that were deleted from {collection} on request; they stay there\n",
                copy.holds_deleted
            ));
        }
    }
    text
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    /// The collection's name
    #[arg(id = "collection", value_name = "NAME")]
    name: String,

    /// Also forget which faces were deleted from it on request. Otherwise what is imported into a collection of the same id
    /// stays without them
    #[arg(long)]
    tombstones: bool,

    #[command(flatten)]
    confirm: ConfirmArgs,

    #[command(flatten)]
    how: HowArgs,
}

#[derive(Serialize)]
struct DeleteReport {
    #[serde(flatten)]
    removed: Removed,
    dry_run: bool,
}

pub(super) async fn delete(args: &DeleteArgs, client: Client, global: &GlobalArgs) -> Result<u8, Error> {
    let client = Arc::new(client);
    let found = resolve::open(&client, &args.name).await?;
    let to = Destination::new(client, &found, args.how.patience.policy());
    let mut removed = remove::survey(&to, args.tombstones).await?;
    removed.reach.expect_all(args.how.visible_only)?;
    if !args.how.dry_run {
        let faces = removed.faces.map_or("all".to_owned(), |faces| faces.to_string());
        let indices = removed.indices.len();
        let question = format!(
            "remove collection {} with {faces} faces in {indices} indices for good?",
            found.names.join(", alias ")
        );
        confirmed(&args.confirm, &question)?;
        let log = args.how.audit.open()?;
        let entry = log
            .begin(Action::DeleteCollection, std::slice::from_ref(&to), &[])
            .await?;
        let done = remove::remove(&to, args.tombstones).await.map_err(Error::from);
        removed.indices = log.end(&entry, done).await?;
    }
    let report = DeleteReport {
        removed,
        dry_run: args.how.dry_run,
    };
    show(global, &report, || {
        let verb = if report.dry_run { "would remove" } else { "removed" };
        let mut text = String::new();
        for version in &report.removed.indices {
            text.push_str(&format!("{verb} {}\n", version.index));
        }
        if args.tombstones {
            text.push_str(&format!(
                "{verb} what was noted of deleted faces of {} photos\n",
                report.removed.tombstones
            ));
        }
        text
    })?;
    Ok(SUCCESS)
}
