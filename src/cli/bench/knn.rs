//! `facedex bench knn`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::bench::knn::results::{Filter, Record, Segments};
use crate::bench::knn::scale::{self, Model};
use crate::bench::knn::{self, PEERS, Plan, frontier};
use crate::cli::{SUCCESS, client, cores, recipe, show, tables};
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
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [16])]
    m: Vec<u32>,

    /// Candidates tracked while the graph is built
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100])]
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

    /// How many times k candidates are compared again with whole vectors
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
    show(global, &report, || table(&report.results) + &plans(&report.models))?;
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

/// What is in the file: indices, searches, peers.
fn table(records: &[Record]) -> String {
    const BYTES: &[usize] = &[0, 4, 5, 6, 7, 8, 9];
    let mut indices = tables::table(
        &[
            "faces",
            "index",
            "shards",
            "state",
            "segments",
            "fill s",
            "merge s",
            "disk B/face",
            "walked B/face",
            "load",
        ],
        BYTES,
    );
    let mut searches = tables::table(
        &[
            "faces",
            "index",
            "shards",
            "state",
            "filter",
            "cand.",
            "over",
            "recall@1",
            "recall@10",
            "strangers@10",
            "compared",
            "clients",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "queries/s",
            "load",
        ],
        &[0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    );
    let mut peers = tables::table(
        &[
            "faces",
            "peer",
            "parameters",
            "build s",
            "memory B/face",
            "recall@1",
            "recall@10",
            "strangers@10",
            "p50 ms",
            "p95 ms",
            "queries/s",
            "load",
        ],
        &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    );
    let seconds = |time: &Option<f64>| time.map_or_else(String::new, |time| format!("{time:.1}"));
    let share = |value: f64| format!("{value:.4}");
    let millis = |value: f64| format!("{value:.2}");
    for record in records {
        match record {
            Record::Index {
                key,
                fill_seconds,
                merge_seconds,
                segment_count,
                disk_bytes,
                off_heap,
                place,
            } => {
                let each = |bytes: u64| format!("{:.0}", bytes as f64 / key.faces as f64);
                indices.add_row(vec![
                    key.faces.to_string(),
                    key.graph(),
                    key.shards.to_string(),
                    key.segments.to_string(),
                    segment_count.to_string(),
                    seconds(fill_seconds),
                    seconds(merge_seconds),
                    each(*disk_bytes),
                    off_heap.map_or_else(String::new, |bytes| each(bytes.walked())),
                    format!("{:.1}", place.load_before),
                ]);
            }
            Record::Search {
                key,
                recall,
                strangers,
                comparisons,
                loads,
                place,
                ..
            } => {
                for level in loads {
                    searches.add_row(vec![
                        key.index.faces.to_string(),
                        key.index.graph(),
                        key.index.shards.to_string(),
                        key.index.segments.to_string(),
                        key.filter.to_string(),
                        key.num_candidates.to_string(),
                        key.oversample.to_string(),
                        share(recall.at_1),
                        share(recall.at_10),
                        share(strangers.at_10),
                        format!("{comparisons:.0}"),
                        level.clients.to_string(),
                        millis(level.p50_ms),
                        millis(level.p95_ms),
                        millis(level.p99_ms),
                        format!("{:.0}", level.per_second),
                        format!("{:.1}", place.load_before),
                    ]);
                }
            }
            Record::Peer {
                key,
                figures,
                recall,
                strangers,
                place,
            } => {
                let memory = figures.memory_bytes.map(|bytes| bytes as f64 / key.faces as f64);
                peers.add_row(vec![
                    key.faces.to_string(),
                    key.peer.clone(),
                    key.parameters.clone(),
                    format!("{:.1}", figures.build_seconds),
                    memory.map_or_else(String::new, |bytes| format!("{bytes:.0}")),
                    share(recall.at_1),
                    share(recall.at_10),
                    share(strangers.at_10),
                    millis(figures.p50_ms),
                    millis(figures.p95_ms),
                    format!("{:.1}", figures.per_second),
                    format!("{:.1}", place.load_before),
                ]);
            }
        }
    }
    [indices, searches, peers]
        .iter()
        .filter(|rows| rows.row_iter().next().is_some())
        .map(tables::rendered)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What the measured sizes say of larger ones.
fn plans(models: &[Model]) -> String {
    let mut checks = tables::table(
        &[
            "index",
            "cand.",
            "over",
            "held-out faces",
            "compared",
            "predicted",
            "p50 ms",
            "predicted",
        ],
        &[1, 2, 3, 4, 5, 6, 7],
    );
    let mut plans = tables::table(
        &[
            "index", "cand.", "over", "faces", "shards", "nodes", "memory", "disk", "compared", "shard ms", "core ms",
        ],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
    for model in models {
        let way = [
            model.index_type.name().to_owned(),
            model.num_candidates.to_string(),
            model.oversample.to_string(),
        ];
        if let Some(check) = &model.check {
            let mut row = way.to_vec();
            row.push(check.faces.to_string());
            for [predicted, measured] in [check.comparisons, check.milliseconds] {
                row.extend([format!("{measured:.1}"), format!("{predicted:.1}")]);
            }
            checks.add_row(row);
        }
        for plan in &model.plans {
            let mut row = way.to_vec();
            row.extend([plan.faces, plan.shards, plan.nodes].map(|number| number.to_string()));
            row.extend([plan.ram_bytes, plan.disk_bytes].map(tables::bytes));
            row.extend([plan.comparisons, plan.shard_ms, plan.core_ms].map(|value| format!("{value:.0}")));
            plans.add_row(row);
        }
    }
    [checks, plans]
        .iter()
        .filter(|rows| rows.row_iter().next().is_some())
        .map(|rows| format!("\n{}", tables::rendered(rows)))
        .collect()
}
