//! `facedex ingest`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{CollectionArg, Models, NEGATIVE, SUCCESS, client, cores, show, tables};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::elastic::collection::{self, Layout};
use crate::elastic::retry::RetryPolicy;
use crate::elastic::store::WriteMode;
use crate::error::Error;
use crate::face::FaceEngine;
use crate::face::select::Subject;
use crate::ingest::deliver::Delivery;
use crate::ingest::pipeline::Run;
use crate::ingest::prepare::Recipe;
use crate::ingest::source;

/// Finds every face in the photos, embeds it and writes one document a face. Running it again adds only what is
/// missing. A photo that cannot be used is named, recorded in the dead-letter file, and the rest goes on.
#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    /// Photos, and folders that are walked recursively
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

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

    /// Store a 128-pixel picture of each face with it
    #[arg(long)]
    thumbnails: bool,

    /// Rewrite photos that another engine stored; people's names and labels stay with their faces
    #[arg(long, conflicts_with = "overwrite")]
    replace: bool,

    /// Rewrite photos that are stored already, with the names and labels given now
    #[arg(long)]
    overwrite: bool,

    /// Where failed photos are recorded, one JSON object a line
    #[arg(
        long,
        env = "FACEDEX_DEAD_LETTER",
        value_name = "FILE",
        default_value = "facedex.dead-letter.ndjson"
    )]
    dead_letter: PathBuf,

    /// Photos that are worked on at once [default: one a core]
    #[arg(long, env = "FACEDEX_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Faces that one bulk request holds at most
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    bulk_faces: u32,

    /// Bytes that one bulk request holds, about
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    bulk_bytes: u32,

    /// Bulk requests that may be unanswered at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    bulk_in_flight: u8,

    /// For how long to go on trying while elasticsearch accepts nothing
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    retry_for: Duration,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

/// A batch that is not full is sent after this long without another photo.
const LINGER: Duration = Duration::from_secs(1);

pub(super) async fn run(args: &IngestArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let roots = source::roots(&args.paths)?;
    let client = Arc::new(client(global)?);
    client.info().await?;
    let engines = engines(args, global)?;
    let embedder = engines[0].embedder();
    let name = &args.collection.collection;
    collection::open_or_create(&client, name, &embedder.space, embedder.dims, &Layout::default()).await?;
    let run = Run {
        client,
        collection: name.clone(),
        engines,
        recipe: Recipe {
            run: uuid::Uuid::new_v4().to_string(),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            limits: (&args.limits).into(),
            person_from_dir: args.person_from_dir,
            subject: args.subject,
            labels: args.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            thumbnails: args.thumbnails,
        },
        delivery: Delivery {
            mode: match (args.replace, args.overwrite) {
                (true, _) => WriteMode::Replace,
                (_, true) => WriteMode::Overwrite,
                _ => WriteMode::Create,
            },
            batch_faces: args.bulk_faces as usize,
            batch_bytes: args.bulk_bytes as usize,
            linger: LINGER,
            in_flight: args.bulk_in_flight.into(),
            retry: RetryPolicy {
                give_up_after: args.retry_for,
                ..RetryPolicy::default()
            },
        },
        dead_letter: std::path::absolute(&args.dead_letter)?,
        quiet: global.json,
    };
    let summary = run.ingest(roots).await?;
    show(global, &summary, || tables::summary(&summary, name))?;
    Ok(if summary.failed == 0 && summary.conflicts == 0 {
        SUCCESS
    } else {
        NEGATIVE
    })
}

/// One engine a worker, loaded side by side.
fn engines(args: &IngestArgs, global: &GlobalArgs) -> Result<Vec<FaceEngine>, Error> {
    let models = Models::open(global)?;
    let workers = args.workers.map_or_else(cores, usize::from);
    std::thread::scope(|scope| {
        let loading: Vec<_> = (0..workers).map(|_| scope.spawn(|| models.engine(1))).collect();
        loading
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(crate::ingest::IngestError::Worker("loading the models panicked".to_owned()).into())
                })
            })
            .collect()
    })
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
