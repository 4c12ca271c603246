//! The command line: arguments in, a library call, a rendering out.

mod audit;
mod cluster;
mod collection;
mod compare;
mod confirm;
pub mod effort;
mod eval;
mod events;
mod identify;
mod ingest;
mod keys;
mod kibana;
mod label;
mod models;
mod person;
mod picture;
mod query;
mod represent;
mod search;
mod serve;
mod sources;
pub mod tables;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use facedex_elastic::Client;
use facedex_face::models::catalog::{self, Catalog, Provider};
use facedex_face::models::fetch::{self, Places, State};
use facedex_face::models::runtime::{Runtime, RuntimeError};
use facedex_face::{FaceEngine, FaceError, Recipe};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::config::{self, GlobalArgs, LogFormat};
use crate::error::Error;
use crate::terminal;

/// Done, or a match.
pub const SUCCESS: u8 = 0;
/// No match, or some photos failed.
const NEGATIVE: u8 = 1;
/// Nothing could be done.
const ERROR: u8 = 2;
/// Stopped by a second Ctrl-C, as shells expect it.
const INTERRUPTED: u8 = 130;

/// A face index in Elasticsearch: ingest photos, search by photo.
///
/// Exit codes: 0 done or match, 1 no match or some photos failed, 2 error.
#[derive(Debug, Parser)]
#[command(name = "facedex", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find the faces of photos and write them into a collection
    ///
    /// Finds every face in the photos, embeds it and writes one document a face. Running it again adds only what is
    /// missing. A photo that cannot be used is named, recorded in the dead-letter file, and the rest goes on. Hidden
    /// files are left out, links are followed. Ctrl-C ends the run after what is in flight, a second one at once; either
    /// way it can be taken up again. Exit code 0 if all went well, 1 if some photos failed, 2 if nothing could be done.
    Ingest(Box<ingest::IngestArgs>),
    /// Find the stored faces that look like those in a photo
    ///
    /// Prints the stored faces that look like those in the photo, best first, down to the threshold. Exit code 0 if
    /// there is a match, 1 if there is none, 2 if a photo could not be used.
    Search(search::SearchArgs),
    /// Say who the people in a photo are, or that they are unknown
    ///
    /// Says for each face who it is, or that nobody in the collection is alike enough. A face that is in the collection
    /// without a name counts as recognised and is said to have none. Exit code 0 if somebody was recognised, 1 if
    /// everybody is unknown, 2 if a photo could not be used.
    Identify(identify::IdentifyArgs),
    /// Say whether two photos show the same person
    ///
    /// Compares a face of one photo with a face of another; Elasticsearch is not needed. Exit code 0 if they match, 1 if
    /// not.
    Verify(verify::VerifyArgs),
    /// Print the faces of photos with their embeddings, without Elasticsearch
    ///
    /// One JSON object a line and photo: box, five landmarks, score, quality and embedding of each face. Exit code 1 if no
    /// photo has a face.
    Represent(represent::RepresentArgs),
    /// Answer searches over HTTP
    ///
    /// Takes photos, makes their embeddings and asks Elasticsearch. SIGINT or SIGTERM lets requests under way finish, a
    /// second one ends at once.
    Serve(Box<serve::ServeArgs>),
    /// Group the faces of a collection that are probably one person
    ///
    /// Looks up each face's nearest neighbours in the index and joins what is alike on average; writes cluster.id of every
    /// face that is not alone. Where faces are labelled, says how well the clusters agree with that.
    Cluster(cluster::ClusterArgs),
    /// Say who a face is, or all faces of a cluster
    ///
    /// Faces that are somebody else keep their name, unless --overwrite. Exit code 1 if there is no such face or cluster.
    Label(label::LabelArgs),
    /// Make and look at collections
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Delete, rename, merge and export people
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Fetch and look at the models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// It is a command of its own, which is told there.
    #[command(hide = true)]
    Bench {
        // No key of a settings file is called so.
        #[arg(id = "bench arguments", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Bring the dashboards into Kibana, and back
    #[command(subcommand)]
    Kibana(kibana::KibanaCommand),
    /// Measure accuracy on photos whose people are known
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Make, show and revoke the API keys of `facedex serve`
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match parse::<Cli>(None) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    init_logging(&cli.global);
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error @ Error::Interrupted) => {
            fail(&error);
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => fail(&error),
    }
}

/// The command with all that it takes.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the arguments, and the settings file for what they leave open. A setting that only `kin` has, a command that shares
/// the file, is left to it. What cannot be understood is said, and the exit code is given.
pub fn parse<C: CommandFactory + FromArgMatches>(kin: Option<clap::Command>) -> Result<C, ExitCode> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let (command, file) = config::with_file(C::command(), kin, &arguments).map_err(|error| fail(&error))?;
    let parsed = command.try_get_matches_from(arguments);
    parsed
        .and_then(|matches| C::from_arg_matches(&matches))
        .map_err(|error| {
            // Help and version come this way as well, and are no failures.
            let code = u8::try_from(error.exit_code()).unwrap_or(ERROR);
            let _ = error.print();
            if let (Some(file), true) = (file, error.use_stderr()) {
                terminal::note(&format!("\nsettings were also read from {}", file.display()));
            }
            ExitCode::from(code)
        })
}

fn run(cli: &Cli) -> Result<u8, Error> {
    let tasks = tokio::runtime::Runtime::new()?;
    let global = &cli.global;
    let ended = match &cli.command {
        Command::Ingest(args) => tasks.block_on(ingest::run(args, global)),
        Command::Search(args) => tasks.block_on(search::run(args, global)),
        Command::Identify(args) => tasks.block_on(identify::run(args, global)),
        Command::Verify(args) => verify::run(args, global),
        Command::Represent(args) => represent::run(args, global),
        Command::Serve(args) => tasks.block_on(serve::run(args, global)),
        Command::Cluster(args) => tasks.block_on(cluster::run(args, global)),
        Command::Label(args) => tasks.block_on(label::run(args, global)),
        Command::Collection(command) => tasks.block_on(collection::run(command, global)),
        Command::Person(command) => tasks.block_on(person::run(command, global)),
        Command::Models(command) => models::run(command, global),
        Command::Bench { arguments } => {
            // The rest may hold a password.
            let which = arguments
                .first()
                .filter(|word| !word.to_string_lossy().starts_with('-'));
            let which = which.map_or_else(|| "--help".into(), |word| word.to_string_lossy().into_owned());
            Err(Error::BenchIsApart(which))
        }
        Command::Kibana(command) => tasks.block_on(kibana::run(command, global)),
        Command::Eval(command) => tasks.block_on(eval::run(command, global)),
        Command::Keys(command) => keys::run(command, global),
    };
    // Whatever still runs (a read that hangs, say) must not keep the process from ending.
    tasks.shutdown_background();
    ended
}

/// Says why nothing could be done, and gives the exit code.
pub fn fail(error: &impl std::fmt::Display) -> ExitCode {
    terminal::note(&format!("error: {error}"));
    ExitCode::from(ERROR)
}

/// Starts the log on standard error.
pub fn init_logging(global: &GlobalArgs) {
    let filter = EnvFilter::try_new(&global.log).unwrap_or_else(|error| {
        let rules = &global.log;
        terminal::note(&format!(
            "warning: --log {rules:?} is no set of rules ({error}); logging warnings"
        ));
        EnvFilter::new("warn")
    });
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| terminal::Stderr)
        .with_ansi(colour);
    match global.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// The models, ready to be loaded into engines.
pub struct Models {
    recipe: Recipe,
    runtime: Arc<Runtime>,
}

/// The catalog, with what the user adds to it.
fn catalog(global: &GlobalArgs) -> Result<Catalog, Error> {
    Ok(Catalog::with_additions(&additions_file(global)?)?)
}

/// Where the user's catalog is.
fn additions_file(global: &GlobalArgs) -> Result<PathBuf, Error> {
    Ok(match &global.engine.catalog {
        Some(file) => file.clone(),
        None => catalog::models_dir(global.models_dir.as_deref())?.join(catalog::ADDITIONS_FILE),
    })
}

/// The models that the user names, or the default ones.
pub fn recipe(global: &GlobalArgs) -> Result<Recipe, Error> {
    let engine = &global.engine;
    let (detector, embedder) = (engine.detector.as_deref(), engine.embedder.as_deref());
    Ok(Recipe::new(&catalog(global)?, detector, embedder, engine.precision)?)
}

/// ONNX Runtime; a process can open it once.
fn runtime(global: &GlobalArgs) -> Result<Arc<Runtime>, Error> {
    let catalog = catalog(global)?;
    let open = |provider| Runtime::open(&catalog, global.models_dir.as_deref(), provider);
    let opened = match (open(global.engine.provider), global.engine.provider) {
        (Err(error), Provider::OpenVino) => {
            terminal::note(&format!(
                "warning: OpenVINO cannot be used ({error}); `facedex models fetch --provider openvino` fetches it. \
                 Running on ONNX Runtime's own kernels"
            ));
            open(Provider::Cpu)?
        }
        (opened, _) => opened?,
    };
    Ok(Arc::new(opened))
}

impl Models {
    /// Opens the models that the user names, or the default ones.
    pub fn open(global: &GlobalArgs) -> Result<Self, Error> {
        Self::of(recipe(global)?, runtime(global)?, global)
    }

    /// The models of a recipe; those that may not be used for money are named.
    fn of(recipe: Recipe, runtime: Arc<Runtime>, global: &GlobalArgs) -> Result<Self, Error> {
        let catalog = catalog(global)?;
        let models = catalog::models_dir(global.models_dir.as_deref())?;
        let places = Places::from_environment(&catalog, Some(&models), global.engine.provider)?;
        for model in recipe.models() {
            // A damaged file would store vectors that look like any other.
            if fetch::model_state(model, &places)? == State::Unknown {
                return Err(RuntimeError::UnknownModel {
                    path: models.join(&model.file),
                    model: model.name.clone(),
                }
                .into());
            }
            if !model.commercial_use {
                terminal::note(&format!(
                    "WARNING: {} is under {}, which does NOT allow commercial use: {}",
                    model.name, model.licence, model.notes
                ));
            }
        }
        Ok(Self { recipe, runtime })
    }

    /// An engine whose stages may use `threads` cores each.
    pub fn engine(&self, threads: usize) -> Result<FaceEngine, Error> {
        Ok(self.load(threads)?)
    }

    fn load(&self, threads: usize) -> Result<FaceEngine, FaceError> {
        FaceEngine::load(&self.runtime, &self.recipe, threads)
    }
}

/// An engine for one photo at a time, on all cores.
fn query_engine(global: &GlobalArgs) -> Result<FaceEngine, Error> {
    Models::open(global)?.engine(cores())
}

/// How many cores there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The client for the cluster that the user names.
pub fn client(global: &GlobalArgs) -> Result<Client, Error> {
    Ok(Client::new(&global.elasticsearch.connection()?)?)
}

/// Prints one JSON line.
pub fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
    line.push(b'\n');
    print(&line)
}

/// Writes to standard output. A reader that has enough and closes the pipe does not change what the answer is, and so
/// not the exit code either.
fn print(bytes: &[u8]) -> Result<(), Error> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints the value as JSON or as the text, as the user wants it.
pub fn show(global: &GlobalArgs, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Error> {
    if global.json {
        print_json(value)
    } else {
        print_text(&text())
    }
}

/// Prints text for people.
fn print_text(text: &str) -> Result<(), Error> {
    print(text.as_bytes())
}

/// Which collection.
#[derive(Debug, Args)]
struct CollectionArg {
    /// The collection, by the name that `facedex collection list` shows
    #[arg(
        long,
        short,
        env = "FACEDEX_COLLECTION",
        value_name = "NAME",
        default_value = "faces"
    )]
    collection: String,
}

fn parse_similarity(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (-1.0..=1.0).contains(value))
        .ok_or_else(|| "a cosine lies between -1 and 1".to_owned())
}
