//! `facedex-bench`: facedex beside what its users would run instead, in the same run on the same machine.

mod error;
mod fill;
mod ingest;
mod knn;
mod load;
mod median;
mod process;
mod serve;
mod tables;
mod vectors;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use facedex::cli::{self, Models, SUCCESS, client, cores, print_json, show};
use facedex::config::GlobalArgs;
use facedex::terminal;
use facedex_elastic::Destination;
use facedex_elastic::schema::layout::Layout;
use facedex_elastic::schema::make::open_or_create;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::write::scratch;
use secrecy::ExposeSecret;

use self::error::BenchError;
use self::ingest::Plan;
use self::serve::Probe;

/// The same as facedex has: what is put beside it in this process is measured alike.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measure facedex beside what would be run instead.
///
/// Exit codes: 0 done, 2 error.
#[derive(Debug, Parser)]
#[command(name = "facedex-bench", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Ingest photos with facedex and with a Python script on opencv and elasticsearch-py, in turns
    ///
    /// Each run writes into an index of its own, which is removed afterwards. Of each: faces a second, processor time,
    /// memory, and the nodes' processor time meanwhile. Also how near facedex comes to inference alone, which it measures
    /// by --dry-run.
    Ingest(BenchIngestArgs),
    /// Load the search API, and measure what it adds to asking Elasticsearch itself
    ///
    /// Fills a collection with made-up faces that are distributed like real ones, starts `facedex serve`, and asks by
    /// vector (through /es/ and straight) and by photo, with more and more clients, at last with more than can be served.
    Serve(BenchServeArgs),
    /// Recall, latency and cost of searches by vector, against exact ground truth
    ///
    /// Fills indices with made-up faces that are distributed like real ones, and searches them as `facedex search` does.
    /// Every combination of the lists is measured and written to --results at once; one that is there already is not
    /// measured again.
    Knn(Box<knn::command::BenchKnnArgs>),
}

#[derive(Debug, Args)]
struct BenchServeArgs {
    /// A photo to search by
    photo: PathBuf,

    /// Faces that are searched
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    faces: u64,

    /// Clients at once, one level after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    clients: Vec<usize>,

    /// How long each level lasts
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10s")]
    length: Duration,

    /// How long the overload lasts
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    overload: Duration,

    /// The script of the service that is put beside
    #[arg(long, value_name = "FILE", default_value = "benches/peers/fastapi_search.py")]
    peer: PathBuf,

    /// Without it
    #[arg(long, conflicts_with = "peer")]
    no_peer: bool,

    /// Search the made-up collection bench-N and keep it, so that the next run with --keep need not fill it again
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct BenchIngestArgs {
    /// A folder or a tar file of photos
    source: PathBuf,

    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// The peer's script
    #[arg(long, value_name = "FILE", default_value = "benches/peers/opencv_elasticsearch.py")]
    peer: PathBuf,

    /// Without the peer
    #[arg(long, conflicts_with = "peer")]
    no_peer: bool,

    /// Workers of facedex, processes of the peer [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

fn main() -> ExitCode {
    let cli = match cli::parse::<Cli>(Some(cli::command())) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli::init_logging(&cli.global);
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => cli::fail(&error),
    }
}

fn run(Cli { global, command }: &Cli) -> Result<u8, BenchError> {
    let tasks = tokio::runtime::Runtime::new().map_err(facedex::error::Error::from)?;
    let ended = match command {
        BenchCommand::Ingest(args) => tasks.block_on(bench_ingest(args, global)),
        BenchCommand::Serve(args) => tasks.block_on(bench_serve(args, global)),
        BenchCommand::Knn(args) => tasks.block_on(knn::command::run(args, global)),
    };
    // Whatever still runs must not keep the process from ending.
    tasks.shutdown_background();
    ended
}

/// The command that is measured: it lies beside this one.
fn facedex() -> Result<PathBuf, BenchError> {
    let name = format!("facedex{}", std::env::consts::EXE_SUFFIX);
    let itself = std::env::current_exe().map_err(|error| BenchError::Program {
        program: name.clone(),
        reason: error.to_string(),
    })?;
    let program = itself.with_file_name(name);
    match program.is_file() {
        true => Ok(program),
        false => Err(BenchError::NoFacedex(program)),
    }
}

async fn bench_serve(args: &BenchServeArgs, global: &GlobalArgs) -> Result<u8, BenchError> {
    let client = Arc::new(client(global)?);
    client.info().await?;
    let mut engine = Models::open(global)?.engine(1)?;
    // Before the collection is made and filled, which takes minutes.
    let photo = Probe::read(&args.photo, &mut engine)?;
    let peer = (!args.no_peer).then(|| args.peer.clone());
    if let Some(script) = peer.as_ref().filter(|script| !script.is_file()) {
        return Err(BenchError::NoPeer(script.clone()));
    }
    let facts = engine.embedder().clone();
    // Another run must not remove what this one searches.
    let name = match args.keep {
        true => format!("bench-{}", args.faces),
        false => format!("bench-{}", uuid::Uuid::new_v4()),
    };
    let collection = open_or_create(&client, &name, &facts.embedding_space(), &Layout::default()).await?;
    let plan = serve::Plan {
        node: urls(global)?.swap_remove(0),
        to: Destination::new(Arc::clone(&client), &collection, RetryPolicy::default()),
        collection,
        faces: args.faces,
        photo,
        clients: args.clients.clone(),
        length: args.length,
        overload: args.overload,
        peer,
        environment: environment(global)?,
    };
    let report = serve::run(&plan, &mut engine, terminal::note).await;
    if !args.keep {
        scratch::remove(&client, &name).await?;
    }
    let report = report?;
    show(global, &report, || tables::bench_serve(&report))?;
    Ok(SUCCESS)
}

/// The nodes' addresses, without a slash at the end.
fn urls(global: &GlobalArgs) -> Result<Vec<String>, BenchError> {
    let urls = global
        .elasticsearch
        .connection()
        .map_err(facedex::error::Error::from)?
        .urls
        .into_iter();
    Ok(urls.map(|url| url.as_str().trim_end_matches('/').to_owned()).collect())
}

async fn bench_ingest(args: &BenchIngestArgs, global: &GlobalArgs) -> Result<u8, BenchError> {
    let plan = Plan {
        source: args.source.clone(),
        rounds: args.rounds,
        peer: (!args.no_peer).then(|| args.peer.clone()),
        cores: args.workers.map_or_else(cores, usize::from),
        environment: environment(global)?,
    };
    let client = client(global)?;
    client.info().await?;
    let report = ingest::run(&plan, &client, |run| {
        if global.json {
            // A reader that has gone does not end the benchmark; the report says it again.
            let _ = print_json(run);
        } else {
            terminal::note(&format!(
                "round {}: {}: {:.1} s, {:.1} faces/s",
                run.round, run.who, run.seconds, run.faces_per_second
            ));
        }
    })
    .await?;
    show(global, &report, || tables::bench_ingest(&report))?;
    Ok(SUCCESS)
}

/// Which models the programs take, and how they reach the cluster, without showing it in the list of processes.
fn environment(global: &GlobalArgs) -> Result<Vec<(&'static str, String)>, BenchError> {
    let given = &global.elasticsearch;
    let engine = &global.engine;
    let mut environment = vec![
        ("ELASTICSEARCH_URL", urls(global)?.join(",")),
        ("FACEDEX_PRECISION", engine.precision.to_string()),
        ("FACEDEX_PROVIDER", engine.provider.to_string()),
    ];
    let names = [
        ("FACEDEX_EMBEDDER", &engine.embedder),
        ("FACEDEX_DETECTOR", &engine.detector),
    ];
    environment.extend(
        names
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?))),
    );
    let secrets = [
        ("ELASTICSEARCH_API_KEY", &given.elasticsearch_api_key),
        ("ELASTICSEARCH_PASSWORD", &given.elasticsearch_password),
        ("ELASTICSEARCH_BEARER_TOKEN", &given.elasticsearch_bearer_token),
    ];
    environment.extend(
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?.expose_secret().to_owned()))),
    );
    environment.extend(
        given
            .elasticsearch_username
            .clone()
            .map(|user| ("ELASTICSEARCH_USERNAME", user)),
    );
    let paths = [
        ("ELASTICSEARCH_CA_FILE", &given.elasticsearch_ca_file),
        ("FACEDEX_MODELS_DIR", &global.models_dir),
        ("FACEDEX_CATALOG", &engine.catalog),
    ];
    environment.extend(
        paths
            .into_iter()
            .filter_map(|(name, path)| Some((name, path.as_ref()?.display().to_string()))),
    );
    Ok(environment)
}
