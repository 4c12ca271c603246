//! `facedex bench knn`

mod sheets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::bench::knn::record::{Filter, Record, Segments};
use crate::bench::knn::scale::{self, Model};
use crate::bench::knn::{self, PEERS, Plan, frontier};
use crate::cli::{SUCCESS, client, cores, recipe, show};
use crate::config::GlobalArgs;
use crate::elastic::collection::{IndexType, Layout};
use crate::elastic::search::MAX_CANDIDATES;
use crate::error::Error;
use crate::eval::plot;
use crate::terminal;

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchKnnArgs {
    /// Faces, one size after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100_000], value_parser = clap::value_parser!(u64).range(10..=100_000_000))]
    faces: Vec<u64>,

    /// How vectors are indexed
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', default_values = ["int8_hnsw"])]
    index_types: Vec<IndexType>,

    /// Edges a node of the graph has
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [Layout::default().m])]
    m: Vec<u32>,

    /// Candidates tracked while the graph is built
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [Layout::default().ef_construction])]
    ef_construction: Vec<u32>,

    /// Primary shards
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1])]
    shards: Vec<u32>,

    /// Search the index as it was filled, merged into one segment a shard, or both
    #[arg(long, value_name = "STATE,...", value_delimiter = ',', default_values = ["merged"])]
    segments: Vec<Segments>,

    /// Candidates that each shard looks at
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100, 200, 400, 800], value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    num_candidates: Vec<u16>,

    /// How many times num_candidates each shard looks at, to compare them again with whole vectors
    #[arg(long, value_name = "X,...", value_delimiter = ',', default_values_t = [5.0])]
    oversample: Vec<f32>,

    /// Search all faces, or the half, tenth, hundredth or thousandth of them that a filter leaves
    #[arg(long, value_name = "SHARE,...", value_delimiter = ',', default_values = ["none"])]
    filters: Vec<Filter>,

    /// Clients at once, one level after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1])]
    clients: Vec<usize>,

    /// How long each level lasts
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5s")]
    length: Duration,

    /// Queries of people who are stored, and as many of strangers
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    queries: u64,

    /// Where results are kept, a JSON object a line; what is in it is not measured again
    #[arg(long, value_name = "FILE", default_value = "bench-knn.ndjson")]
    results: PathBuf,

    /// Also measure what people use instead, on the same vectors: all, or some of pickle, numpy, faiss-flat, faiss-ivf,
    /// faiss-hnsw, hnswlib, annoy
    #[arg(long, value_name = "PEER,...", value_delimiter = ',', num_args = 0.., require_equals = true, value_parser = PEERS)]
    peers: Option<Vec<String>>,

    /// The peers' script
    #[arg(long, value_name = "FILE", default_value = "benches/peers/knn.py")]
    script: PathBuf,

    /// Draw recall@10 against latency (SVG, PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Keep the made-up collections, bench-knn-...
    #[arg(long)]
    keep: bool,
}

#[derive(Serialize)]
struct Report {
    results: Vec<Record>,
    models: Vec<Model>,
}

pub(super) async fn run(args: &BenchKnnArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let client = Arc::new(client(global)?);
    let info = client.info().await?;
    let plan = Plan {
        client,
        version: info["version"]["number"].as_str().unwrap_or_default().to_owned(),
        embedder: recipe(global)?.embedder,
        sizes: args.faces.clone(),
        layouts: layouts(args),
        segments: args.segments.clone(),
        efforts: efforts(args),
        filters: args.filters.clone(),
        clients: args.clients.clone(),
        length: args.length,
        queries: args.queries,
        results: args.results.clone(),
        script: args.peers.as_ref().map(|_| args.script.clone()),
        peers: match args.peers.as_deref() {
            None | Some([]) => PEERS.map(str::to_owned).to_vec(),
            Some(some) => some.to_vec(),
        },
        keep: args.keep,
        threads: cores(),
    };
    let results = knn::run(&plan, terminal::note).await?;
    if let Some(file) = &args.plot {
        plot::save(file, &frontier::plot(&results))?;
    }
    let report = Report {
        models: scale::models(&results),
        results,
    };
    show(global, &report, || {
        sheets::measured(&report.results) + &sheets::plans(&report.models)
    })?;
    Ok(SUCCESS)
}

fn layouts(args: &BenchKnnArgs) -> Vec<Layout> {
    let mut layouts = Vec::new();
    for &index_type in &args.index_types {
        for &m in &args.m {
            for &ef_construction in &args.ef_construction {
                for &shards in &args.shards {
                    layouts.push(Layout {
                        index_type,
                        m,
                        ef_construction,
                        shards,
                        replicas: Some(0),
                    });
                }
            }
        }
    }
    layouts
}

fn efforts(args: &BenchKnnArgs) -> Vec<(usize, f32)> {
    let pairs = |&candidates: &u16| args.oversample.iter().map(move |&times| (candidates.into(), times));
    args.num_candidates.iter().flat_map(pairs).collect()
}
