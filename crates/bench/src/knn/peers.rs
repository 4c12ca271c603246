//! What people use instead of an index in a cluster, on the same vectors: `benches/peers/knn.py` runs one of them at a time.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::measure::{Asking, Size};
use super::record::{Filter, PeerFigures, PeerKey, Place, Record, SearchKey};
use super::results::Results;
use super::truth::recalls;
use super::turns;
use crate::error::BenchError;

/// Those that the script knows, in the order in which they run.
pub const PEERS: [&str; 7] = [
    "pickle",
    "numpy",
    "faiss-flat",
    "faiss-ivf",
    "faiss-hnsw",
    "hnswlib",
    "annoy",
];

/// One way of asking a peer.
#[derive(Deserialize)]
struct Said {
    parameters: String,
    #[serde(flatten)]
    figures: PeerFigures,
    /// By query; none where it was too slow to ask all.
    found: Vec<Option<Vec<u32>>>,
}

/// Runs these peers, and each by turns with these searches.
pub async fn run(
    script: &Path,
    peers: &[&String],
    size: &Size,
    beside: &[(SearchKey, Arc<Asking>)],
    results: &mut Results,
    progress: &impl Fn(&str),
) -> Result<(), BenchError> {
    if !script.is_file() {
        return Err(BenchError::NoPeer(script.to_owned()));
    }
    let dims = size.stored.dims;
    let truth = size.nearest(Filter::None);
    let folder = tempfile::tempdir().map_err(|error| program(script, &error.to_string()))?;
    let files = [folder.path().join("faces.f32"), folder.path().join("queries.f32")];
    for (path, vectors) in files.iter().zip([&size.stored, &size.queries]) {
        let write = || {
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            vectors.write(&mut file)?;
            file.flush()
        };
        write().map_err(|error: std::io::Error| program(script, &error.to_string()))?;
    }
    for &peer in peers {
        progress(&format!("{} faces: {peer}", size.faces));
        let place = Place {
            load_before: sysinfo::System::load_average().one,
            ..Place::default()
        };
        let mut process = Process::start(script, dims, peer, &files)?;
        let ways: Vec<Said> = process.read().await?;
        let mut records = Vec::new();
        let mut measured = Vec::new();
        for way in ways {
            let (found, known): (Vec<_>, Vec<_>) = way
                .found
                .into_iter()
                .zip(&truth)
                // Recall leaves out queries without a truth.
                .map(|(found, truth)| match found {
                    Some(found) => (found, truth.clone()),
                    None => (Vec::new(), Vec::new()),
                })
                .unzip();
            let (recall, strangers) = recalls(&found, &known);
            let key = PeerKey {
                faces: size.faces,
                dims,
                peer: peer.clone(),
                parameters: way.parameters,
            };
            measured.push((key.clone(), recall.at_10));
            records.push(Record::Peer {
                key,
                figures: way.figures,
                recall,
                strangers,
                place: place.clone().now(),
            });
        }
        for (search, asking) in beside {
            progress(&format!(
                "{} faces: {peer} and {} by turns",
                size.faces,
                search.index.graph()
            ));
            records.extend(turns::measure(&mut process, &measured, search, asking, results, &place).await?);
        }
        process.end().await?;
        // All of a peer or nothing: what is in the file is not measured again.
        for record in records {
            results.add(record)?;
        }
    }
    Ok(())
}

/// The script at work.
pub struct Process {
    script: PathBuf,
    child: Child,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(script: &Path, dims: usize, peer: &str, files: &[PathBuf]) -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| program(script, &error.to_string());
        let mut child = Command::new(script)
            .args(["--turns", "--dims", &dims.to_string(), peer])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(asked), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(program(script, "it has no standard input or output"));
        };
        Ok(Self {
            script: script.to_owned(),
            child,
            asked,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// The next line that it prints.
    async fn read<T: DeserializeOwned>(&mut self) -> Result<T, BenchError> {
        let failed = |error: std::io::Error| program(&self.script, &error.to_string());
        match self.answers.next_line().await.map_err(failed)? {
            Some(line) => serde_json::from_str(&line).map_err(|error| BenchError::NoResult {
                program: self.script.display().to_string(),
                reason: error.to_string(),
            }),
            None => {
                let status = self.child.wait().await.map_err(failed)?;
                Err(program(&self.script, &format!("it ended ({status})")))
            }
        }
    }

    /// Milliseconds of each of these queries, asked in one of its ways.
    pub async fn ask(&mut self, way: usize, queries: &Range<usize>) -> Result<Vec<f64>, BenchError> {
        let line = format!("{}\n", json!({"way": way, "from": queries.start, "to": queries.end}));
        let written = self.asked.write_all(line.as_bytes()).await;
        written.map_err(|error| program(&self.script, &error.to_string()))?;
        self.read().await
    }

    /// Ends it.
    async fn end(self) -> Result<(), BenchError> {
        let Self {
            script,
            mut child,
            asked,
            answers: _answers,
        } = self;
        drop(asked);
        let status = child
            .wait()
            .await
            .map_err(|error| program(&script, &error.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(program(&script, &format!("it ended ({status})"))),
        }
    }
}

fn program(script: &Path, reason: &str) -> BenchError {
    BenchError::Program {
        program: script.display().to_string(),
        reason: reason.to_owned(),
    }
}
