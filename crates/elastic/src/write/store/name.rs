//! Naming faces that are stored without a person, and nothing else of what is stored.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{Outcome, PhotoRecord, Place, Stored, compare, have_pictures, look_up_with};
use crate::schema::versions::ROUNDS;
use crate::wire::bulk::{self, Action, Operation, Verdict};
use crate::{Destination, ElasticError};

/// Names the faces that are stored without a person and were given one.
pub(super) async fn name(to: &Destination, photos: &[PhotoRecord], stored: &mut [Stored]) -> Result<(), ElasticError> {
    let mut left: HashMap<String, Place> = HashMap::new();
    for (at, stored) in stored.iter().enumerate() {
        for (place, outcome) in stored.outcomes.iter().enumerate() {
            if matches!(outcome, Outcome::Unnamed { named: false }) {
                left.insert(photos[at].id(place), (at, place));
            }
        }
    }
    let pictures = have_pictures(photos);
    // Faces whose update may have been done though its answer was lost.
    let mut unanswered: HashSet<String> = HashSet::new();
    for _ in 0..ROUNDS {
        let ids: Vec<&str> = left.keys().map(String::as_str).collect();
        let found = look_up_with(to, &ids, pictures).await?;
        let mut operations = Vec::new();
        for (id, &(at, place)) in &left {
            let outcome = &mut stored[at].outcomes[place];
            let Some((face, version)) = found.get(id) else {
                *outcome = rejected("the face was deleted by somebody else meanwhile; run again to write it");
                continue;
            };
            // Somebody else may have named it since.
            *outcome = compare(&photos[at], place, face, false);
            if matches!(outcome, Outcome::Existing { .. }) && unanswered.contains(id) {
                *outcome = Outcome::Unnamed { named: true };
            } else if matches!(outcome, Outcome::Unnamed { .. }) {
                let change = json!({"doc": {"person": photos[at].faces[place].person}});
                operations.push(Operation {
                    id: id.clone(),
                    action: Action::Update(change.to_string().into(), *version),
                });
            }
        }
        let verdicts = bulk::execute(to, &operations).await?;
        let mut again = HashMap::new();
        for (operation, verdict) in operations.into_iter().zip(verdicts) {
            let Some(&(at, place)) = left.get(&operation.id) else {
                continue;
            };
            let outcome = &mut stored[at].outcomes[place];
            match verdict {
                Verdict::Done(_) => *outcome = Outcome::Unnamed { named: true },
                Verdict::Rejected { status, kind, reason } => {
                    *outcome = rejected(&format!("{status} {kind}: {reason}"))
                }
                Verdict::Taken { unanswered: is_lost } => {
                    if is_lost {
                        unanswered.insert(operation.id.clone());
                    }
                    again.insert(operation.id, (at, place));
                }
                Verdict::Missing => {
                    again.insert(operation.id, (at, place));
                }
            }
        }
        left = again;
        if left.is_empty() {
            return Ok(());
        }
    }
    for (at, place) in left.into_values() {
        stored[at].outcomes[place] = rejected("somebody else changes the face all the time; run again");
    }
    Ok(())
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected {
        reason: reason.to_owned(),
    }
}
