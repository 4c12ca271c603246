//! `facedex collection optimize`, `check` and `repair`

use clap::Args;
use facedex_elastic::Destination;
use facedex_elastic::lifecycle::check::{self, Report};
use facedex_elastic::lifecycle::optimize::{self, Merge};
use facedex_elastic::lifecycle::recall;
use facedex_elastic::schema::collection::Collection;
use serde::Serialize;

use super::{NameArg, PatienceArgs};
use crate::cli::{NEGATIVE, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::terminal;

#[derive(Debug, Args)]
pub(in crate::cli) struct OptimizeArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// Merge although the collection seems to be written to
    #[arg(long)]
    force: bool,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

#[derive(Debug, Serialize)]
struct Merged {
    collection: String,
    index: String,
    before: Merge,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Merge>,
    dry_run: bool,
}

pub(super) async fn optimize(
    args: &OptimizeArgs,
    at: &Destination,
    collection: Collection,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let before = optimize::measure(&at.client, &collection).await?;
    let needed = before.is_needed();
    let live = before.live.clone().filter(|_| needed);
    if let Some(sign) = &live {
        terminal::note(&format!(
            "warning: collection {} is live ({sign}); a merged segment is never merged again until half of it is deleted, so that new faces would make searches slower than before",
            collection.name
        ));
    }
    let refused = live.is_some() && !args.force;
    let after = match needed && !refused && !args.dry_run {
        true => {
            optimize::merge(at, &collection).await?;
            Some(optimize::measure(&at.client, &collection).await?)
        }
        false => None,
    };
    let report = Merged {
        collection: collection.name,
        index: collection.index,
        before,
        after,
        dry_run: args.dry_run,
    };
    show(global, &report, || {
        let Merge {
            segments,
            deleted,
            shards,
            ..
        } = &report.before;
        let found = format!("{segments} segments in {shards} shards, {deleted} deleted documents");
        match &report.after {
            Some(after) => format!("{found}; now {} segments\n", after.segments),
            None if !needed => format!("{found}: nothing to merge\n"),
            None if refused => format!("{found}; not merged, --force merges all the same\n"),
            None => format!("{found}; each shard would be merged into one segment\n"),
        }
    })?;
    Ok(if refused && !args.dry_run { NEGATIVE } else { SUCCESS })
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// How many examples of each finding are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    examples: usize,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

pub(super) async fn check(
    args: &CheckArgs,
    to: &Destination,
    collection: &Collection,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let report = check::check(to, collection, args.examples).await?;
    show(global, &report, || text(&report))?;
    Ok(if report.is_clean() { SUCCESS } else { NEGATIVE })
}

#[derive(Debug, Serialize)]
struct Repaired {
    collection: String,
    index: String,
    /// Settings that were changed.
    changed: Vec<String>,
}

pub(super) async fn repair(to: &Destination, collection: Collection, global: &GlobalArgs) -> Result<u8, Error> {
    let report = Repaired {
        changed: recall::repair(to, &collection).await?,
        collection: collection.name,
        index: collection.index,
    };
    show(global, &report, || match report.changed.as_slice() {
        [] => format!("{} has the settings that it should: nothing to do\n", report.index),
        changed => format!(
            "{} (index {}): set right {}\n",
            report.collection,
            report.index,
            changed.join(", ")
        ),
    })?;
    Ok(SUCCESS)
}

fn text(report: &Report) -> String {
    let mut text = format!("{} faces of {} photos\n", report.faces, report.photos);
    for (name, findings) in report.findings() {
        text.push_str(&format!("{name}: {}\n", findings.count));
        for example in &findings.examples {
            text.push_str(&format!("  {}\n", terminal::clean(example)));
        }
    }
    text
}
