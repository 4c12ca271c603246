//! Which collections there are, remembered for some seconds: a look-up for every search would cost as much as the search.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::resolve;
use facedex_elastic::{Client, ElasticError};

/// A collection that is made anew under its name with other models is searched for this long as if it were the old one.
const REMEMBERED: Duration = Duration::from_secs(5);

type Known = HashMap<String, (Instant, Arc<Collection>)>;

/// Collections that were looked up.
#[derive(Default)]
pub(super) struct Collections {
    known: Mutex<Known>,
}

impl Collections {
    /// The collection of this name. That there is none is not remembered.
    pub(super) async fn get(&self, client: &Client, name: &str) -> Result<Arc<Collection>, ElasticError> {
        if let Some(collection) = self.remembered(name) {
            return Ok(collection);
        }
        let found = resolve::open(client, name).await.map(Arc::new);
        let mut known = self.known();
        match &found {
            Ok(collection) => known.insert(name.to_owned(), (Instant::now(), collection.clone())),
            Err(_) => known.remove(name),
        };
        found
    }

    fn remembered(&self, name: &str) -> Option<Arc<Collection>> {
        let mut known = self.known();
        let (since, collection) = known.get_mut(name)?;
        if since.elapsed() < REMEMBERED {
            return Some(collection.clone());
        }
        // The one who finds it too old looks anew; whoever comes meanwhile takes it as it is, lest all look at once.
        *since = Instant::now();
        None
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
