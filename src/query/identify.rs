//! Identification: hits grouped by person, and a decision: this person, or unknown.

use std::collections::HashMap;
use std::sync::Arc;

use facedex_elastic::read::effort::{MAX_CANDIDATES, Question};
use facedex_elastic::read::knn::Knn;
use facedex_elastic::read::search::Hit;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::document::Person;
use facedex_elastic::{Client, ElasticError};
use serde::Serialize;

use super::search::{SearchOptions, nearest};
use super::threshold::Threshold;

/// Hits are asked for this many times more often than groups at first: people have several photos.
const FIRST_SPREAD: usize = 4;

/// Who a face is.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Identification {
    /// Match or unknown.
    pub decision: Decision,
    /// The nearest person who reaches the threshold. A match without a person is a face that is in the collection and has
    /// no name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Cosine with the nearest face of that person, else with the nearest face of all; absent in an empty collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// What a match had to reach.
    pub threshold: Threshold,
    /// Persons and unlabelled faces, nearest first; those below the threshold are no matches.
    pub candidates: Vec<Candidate>,
}

/// Whether somebody was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The best candidate reaches the threshold.
    Match,
    /// Nobody does.
    Unknown,
}

/// A person, or one face that nobody has labelled.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Candidate {
    /// Who; absent for an unlabelled face.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Cosine with the nearest of the candidate's faces.
    pub similarity: f64,
    /// The faces that were found, nearest first.
    pub hits: Vec<Hit>,
}

/// Finds the `options.k` nearest persons and decides.
pub async fn identify(
    client: &Arc<Client>,
    collection: &Collection,
    embedding: &[f32],
    options: &SearchOptions,
    threshold: &Threshold,
) -> Result<Identification, ElasticError> {
    let wanted = options.k.max(1);
    let mut k = (wanted * FIRST_SPREAD).min(MAX_CANDIDATES);
    let candidates = loop {
        let query = Knn {
            vector: embedding,
            k,
            effort: options.effort(Question::Identify, collection, k),
            min_similarity: None,
            filters: &options.filters,
        };
        let hits = nearest(client, collection, &query, options.exact).await?;
        let exhausted = hits.len() < k || k == MAX_CANDIDATES;
        let lowest = hits.last().map_or(-1.0, |hit| hit.similarity);
        let candidates = group(hits);
        // Unlabelled faces (bystanders of earlier photos, say) must not crowd out somebody who has a name.
        let is_decided = lowest < threshold.similarity || best_named(&candidates, threshold).is_some();
        if (candidates.len() >= wanted && is_decided) || exhausted {
            break candidates;
        }
        k = (k * 4).min(MAX_CANDIDATES);
    };
    let named = best_named(&candidates, threshold);
    let best = named.or(candidates.first());
    let decision = match best {
        Some(best) if best.similarity >= threshold.similarity => Decision::Match,
        _ => Decision::Unknown,
    };
    let (person, similarity) = (
        named.and_then(|named| named.person.clone()),
        best.map(|best| best.similarity),
    );
    let mut shown = candidates;
    if let Some(at) = shown
        .iter()
        .position(|candidate| candidate.person.is_some() && candidate.person == person)
    {
        // The one who was recognised is among those shown, however many faces without a name are nearer.
        if at >= wanted {
            shown.swap(wanted - 1, at);
        }
    }
    shown.truncate(wanted);
    Ok(Identification {
        decision,
        person,
        similarity,
        threshold: threshold.clone(),
        candidates: shown,
    })
}

/// The nearest person who reaches the threshold.
fn best_named<'c>(candidates: &'c [Candidate], threshold: &Threshold) -> Option<&'c Candidate> {
    candidates
        .iter()
        .find(|candidate| candidate.person.is_some() && candidate.similarity >= threshold.similarity)
}

/// Groups hits (best first) by person; a face without one is a group of its own.
fn group(hits: Vec<Hit>) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut place: HashMap<String, usize> = HashMap::new();
    for hit in hits {
        if let Some(person) = &hit.person {
            if let Some(&at) = place.get(&person.id) {
                candidates[at].hits.push(hit);
                continue;
            }
            place.insert(person.id.clone(), candidates.len());
        }
        candidates.push(Candidate {
            person: hit.person.clone(),
            similarity: hit.similarity,
            hits: vec![hit],
        });
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(id: &str, similarity: f64, person: Option<&str>) -> Hit {
        Hit {
            id: id.to_owned(),
            similarity,
            person: person.map(|id| Person {
                id: id.to_owned(),
                name: None,
            }),
            image: String::new(),
            bbox: None,
            labels: Default::default(),
        }
    }

    #[test]
    fn a_person_is_one_candidate_and_each_unlabelled_face_its_own() {
        let candidates = group(vec![
            hit("1", 0.9, Some("ada")),
            hit("2", 0.8, None),
            hit("3", 0.7, Some("bob")),
            hit("4", 0.6, Some("ada")),
            hit("5", 0.5, None),
        ]);
        let shown: Vec<_> = candidates
            .iter()
            .map(|c| (c.person.as_ref().map(|p| p.id.as_str()), c.similarity, c.hits.len()))
            .collect();
        assert_eq!(
            shown,
            [
                (Some("ada"), 0.9, 2),
                (None, 0.8, 1),
                (Some("bob"), 0.7, 1),
                (None, 0.5, 1)
            ]
        );
    }
}
