//! Which collections there are, remembered for some seconds: a look-up for every search would cost as much as the search.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::elastic::collection::{self, Collection};
use crate::elastic::{Client, ElasticError};

/// A collection that is made anew under its name with other models is searched for this long as if it were the old one.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Collections that were looked up.
#[derive(Default)]
pub(super) struct Collections {
    known: Mutex<HashMap<String, (Instant, Arc<Collection>)>>,
}

impl Collections {
    /// The collection of this name. That there is none is not remembered.
    pub(super) async fn get(&self, client: &Client, name: &str) -> Result<Arc<Collection>, ElasticError> {
        if let Some(collection) = self.remembered(name) {
            return Ok(collection);
        }
        let collection = Arc::new(collection::open(client, name).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        known.insert(name.to_owned(), (Instant::now(), collection.clone()));
        Ok(collection)
    }

    fn remembered(&self, name: &str) -> Option<Arc<Collection>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, collection) = known.get(name)?;
        (since.elapsed() < REMEMBERED).then(|| collection.clone())
    }
}
