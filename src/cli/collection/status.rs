//! `facedex collection status`

use facedex_elastic::lifecycle::status::{self, Status};
use facedex_elastic::lifecycle::storage::{self, Storage};
use facedex_elastic::schema::versions::State;
use facedex_elastic::{Client, ElasticError};
use serde::Serialize;

use crate::cli::{show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    status: Status,
    #[serde(flatten)]
    storage: Storage,
}

pub(super) async fn run(client: &Client, name: &str, global: &GlobalArgs) -> Result<(), Error> {
    let report = ask(client, name).await?;
    show(global, &report, || text(&report))
}

async fn ask(client: &Client, name: &str) -> Result<Report, ElasticError> {
    let status = status::status(client, name).await?;
    let storage = storage::storage(client, &status.collection).await?;
    Ok(Report { status, storage })
}

fn text(report: &Report) -> String {
    let Report { status, storage } = report;
    let collection = &status.collection;
    let mut rows = tables::table(&["", ""], &[]);
    for (label, value) in [
        ("collection", collection.name.clone()),
        ("index", collection.index.clone()),
        ("health", status.health.clone()),
        (
            "writes",
            if storage.writes_blocked { "blocked" } else { "taken" }.to_owned(),
        ),
        ("faces", status.faces.to_string()),
        ("persons", status.persons.to_string()),
        ("photos", status.photos.to_string()),
        ("embedding space", collection.space.clone()),
        ("dimensions", collection.dims.to_string()),
        ("index type", collection.index_type.name().to_owned()),
        ("shards", collection.shards.to_string()),
        ("replicas", collection.replicas.to_string()),
        ("segments", storage.segments.to_string()),
        (
            "documents",
            format!("{}, and {} deleted", storage.documents, storage.deleted),
        ),
        ("bytes on disk", tables::bytes(status.bytes)),
        ("vectors off-heap", off_heap(storage)),
        ("memory", memory(storage)),
        ("collection id", collection.collection_id.clone()),
        ("elasticsearch", status.elasticsearch.to_string()),
    ] {
        rows.add_row(vec![label.to_owned(), value]);
    }
    let mut text = tables::body(&rows);
    for warning in &status.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    for version in &storage.versions {
        let what = match version.state {
            State::Live => continue,
            State::Building => "is being built by a migration; `facedex collection migrate` goes on with it",
            State::Kept => "is what a migration left; `facedex collection retire` removes it",
        };
        text.push_str(&format!("{} {what}\n", version.index));
    }
    for copy in &storage.copies {
        text.push_str(&format!(
            "{copy} is a copy of the collection that is no part of it; `facedex collection adopt` says which one is meant\n"
        ));
    }
    text
}

fn off_heap(storage: &Storage) -> String {
    storage.off_heap.map_or_else(
        || "elasticsearch does not say".to_owned(),
        |bytes| {
            format!(
                "{}: {} whole, {} quantised, {} binary, {} graph",
                tables::bytes(bytes.total_bytes),
                tables::bytes(bytes.whole_bytes),
                tables::bytes(bytes.quantised_bytes),
                tables::bytes(bytes.binary_bytes),
                tables::bytes(bytes.graph_bytes)
            )
        },
    )
}

fn memory(storage: &Storage) -> String {
    let ram = &storage.ram;
    let needed = tables::bytes(ram.needed_bytes);
    match (ram.there_bytes, ram.data_nodes) {
        (Some(there), Some(nodes)) => format!(
            "{needed} needed; {} beside the heaps of {nodes} data node{}, for all indices",
            tables::bytes(there),
            if nodes == 1 { "" } else { "s" }
        ),
        _ => format!("{needed} needed; these credentials may not ask how much is there"),
    }
}
