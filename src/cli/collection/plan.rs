//! `facedex collection plan`

use clap::Args;
use facedex_elastic::lifecycle::plan::{self, Limit, Need, Wish};
use facedex_elastic::read::effort;
use facedex_elastic::schema::layout::Layout;
use facedex_face::models::catalog::Catalog;
use serde::Serialize;

use crate::cli::{SUCCESS, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    /// Faces that the collection will hold in the end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    faces: u64,

    /// Numbers in a vector [default: those of the default embedder]
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=4096))]
    dims: Option<u32>,

    /// Edges that a node of the graph has
    #[arg(long, value_name = "N", default_value_t = Layout::default().m, value_parser = clap::value_parser!(u32).range(2..=512))]
    m: u32,

    /// Copies of each primary shard
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    replicas: u32,

    /// Memory of a data node, in GiB
    #[arg(long, value_name = "GIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    node_memory: u64,

    /// Bytes on disk that a face takes besides its vector; more with thumbnails or many labels
    #[arg(long, value_name = "BYTES", default_value_t = plan::OTHER_BYTES, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    other_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    wish: Wish,
    index_types: Vec<Need>,
    reasoning: Vec<String>,
}

pub(super) fn run(args: &PlanArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let dims = match args.dims {
        Some(dims) => dims,
        None => default_dims()?,
    };
    let wish = Wish {
        faces: args.faces,
        dims,
        m: args.m,
        replicas: args.replicas,
        node_bytes: args.node_memory << 30,
        other_bytes: args.other_bytes,
    };
    let index_types = wish.needs();
    let report = Report {
        reasoning: reasoning(&wish, &index_types),
        wish,
        index_types,
    };
    show(global, &report, || text(&report))?;
    Ok(SUCCESS)
}

fn default_dims() -> Result<u32, Error> {
    let catalog = Catalog::builtin()?;
    let embedder = catalog.default_embedder().embedder.as_ref();
    Ok(embedder.map_or(128, |embedder| u32::try_from(embedder.dims).unwrap_or(u32::MAX)))
}

fn text(report: &Report) -> String {
    let header = [
        "index type",
        "memory a copy",
        "disk a copy",
        "shards",
        "memory in all",
        "disk in all",
        "data nodes",
        "candidates a shard",
        "compared a search",
    ];
    let mut rows = tables::table(&header, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for need in &report.index_types {
        rows.add_row(vec![
            need.index_type.name().to_owned(),
            tables::bytes(need.ram_bytes),
            tables::bytes(need.disk_bytes),
            need.shards.to_string(),
            tables::bytes(need.ram_total_bytes),
            tables::bytes(need.disk_total_bytes),
            need.nodes.to_string(),
            need.candidates
                .map_or("all".to_owned(), |candidates| candidates.to_string()),
            need.comparisons.to_string(),
        ]);
    }
    let lines: String = report.reasoning.iter().map(|line| format!("- {line}\n")).collect();
    format!(
        "{} faces of {} dimensions, m {}, {} replica{}\n{}\n{lines}",
        report.wish.faces,
        report.wish.dims,
        report.wish.m,
        report.wish.replicas,
        if report.wish.replicas == 1 { "" } else { "s" },
        tables::rendered(&rows)
    )
}

/// How the figures come about, a sentence a line.
fn reasoning(wish: &Wish, needs: &[Need]) -> Vec<String> {
    let mut lines = vec![
        "memory is for the file cache, not the heap: the vectors that every search compares, and the graph (Elasticsearch's guide \"Tune approximate kNN search\")".to_owned(),
    ];
    for need in needs {
        let compared = plan::compared_bytes(need.index_type, wish.dims);
        let graph = plan::graph_bytes(need.index_type, wish.m);
        let with_graph = if graph > 0 {
            format!(" + {graph} (4 * m)")
        } else {
            ", no graph".to_owned()
        };
        lines.push(format!(
            "{}: {compared} bytes a face ({}){with_graph}",
            need.index_type.name(),
            plan::compared_formula(need.index_type)
        ));
    }
    let whole = 4 * u64::from(wish.dims);
    let other = wish.other_bytes;
    lines.push(format!(
        "disk: the whole vector (dims * 4 = {whole} bytes, kept to rescore), the shortened one, the graph, and {other} bytes of other fields a face (measured; --other-bytes); Elasticsearch before 9.2 keeps the vector in _source as well; merging and `collection migrate` take the same again for a time, and Elasticsearch fills no disk beyond 85 %"
    ));
    lines.push(format!(
        "shards: the fewest of at most {} and {} million faces (\"Size your shards\") whose memory fits a node; every search visits them all",
        tables::bytes(plan::LARGEST_SHARD),
        plan::MOST_DOCUMENTS / 1_000_000
    ));
    lines.push(format!(
        "recall: as many shards that {} candidates, the most that Elasticsearch takes, find 99 % of the ten nearest in each; a search costs about the vectors that it compares, spread over the shards (docs/scale.md)",
        effort::MAX_CANDIDATES
    ));
    for need in needs.iter().filter(|need| need.shards > 1) {
        let limit = match need.shards_for {
            Limit::Size => "bytes on disk",
            Limit::Documents => "number of faces",
            Limit::Memory => "memory",
            Limit::Recall => "recall",
        };
        lines.push(format!(
            "{}: {} shards for their {limit}",
            need.index_type.name(),
            need.shards
        ));
    }
    lines.push(format!(
        "data nodes: of {} each, less a heap of {}; no copy lies on the node of another",
        tables::bytes(wish.node_bytes),
        tables::bytes(wish.node_bytes - wish.cache_bytes())
    ));
    lines.push("searches and other fields want memory too: these are lower bounds".to_owned());
    lines
}
