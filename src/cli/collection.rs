//! `facedex collection`

mod adopt;
mod export;
mod import;
mod migrate;
mod plan;
mod status;

mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::layout::{IndexType, Layout};
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::{Client, Destination};
use serde::Serialize;

use super::{SUCCESS, client, recipe, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(super) enum CollectionCommand {
    /// Make a collection: index template, index, alias
    Create(CreateArgs),
    /// Show what a collection holds, and what it costs the cluster
    Status(NameArg),
    /// Show all collections
    List,
    /// Say how many shards, how much memory and how much disk so many faces take; needs no cluster
    ///
    /// Computes them for each index type by Elasticsearch's documented formulas, and says how.
    Plan(plan::PlanArgs),
    /// Merge each shard into one segment, which makes searches faster
    ///
    /// For a collection that is no longer written to. One that is gets a warning, and is left alone without --force: exit
    /// code 1. Comes back when the merge is done.
    Optimize(upkeep::OptimizeArgs),
    /// Look for photos with missing faces, wrong vectors, copies of pictures, and changes of the mapping
    ///
    /// Reads every document, changes nothing. Exit code 1 if something was found.
    Check(upkeep::CheckArgs),
    /// Set the settings right that searches rest on, where somebody changed them or an older facedex made the collection
    ///
    /// `check` and `status` say when that is needed. Changes no face.
    Repair(PatientArg),
    /// Say which index the collection is, where it was cloned, restored or re-aliased by hand
    ///
    /// The index that the name stands for becomes the collection: what was deleted on request is removed from it, and other
    /// indices with its id get one of their own.
    Adopt(adopt::AdoptArgs),
    /// Remove a collection: its index, aliases, and the indices that migrations left or began
    Delete(adopt::DeleteArgs),
    /// Move to another index type, graph, number of shards or embedder, while faces are written and searched
    ///
    /// Fills the next index from the present one and switches the alias when both are the same and searches agree. Writers
    /// wait for the last moments, searches never do. The old index stays until `retire`. A run that is cut off is taken up
    /// again by the same command.
    Migrate(migrate::MigrateArgs),
    /// Remove the indices that migrations left behind
    Retire(migrate::RetireArgs),
    /// Write all faces with their vectors into a file, a JSON object a line
    ///
    /// Memory does not grow with the collection. An export that was cut off goes on from its last photo: give the same file.
    Export(export::ExportArgs),
    /// Take faces with their vectors from an export, or from a store of deepface's
    ///
    /// Makes the collection where it is missing. Faces that are there stay as they are, so that an import that was cut off is
    /// repeated. Exit code 1 if some faces could not be stored, or the export is incomplete.
    Import(import::ImportArgs),
}

/// Which collection.
#[derive(Debug, Args)]
pub(super) struct NameArg {
    /// The collection's name
    #[arg(
        id = "collection",
        env = "FACEDEX_COLLECTION",
        value_name = "NAME",
        default_value = "faces"
    )]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    collection: NameArg,

    /// How vectors are indexed
    #[arg(long, value_enum, default_value_t = IndexType::Int8Hnsw)]
    index_type: IndexType,

    /// Edges that a node of the graph has
    #[arg(long, value_name = "N", default_value_t = Layout::default().m, value_parser = clap::value_parser!(u32).range(2..=512))]
    m: u32,

    /// Candidates that are tracked while the graph is built
    #[arg(long, value_name = "N", default_value_t = Layout::default().ef_construction, value_parser = clap::value_parser!(u32).range(2..=3200))]
    ef_construction: u32,

    /// Primary shards
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    shards: u32,

    /// Copies of each shard [default: one as soon as there is a second node]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,

    /// Only say what would be made
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(command: &CollectionCommand, global: &GlobalArgs) -> Result<u8, Error> {
    let client = client(global)?;
    match command {
        CollectionCommand::Plan(args) => return plan::run(args, global),
        CollectionCommand::Optimize(args) => {
            let (at, found) = opened(client, &args.collection.name, &args.patience).await?;
            return upkeep::optimize(args, &at, found, global).await;
        }
        CollectionCommand::Adopt(args) => return adopt::adopt(args, client, global).await,
        CollectionCommand::Delete(args) => return adopt::delete(args, client, global).await,
        CollectionCommand::Migrate(args) => {
            let (at, found) =
                Destination::open(Arc::new(client), &args.collection.name, args.patience.policy()).await?;
            return migrate::migrate(args, &at, found, global).await;
        }
        CollectionCommand::Retire(args) => {
            let (at, found) = opened(client, &args.collection.name, &args.patience).await?;
            return migrate::retire(args, &at, found, global).await;
        }
        CollectionCommand::Export(args) => {
            let (at, found) = opened(client, &args.collection.name, &args.patience).await?;
            return export::export(args, &at, found, global).await;
        }
        CollectionCommand::Import(args) => return import::import(args, &Arc::new(client), global).await,
        CollectionCommand::Check(args) => {
            // A copy or a restored index is for it to say.
            let found = resolve::in_doubt(&client, &args.collection.name).await?;
            let at = Destination::new(Arc::new(client), &found, args.patience.policy());
            return upkeep::check(args, &at, &found, global).await;
        }
        CollectionCommand::Create(args) => {
            let embedder = recipe(global)?.embedder;
            let layout = Layout {
                index_type: args.index_type,
                m: args.m,
                ef_construction: args.ef_construction,
                shards: args.shards,
                replicas: args.replicas,
            };
            if args.dry_run {
                let index = make::expect_free(&client, &args.collection.name).await?;
                let planned = Planned {
                    name: &args.collection.name,
                    index: &index,
                    space: &embedder.space,
                    dry_run: true,
                };
                show(global, &planned, || {
                    format!("would create collection {} (index {index})\n", planned.name)
                })?;
                return Ok(SUCCESS);
            }
            let made = make::create(&client, &args.collection.name, &embedder.embedding_space(), &layout).await?;
            show(global, &made, || {
                format!("created collection {} (index {})\n", made.name, made.index)
            })?;
        }
        CollectionCommand::Repair(args) => {
            let (to, found) =
                Destination::open(Arc::new(client), &args.collection.name, args.patience.policy()).await?;
            return upkeep::repair(&to, found, global).await;
        }
        CollectionCommand::Status(args) => status::run(&client, &args.name, global).await?,
        CollectionCommand::List => {
            let listed = resolve::list(&client).await?;
            show(global, &listed, || tables::collections(&listed))?;
        }
    }
    Ok(SUCCESS)
}

/// For how long somebody may be willing to wait.
#[derive(Debug, Args)]
struct PatienceArgs {
    /// End when elasticsearch has accepted nothing for so long; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    retry_for: Duration,
}

impl PatienceArgs {
    fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            give_up_after: Some(self.retry_for),
            ..RetryPolicy::DEFAULT
        }
    }
}

/// Which collection, and for how long it is tried.
#[derive(Debug, Args)]
pub(super) struct PatientArg {
    #[command(flatten)]
    collection: NameArg,

    #[command(flatten)]
    patience: PatienceArgs,
}

/// The collection as a place to read.
async fn opened(client: Client, name: &str, patience: &PatienceArgs) -> Result<(Destination, Collection), Error> {
    let found = resolve::open(&client, name).await?;
    Ok((Destination::new(Arc::new(client), &found, patience.policy()), found))
}

/// A collection that would be made.
#[derive(Serialize)]
struct Planned<'a> {
    name: &'a str,
    index: &'a str,
    space: &'a str,
    dry_run: bool,
}
