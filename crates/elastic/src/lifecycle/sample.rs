//! A sample of searches: does an index find its own faces, and the same ones as the index before it?

use std::collections::HashSet;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LifecycleError;
use super::walk::Face;
use crate::read::effort::{Asked, Question};
use crate::read::knn::Knn;
use crate::read::search::{self, Hit};
use crate::schema::collection::Collection;
use crate::schema::embedding;
use crate::transport::client::Payload;
use crate::wire::reply::{Reply, STRICT};
use crate::{Destination, ElasticError};

const OPERATION: &str = "choose a sample of faces";
/// Neighbours that are compared.
const K: usize = 10;
/// A face finds itself, or a copy of itself, with this similarity at least.
const ITSELF: f64 = 0.999;
/// Similarities that differ by less are the same.
const TIE: f64 = 1e-3;

/// How a sample of searches went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Stored faces that were searched for.
    pub searches: usize,
    /// The share of them that found themselves.
    pub found: f64,
    /// The share of the old index's ten nearest faces for which the new one finds one as near, on average. Absent where the
    /// vectors are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
}

impl Sample {
    /// Refuses an index that finds less than this share, of itself or of what was found before.
    ///
    /// # Errors
    ///
    /// Fails where less was found than `min` says.
    pub fn expect(&self, share: f64) -> Result<(), LifecycleError> {
        let least = self.agreement.map_or(self.found, |agreement| agreement.min(self.found));
        if self.searches == 0 || least >= share {
            return Ok(());
        }
        let agreement = self.agreement.map_or(String::new(), |agreement| {
            format!(", {:.1} % of what the old index finds", agreement * 100.0)
        });
        Err(LifecycleError::Unverified {
            reason: format!(
                "of {} searches {:.1} % found the face itself{agreement}",
                self.searches,
                self.found * 100.0
            ),
        })
    }
}

/// Searches for faces that are chosen at random, in the new index and, where their vectors are of one space, in the old.
///
/// # Errors
///
/// Fails where one of the searches does.
pub async fn sample(to: &Destination, old: &Collection, new: &Collection, size: usize) -> Result<Sample, ElasticError> {
    let comparable = old.space == new.space;
    // While the old index is written to, it has faces that are still to come: only those that the new one has count.
    let mut faces = some_faces(to, new, &random(), size).await?;
    if comparable && !faces.is_empty() {
        let ids: Vec<String> = faces.into_iter().map(|face| face.id).collect();
        faces = some_faces(to, old, &json!({"ids": {"values": ids}}), size).await?;
    }
    let stored = search::count(&to.client, &new.index, &[]).await?;
    let (mut found, mut as_near, mut expected) = (0, 0, 0);
    for face in &faces {
        let no_vector = || ElasticError::unexpected(OPERATION, format!("face {} has no vector", face.id));
        let vector = &face.embedding().ok_or_else(no_vector)?;
        let hits = nearest(to, new, stored, vector).await?;
        found += usize::from(hits.first().is_some_and(|hit| hit.similarity >= ITSELF));
        if comparable {
            let mut before = nearest(to, old, stored, vector).await?;
            let there = there(to, new, &before).await?;
            before.retain(|hit| there.contains(&hit.id));
            expected += before.len();
            // By similarity, rank by rank: which of several copies of a face is found says nothing.
            let pairs = before.iter().zip(&hits);
            as_near += pairs
                .filter(|(old, new)| new.similarity >= old.similarity - TIE)
                .count();
        }
    }
    let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    Ok(Sample {
        searches: faces.len(),
        found: share(found, faces.len()),
        agreement: comparable.then(|| share(as_near, expected)),
    })
}

/// Which of these faces searches of an index see.
async fn there(to: &Destination, of: &Collection, hits: &[Hit]) -> Result<HashSet<String>, ElasticError> {
    const OPERATION: &str = "look for the faces found";
    #[derive(Deserialize)]
    struct Id {
        #[serde(rename = "_id")]
        id: String,
    }
    let ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
    let body = json!({"query": {"ids": {"values": ids}}, "size": ids.len(), "_source": false});
    let path = format!("/{}/_search", of.index);
    let reply: Reply<Id> = to
        .json(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
        .await?;
    Ok(reply.hits.hits.into_iter().map(|hit| hit.id).collect())
}

fn random() -> Value {
    json!({"function_score": {"random_score": {}}})
}

/// Faces of an index that meet a query, at most `size`.
async fn some_faces(to: &Destination, of: &Collection, query: &Value, size: usize) -> Result<Vec<Face>, ElasticError> {
    let mut body = json!({
        "query": query,
        "size": size,
        "_source": false,
        "seq_no_primary_term": true,
    });
    embedding::ask(&mut body, &*to.versions().await?);
    let path = format!("/{}/_search", of.index);
    let reply: Reply<Face> = to
        .json(OPERATION, Method::Post, &path, &STRICT, Payload::Json(&body))
        .await?;
    Ok(reply.hits.hits)
}

/// As `facedex search` looks, so that a check that passes says what users will find.
async fn nearest(to: &Destination, of: &Collection, stored: u64, vector: &[f32]) -> Result<Vec<Hit>, ElasticError> {
    let query = Knn {
        vector,
        k: K,
        effort: Asked::default().effort(Question::Search, &of.layout(), K, stored),
        min_similarity: None,
        filters: &[],
    };
    search::knn(&to.client, of, &query).await
}
