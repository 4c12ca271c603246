//! `facedex-bench knn`

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use facedex::cli::effort::{FORMER_OVERSAMPLE, FormerArgs};
use facedex::cli::{SUCCESS, client, cores, recipe, show};
use facedex::config::GlobalArgs;
use facedex::eval::plot;
use facedex::terminal;
use facedex_elastic::read::effort::{Asked, MAX_CANDIDATES, Question};
use facedex_elastic::schema::layout::{IndexType, Layout};
use serde::Serialize;

use crate::error::BenchError;
use crate::knn::record::{Filter, Record, Segments};
use crate::knn::scale::{self, Model};
use crate::knn::{self, PEERS, Plan, Wanted, frontier};

#[derive(Debug, Args)]
pub struct BenchKnnArgs {
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

    /// Copies of each shard
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [0])]
    replicas: Vec<u32>,

    /// Search the index as it was filled, merged into one segment a shard, or both
    #[arg(long, value_name = "STATE,...", value_delimiter = ',', default_values = ["merged"])]
    segments: Vec<Segments>,

    /// How many faces each shard's graph is searched for; search and identify are what these questions look at by default
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values = ["search", "identify"], value_parser = parse_candidates)]
    candidates: Vec<Candidates>,

    /// How many of the candidates are compared again with full-precision vectors, for each of them [default: as in a search]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    rescored: Vec<u16>,

    #[command(flatten)]
    former: FormerArgs,

    /// Hits that are asked for; recall is about the nearest ten
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(10..=MAX_CANDIDATES as i64))]
    k: u16,

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

pub async fn run(args: &BenchKnnArgs, global: &GlobalArgs) -> Result<u8, BenchError> {
    if let Some(file) = &args.plot {
        plot::check(file).map_err(facedex::error::Error::from)?;
    }
    args.former.refuse(FORMER_OVERSAMPLE)?;
    let efforts = efforts(args)?;
    let client = Arc::new(client(global)?);
    let info = client.info().await?;
    let plan = Plan {
        client,
        version: info["version"]["number"].as_str().unwrap_or_default().to_owned(),
        embedder: recipe(global)?.embedder,
        sizes: args.faces.clone(),
        layouts: layouts(args),
        segments: args.segments.clone(),
        k: args.k.into(),
        efforts,
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
        plot::save(file, &frontier::plot(&results)).map_err(facedex::error::Error::from)?;
    }
    let report = Report {
        models: scale::models(&results),
        results,
    };
    show(global, &report, || {
        super::report::measured(&report.results) + &super::report::plans(&report.models)
    })?;
    Ok(SUCCESS)
}

fn layouts(args: &BenchKnnArgs) -> Vec<Layout> {
    let mut layouts = Vec::new();
    for &index_type in &args.index_types {
        for &m in &args.m {
            for &ef_construction in &args.ef_construction {
                for &shards in &args.shards {
                    layouts.extend(args.replicas.iter().map(|&replicas| Layout {
                        index_type,
                        m,
                        ef_construction,
                        shards,
                        replicas: Some(replicas),
                    }));
                }
            }
        }
    }
    layouts
}

/// How many candidates: by a question's law, or so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidates {
    Law(Question),
    Given(u16),
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Law(Question::Search) => f.write_str("search"),
            Self::Law(Question::Identify) => f.write_str("identify"),
            Self::Given(number) => write!(f, "{number}"),
        }
    }
}

fn parse_candidates(text: &str) -> Result<Candidates, String> {
    match text {
        "search" => Ok(Candidates::Law(Question::Search)),
        "identify" => Ok(Candidates::Law(Question::Identify)),
        number => number
            .parse()
            .ok()
            .filter(|number| (1..=MAX_CANDIDATES).contains(&usize::from(*number)))
            .map(Candidates::Given)
            .ok_or_else(|| format!("expected search, identify, or 1 to {MAX_CANDIDATES}")),
    }
}

fn efforts(args: &BenchKnnArgs) -> Result<Vec<Wanted>, BenchError> {
    let rescored: Vec<Option<u16>> = match args.rescored.as_slice() {
        [] => vec![None],
        given => given.iter().copied().map(Some).collect(),
    };
    let mut wanted = Vec::new();
    for &candidates in &args.candidates {
        for &rescored in &rescored {
            wanted.push(match candidates {
                Candidates::Law(question) => Wanted::Default(question, rescored),
                Candidates::Given(candidates) => {
                    let asked = Asked {
                        candidates: Some(candidates),
                        rescored,
                        former: None,
                    };
                    asked.check().map_err(facedex::error::Error::Effort)?;
                    Wanted::Asked(asked)
                }
            });
        }
    }
    Ok(wanted)
}
