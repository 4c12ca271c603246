//! Ingest beside a peer: the same photos into the same cluster, in turns, and the bound that inference alone sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use elasticsearch::http::Method;
use facedex_elastic::transport::client::{Client, Payload};
use facedex_elastic::write::scratch;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use super::process::{Watched, watch};
use crate::error::BenchError;
use crate::median::median;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A folder or a tar file.
    pub source: PathBuf,
    /// How often each is run.
    pub rounds: u32,
    /// The peer's script, if there is to be one.
    pub peer: Option<PathBuf>,
    /// Processes of the peer, workers of facedex.
    pub cores: usize,
    /// Environment of all programs: how to reach Elasticsearch.
    pub environment: Vec<(&'static str, String)>,
}

/// One program's run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Which program.
    pub who: &'static str,
    /// Counted from 1.
    pub round: u32,
    /// Photos that it took.
    pub photos: u64,
    /// Faces that it found.
    pub faces: u64,
    /// From the first photo to the last acknowledgement, by its own clock: loading models and packages is left out.
    pub seconds: f64,
    /// `faces / seconds`.
    pub faces_per_second: f64,
    /// From its start to its end.
    pub wall_seconds: f64,
    /// Processor time of all of its processes.
    pub cpu_seconds: f64,
    /// The most memory that all of its processes had at once, in bytes.
    pub peak_rss: u64,
    /// The memory at the end of each tenth of the run.
    pub rss_over_time: Vec<u64>,
    /// Processor time of the cluster's nodes meanwhile.
    pub node_cpu_seconds: f64,
    /// Seconds that the models themselves ran, all workers together, where the program tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_seconds: Option<f64>,
}

/// All runs, and what follows.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was ingested.
    pub source: String,
    /// Cores of this machine.
    pub cores: usize,
    /// Every run, in the order in which they were made.
    pub runs: Vec<Run>,
    /// facedex's faces a second over the peer's: the median of the rounds' ratios. None without a peer.
    pub ratio: Option<f64>,
    /// The seconds that inference alone takes on all cores, and facedex's seconds over it: medians over the rounds.
    pub bound: Bound,
}

/// How near a run is to inference alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bound {
    /// Time that the models ran for the same photos without Elasticsearch, over the cores.
    pub seconds: f64,
    /// facedex's whole ingest over it: 1 would mean that everything else is free.
    pub ratio: f64,
}

/// The run with everything.
pub const FACEDEX: &str = "facedex";
/// The same photos and crops through the same models, written nowhere.
pub const DRY_RUN: &str = "facedex --dry-run";
/// A script on OpenCV and elasticsearch-py.
pub const OPENCV: &str = "opencv + elasticsearch-py";

/// Runs everything, in turns; `seen` is told of each run when it is over.
pub async fn run(plan: &Plan, client: &Client, mut seen: impl FnMut(&Run)) -> Result<Report, BenchError> {
    if let Some(peer) = &plan.peer
        && !peer.is_file()
    {
        return Err(BenchError::NoPeer(peer.clone()));
    }
    let mut runs = Vec::new();
    let scratch = tempfile::tempdir().map_err(|error| program_failed(FACEDEX, &error))?;
    for round in 1..=plan.rounds {
        let collection = format!("bench-{}", uuid::Uuid::new_v4());
        let mut contenders = vec![
            (FACEDEX, facedex(plan, scratch.path(), &["--collection", &collection])?),
            (DRY_RUN, facedex(plan, scratch.path(), &["--dry-run"])?),
        ];
        if let Some(peer) = &plan.peer {
            contenders.push((OPENCV, opencv(plan, peer)));
        }
        for (who, command) in contenders {
            let before = node_cpu(client).await?;
            // facedex says by 1 that some photos could not be used, or are there as somebody else.
            let good: &[i32] = if matches!(who, FACEDEX | DRY_RUN) {
                &[0, 1]
            } else {
                &[0]
            };
            let watched = watch(command, good).await;
            if who == FACEDEX {
                // Also after a failure: what the benchmark made goes with it.
                scratch::remove(client, &collection).await?;
            }
            let watched = watched?;
            let node = node_cpu(client).await?.saturating_sub(before);
            let run = read(who, round, &watched, node)?;
            seen(&run);
            runs.push(run);
        }
    }
    Ok(report(plan, runs))
}

/// The last line that every contender prints.
#[derive(Deserialize)]
struct Printed {
    #[serde(alias = "images")]
    photos: u64,
    faces: u64,
    seconds: f64,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    inference_seconds: f64,
}

fn read(who: &'static str, round: u32, watched: &Watched, node: Duration) -> Result<Run, BenchError> {
    let printed: Printed = serde_json::from_str(&watched.last_line).map_err(|error| BenchError::NoResult {
        program: who.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Run {
        who,
        round,
        photos: printed.photos,
        faces: printed.faces,
        seconds: printed.seconds,
        faces_per_second: printed.faces as f64 / printed.seconds,
        wall_seconds: watched.wall.as_secs_f64(),
        cpu_seconds: watched.cpu.as_secs_f64(),
        peak_rss: watched.peak_rss,
        rss_over_time: watched.rss_over_time.clone(),
        node_cpu_seconds: node.as_secs_f64(),
        inference_seconds: printed.profile.map(|profile| profile.inference_seconds),
    })
}

fn report(plan: &Plan, runs: Vec<Run>) -> Report {
    let of = |who: &'static str| runs.iter().filter(move |run| run.who == who);
    let ratios: Vec<f64> = of(FACEDEX)
        .zip(of(OPENCV))
        .map(|(ours, theirs)| ours.faces_per_second / theirs.faces_per_second)
        .collect();
    let bounds = || of(DRY_RUN).map(|run| run.inference_seconds.unwrap_or(0.0) / plan.cores as f64);
    let bound = Bound {
        seconds: median(bounds()),
        ratio: median(of(FACEDEX).zip(bounds()).map(|(run, bound)| run.seconds / bound)),
    };
    Report {
        source: plan.source.display().to_string(),
        cores: plan.cores,
        ratio: (!ratios.is_empty()).then(|| median(ratios.into_iter())),
        bound,
        runs,
    }
}

fn facedex(plan: &Plan, scratch: &Path, more: &[&str]) -> Result<Command, BenchError> {
    let mut command = Command::new(crate::facedex()?);
    command
        .arg("ingest")
        .arg(&plan.source)
        .args(["--json", "--profile", "--person-from-dir"]);
    command.args(["--workers", &plan.cores.to_string()]).args(more);
    command.arg("--dead-letter").arg(scratch.join("dead-letter.ndjson"));
    command
        .arg("--journal-dir")
        .arg(scratch)
        .envs(plan.environment.iter().cloned());
    Ok(command)
}

fn opencv(plan: &Plan, peer: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg(peer).args(["--processes", &plan.cores.to_string()]);
    command.arg(&plan.source).envs(plan.environment.iter().cloned());
    command
}

fn program_failed(program: &str, error: &std::io::Error) -> BenchError {
    BenchError::Program {
        program: program.to_owned(),
        reason: error.to_string(),
    }
}

/// Processor time of all nodes since they started.
async fn node_cpu(client: &Client) -> Result<Duration, BenchError> {
    let path = "/_nodes/stats/process";
    let stats: Value = client
        .json("tell the nodes' processor time", Method::Get, path, &[], Payload::None)
        .await?;
    let nodes = stats["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let millis = nodes.filter_map(|node| node["process"]["cpu"]["total_in_millis"].as_u64());
    Ok(Duration::from_millis(millis.sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(who: &'static str, seconds: f64, inference: Option<f64>) -> Run {
        let watched = Watched {
            last_line: format!(r#"{{"photos": 100, "faces": 120, "seconds": {seconds}}}"#),
            wall: Duration::from_secs_f64(seconds),
            cpu: Duration::from_secs_f64(seconds),
            peak_rss: 1,
            rss_over_time: Vec::new(),
        };
        Run {
            inference_seconds: inference,
            ..read(who, 1, &watched, Duration::ZERO).unwrap()
        }
    }

    #[test]
    fn ratios_are_those_of_the_rounds() {
        let plan = Plan {
            source: "photos".into(),
            rounds: 2,
            peer: None,
            cores: 2,
            environment: Vec::new(),
        };
        let runs = vec![
            run_of(FACEDEX, 10.0, None),
            run_of(DRY_RUN, 9.0, Some(16.0)),
            run_of(OPENCV, 20.0, None),
            run_of(FACEDEX, 20.0, None),
            run_of(DRY_RUN, 18.0, Some(32.0)),
            run_of(OPENCV, 60.0, None),
        ];
        let report = report(&plan, runs);
        // 2 and 3: their median is 2.5.
        assert!((report.ratio.unwrap() - 2.5).abs() < 1e-9);
        // 10 s against 16 / 2, 20 s against 32 / 2.
        assert!((report.bound.seconds - 12.0).abs() < 1e-9 && (report.bound.ratio - 1.25).abs() < 1e-9);
    }
}
