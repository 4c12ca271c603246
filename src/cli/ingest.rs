//! `facedex ingest`

mod load;
mod quality;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use facedex_elastic::events::writer::Events;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::document::parse_label;
use facedex_elastic::schema::layout::Layout;
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::wire::destination::Destination;
use facedex_elastic::write::alive::Alive;
use facedex_elastic::write::store::WriteMode;
use facedex_face::FaceEngine;
use facedex_face::select::Subject;
use serde::Serialize;

use self::quality::QualityArgs;
use super::events::EventsArgs;
use super::sources::SourceArgs;
use super::{CollectionArg, Models, NEGATIVE, SUCCESS, client, cores, show, tables};
use crate::budget::ThreadBudget;
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::enrol::Enroller;
use crate::error::Error;
use crate::ingest::dead_letter::DeadLetter;
use crate::ingest::deliver::Delivery;
use crate::ingest::journal::{Journal, JournalKey};
use crate::ingest::pipeline::Run;
use crate::ingest::prepare::Recipe;
use crate::ingest::profile::{Profile, Shares};
use crate::ingest::progress::Show;
use crate::ingest::report;
use crate::ingest::source::Shard;
use crate::ingest::{IngestError, Summary};
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    sources: SourceArgs,

    #[command(flatten)]
    collection: CollectionArg,

    /// Name the person in a photo after the folder that holds it
    #[arg(long)]
    person_from_dir: bool,

    /// Which face of a photo with a named person is that person; the others are stored without a name
    #[arg(long, value_enum, default_value_t = Subject::Central)]
    subject: Subject,

    /// Give every face a label, by which searches can be filtered; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,

    /// Find and embed every face, name what cannot be used, and write nothing; Elasticsearch is needed with --replace,
    /// --overwrite and --name-unnamed, to tell what these would change
    #[arg(long, conflicts_with_all = ["skip_indexed", "bulk_load", "watch"])]
    dry_run: bool,

    /// Store a 128-pixel picture of each face with it
    #[arg(long)]
    thumbnails: bool,

    /// Rewrite photos that another engine stored, or that lack labels, names to read or pictures that are given now; who
    /// somebody is, and whatever is not given, stays with the faces
    #[arg(long)]
    replace: bool,

    /// Rewrite photos that are stored already, with the people given now; whatever is not given stays with the faces
    #[arg(long, conflicts_with = "replace")]
    overwrite: bool,

    /// Give faces that are stored without a person the one that is given now, and change nothing else of what is stored
    #[arg(long, conflicts_with_all = ["replace", "overwrite"])]
    name_unnamed: bool,

    /// Store also faces that were deleted on request (`facedex person delete`); without it they are left out
    #[arg(long)]
    restore_deleted: bool,

    /// Take only the photos of shard I of N, counted from 0: N machines share one job
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    /// Where failed photos are recorded, one JSON object a line
    #[arg(
        long,
        env = "FACEDEX_DEAD_LETTER",
        value_name = "FILE",
        default_value = "facedex.dead-letter.ndjson"
    )]
    dead_letter: PathBuf,

    #[command(flatten)]
    quality: QualityArgs,

    #[command(flatten)]
    resume: ResumeArgs,

    #[command(flatten)]
    speed: SpeedArgs,

    #[command(flatten)]
    events: EventsArgs,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

/// Taking a run up again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Resume")]
struct ResumeArgs {
    /// Folder of the journals, which know the photos that are done [default: ~/.local/state/facedex]
    #[arg(long, env = "FACEDEX_JOURNAL_DIR", value_name = "DIR")]
    journal_dir: Option<PathBuf>,

    /// Neither read nor write a journal: every photo is looked at
    #[arg(long)]
    no_journal: bool,

    /// Ask the index whether a photo's faces are there before looking for them; for machines without a journal
    #[arg(long, conflicts_with_all = ["replace", "overwrite", "name_unnamed"])]
    skip_indexed: bool,

    /// Say that the run is paused when elasticsearch has accepted nothing for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1m")]
    patience: Duration,

    /// End the run when elasticsearch has accepted nothing for so long [default: go on trying]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    retry_for: Option<Duration>,
}

impl IngestArgs {
    /// Whether photos that are stored are to be changed.
    fn changes_what_is_stored(&self) -> bool {
        self.replace || self.overwrite || self.name_unnamed
    }

    /// The options that decide what is stored of a photo, for its journal. Who it shows is part of its own entry.
    fn journalled(&self) -> String {
        let labels: BTreeMap<_, _> = self.label.iter().cloned().collect();
        format!(
            "{} labels={labels:?} thumbnails={} quality={:?}",
            format!("subject={:?}", self.subject).to_lowercase(),
            self.thumbnails,
            self.quality.gate()
        )
    }
}

/// How much at once.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speed")]
struct SpeedArgs {
    /// Photos that are worked on at once [default: one a core]
    #[arg(long, env = "FACEDEX_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Photos that are read at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    readers: u16,

    /// Bytes of photos that may be in memory before they are decoded
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    read_ahead: u64,

    /// Bytes that photos may take while they are decoded and looked at; a photo that needs more than is free waits, one
    /// that needs more than all of it is alone [default: 256 MiB a worker, which is a photo of 28 megapixels each]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    decode_memory: Option<u64>,

    /// Faces that one bulk request holds at most; fewer while the cluster has too much to do
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    bulk_faces: u32,

    /// Bytes that one bulk request holds, about
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    bulk_bytes: u32,

    /// Bulk requests that may be unanswered at once; fewer while the cluster has too much to do
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    bulk_in_flight: u8,

    /// Fill a new collection with refreshes off and without copies; both are restored at the end, after a crash by the
    /// next run
    #[arg(long)]
    bulk_load: bool,

    /// After the load, merge each shard into one segment (in the background)
    #[arg(long, requires = "bulk_load")]
    force_merge: bool,

    /// Show where the time went, and what held the run up
    #[arg(long)]
    profile: bool,

    /// Serve Prometheus metrics at this address, under /metrics, during the run
    #[arg(long, env = "FACEDEX_METRICS_ADDR", value_name = "HOST:PORT")]
    metrics_addr: Option<SocketAddr>,
}

/// See `--decode-memory`.
pub(super) const PIXELS_PER_WORKER: u64 = 256 << 20;

/// A batch that is not full is sent when its first photo has waited for so long.
const LINGER: Duration = Duration::from_secs(3);

pub(super) async fn run(args: &IngestArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let fetch = args.sources.fetcher()?;
    let source = args.sources.open(args.limits.max_image_bytes, &fetch)?;
    if let Some(address) = args.speed.metrics_addr {
        metrics_exporter_prometheus::PrometheusBuilder::new()
            .with_http_listener(address)
            .install()
            .map_err(|error| IngestError::Metrics(address, error.to_string()))?;
    }
    let dead_letter = DeadLetter::new(std::path::absolute(&args.dead_letter)?)?;
    let engines = engines(args.speed.workers, global)?;
    let run_id = uuid::Uuid::new_v4().to_string();
    let target = match args.dry_run && !args.changes_what_is_stored() {
        true => None,
        false => Some(target(args, global, &engines[0], &run_id).await?),
    };
    let (to, journal, alive) = match target {
        Some(target) => (Some((target.to, target.collection)), target.journal, target.alive),
        None => (None, Journal::none(), None),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let profile = Arc::new(Profile::default());
    let events = match &to {
        Some((to, _)) if !args.dry_run => Events::open(&to.client, args.events.are_wanted()),
        _ => Events::default(),
    };
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let run = Run {
        source,
        fetch,
        shard: args.shard,
        person_from_dir: args.person_from_dir,
        to: to.clone().map(|(to, _)| (to, delivery(args))),
        journal,
        report: report::Report::begin(events.clone(), &args.collection.collection, &run_id, &host),
        recipe: Recipe {
            limits: (&args.limits).into(),
            enroller: Enroller {
                run: run_id,
                host,
                subject: args.subject,
                gate: args.quality.gate(),
                labels: args.label.iter().cloned().collect::<BTreeMap<_, _>>(),
                thumbnails: args.thumbnails,
            },
        },
        pixels: ThreadBudget::new(
            args.speed
                .decode_memory
                .unwrap_or(PIXELS_PER_WORKER * engines.len() as u64),
        ),
        engines,
        readers: args.speed.readers.into(),
        budget: args.speed.read_ahead,
        skip_indexed: to.clone().map(|(to, _)| to).filter(|_| args.resume.skip_indexed),
        dead_letter,
        show: if global.json { Show::Events } else { Show::Bar },
        stop: Arc::clone(&stop),
        profile: Arc::clone(&profile),
    };
    let ended = tokio::select! {
        ended = run.ingest() => ended,
        () = second_interrupt(&stop) => {
            if let Some((_, collection)) = &to {
                load::goes_on(args, collection);
            }
            return Err(Error::Interrupted);
        }
    };
    events.close().await;
    if let (Err(_), Some((_, collection))) = (&ended, &to) {
        load::goes_on(args, collection);
    }
    let mut summary = ended?;
    // That is how watching ends.
    summary.interrupted &= !args.sources.watch;
    if let Some((to, collection)) = &to
        && let Err(error) = load::finish(args, to, collection, alive, &summary).await
    {
        load::goes_on(args, collection);
        return Err(error);
    }
    if summary.images == 0 && !args.sources.watch && !summary.interrupted && args.shard.is_none() {
        return Err(IngestError::NothingFound(args.sources.names()).into());
    }
    let clean = summary.failed == 0 && summary.conflicts == 0 && summary.unnamed == 0 && !summary.interrupted;
    let shares = args.speed.profile.then(|| profile.shares());
    if let (Some(shares), false) = (&shares, global.json) {
        terminal::note(tables::profile(shares).trim_end());
    }
    let report = Report {
        summary,
        profile: shares,
    };
    for person in &report.summary.namesakes {
        terminal::note(&format!(
            "somebody called {} was deleted from this collection on request; other photos of that name are stored now",
            terminal::clean(person)
        ));
    }
    show(global, &report, || {
        let to = to
            .as_ref()
            .map(|(to, _)| (to.collection.as_str(), to.client.addresses()));
        tables::summary(&report.summary, to, args.dry_run)
    })?;
    Ok(if clean { SUCCESS } else { NEGATIVE })
}

/// The result of a run.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Shares>,
}

/// What a run writes to.
struct Target {
    to: Destination,
    /// While it is held, others see that the load goes on.
    alive: Option<Alive>,
    collection: Collection,
    journal: Journal,
}

/// Opens or makes the collection, and the journal of what is in it.
async fn target(args: &IngestArgs, global: &GlobalArgs, engine: &FaceEngine, run: &str) -> Result<Target, Error> {
    let client = Arc::new(client(global)?);
    let info = client.info().await?;
    let name = &args.collection.collection;
    let facts = engine.embedder();
    let space = facts.embedding_space();
    let collection = match args.dry_run {
        true => {
            let collection = resolve::open(&client, name).await?;
            collection.expect_space(&space.name)?;
            collection
        }
        false => make::open_or_create(&client, name, &space, &Layout::default()).await?,
    };
    let policy = RetryPolicy {
        patience: args.resume.patience,
        give_up_after: args.resume.retry_for,
        ..RetryPolicy::default()
    };
    let to = Destination::new(Arc::clone(&client), &collection, policy);
    if !args.dry_run {
        make::prepare(&to, &collection).await?;
    }
    let alive = match args.dry_run {
        true => None,
        false => load::prepare(args, &to, &collection, run).await?,
    };
    Ok(Target {
        to,
        alive,
        journal: journal(args, info["cluster_uuid"].as_str(), &collection, engine.fingerprint())?,
        collection,
    })
}

fn delivery(args: &IngestArgs) -> Delivery {
    Delivery {
        mode: match (args.replace, args.overwrite, args.name_unnamed) {
            (true, ..) => WriteMode::Replace,
            (_, true, _) => WriteMode::Overwrite,
            (.., true) => WriteMode::Name,
            _ => WriteMode::Create,
        },
        batch_faces: args.speed.bulk_faces as usize,
        batch_bytes: args.speed.bulk_bytes as usize,
        linger: LINGER,
        in_flight: args.speed.bulk_in_flight.into(),
        restore_deleted: args.restore_deleted,
        dry_run: args.dry_run,
    }
}

/// Sets `stop` at the first interrupt (Ctrl-C, or the TERM signal of a scheduler) and comes back at the second.
async fn second_interrupt(stop: &AtomicBool) {
    for already in [false, true] {
        if interrupt().await.is_err() {
            // Without a handler the signal does what it always does.
            std::future::pending::<()>().await;
        }
        if !already {
            stop.store(true, Ordering::Relaxed);
            tracing::warn!("stopping after what is in flight; once more stops at once");
        }
    }
}

/// Comes back at Ctrl-C, or at the TERM signal of a scheduler.
pub(super) async fn interrupt() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn journal(args: &IngestArgs, cluster: Option<&str>, collection: &Collection, engine: &str) -> Result<Journal, Error> {
    if args.resume.no_journal || args.dry_run {
        return Ok(Journal::none());
    }
    let folder = match &args.resume.journal_dir {
        Some(folder) => folder.clone(),
        None => facedex_face::models::catalog::state_dir()?,
    };
    let key = JournalKey {
        cluster: cluster.unwrap_or("unknown").to_owned(),
        collection_id: collection.collection_id.clone(),
        collection: collection.name.clone(),
        engine: engine.to_owned(),
        // Who a photo shows is part of its own entry.
        options: args.journalled(),
    };
    // Whoever rewrites photos, or wants deleted faces back, wants them looked at, done or not.
    let ignore_done = args.changes_what_is_stored() || args.restore_deleted;
    Ok(Journal::open(&folder, &key, ignore_done).map_err(IngestError::from)?)
}

/// One engine a worker, loaded side by side.
pub(super) fn engines(workers: Option<u16>, global: &GlobalArgs) -> Result<Vec<FaceEngine>, Error> {
    let models = Models::open(global)?;
    let workers = workers.map_or_else(cores, usize::from);
    std::thread::scope(|scope| {
        let loading: Vec<_> = (0..workers).map(|_| scope.spawn(|| models.engine(1))).collect();
        loading
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(IngestError::Worker("loading the models panicked".to_owned()).into()))
            })
            .collect()
    })
}
