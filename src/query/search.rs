//! Search: the stored faces that are nearest to a query face, cut at a threshold.

use std::sync::Arc;

use facedex_elastic::read::effort::{Asked, Effort, Question};
use facedex_elastic::read::knn::Knn;
use facedex_elastic::read::search::{self, Hit};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::filter::Filter;
use facedex_elastic::{Client, ElasticError};
use facedex_face::models::catalog::Embedder;
use serde::Serialize;

use super::threshold::Threshold;
use super::{QueryError, exact};

/// How hard to look, and among which faces.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// How many results.
    pub k: usize,
    /// How far to look, where somebody says.
    pub asked: Asked,
    /// Faces in the collection, whatever is filtered: how far to look else follows from them.
    pub stored: u64,
    /// Conditions that hits must meet.
    pub filters: Vec<Filter>,
    /// Compare with every stored face instead of asking the index.
    pub exact: bool,
}

impl SearchOptions {
    /// How far a search for `k` faces looks.
    pub fn effort(&self, question: Question, collection: &Collection, k: usize) -> Effort {
        self.asked.effort(question, &collection.layout(), k, self.stored)
    }
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
    client: &Arc<Client>,
    collection: &Collection,
    embedder: &Embedder,
    filters: &[Filter],
    limit: Limit,
) -> Result<(Threshold, u64), QueryError> {
    let (faces, stored) = search::count_among(client, collection, filters).await?;
    let threshold = match limit {
        Limit::MaxFpir(fpir) => Threshold::for_search(embedder, fpir, faces)?,
        Limit::MinSimilarity(similarity) => Threshold::fixed(embedder, similarity, Some(faces)),
    };
    Ok((threshold, stored))
}

/// The stored faces that reach the threshold, best first, at most `k`.
pub async fn search(
    client: &Arc<Client>,
    collection: &Collection,
    embedding: &[f32],
    options: &SearchOptions,
    threshold: &Threshold,
) -> Result<SearchResult, ElasticError> {
    let query = Knn {
        vector: embedding,
        k: options.k,
        effort: options.effort(Question::Search, collection, options.k),
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
    client: &Arc<Client>,
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
