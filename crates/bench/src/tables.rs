//! Reports as text.

use facedex::cli::tables::{rendered, table};

use crate::{ingest, serve};

/// A row a run, then what follows from them.
pub fn bench_ingest(report: &ingest::Report) -> String {
    let header = [
        "",
        "round",
        "photos",
        "faces",
        "seconds",
        "faces/s",
        "cores used",
        "peak MB",
        "nodes' cores",
    ];
    let mut rows = table(&header, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for run in &report.runs {
        rows.add_row(vec![
            run.who.to_owned(),
            run.round.to_string(),
            run.photos.to_string(),
            run.faces.to_string(),
            format!("{:.1}", run.seconds),
            format!("{:.1}", run.faces_per_second),
            format!("{:.2}", run.cpu_seconds / run.wall_seconds),
            (run.peak_rss / 1_000_000).to_string(),
            format!("{:.2}", run.node_cpu_seconds / run.wall_seconds),
        ]);
    }
    let mut text = rendered(&rows);
    if let Some(ratio) = report.ratio {
        text.push_str(&format!("facedex / {}: {ratio:.2} x faces/s\n", ingest::OPENCV));
    }
    text.push_str(&format!(
        "inference alone, on {} cores: {:.1} s; facedex's ingest takes {:.2} x that\n",
        report.cores, report.bound.seconds, report.bound.ratio
    ));
    text
}

/// What each way of asking took, then the overload.
pub fn bench_serve(report: &serve::Report) -> String {
    let mut rows = table(
        &[
            "",
            "clients",
            "answers/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "other statuses",
        ],
        &[1, 2, 3, 4, 5],
    );
    let overload = &report.overload;
    let ones = [
        ("by vector, straight", &report.vector.bare),
        ("by vector, /es/", &report.vector.facedex),
        ("by photo, the parts apart", &report.photo.bare),
        ("by photo, /v1/search", &report.photo.facedex),
    ];
    let levels = [
        ("by vector, straight", &report.vector_load_straight),
        ("by vector, /es/", &report.vector_load),
        ("by photo, /v1/search", &report.photo_load),
        ("by photo, FastAPI and OpenCV", &report.photo_load_peer),
    ];
    let levels = levels
        .into_iter()
        .flat_map(|(name, loads)| loads.iter().map(move |load| (name, load)));
    for (name, load) in ones.into_iter().chain(levels).chain([("overload", &overload.load)]) {
        let others = load.statuses.iter().filter(|(status, _)| **status != 200);
        let others: Vec<String> = others.map(|(status, count)| format!("{status}: {count}")).collect();
        rows.add_row(vec![
            name.to_owned(),
            load.clients.to_string(),
            format!("{:.1}", load.per_second),
            format!("{:.1}", load.p50_ms),
            format!("{:.1}", load.p95_ms),
            format!("{:.1}", load.p99_ms),
            others.join(", "),
        ]);
    }
    let most = overload.rss.iter().max().copied().unwrap_or(0) / 1_000_000;
    let first = overload.rss.first().copied().unwrap_or(0) / 1_000_000;
    format!(
        "{}{} faces; /es/ takes {:.3} x the node's own time, /v1/search {:.3} x its parts\n\
         overload: memory {first} MB before, at most {most} MB; one client {:.1} ms before, {:.1} ms after\n",
        rendered(&rows),
        report.faces,
        report.vector.ratio,
        report.photo.ratio,
        overload.before_ms,
        overload.after_ms
    )
}
