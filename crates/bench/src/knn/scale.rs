//! What larger collections will cost: curves through the measured sizes, checked against the largest of them, which they
//! have not seen. docs/scale.md has the assumptions.

use facedex_elastic::lifecycle::plan::{Need, OTHER_BYTES, Wish};
use facedex_elastic::read::effort::Effort;
use facedex_elastic::schema::layout::IndexType;
use serde::Serialize;

use super::record::{Filter, Record, SearchKey, Segments};

/// Sizes that are planned.
const PLANNED: [u64; 3] = [10_000_000, 100_000_000, 1_000_000_000];
/// Memory of a data node that is planned with.
const NODE_BYTES: u64 = 64 << 30;
/// The fewest sizes that make a curve.
const FEWEST: usize = 2;

/// `a + b ln n`: a graph's work grows with the logarithm of its size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Curve {
    a: f64,
    b: f64,
}

impl Curve {
    /// The least-squares curve through the points; none through fewer than two sizes.
    fn through(points: &[(u64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        let logs = || points.iter().map(|(faces, value)| ((*faces as f64).ln(), value));
        let (x, y) = logs().fold((0.0, 0.0), |(x, y), (log, value)| (x + log / n, y + value / n));
        let spread: f64 = logs().map(|(log, _)| (log - x).powi(2)).sum();
        let slope: f64 = logs().map(|(log, value)| (log - x) * (value - y)).sum::<f64>() / spread;
        (points.len() >= FEWEST && spread > 0.0).then_some(Self {
            a: y - slope * x,
            b: slope,
        })
    }

    fn at(&self, faces: f64) -> f64 {
        self.a + self.b * faces.max(1.0).ln()
    }
}

/// One way to search an index, at any size.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// How vectors are indexed.
    pub index_type: IndexType,
    /// How far each shard looks.
    pub effort: Effort,
    /// The sizes.
    pub measured: Vec<u64>,
    /// Comparisons of vectors a query.
    pub comparisons: Curve,
    /// Milliseconds of one client, the median: about what a query keeps one core busy for.
    pub milliseconds: Curve,
    /// What the smaller sizes say of the largest, and what it is.
    pub check: Option<Check>,
    /// Larger sizes.
    pub plans: Vec<Planned>,
}

/// The largest size, predicted by the smaller ones and measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Check {
    /// Faces.
    pub faces: u64,
    /// Comparisons, predicted and measured.
    pub comparisons: [f64; 2],
    /// Milliseconds, predicted and measured.
    pub milliseconds: [f64; 2],
}

/// A size that was not measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Planned {
    /// Faces.
    pub faces: u64,
    /// Primary shards, by the limits of `collection plan`.
    pub shards: u64,
    /// Nodes of 64 GiB, with one copy of everything.
    pub nodes: u64,
    /// Bytes of memory for both copies.
    pub ram_bytes: u64,
    /// Bytes on disk for both copies.
    pub disk_bytes: u64,
    /// Comparisons a query, over all shards.
    pub comparisons: f64,
    /// Milliseconds of one shard, all of them at once on cores of their own.
    pub shard_ms: f64,
    /// Milliseconds of cores that a query takes, over all shards.
    pub core_ms: f64,
}

/// A model for each way to search that was measured at two sizes or more, merged, on one shard, among all faces.
pub fn models(records: &[Record]) -> Vec<Model> {
    let mut ways: Vec<SearchKey> = Vec::new();
    for key in records.iter().filter_map(|record| usual(record).map(|(key, ..)| key)) {
        if !ways.iter().any(|way| same_way(way, key)) {
            ways.push(*key);
        }
    }
    ways.iter().filter_map(|way| model(records, way)).collect()
}

fn usual(record: &Record) -> Option<(&SearchKey, f64, f64)> {
    let Record::Search {
        key,
        comparisons,
        loads,
        ..
    } = record
    else {
        return None;
    };
    let one = loads.iter().find(|level| level.clients == 1)?;
    let plain = key.filter == Filter::None && key.index.shards == 1 && key.index.segments == Segments::Merged;
    // An index without a graph grows otherwise.
    (plain && key.index.index_type != IndexType::Flat).then_some((key, *comparisons, one.p50_ms))
}

fn same_way(a: &SearchKey, b: &SearchKey) -> bool {
    let sizeless = |key: &SearchKey| {
        let mut key = *key;
        key.index.faces = 0;
        key
    };
    sizeless(a) == sizeless(b)
}

fn model(records: &[Record], way: &SearchKey) -> Option<Model> {
    let mut seen: Vec<(u64, f64, f64)> = records
        .iter()
        .filter_map(usual)
        .filter(|(key, ..)| same_way(key, way))
        .map(|(key, comparisons, ms)| (key.index.faces, comparisons, ms))
        .collect();
    seen.sort_by_key(|(faces, ..)| *faces);
    let curves = |seen: &[(u64, f64, f64)]| {
        let pick = |of: fn(&(u64, f64, f64)) -> f64| seen.iter().map(|one| (one.0, of(one))).collect::<Vec<_>>();
        Some((Curve::through(&pick(|one| one.1))?, Curve::through(&pick(|one| one.2))?))
    };
    let (comparisons, milliseconds) = curves(&seen)?;
    let check = seen.split_last().and_then(|(last, before)| {
        let (comparisons, milliseconds) = curves(before)?;
        let faces = last.0 as f64;
        Some(Check {
            faces: last.0,
            comparisons: [comparisons.at(faces), last.1],
            milliseconds: [milliseconds.at(faces), last.2],
        })
    });
    let plans = PLANNED.iter().filter_map(|&faces| {
        let need = need(way, faces)?;
        let each = faces as f64 / need.shards as f64;
        Some(Planned {
            faces,
            shards: need.shards,
            nodes: need.nodes,
            ram_bytes: need.ram_total_bytes,
            disk_bytes: need.disk_total_bytes,
            comparisons: need.shards as f64 * comparisons.at(each),
            shard_ms: milliseconds.at(each),
            core_ms: need.shards as f64 * milliseconds.at(each),
        })
    });
    Some(Model {
        index_type: way.index.index_type,
        effort: way.effort,
        measured: seen.iter().map(|one| one.0).collect(),
        comparisons,
        milliseconds,
        check,
        plans: plans.collect(),
    })
}

/// What so many faces need. Made-up documents are smaller than real ones, so theirs do not count.
fn need(way: &SearchKey, faces: u64) -> Option<Need> {
    let wish = Wish {
        faces,
        dims: u32::try_from(way.index.dims).ok()?,
        m: way.index.m,
        replicas: 1,
        node_bytes: NODE_BYTES,
        other_bytes: OTHER_BYTES,
    };
    let index_type = way.index.index_type;
    wish.needs().into_iter().find(|need| need.index_type == index_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knn::record::{IndexKey, Level, Place};
    use crate::knn::truth::Recall;
    use facedex_elastic::read::effort;

    fn record(faces: u64) -> Record {
        let index = IndexKey {
            faces,
            dims: 128,
            index_type: IndexType::Int8Hnsw,
            m: 16,
            ef_construction: 100,
            shards: 1,
            replicas: 0,
            segments: Segments::Merged,
        };
        let log = (faces as f64).ln();
        Record::Search {
            key: SearchKey {
                index,
                k: 10,
                effort: Effort {
                    candidates: 2000,
                    rescored: 50,
                },
                filter: Filter::None,
            },
            recall: Recall::default(),
            strangers: Recall::default(),
            queries: 1,
            comparisons: 100.0 + 300.0 * log,
            of_busiest_node: 100.0,
            cpu_ms: 1.0,
            cpu_ms_of_busiest_node: 1.0,
            loads: vec![Level {
                clients: 1,
                p50_ms: 1.0 + log,
                ..Level::default()
            }],
            place: Place::default(),
        }
    }

    #[test]
    fn a_logarithm_is_found_again_and_carried_on() {
        let all: Vec<Record> = [10_000, 100_000, 1_000_000].into_iter().map(record).collect();
        let models = models(&all);
        let [model] = &models[..] else { panic!("{models:?}") };
        let check = model.check.unwrap();
        assert_eq!(check.faces, 1_000_000);
        for [predicted, measured] in [check.comparisons, check.milliseconds] {
            assert!((predicted / measured - 1.0).abs() < 1e-9, "{check:?}");
        }
        let last = model.plans.last().unwrap();
        assert_eq!(last.faces, 1_000_000_000);
        assert_eq!(
            last.shards,
            1_000_000_000u64.div_ceil(effort::most_in_a_shard(IndexType::Int8Hnsw, 16).unwrap())
        );
        let each = 1e9 / last.shards as f64;
        assert!((last.shard_ms - (1.0 + each.ln())).abs() < 1e-6);
        assert!((last.comparisons / last.shards as f64 - (100.0 + 300.0 * each.ln())).abs() < 1e-3);
    }

    #[test]
    fn one_size_makes_no_model_and_two_no_check() {
        assert!(models(&[record(10_000)]).is_empty());
        let two: Vec<Record> = [10_000, 100_000].into_iter().map(record).collect();
        assert!(models(&two)[0].check.is_none());
    }
}
