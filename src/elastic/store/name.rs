//! Naming faces that are stored without a person, and nothing else of what is stored.

use std::collections::HashMap;

use serde_json::json;

use super::{Outcome, PhotoRecord, Place, Stored, compare, look_up};
use crate::elastic::bulk::{self, Action, Operation, Verdict};
use crate::elastic::lifecycle::versions::{ROUNDS, busy};
use crate::elastic::{Destination, ElasticError};

const OPERATION: &str = "name faces";

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
    for _ in 0..ROUNDS {
        let ids: Vec<&str> = left.keys().map(String::as_str).collect();
        let found = look_up(to, &ids).await?;
        let mut operations = Vec::new();
        for (id, &(at, place)) in &left {
            let outcome = &mut stored[at].outcomes[place];
            let Some((face, version)) = found.get(id) else {
                *outcome = Outcome::Rejected {
                    reason: "the face was deleted by somebody else meanwhile; run again to write it".to_owned(),
                };
                continue;
            };
            // Somebody else may have named it since.
            *outcome = compare(&photos[at], place, face, false);
            if matches!(outcome, Outcome::Unnamed { .. }) {
                let change = json!({"doc": {"person": photos[at].faces[place].person}});
                operations.push(Operation {
                    id: id.clone(),
                    action: Action::Update(change.to_string().into(), *version),
                });
            }
        }
        let verdicts = bulk::execute(to, &operations).await?;
        bulk::expect_done(OPERATION, &verdicts)?;
        left = operations
            .into_iter()
            .zip(verdicts)
            .filter_map(|(operation, verdict)| {
                let &(at, place) = left.get(&operation.id)?;
                if matches!(verdict, Verdict::Done(_)) {
                    stored[at].outcomes[place] = Outcome::Unnamed { named: true };
                    return None;
                }
                Some((operation.id, (at, place)))
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(busy(OPERATION))
}
