//! Measurements and plans as tables.

use crate::knn::record::Record;
use crate::knn::scale::Model;
use facedex::cli::tables;

/// What is in the file: indices, searches, peers, and both by turns.
pub fn measured(records: &[Record]) -> String {
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
            "copies",
            "k",
            "cand.",
            "resc.",
            "recall@1",
            "recall@10",
            "strangers@10",
            "compared",
            "by one node",
            "CPU ms",
            "of one node",
            "clients",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "queries/s",
            "load",
        ],
        &[0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
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
                of_busiest_node,
                cpu_ms,
                cpu_ms_of_busiest_node,
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
                        key.index.replicas.to_string(),
                        key.k.to_string(),
                        key.effort.candidates.to_string(),
                        key.effort.rescored.to_string(),
                        share(recall.at_1),
                        share(recall.at_10),
                        share(strangers.at_10),
                        format!("{comparisons:.0}"),
                        format!("{of_busiest_node:.0}"),
                        millis(*cpu_ms),
                        millis(*cpu_ms_of_busiest_node),
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
            Record::Turns { .. } => {}
        }
    }
    [indices, searches, peers, by_turns(records)]
        .iter()
        .filter(|rows| rows.row_iter().next().is_some())
        .map(tables::rendered)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Searches beside peers.
fn by_turns(records: &[Record]) -> comfy_table::Table {
    let mut rows = tables::table(
        &[
            "faces",
            "index",
            "shards",
            "copies",
            "k",
            "cand.",
            "resc.",
            "recall@10",
            "ms",
            "peer",
            "parameters",
            "recall@10",
            "ms",
            "time of the peer's",
        ],
        &[0, 2, 3, 4, 5, 6, 7, 8, 11, 12],
    );
    for record in records {
        if let Record::Turns {
            search,
            peer,
            recall_at_10,
            peer_recall_at_10,
            search_ms,
            peer_ms,
            ratio,
            interval: [low, high],
            ..
        } = record
        {
            rows.add_row(vec![
                search.index.faces.to_string(),
                search.index.graph(),
                search.index.shards.to_string(),
                search.index.replicas.to_string(),
                search.k.to_string(),
                search.effort.candidates.to_string(),
                search.effort.rescored.to_string(),
                format!("{recall_at_10:.4}"),
                format!("{search_ms:.2}"),
                peer.peer.clone(),
                peer.parameters.clone(),
                format!("{peer_recall_at_10:.4}"),
                format!("{peer_ms:.2}"),
                format!("{ratio:.2} x ({low:.2} to {high:.2})"),
            ]);
        }
    }
    rows
}

/// What the measured sizes say of larger ones.
pub fn plans(models: &[Model]) -> String {
    let mut checks = tables::table(
        &[
            "index",
            "copies",
            "k",
            "cand.",
            "resc.",
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
            "index", "cand.", "resc.", "faces", "shards", "nodes", "memory", "disk", "compared", "shard ms", "core ms",
        ],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
    for model in models {
        let way = [
            model.index_type.name().to_owned(),
            model.effort.candidates.to_string(),
            model.effort.rescored.to_string(),
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
