//! The same searches through Elasticsearch: a collection is made for them, filled, asked as `facedex identify` asks, and
//! removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::document::{Person, image_hash};
use facedex_elastic::schema::layout::Layout;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::write::scratch;
use facedex_elastic::write::store::{PhotoFacts, PhotoRecord, WriteMode, store};
use facedex_elastic::{Client, Destination, ElasticError};
use facedex_face::models::catalog::Embedder;
use futures_util::StreamExt as _;
use futures_util::stream;
use url::Url;

use super::{Faces, Known, RANKS, Searched};
use crate::enrol::fields;
use crate::query::identify::identify;
use crate::query::search::SearchOptions;
use crate::query::threshold::Threshold;

/// Faces a request.
const BATCH: usize = 500;
/// For how long Elasticsearch may take nothing.
const PATIENCE: Duration = Duration::from_secs(600);
/// Searches that may be unanswered.
const IN_FLIGHT: usize = 4;

/// The most alike people of every probe, by an index that is laid out so; none where `stop` came first.
pub async fn search(
    client: &Arc<Client>,
    faces: &Faces,
    embedder: &Embedder,
    engine: &str,
    layout: &Layout,
    options: &SearchOptions,
    stop: impl Future,
) -> Result<Option<Vec<Searched>>, ElasticError> {
    let (made, alive) = scratch::create(client, &embedder.embedding_space(), layout).await?;
    let policy = RetryPolicy {
        give_up_after: Some(PATIENCE),
        ..RetryPolicy::default()
    };
    let to = Destination::new(Arc::clone(client), &made, policy);
    let result = tokio::select! {
        found = fill_and_ask(&to, &made, faces, embedder, engine, options) => found.map(Some),
        _ = stop => Ok(None),
    };
    drop(alive);
    scratch::remove(client, &to.collection).await?;
    result
}

async fn fill_and_ask(
    to: &Destination,
    collection: &Collection,
    faces: &Faces,
    embedder: &Embedder,
    engine: &str,
    options: &SearchOptions,
) -> Result<Vec<Searched>, ElasticError> {
    let records: Vec<PhotoRecord> = faces
        .gallery
        .iter()
        .filter_map(|known| record(known, engine, &embedder.space))
        .collect();
    for batch in records.chunks(BATCH) {
        store(to, WriteMode::Create, batch).await?;
    }
    to.refresh().await?;
    // All candidates, however unlike: the thresholds are found afterwards.
    let all = Threshold::fixed(embedder, -1.0, None);
    let options = SearchOptions {
        k: RANKS,
        ..options.clone()
    };
    let ask = async |probe: &Known| {
        let Some(face) = &probe.face else {
            return Ok(Searched::default());
        };
        let start = Instant::now();
        let found = identify(&to.client, collection, &face.embedding, &options, &all).await?;
        let person = |candidate: crate::query::identify::Candidate| Some((candidate.person?.id, candidate.similarity));
        Ok(Searched {
            candidates: found.candidates.into_iter().filter_map(person).collect(),
            took_ms: start.elapsed().as_secs_f64() * 1e3,
        })
    };
    let searches: Vec<Result<Searched, ElasticError>> = stream::iter(faces.probes.iter().map(ask))
        .buffered(IN_FLIGHT)
        .collect()
        .await;
    searches.into_iter().collect()
}

/// Stands for a run and a machine in documents that go when the evaluation ends.
const RUN: &str = "evaluation";

/// The document of an enrolled face. Its id comes from the path: two people may share a photo's bytes here.
fn record(known: &Known, engine: &str, space: &str) -> Option<PhotoRecord> {
    let face = known.face.clone()?;
    let path = known.path.display().to_string();
    let hash = image_hash(path.as_bytes());
    let uri = Url::from_file_path(&known.path).map_or(path, String::from);
    let facts = PhotoFacts {
        uri: &uri,
        hash: &hash,
        space,
        engine,
        run: RUN,
        host: RUN,
        ..PhotoFacts::default()
    };
    let person = Person {
        id: known.person.clone(),
        name: None,
    };
    Some(PhotoRecord::new(&facts, vec![(fields(face, None), Some(person))]))
}
