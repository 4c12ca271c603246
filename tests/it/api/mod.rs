//! `facedex serve`, by area, through the real binary.

mod access;
mod audit;
mod enrol;
mod errors;
mod es_proxy;
mod examples;
mod keys;
mod load;
mod persons;
mod search;
mod serve;
mod site;

use std::sync::{Arc, Mutex, Weak};

use crate::harness::api::Api;
use crate::harness::{Space, photo};
use crate::query::loaded;

/// A server of the demo's photos, shared by the tests that run at the same time.
struct Served {
    space: Arc<Space>,
    api: Api,
}

fn served() -> Arc<Served> {
    static SERVED: Mutex<Weak<Served>> = Mutex::new(Weak::new());
    let mut shared = SERVED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(served) = shared.upgrade() {
        return served;
    }
    let space = loaded();
    let api = Api::start(&space, &[]);
    let served = Arc::new(Served { space, api });
    *shared = Arc::downgrade(&served);
    served
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(photo(name)).unwrap()
}

/// An empty collection of a test's own, and a server.
fn own(arguments: &[&str]) -> (Space, Api) {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let api = Api::start(&space, arguments);
    (space, api)
}
