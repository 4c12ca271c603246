//! What people use instead of an index in a cluster, on the same vectors: `benches/peers/knn.py` runs one of them at a time.

use std::io::Write as _;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;

use super::measure::Size;
use super::record::{Filter, PeerFigures, PeerKey, Place, Record};
use super::results::Results;
use super::truth::recalls;
use crate::bench::BenchError;
use crate::bench::process::watch;

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

/// Runs the peers that are not in the results yet.
pub async fn run(
    script: &Path,
    peers: &[String],
    size: &Size,
    results: &mut Results,
    told: &impl Fn(&str),
) -> Result<(), BenchError> {
    let dims = size.stored.dims;
    let missing: Vec<&String> = peers
        .iter()
        .filter(|peer| !results.has_peer(size.faces, dims, peer))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !script.is_file() {
        return Err(BenchError::NoPeer(script.to_owned()));
    }
    let truth = size.nearest(Filter::None);
    let folder = tempfile::tempdir().map_err(|error| program(script, &error.to_string()))?;
    let (faces, queries) = (folder.path().join("faces.f32"), folder.path().join("queries.f32"));
    for (path, vectors) in [(&faces, &size.stored), (&queries, &size.queries)] {
        let write = || {
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            vectors.write(&mut file)?;
            file.flush()
        };
        write().map_err(|error: std::io::Error| program(script, &error.to_string()))?;
    }
    for peer in missing {
        told(&format!("{} faces: {peer}", size.faces));
        let place = Place {
            load_before: sysinfo::System::load_average().one,
            ..Place::default()
        };
        let mut command = Command::new(script);
        command
            .arg("--dims")
            .arg(dims.to_string())
            .arg(peer)
            .arg(&faces)
            .arg(&queries);
        let watched = watch(command, &[0]).await?;
        let said: Vec<Said> = serde_json::from_str(&watched.last_line).map_err(|error| BenchError::NoResult {
            program: script.display().to_string(),
            reason: error.to_string(),
        })?;
        for way in said {
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
            results.add(Record::Peer {
                key: PeerKey {
                    faces: size.faces,
                    dims,
                    peer: peer.clone(),
                    parameters: way.parameters,
                },
                figures: way.figures,
                recall,
                strangers,
                place: place.clone().now(),
            })?;
        }
    }
    Ok(())
}

fn program(script: &Path, reason: &str) -> BenchError {
    BenchError::Program {
        program: script.display().to_string(),
        reason: reason.to_owned(),
    }
}
