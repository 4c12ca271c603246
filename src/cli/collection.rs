//! `facedex collection`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{SUCCESS, client, recipe, show, tables};
use crate::config::GlobalArgs;
use crate::elastic::collection::{self, Collection, IndexType, Layout};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(super) enum CollectionCommand {
    /// Make a collection: index template, index, alias
    Create(CreateArgs),
    /// Show what a collection holds
    Status(StatusArgs),
    /// Show all collections
    List,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The new collection's name
    #[arg(
        id = "collection",
        env = "FACEDEX_COLLECTION",
        value_name = "NAME",
        default_value = "faces"
    )]
    name: String,

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
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The collection's name
    #[arg(
        id = "collection",
        env = "FACEDEX_COLLECTION",
        value_name = "NAME",
        default_value = "faces"
    )]
    name: String,
}

pub(super) async fn run(command: &CollectionCommand, global: &GlobalArgs) -> Result<u8, Error> {
    let client = client(global)?;
    match command {
        CollectionCommand::Create(args) => {
            let embedder = recipe(global)?.embedder;
            let layout = Layout {
                index_type: args.index_type,
                m: args.m,
                ef_construction: args.ef_construction,
                shards: args.shards,
                replicas: args.replicas,
            };
            let made = collection::create(&client, &args.name, &embedder, &layout).await?;
            show(global, &made, || {
                format!("created collection {} (index {})\n", made.name, made.index)
            })?;
        }
        CollectionCommand::Status(args) => {
            let status = collection::status(&client, &args.name).await?;
            show(global, &status, || tables::status(&status))?;
        }
        CollectionCommand::List => {
            let collections = collection::list(&client).await?;
            show(
                global,
                &List {
                    collections: &collections,
                },
                || tables::collections(&collections),
            )?;
        }
    }
    Ok(SUCCESS)
}

#[derive(Serialize)]
struct List<'a> {
    collections: &'a [Collection],
}
