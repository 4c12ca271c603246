//! `_search` and `_count`: one body, for one collection.

use std::ops::Range;

use axum::response::Response;
use bytes::Bytes;
use facedex_elastic::schema::collection::Collection;
use facedex_face::FaceEngine;

use super::counts::Similarities;
use super::error::ProxyError;
use super::request::{Incoming, answer, off_thread};
use super::splice::{FaceClause, Found, Refusal, scan, splice};
use super::{Asker, EsProxy};
use crate::query::QueryError;
use crate::query::photo::QueryPhoto;
use crate::server::decoding::Decoded;
use crate::server::error::ApiError;
use crate::server::photo::Encoded;

/// Bodies up to this size are read at once; larger ones where they hold no other request up.
const SHORT: usize = 32 << 10;

/// Answers a search or a count.
pub(super) async fn run(
    proxy: &EsProxy,
    asker: &Asker<'_>,
    name: &str,
    incoming: Incoming,
) -> Result<Response, ProxyError> {
    let collection = proxy.collections.get(&asker.app.elastic, name).await?;
    let found = find(incoming.read.body.clone(), asker.app.settings.max_photos).await?;
    let clauses = check(asker, &collection, found, incoming.no_hits()).await?;
    let vectors = vectors(asker, &collection, clauses).await?;
    let foreign = if vectors.is_empty() {
        incoming.as_it_came()
    } else {
        let body = splice(text(&incoming.read.body)?, &vectors)?;
        incoming.with_body(body.into()).await?
    };
    // Nobody needs what was read of it while Elasticsearch works.
    drop(incoming);
    let reply = asker.app.elastic.pass_on(&foreign).await?;
    asker.record(name, vectors.len(), reply.status());
    Ok(answer(reply, &asker.caller.entry))
}

/// The photos of a body. No body is a search for everything.
async fn find(body: Bytes, max_photos: usize) -> Result<Found, ProxyError> {
    if body.is_empty() {
        return Ok(Found::default());
    }
    if body.len() <= SHORT {
        return Ok(scan(text(&body)?, max_photos)?);
    }
    off_thread(move || Ok(scan(text(&body)?, max_photos)?)).await?
}

/// Refuses what this collection, or this version of Elasticsearch, does not answer rightly; gives the photos.
pub(super) async fn check(
    asker: &Asker<'_>,
    collection: &Collection,
    found: Found,
    no_hits: Option<bool>,
) -> Result<Vec<FaceClause>, ProxyError> {
    for index in &found.lookups {
        if ![&collection.name, &collection.index].contains(&index) {
            let shown: String = index.chars().take(60).collect();
            return Err(ProxyError::illegal(format!(
                "[lookup] of [{shown}] reads another index than the collection [{}]; give its name",
                collection.name
            )));
        }
    }
    if found.similarities.decide_a_count(no_hits) {
        Similarities::refuse(&*asker.app.elastic.versions().await?)?;
    }
    Ok(found.photos)
}

/// A body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|error| Refusal::parsing(format!("the body is no UTF-8: {error}")))
}

/// Spans of a body and the vectors that belong there.
pub(super) type Vectors = Vec<(Range<usize>, Vec<f32>)>;

/// Makes the vectors of a body's photos, where the collection's are of the same space.
pub(super) async fn vectors(
    asker: &Asker<'_>,
    collection: &Collection,
    clauses: Vec<FaceClause>,
) -> Result<Vectors, ProxyError> {
    if clauses.is_empty() {
        // A search by a ready vector is the caller's affair: they know where they have it from.
        return Ok(Vec::new());
    }
    collection.expect_space(&asker.app.inference.embedder().space)?;
    // One after the other: several large photos would not fit into the server's memory at a time.
    let mut vectors = Vec::with_capacity(clauses.len());
    for clause in clauses {
        let span = clause.span.clone();
        vectors.push((span, embed(asker, clause).await?));
    }
    Ok(vectors)
}

/// The vector of the face that is meant.
async fn embed(asker: &Asker<'_>, clause: FaceClause) -> Result<Vec<f32>, ApiError> {
    let image = Encoded::Plain(clause.image.into());
    let work = move |engine: &mut FaceEngine, decoded: Decoded| {
        let mut photo = QueryPhoto::of(engine, "image".to_owned(), decoded.photo)?;
        let chosen = photo.choose(clause.face)?;
        let nobody = || QueryError::NoFace {
            path: photo.path.clone(),
        };
        let &ordinal = chosen.first().ok_or_else(nobody)?;
        Ok(photo.faces.swap_remove(ordinal).embedding)
    };
    asker.app.infer("image", image, work).await
}
