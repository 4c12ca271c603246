//! `facedex collection migrate` and `retire`

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use facedex_elastic::Destination;
use facedex_elastic::lifecycle::migrate::{Care, Goal, Migration, Outcome, Step};
use facedex_elastic::lifecycle::reconcile::{Carrier, Copier};
use facedex_elastic::lifecycle::remove;
use facedex_elastic::read::search;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::layout::{IndexType, Layout};
use facedex_elastic::schema::versions::Version;
use serde::Serialize;

use super::{NameArg, PatienceArgs};
use crate::budget::ThreadBudget;
use crate::cli::{SUCCESS, ingest, recipe, show};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::error::Error;
use crate::ingest::IngestError;
use crate::ingest::fetch::Fetcher;
use crate::ingest::reembed::ReEmbedder;
use crate::terminal;

#[derive(Debug, Args)]
pub(in crate::cli) struct MigrateArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// How vectors are indexed [default: as they are]
    #[arg(long, value_enum)]
    index_type: Option<IndexType>,

    /// Edges that a node of the graph has [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=512))]
    m: Option<u32>,

    /// Candidates that are tracked while the graph is built [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=3200))]
    ef_construction: Option<u32>,

    /// Primary shards [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    shards: Option<u32>,

    /// Read every photo again and embed its faces with the embedder that is loaded, where the collection holds vectors of
    /// another; names and labels stay. Writers that still have the old embedder are refused afterwards
    #[arg(long)]
    re_embed: bool,

    /// Switch although some faces could not be embedded again
    #[arg(long, requires = "re_embed")]
    leave_behind: bool,

    /// Photos that are embedded at once [default: one a core]
    #[arg(long, env = "FACEDEX_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Fetch photos also from addresses of this machine and of private networks, and through the proxy that the
    /// environment names
    #[arg(long, requires = "re_embed")]
    allow_private_addresses: bool,

    /// How long the answer to a fetch may take to begin, and again to end
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    fetch_timeout: Duration,

    #[command(flatten)]
    limits: PhotoLimitArgs,

    /// Stored faces that are searched for before the new index is used
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(..=10_000))]
    searches: u16,

    /// The share of faces that those searches must find, of themselves and of what the old index finds
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = parse_share)]
    min_agreement: f64,

    /// The longest that writers may be made to wait before the switch; where they would have to wait longer, nothing is
    /// switched
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1m")]
    max_pause: Duration,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share lies between 0 and 1".to_owned())
}

#[derive(Debug, Serialize)]
struct Migrated {
    collection: String,
    from: String,
    to: String,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    dry_run: bool,
}

pub(super) async fn migrate(
    args: &MigrateArgs,
    at: &Destination,
    now: Collection,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let is = now.layout();
    let goal = Goal {
        layout: Layout {
            index_type: args.index_type.unwrap_or(is.index_type),
            m: args.m.unwrap_or(is.m),
            ef_construction: args.ef_construction.unwrap_or(is.ef_construction),
            shards: args.shards.unwrap_or(is.shards),
            replicas: is.replicas,
        },
        space: now.embedding_space(),
    };
    let goal = if args.re_embed {
        let embedder = recipe(global)?.embedder;
        Goal {
            space: embedder.embedding_space(),
            ..goal
        }
    } else {
        goal
    };
    let Some(mut migration) = Migration::plan(at, goal).await? else {
        let report = Migrated {
            collection: now.name,
            from: now.index.clone(),
            to: now.index,
            outcome: None,
            dry_run: args.dry_run,
        };
        show(global, &report, || {
            format!("{} is as wanted: nothing to do\n", report.from)
        })?;
        return Ok(SUCCESS);
    };
    let outcome = match args.dry_run {
        true => None,
        false if args.re_embed => Some(re_embed(&mut migration, args, global).await?),
        false => Some(run(&mut migration, args, &mut Copier::of(&at.client).await?).await?),
    };
    let (from, to) = migration.indices();
    let report = Migrated {
        collection: now.name,
        from: from.to_owned(),
        to: to.to_owned(),
        outcome,
        dry_run: args.dry_run,
    };
    let faces = search::count(&at.client, &at.collection, &[]).await?;
    show(global, &report, || text(&report, faces, migration.is_begun()))?;
    Ok(SUCCESS)
}

async fn re_embed(migration: &mut Migration, args: &MigrateArgs, global: &GlobalArgs) -> Result<Outcome, Error> {
    let engines = ingest::engines(args.workers, global)?;
    let fetch = Fetcher::new(args.allow_private_addresses, args.fetch_timeout).map_err(IngestError::Fetch)?;
    let mut carrier = ReEmbedder {
        pixels: ThreadBudget::new(ingest::PIXELS_PER_WORKER * engines.len() as u64),
        engines,
        fetch: Arc::new(fetch),
        limits: (&args.limits).into(),
        report: &|reason| terminal::note(&format!("not embedded: {}", terminal::clean(reason))),
        failed: Mutex::default(),
    };
    run(migration, args, &mut carrier).await
}

/// Runs it until its end, an error or an interrupt; whichever comes, writers do not wait for ever.
async fn run<C: Carrier>(migration: &mut Migration, args: &MigrateArgs, carrier: &mut C) -> Result<Outcome, Error> {
    let care = Care {
        searches: args.searches.into(),
        min_agreement: args.min_agreement,
        leave_behind: args.leave_behind,
        max_pause: args.max_pause,
    };
    let ended = tokio::select! {
        ended = migration.run(carrier, &care, &tell) => ended.map_err(Error::from),
        _ = ingest::interrupt() => Err(Error::Interrupted),
    };
    if ended.is_err()
        && let Err(error) = migration.release().await
    {
        let (from, _) = migration.indices();
        terminal::note(&format!(
            "warning: writes to {from} still wait ({error}); the same command goes on, or set index.blocks.write to null"
        ));
    }
    ended
}

fn tell(step: Step) {
    match step {
        Step::Passed(..) => {}
        Step::Round(number, round) => terminal::note(&format!(
            "round {number}: {} faces, {} carried over, {} removed",
            round.faces, round.carried, round.removed
        )),
        Step::Copying => terminal::note("elasticsearch copies the new index to other nodes"),
        Step::Blocked(expected) => terminal::note(&format!("writes wait, for about {:.1} s", expected.as_secs_f64())),
        Step::Sampled(sample) => terminal::note(&format!(
            "{} searches: {:.1} % found themselves{}",
            sample.searches,
            sample.found * 100.0,
            sample.agreement.map_or(String::new(), |agreement| {
                format!(", {:.1} % of what the old index finds", agreement * 100.0)
            })
        )),
    }
}

fn text(report: &Migrated, faces: u64, begun: bool) -> String {
    let Migrated {
        collection, from, to, ..
    } = report;
    match &report.outcome {
        Some(outcome) => format!(
            "{collection} is now {to} ({} faces, {} left behind); writers waited {:.1} s. {from} is kept: `facedex collection retire {collection}` removes it\n",
            outcome.faces, outcome.left_behind, outcome.blocked_seconds
        ),
        None if begun => {
            format!("would go on to fill {to} from {from} ({faces} faces) and then switch {collection} to it\n")
        }
        None => format!("would make {to}, fill it from {from} ({faces} faces) and then switch {collection} to it\n"),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RetireArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// Also remove the index that an unfinished migration began
    #[arg(long)]
    unfinished: bool,

    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,

    /// Be content with the indices that this account may see; otherwise that they are not all is an error
    #[arg(long)]
    visible_only: bool,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

#[derive(Debug, Serialize)]
struct Retired {
    collection: String,
    removed: Vec<Version>,
    dry_run: bool,
}

pub(super) async fn retire(
    args: &RetireArgs,
    at: &Destination,
    collection: Collection,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let (removed, reach) = remove::retirable(&at.client, &collection, args.unfinished).await?;
    if !args.dry_run {
        for version in &removed {
            remove::drop_index(at, &version.index).await?;
        }
    }
    let report = Retired {
        collection: collection.name,
        removed,
        dry_run: args.dry_run,
    };
    show(global, &report, || {
        if report.removed.is_empty() {
            return format!("{} has no old indices\n", report.collection);
        }
        let verb = if report.dry_run { "would remove" } else { "removed" };
        report
            .removed
            .iter()
            .map(|version| format!("{verb} {}\n", version.index))
            .collect()
    })?;
    reach.expect_all(args.visible_only)?;
    Ok(SUCCESS)
}
