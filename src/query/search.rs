//! Search: the stored faces that are nearest to a query face, cut at a threshold.

use serde::Serialize;

use super::threshold::Threshold;
use super::{QueryError, exact};
use crate::elastic::collection::Collection;
use crate::elastic::filter::Filter;
use crate::elastic::search::{self, Hit, Knn};
use crate::elastic::{Client, ElasticError};
use crate::models::catalog::Embedder;

/// How hard to look, and among which faces.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// How many results.
    pub k: usize,
    /// Candidates each shard looks at.
    pub num_candidates: usize,
    /// How many times `num_candidates` each shard looks at and rescores with whole vectors.
    pub oversample: f32,
    /// Conditions that hits must meet.
    pub filters: Vec<Filter>,
    /// Compare with every stored face instead of asking the index.
    pub exact: bool,
}

/// What decides whether a hit is a match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// The share of searches for strangers that may name somebody.
    MaxFpir(f64),
    /// A cosine.
    MinSimilarity(f64),
}

/// The hits of one face.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SearchResult {
    /// What a hit had to reach.
    pub threshold: Threshold,
    /// Best first.
    pub hits: Vec<Hit>,
}

/// The threshold of a search among the faces that meet the conditions, and how many faces there are in all.
pub async fn threshold(
    client: &Client,
    collection: &Collection,
    embedder: &Embedder,
    filters: &[Filter],
    limit: Limit,
) -> Result<(Threshold, u64), QueryError> {
    for filter in filters {
        filter.check(collection)?;
    }
    let (faces, stored) = match filters {
        [] => {
            let stored = search::count(client, &collection.name, &[]).await?;
            (stored, stored)
        }
        filters => tokio::try_join!(
            search::count(client, &collection.name, filters),
            search::count(client, &collection.name, &[])
        )?,
    };
    let threshold = match limit {
        Limit::MaxFpir(fpir) => Threshold::for_search(embedder, fpir, faces)?,
        Limit::MinSimilarity(similarity) => Threshold::fixed(embedder, similarity, Some(faces)),
    };
    Ok((threshold, stored))
}

/// The stored faces that reach the threshold, best first, at most `k`.
pub async fn search(
    client: &Client,
    collection: &Collection,
    embedding: &[f32],
    options: &SearchOptions,
    threshold: &Threshold,
) -> Result<SearchResult, ElasticError> {
    let query = Knn {
        vector: embedding,
        k: options.k,
        num_candidates: options.num_candidates,
        oversample: options.oversample,
        min_similarity: Some(threshold.similarity),
        filters: &options.filters,
    };
    Ok(SearchResult {
        threshold: threshold.clone(),
        hits: nearest(client, collection, &query, options.exact).await?,
    })
}

/// The nearest stored faces, by the index or by comparing with all of them.
pub(super) async fn nearest(
    client: &Client,
    collection: &Collection,
    query: &Knn<'_>,
    exact: bool,
) -> Result<Vec<Hit>, ElasticError> {
    if exact {
        exact::nearest(client, collection, query).await
    } else {
        search::knn(client, collection, query).await
    }
}
