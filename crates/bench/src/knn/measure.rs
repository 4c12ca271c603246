//! One size of collection: its faces, its queries, the truth about them; an index of them; searches of that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use facedex::query::search::{SearchOptions, search};
use facedex::query::threshold::Threshold;
use facedex_elastic::lifecycle::optimize;
use facedex_elastic::lifecycle::storage;
use facedex_elastic::read::effort::Question;
use facedex_elastic::read::knn::Knn;
use facedex_elastic::read::search;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::transport::client::Payload;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::write::load;
use facedex_elastic::write::scratch;
use facedex_elastic::{Client, Destination, ElasticError};
use facedex_face::models::catalog::Embedder;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::record::{Filter, IndexKey, Level, Place, Record, SearchKey, Segments};
use super::truth::{self, Vectors, recalls};
use super::{K, SEED};
use crate::error::BenchError;
use crate::fill::{Filling, PHOTOS_A_PERSON, carries, face_id, fill};
use crate::load::closed_loop_of;
use crate::vectors::Population;

/// Queries that are unanswered while recall is measured.
const IN_FLIGHT: usize = 4;
/// Queries whose comparisons are counted.
const COUNTED: usize = 50;

/// The ids of the true nearest faces of each query.
type Truth = Arc<Vec<Vec<String>>>;

/// Faces, queries and truths of one size.
pub struct Size {
    /// How many faces.
    pub faces: u64,
    /// The faces.
    pub stored: Vectors,
    /// Photos that are not stored: the first half of people who are, the others of strangers.
    pub queries: Vectors,
    population: Arc<Population>,
    threads: usize,
    truths: HashMap<&'static str, Truth>,
}

impl Size {
    /// Makes the faces, and as many queries of each kind.
    pub fn new(faces: u64, dims: usize, queries: u64, threads: usize) -> Self {
        let population = Arc::new(Population::new(dims, SEED));
        let people = (faces / PHOTOS_A_PERSON).max(1);
        let mates = (0..queries).map(|query| {
            let person = query * people / queries.max(1);
            population.face(person, PHOTOS_A_PERSON + query)
        });
        let strangers = (0..queries).map(|query| population.face(people + 1 + query, 0));
        Self {
            faces,
            stored: Vectors::stored(&population, dims, faces, PHOTOS_A_PERSON, threads),
            queries: Vectors {
                dims,
                values: mates.chain(strangers).flatten().collect(),
            },
            population,
            threads,
            truths: HashMap::new(),
        }
    }

    /// The numbers of the nearest faces of every query.
    pub fn nearest(&self, filter: Filter) -> Vec<Vec<u32>> {
        let keep = |number: u64| filter.label().is_none_or(|(_, of)| carries(number, of));
        truth::nearest(&self.stored, &self.queries, K, self.threads, keep)
    }

    fn truth(&mut self, filter: Filter) -> Truth {
        let name = filter.label().map_or("", |(name, _)| name);
        if let Some(known) = self.truths.get(name) {
            return Arc::clone(known);
        }
        let ids = |numbers: Vec<u32>| numbers.into_iter().map(|n| face_id(SEED, u64::from(n))).collect();
        let truth: Truth = Arc::new(self.nearest(filter).into_iter().map(ids).collect());
        self.truths.insert(name, Arc::clone(&truth));
        truth
    }
}

/// Where indices are made and searched.
pub struct Bench {
    /// The cluster.
    pub client: Arc<Client>,
    /// Its version.
    pub version: String,
    /// Whose vectors these are like.
    pub embedder: Embedder,
    /// How long each level of clients lasts.
    pub length: Duration,
    /// Clients at once.
    pub clients: Vec<usize>,
}

impl Bench {
    /// When and where: before a measurement, so that the load is not its own.
    pub fn place(&self) -> Place {
        Place {
            at: String::new(),
            elasticsearch: self.version.clone(),
            load_before: sysinfo::System::load_average().one,
        }
    }

    /// The collection of an index, filled and in the wanted state, and what that took. One that is there already is used.
    pub async fn index(
        &self,
        size: &Size,
        key: &IndexKey,
        progress: &impl Fn(&str),
    ) -> Result<(Collection, Record), BenchError> {
        let place = self.place();
        let name = name_of(key);
        let there = match search::count(&self.client, &name, &[]).await {
            // What was merged once cannot be measured as it was filled.
            Ok(count) => count == key.faces && key.segments == Segments::Merged,
            Err(_) => false,
        };
        let mut fill_seconds = None;
        if !there {
            scratch::remove(&self.client, &name).await?;
            let start = Instant::now();
            self.fill(size, key, &name, progress).await?;
            fill_seconds = Some(start.elapsed().as_secs_f64());
        }
        let collection = resolve::open(&self.client, &name).await?;
        let to = Destination::new(Arc::clone(&self.client), &collection, RetryPolicy::default());
        let start = Instant::now();
        match key.segments {
            Segments::Merged => {
                progress("merging the segments");
                optimize::merge(&to, &collection).await?;
            }
            Segments::AsFilled => progress("waiting until its merges have ended"),
        }
        optimize::settle(&self.client, &collection).await?;
        to.refresh().await?;
        let merge_seconds = Some(start.elapsed().as_secs_f64());
        let storage = storage::storage(&self.client, &collection).await?;
        let disk_bytes = segment_bytes(&self.client, &collection).await?;
        let record = Record::Index {
            key: *key,
            fill_seconds,
            merge_seconds,
            segment_count: storage.segments,
            disk_bytes,
            off_heap: storage.off_heap.map(Into::into),
            place: place.now(),
        };
        Ok((collection, record))
    }

    async fn fill(&self, size: &Size, key: &IndexKey, name: &str, progress: &impl Fn(&str)) -> Result<(), BenchError> {
        let space = self.embedder.embedding_space();
        let made = make::create(&self.client, name, &space, &key.layout()).await?;
        let to = Destination::new(Arc::clone(&self.client), &made, RetryPolicy::default());
        load::begin(&self.client, &made, "bench").await?;
        let filling = Filling {
            faces: key.faces,
            population: Arc::clone(&size.population),
            seed: SEED,
            space: self.embedder.space.clone(),
        };
        fill(&to, &filling, |done| {
            if done % 50_000 == 0 {
                progress(&format!("{done} of {} faces written", key.faces));
            }
        })
        .await?;
        load::end(&self.client, &made, "bench").await?;
        to.refresh().await?;
        Ok(())
    }

    /// Removes an index, whose states these are.
    pub async fn remove_unless_kept(&self, keep: bool, states: &[IndexKey]) -> Result<(), BenchError> {
        match states.first().filter(|_| !keep) {
            Some(key) => Ok(scratch::remove(&self.client, &name_of(key)).await?),
            None => Ok(()),
        }
    }

    /// What asks an index the queries of its size.
    pub fn asking(&self, size: &Size, collection: &Collection, key: &SearchKey) -> Result<Arc<Asking>, BenchError> {
        let label = key.filter.label().map(|(name, _)| format!("labels.{name}=yes"));
        let filters = label.map(|label| label.parse()).into_iter().collect::<Result<_, _>>();
        Ok(Arc::new(Asking {
            client: Arc::clone(&self.client),
            collection: collection.clone(),
            options: SearchOptions {
                k: key.k,
                asked: key.effort.into(),
                stored: key.index.faces,
                filters: filters.map_err(|error| ElasticError::unexpected("filter", error))?,
                exact: false,
            },
            // Nobody is left out for being unlike: recall is about the index.
            threshold: Threshold::fixed(&self.embedder, -1.0, None),
            queries: size.queries.clone(),
        }))
    }

    /// Searches as `facedex search` does, all queries for recall, then each level of clients for so long.
    pub async fn search(
        &self,
        size: &mut Size,
        collection: &Collection,
        key: &SearchKey,
    ) -> Result<Record, BenchError> {
        let place = self.place();
        let truth = size.truth(key.filter);
        let asking = self.asking(size, collection, key)?;
        let cpu_before = cpu_millis(&self.client).await?;
        let all = stream::iter((0..truth.len()).map(|number| asking.ask(number)));
        let found: Vec<Vec<String>> = all.buffered(IN_FLIGHT).try_collect().await?;
        let cpu = spent(&cpu_before, &cpu_millis(&self.client).await?);
        let of_each_query = |millis: u64| millis as f64 / (truth.len() as f64).max(1.0);
        let (recall, strangers) = recalls(&found, &truth);
        let (by_node, counted) = asking.comparisons().await?;
        let of_each = |sum: u64| sum as f64 / f64::from(counted.max(1));
        let mut loads = Vec::new();
        for &clients in &self.clients {
            let asking = Arc::clone(&asking);
            let count = truth.len();
            let ask = move |number: usize| {
                let asking = Arc::clone(&asking);
                async move {
                    let start = Instant::now();
                    let answer = asking.ask(by_turns(number, count)).await;
                    let status = if answer.is_ok() { 200 } else { 0 };
                    (status, start.elapsed().as_secs_f64() * 1000.0)
                }
            };
            let load = closed_loop_of(ask, clients, self.length).await;
            let failed: u64 = load.statuses.iter().filter(|(s, _)| **s != 200).map(|(_, n)| n).sum();
            if failed > 0 {
                return Err(BenchError::Searches { failed, clients });
            }
            loads.push(Level {
                clients,
                per_second: load.per_second,
                p50_ms: load.p50_ms,
                p95_ms: load.p95_ms,
                p99_ms: load.p99_ms,
            });
        }
        Ok(Record::Search {
            key: *key,
            recall,
            strangers,
            queries: truth.len() / 2,
            comparisons: of_each(by_node.iter().sum()),
            of_busiest_node: of_each(by_node.into_iter().max().unwrap_or(0)),
            cpu_ms: of_each_query(cpu.iter().sum()),
            cpu_ms_of_busiest_node: of_each_query(cpu.into_iter().max().unwrap_or(0)),
            loads,
            place: place.now(),
        })
    }
}

/// The query that is asked as this one of so many: of people who are stored and of strangers by turns.
pub fn by_turns(number: usize, count: usize) -> usize {
    (number % 2) * (count / 2) + (number / 2) % (count / 2).max(1)
}

/// Everything that a search needs but the number of its query.
pub struct Asking {
    client: Arc<Client>,
    collection: Collection,
    options: SearchOptions,
    threshold: Threshold,
    queries: Vectors,
}

impl Asking {
    /// The ids of the nearest faces of a query.
    pub async fn ask(&self, number: usize) -> Result<Vec<String>, ElasticError> {
        let query = self.queries.row(number);
        let found = search(&self.client, &self.collection, query, &self.options, &self.threshold).await?;
        // However many were asked for, recall is about the nearest.
        Ok(found.hits.into_iter().take(K).map(|hit| hit.id).collect())
    }

    /// How many queries there are.
    pub fn count(&self) -> usize {
        self.queries.len()
    }

    /// Comparisons of vectors that some queries of each kind cost each node, and how many queries they are.
    async fn comparisons(&self) -> Result<(Vec<u64>, u32), ElasticError> {
        let step = (self.queries.len() / COUNTED).max(1);
        let mut sums: HashMap<String, u64> = HashMap::new();
        let mut queries = 0;
        for number in (0..self.queries.len()).step_by(step) {
            let knn = Knn {
                vector: self.queries.row(number),
                k: self.options.k,
                effort: self.options.effort(Question::Search, &self.collection, self.options.k),
                min_similarity: Some(self.threshold.similarity),
                filters: &self.options.filters,
            };
            for (node, count) in search::comparisons(&self.client, &self.collection, &knn).await? {
                *sums.entry(node).or_default() += count;
            }
            queries += 1;
        }
        Ok((sums.into_values().collect(), queries))
    }
}

/// Milliseconds of processor time that each node's process has taken, by its id.
async fn cpu_millis(client: &Client) -> Result<HashMap<String, u64>, ElasticError> {
    const OPERATION: &str = "tell the nodes' processor time";
    let path = "/_nodes/stats/process";
    let reply: Value = client.json(OPERATION, Method::Get, path, &[], Payload::None).await?;
    let nodes = reply["nodes"].as_object().into_iter().flatten();
    Ok(nodes
        .filter_map(|(id, node)| Some((id.clone(), node["process"]["cpu"]["total_in_millis"].as_u64()?)))
        .collect())
}

/// What each node has taken in between.
fn spent(before: &HashMap<String, u64>, after: &HashMap<String, u64>) -> Vec<u64> {
    let of = |id: &String| before.get(id).copied().unwrap_or_default();
    after.iter().map(|(id, millis)| millis.saturating_sub(of(id))).collect()
}

/// Bytes of the primaries' segments. The index's own statistics lag behind by ten seconds.
async fn segment_bytes(client: &Client, collection: &Collection) -> Result<u64, ElasticError> {
    let path = format!("/{}/_segments", collection.index);
    let reply: Value = client
        .json("measure the segments", Method::Get, &path, &[], Payload::None)
        .await?;
    let shards = reply["indices"][&collection.index]["shards"].as_object();
    let copies = shards.into_iter().flatten().filter_map(|(_, copies)| copies.as_array());
    let primaries = copies.flatten().filter(|copy| copy["routing"]["primary"] == true);
    let segments = primaries.filter_map(|copy| copy["segments"].as_object()).flatten();
    Ok(segments
        .filter_map(|(_, segment)| segment["size_in_bytes"].as_u64())
        .sum())
}

/// The collection of an index.
fn name_of(key: &IndexKey) -> String {
    let copies = match key.replicas {
        0 => String::new(),
        copies => format!("-r{copies}"),
    };
    let graph = format!("m{}-ef{}-s{}{copies}", key.m, key.ef_construction, key.shards);
    format!("bench-knn-{}-{}-{graph}", key.faces, key.index_type.name())
}
