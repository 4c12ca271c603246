//! The trade of recall against latency, as a plot.

use std::collections::BTreeMap;

use facedex::eval::plot::{Axis, Plot};

use super::record::{Filter, Record};

/// Recall@10 against the median latency of one client, a curve an index and a peer; of the largest size that was measured.
pub fn plot(records: &[Record]) -> Plot {
    let size = |record: &Record| match record {
        Record::Search { key, .. } => key.index.faces,
        Record::Peer { key, .. } => key.faces,
        Record::Index { .. } | Record::Turns { .. } => 0,
    };
    let faces = records.iter().map(size).max().unwrap_or(0);
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for record in records.iter().filter(|record| size(record) == faces) {
        let (name, point) = match record {
            Record::Search { key, recall, loads, .. } if key.filter == Filter::None && key.index.shards == 1 => {
                let Some(one) = loads.iter().find(|level| level.clients == 1) else {
                    continue;
                };
                let name = format!("{} {}", key.index.graph(), key.index.segments);
                (name, (one.p50_ms, recall.at_10))
            }
            Record::Peer {
                key, figures, recall, ..
            } => (key.peer.clone(), (figures.p50_ms, recall.at_10)),
            _ => continue,
        };
        curves.entry(name).or_default().push(point);
    }
    for points in curves.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let all: Vec<(f64, f64)> = curves.values().flatten().copied().collect();
    let fold = |start: f64, pick: fn(f64, f64) -> f64, of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(start, pick);
    let (least, most) = (fold(f64::MAX, f64::min, |p| p.0), fold(0.0, f64::max, |p| p.0));
    let lowest = (fold(1.0, f64::min, |p| p.1) - 0.02).max(0.0);
    Plot {
        title: format!("recall@10 against latency, {faces} faces"),
        x: Axis {
            name: "median of one client, milliseconds".to_owned(),
            range: if all.is_empty() {
                [1.0, 10.0]
            } else {
                [least.max(1e-3) / 1.5, most.max(1e-3) * 1.5]
            },
            logarithmic: true,
        },
        y: Axis {
            name: "recall@10".to_owned(),
            // Room above, so that what is exact is seen.
            range: [lowest, 1.0 + (1.0 - lowest) / 40.0],
            logarithmic: false,
        },
        curves: curves.into_iter().collect(),
    }
}
