//! How well and how fast an index finds the nearest faces, and what it costs: recall against the truth, latency and
//! throughput, bytes; beside what people use instead.
//!
//! Vectors are made up, distributed like the default embedder's (`vectors.rs`). Searches take the way of `facedex search`
//! from the vector on. Everything that is measured goes to a file at once; what is in it is not measured again.

pub mod command;
mod frontier;
mod measure;
mod peers;
pub mod record;
mod report;
mod results;
pub mod scale;
mod truth;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use facedex_elastic::Client;
use facedex_elastic::read::effort::{Asked, Question};
use facedex_elastic::schema::layout::Layout;
use facedex_face::models::catalog::Embedder;
pub use peers::PEERS;
use record::{Filter, IndexKey, Place, Record, SearchKey, Segments};
use results::Results;

use crate::error::BenchError;

/// Seed of the made-up people.
const SEED: u64 = 1;
/// True neighbours that are looked for among the hits.
const K: usize = 10;

/// How far a search is to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// As far as this question does where nobody says, but for so many that are rescored.
    Default(Question, Option<u16>),
    /// So far.
    Asked(Asked),
}

/// What to measure: every combination.
pub struct Plan {
    /// The cluster.
    pub client: Arc<Client>,
    /// Its version.
    pub version: String,
    /// Whose vectors the made-up ones are like.
    pub embedder: Embedder,
    /// Faces.
    pub sizes: Vec<u64>,
    /// How they are indexed.
    pub layouts: Vec<Layout>,
    /// As filled, merged, or one after the other.
    pub segments: Vec<Segments>,
    /// Hits that are asked for, [`K`] at least.
    pub k: usize,
    /// How far to look, where it is said; else as the questions' laws say.
    pub efforts: Vec<Wanted>,
    /// Among which faces.
    pub filters: Vec<Filter>,
    /// Clients at once.
    pub clients: Vec<usize>,
    /// How long each of these levels lasts.
    pub length: Duration,
    /// Queries of people who are stored, and as many of strangers.
    pub queries: u64,
    /// Where results are kept.
    pub results: PathBuf,
    /// The peers' script, if they are measured too,
    pub script: Option<PathBuf>,
    /// and which of them.
    pub peers: Vec<String>,
    /// Whether the collections stay.
    pub keep: bool,
    /// Cores.
    pub threads: usize,
}

impl Plan {
    /// The indices of a size, those of one collection one after the other, as filled before merged.
    fn indices(&self, faces: u64) -> Vec<Vec<IndexKey>> {
        let key = |layout: &Layout, segments| IndexKey {
            faces,
            dims: self.embedder.dims,
            index_type: layout.index_type,
            m: layout.m,
            ef_construction: layout.ef_construction,
            shards: layout.shards,
            replicas: layout.replicas.unwrap_or(0),
            segments,
        };
        let order = [Segments::AsFilled, Segments::Merged];
        let states: Vec<Segments> = order
            .into_iter()
            .filter(|state| self.segments.contains(state))
            .collect();
        self.layouts
            .iter()
            .map(|layout| states.iter().map(|state| key(layout, *state)).collect())
            .collect()
    }

    /// The ways in which an index is searched.
    fn searches(&self, index: &IndexKey) -> Vec<SearchKey> {
        let mut keys = Vec::new();
        for &filter in &self.filters {
            for &wanted in &self.efforts {
                let (asked, question) = match wanted {
                    Wanted::Default(question, rescored) => {
                        let asked = Asked {
                            rescored,
                            ..Asked::default()
                        };
                        (asked, question)
                    }
                    Wanted::Asked(asked) => (asked, Question::Search),
                };
                let key = SearchKey {
                    index: *index,
                    k: self.k,
                    effort: asked.effort(question, &index.layout(), self.k, index.faces),
                    filter,
                };
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        keys
    }
}

impl Place {
    /// The same at the end of the measurement.
    fn now(self) -> Self {
        Self {
            at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ..self
        }
    }
}

/// Measures what the file lacks of the plan; `told` hears what is going on. All of the file's records come back.
pub async fn run(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Record>, BenchError> {
    let mut results = Results::open(&plan.results, &plan.version)?;
    let bench = measure::Bench {
        client: Arc::clone(&plan.client),
        version: plan.version.clone(),
        embedder: plan.embedder.clone(),
        length: plan.length,
        clients: plan.clients.clone(),
    };
    for &faces in &plan.sizes {
        let dims = plan.embedder.dims;
        let mut peers: Vec<&String> = plan.script.iter().flat_map(|_| &plan.peers).collect();
        peers.retain(|peer| !results.has_peer(faces, dims, peer));
        // A peer is measured beside the indices too, in the state that each has at last.
        let is_needed = |results: &Results, states: &[IndexKey], key: &IndexKey| {
            !is_measured(results, plan, key) || (!peers.is_empty() && states.last() == Some(key))
        };
        let mut missing = plan.indices(faces);
        missing.retain(|states| states.iter().any(|key| is_needed(&results, states, key)));
        if missing.is_empty() {
            continue;
        }
        progress(&format!("{faces} faces: making them up"));
        let mut size = measure::Size::new(faces, dims, plan.queries, plan.threads);
        let mut beside = Vec::new();
        for states in &missing {
            for key in states {
                if !is_needed(&results, states, key) {
                    continue;
                }
                progress(&format!("{faces} faces: {}", key.index_type.name()));
                let known = results.has_index(key);
                let (collection, record) = bench.index(&size, key, &progress).await?;
                if !known {
                    results.add(record)?;
                }
                for search in plan.searches(key) {
                    if !results.has_search(&search) {
                        results.add(bench.search(&mut size, &collection, &search).await?)?;
                    }
                    if states.last() == Some(key) && search.filter == Filter::None {
                        beside.push((search, bench.asking(&size, &collection, &search)?));
                    }
                }
            }
            if peers.is_empty() {
                bench.remove_unless_kept(plan.keep, states).await?;
            }
        }
        if let Some(script) = plan.script.as_ref().filter(|_| !peers.is_empty()) {
            peers::run(script, &peers, &size, &beside, &mut results, &progress).await?;
            for states in &missing {
                bench.remove_unless_kept(plan.keep, states).await?;
            }
        }
    }
    Ok(results.records)
}

fn is_measured(results: &Results, plan: &Plan, index: &IndexKey) -> bool {
    results.has_index(index) && plan.searches(index).iter().all(|key| results.has_search(key))
}
