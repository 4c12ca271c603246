//! The search API under load, and what it costs over asking Elasticsearch itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use facedex_elastic::Destination;
use facedex_elastic::lifecycle::optimize;
use facedex_elastic::read::effort::{Asked, Effort, Question};
use facedex_elastic::read::knn::Knn;
use facedex_elastic::schema::collection::Collection;
use facedex_face::FaceEngine;
use facedex_face::image::{Limits, decode};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::fill::{Filling, PHOTOS_A_PERSON, fill};
use super::load::{Load, Make, ask, closed_loop, summarise};
use super::process::memory;
use super::vectors::Population;
use crate::error::BenchError;

/// Seed of the made-up people, so that a collection that was filled once can be used again.
const SEED: u64 = 1;
/// Different queries of a run.
const QUERIES: u64 = 200;
/// Neighbours that are asked for.
const K: usize = 10;

/// What to measure.
pub struct Plan {
    /// Address of a node.
    pub node: String,
    /// How documents reach the collection.
    pub to: Destination,
    /// The collection, filled as far as it is not.
    pub collection: Collection,
    /// Faces that it should hold.
    pub faces: u64,
    /// A photo to search by.
    pub photo: Probe,
    /// Clients at once, one level after the other.
    pub clients: Vec<usize>,
    /// How long each level lasts.
    pub length: Duration,
    /// How long the overload lasts.
    pub overload: Duration,
    /// The script of a service to put beside, if there is to be one.
    pub peer: Option<PathBuf>,
    /// Environment of the servers: how to reach Elasticsearch.
    pub environment: Vec<(&'static str, String)>,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Faces that were searched.
    pub faces: u64,
    /// A search by vector, one client, straight to the node and through `/es/` by turns.
    pub vector: Compared,
    /// A search by photo, one client: the parts measured apart, and `POST /v1/search`.
    pub photo: Compared,
    /// Searches by vector through `/es/` at each number of clients.
    pub vector_load: Vec<Load>,
    /// The same straight to the node.
    pub vector_load_straight: Vec<Load>,
    /// Searches by photo at each number of clients.
    pub photo_load: Vec<Load>,
    /// The same with the peer.
    pub photo_load_peer: Vec<Load>,
    /// More clients than can be served.
    pub overload: Overload,
}

/// The same question asked in two ways.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// The bare minimum.
    pub bare: Load,
    /// Through facedex.
    pub facedex: Load,
    /// Median through facedex over the bare median.
    pub ratio: f64,
}

/// Twice as many clients as can be served, and then some.
#[derive(Debug, Clone, Serialize)]
pub struct Overload {
    /// What they saw.
    pub load: Load,
    /// The server's memory at the end of each second, in bytes.
    pub rss: Vec<u64>,
    /// The median of one client just before, in milliseconds,
    pub before_ms: f64,
    /// and in the second after.
    pub after_ms: f64,
}

/// A photo with a face in it.
pub struct Probe {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Probe {
    /// Reads the photo and looks for a face in it.
    pub fn read(path: &Path, engine: &mut FaceEngine) -> Result<Self, BenchError> {
        let bytes = std::fs::read(path).map_err(|reason| BenchError::Unreadable {
            path: path.to_owned(),
            reason,
        })?;
        let probe = Self {
            path: path.to_owned(),
            bytes,
        };
        probe.embed(engine).map(|()| probe)
    }

    /// Decode, detect, embed.
    fn embed(&self, engine: &mut FaceEngine) -> Result<(), BenchError> {
        let pixels = decode(&self.bytes, &Limits::default());
        let faces = pixels.ok().and_then(|pixels| engine.faces(&pixels).ok());
        match faces.is_none_or(|faces| faces.is_empty()) {
            true => Err(BenchError::NoFace(self.path.clone())),
            false => Ok(()),
        }
    }
}

/// Fills the collection, starts a server and measures; `progress` hears what is going on.
pub async fn run(plan: &Plan, engine: &mut FaceEngine, progress: impl Fn(&str)) -> Result<Report, BenchError> {
    let photo = &plan.photo.bytes;
    let population = Arc::new(Population::new(plan.collection.dims as usize, SEED));
    prepare(plan, &population, &progress).await?;
    let server = Server::start(facedex(plan)?).await?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| server.failed(&error.to_string()))?;
    let layout = plan.collection.layout();
    let effort = Asked::default().effort(Question::Search, &layout, K, plan.faces);
    let bodies: Vec<String> = (0..QUERIES)
        // A photo that is not stored, of people who are.
        .map(|query| body(&plan.collection, &population.face(query, PHOTOS_A_PERSON), effort))
        .collect();
    let bodies = Arc::new(bodies);
    let (straight, through) = (
        by_vector(
            &http,
            format!("{}/{}/_search", plan.node, plan.collection.name),
            &bodies,
        ),
        by_vector(
            &http,
            format!("{}/es/{}/_search", server.url, plan.collection.name),
            &bodies,
        ),
    );
    let name = &plan.collection.name;
    let at = format!("{}/v1/search?collection={name}&face=largest", server.url);
    let ask_photo = by_photo(&http, at, photo.clone());
    let peer = match &plan.peer {
        Some(script) => Some(Server::start(peer(script, plan, effort)).await?),
        None => None,
    };
    let ask_peer = peer
        .as_ref()
        .map(|peer| by_photo(&http, format!("{}/search", peer.url), photo.clone()));
    if let Some(ask_peer) = &ask_peer {
        until_ready(ask_peer).await?;
    }

    progress("one client: by vector, straight and through /es/ by turns");
    let vector = by_turns(&straight, &through, plan.length).await;
    progress("one client: by photo, in parts and through /v1/search by turns");
    let photo = photo_by_turns(plan, engine, &straight, &ask_photo).await?;
    let (mut vector_load, mut vector_load_straight) = (Vec::new(), Vec::new());
    let (mut photo_load, mut photo_load_peer) = (Vec::new(), Vec::new());
    for &clients in &plan.clients {
        progress(&format!("{clients} clients"));
        vector_load_straight.push(closed_loop(&straight, clients, plan.length).await);
        vector_load.push(closed_loop(&through, clients, plan.length).await);
        photo_load.push(closed_loop(&ask_photo, clients, plan.length).await);
        if let Some(ask_peer) = &ask_peer {
            photo_load_peer.push(closed_loop(ask_peer, clients, plan.length).await);
        }
    }
    // Its memory and threads are not to be in the way.
    if let Some(peer) = peer {
        peer.stop().await?;
    }
    progress("more than can be served");
    let overload = overload(plan, &server, &ask_photo).await;
    Ok(Report {
        faces: plan.faces,
        vector,
        photo,
        vector_load,
        vector_load_straight,
        photo_load,
        photo_load_peer,
        overload,
    })
}

async fn prepare(plan: &Plan, population: &Arc<Population>, progress: &impl Fn(&str)) -> Result<(), BenchError> {
    let there = facedex_elastic::read::search::count(&plan.to.client, &plan.collection.name, &[]).await?;
    if there >= plan.faces {
        return Ok(());
    }
    let filling = Filling {
        faces: plan.faces,
        population: Arc::clone(population),
        seed: SEED,
        space: plan.collection.space.clone(),
    };
    fill(&plan.to, &filling, |done| {
        if done % 50_000 == 0 {
            progress(&format!("{done} of {} faces written", plan.faces));
        }
    })
    .await?;
    plan.to.refresh().await?;
    progress("merging the segments");
    optimize::merge(&plan.to, &plan.collection).await?;
    optimize::settle(&plan.to.client, &plan.collection).await?;
    plan.to.refresh().await?;
    Ok(())
}

/// What facedex itself would send for this vector.
fn body(collection: &Collection, vector: &[f32], effort: Effort) -> String {
    let knn = Knn {
        vector,
        k: K,
        effort,
        min_similarity: None,
        filters: &[],
    };
    json!({
        "query": knn.query(collection),
        "size": K,
        "_source": ["person", "image.uri", "face.box", "labels"],
    })
    .to_string()
}

fn by_vector(http: &reqwest::Client, url: String, bodies: &Arc<Vec<String>>) -> Make {
    let (http, bodies) = (http.clone(), Arc::clone(bodies));
    Arc::new(move |number| {
        http.post(&url)
            .header("content-type", "application/json")
            .body(bodies[number % bodies.len()].clone())
    })
}

fn by_photo(http: &reqwest::Client, url: String, photo: Vec<u8>) -> Make {
    let (http, photo) = (http.clone(), bytes::Bytes::from(photo));
    Arc::new(move |_| {
        http.post(&url)
            .header("content-type", "application/octet-stream")
            .body(photo.clone())
    })
}

/// One client that asks in both ways by turns, so that whatever else the machine does falls on both.
async fn by_turns(bare: &Make, facedex: &Make, length: Duration) -> Compared {
    let (mut seen_bare, mut seen_facedex) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < 2 * length {
        seen_bare.push(ask(bare(number)).await);
        seen_facedex.push(ask(facedex(number)).await);
        number += 1;
        if number == WARM_UP {
            seen_bare.clear();
            seen_facedex.clear();
        }
    }
    compared(&seen_bare, &seen_facedex, start.elapsed())
}

/// Questions that are asked before the measuring begins.
const WARM_UP: usize = 20;

fn compared(bare: &[(u16, f64)], facedex: &[(u16, f64)], length: Duration) -> Compared {
    let (bare, facedex) = (summarise(1, bare, length), summarise(1, facedex, length));
    Compared {
        ratio: facedex.p50_ms / bare.p50_ms,
        bare,
        facedex,
    }
}

/// Decode, detect, embed here, count and kNN straight at the node; then the same photo to the server.
async fn photo_by_turns(
    plan: &Plan,
    engine: &mut FaceEngine,
    straight: &Make,
    served: &Make,
) -> Result<Compared, BenchError> {
    let (mut parts, mut whole) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < 2 * plan.length {
        let begin = Instant::now();
        plan.photo.embed(engine)?;
        let engine_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let begin = Instant::now();
        facedex_elastic::read::search::count(&plan.to.client, &plan.collection.name, &[]).await?;
        let count_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let (status, knn_ms) = ask(straight(number)).await;
        parts.push((status, engine_ms + count_ms + knn_ms));
        whole.push(ask(served(number)).await);
        number += 1;
        if number == WARM_UP {
            parts.clear();
            whole.clear();
        }
    }
    Ok(compared(&parts, &whole, start.elapsed()))
}

/// 64 clients that ask by photo, far more than the cores can serve.
async fn overload(plan: &Plan, server: &Server, by_photo: &Make) -> Overload {
    const CLIENTS: usize = 64;
    let moment = Duration::from_secs(3);
    let before = closed_loop(by_photo, 1, moment).await;
    let watching = async {
        let mut rss = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            rss.push(memory(server.child.id()));
            if rss.len() as u64 > plan.overload.as_secs() {
                return rss;
            }
        }
    };
    let (load, rss) = tokio::join!(closed_loop(by_photo, CLIENTS, plan.overload), watching);
    let after = closed_loop(by_photo, 1, moment).await;
    Overload {
        load,
        rss,
        before_ms: before.p50_ms,
        after_ms: after.p50_ms,
    }
}

/// A server of the benchmark's own; it ends with this.
struct Server {
    child: Child,
    url: String,
}

/// `facedex serve`.
fn facedex(plan: &Plan) -> Result<Command, BenchError> {
    let mut command = Command::new(crate::facedex()?);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs(plan.environment.iter().cloned());
    Ok(command)
}

/// The peer, on the same collection.
fn peer(script: &Path, plan: &Plan, effort: Effort) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(script)
        .args(["--index", &plan.collection.name])
        .args(["--candidates", &effort.candidates.to_string()])
        .args(["--rescored", &effort.rescored.to_string()])
        .envs(plan.environment.iter().cloned());
    command
}

/// Asks until there is an answer: the peer says where it listens before it does.
async fn until_ready(make: &Make) -> Result<(), BenchError> {
    let start = Instant::now();
    loop {
        let (status, _) = ask(make(0)).await;
        match status {
            200 => return Ok(()),
            0 if start.elapsed() < PEER_START => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => {
                return Err(BenchError::Program {
                    program: "the peer".to_owned(),
                    reason: format!("it answers with status {status}"),
                });
            }
        }
    }
}

/// The longest that the peer may take to start: at first it fetches its packages.
const PEER_START: Duration = Duration::from_secs(60);

/// The longest that a server may take to end.
const STOPPING: Duration = Duration::from_secs(15);

impl Server {
    async fn start(mut command: Command) -> Result<Self, BenchError> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let failed = |reason: String| BenchError::Program {
            program: program.clone(),
            reason,
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stderr = child
            .stderr
            .take()
            .ok_or_else(|| failed("it has no standard error".to_owned()))?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(url) = line.split("listening on ").nth(1) {
                let url = url.split_whitespace().next().unwrap_or_default().to_owned();
                // Its words must go on being read, or it would wait with them.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { child, url });
            }
            said.push(line);
        }
        Err(failed(said.join("; ")))
    }

    /// Ends it as a supervisor would, so that its own processes end too.
    async fn stop(mut self) -> Result<(), BenchError> {
        let id = self.child.id().map_or_else(String::new, |id| id.to_string());
        let killed = Command::new("kill").arg(id).status().await;
        let ended = match killed {
            Ok(_) => tokio::time::timeout(STOPPING, self.child.wait()).await.is_ok(),
            Err(_) => false,
        };
        ended.then_some(()).ok_or_else(|| self.failed("it does not end"))
    }

    fn failed(&self, reason: &str) -> BenchError {
        BenchError::Program {
            program: format!("the server at {}", self.url),
            reason: reason.to_owned(),
        }
    }
}
