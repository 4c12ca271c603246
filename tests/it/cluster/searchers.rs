//! People who search all the time, by every way that there is, and note each answer that is not the right one.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;

use super::faces;
use crate::harness::api::{http, send};
use crate::harness::node::pause;
use crate::harness::{photo, run};

/// What the searchers saw.
#[derive(Default)]
pub struct Seen {
    /// Searches that were answered rightly.
    pub answered: AtomicUsize,
    /// Searches without an answer yet.
    pub under_way: AtomicUsize,
    /// What was wrong with the others.
    pub errors: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    pub fn errors(&self) -> usize {
        self.errors.lock().unwrap().len()
    }
}

pub struct Searchers {
    pub seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

impl Searchers {
    /// `cli` makes the command `facedex search PHOTO --json`.
    pub fn start(serve: &str, collection: &str, cli: impl Fn() -> Command + Send + 'static) -> Self {
        let seen = Arc::new(Seen::default());
        let by_photo = format!("{serve}/v1/search?collection={collection}");
        let obama = std::fs::read(photo("query/obama-3.jpg")).unwrap();
        // Without this Elasticsearch answers 200 with what the other shards have, and says so in `_shards` alone.
        let by_vector = format!("{serve}/es/{collection}/_search?allow_partial_search_results=false");
        let mut number = 0;
        let threads = vec![
            search(&seen, move || {
                let request = http().post(&by_photo).header("content-type", "image/jpeg");
                let answer = send(request.body(obama.clone()));
                is_obama(answer.status == 200, &answer.text())
            }),
            search(&seen, move || {
                number = (number + 1) % faces::COUNT;
                let clause = faces::knn(&faces::vector(number), 1);
                let answer = send(http().post(&by_vector).json(&json!({"knn": clause})));
                let text = answer.text();
                let is_right = answer.status == 200 && answer.json()["hits"]["hits"][0]["_id"] == faces::id(number);
                if is_right {
                    Ok(())
                } else {
                    Err(format!("{}: {text}", answer.status))
                }
            }),
            search(&seen, move || {
                let ran = run(cli());
                is_obama(ran.code == 0, &format!("{}{}", ran.stdout, ran.stderr))
            }),
        ];
        Self { seen, threads }
    }

    pub fn stop(self) {
        self.seen.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn is_obama(success: bool, text: &str) -> Result<(), String> {
    // The stored photos of him, whatever else the answer says.
    let is_right = success && text.matches("\"Barack_Obama\"").count() >= 2;
    if is_right { Ok(()) } else { Err(text.to_owned()) }
}

fn search(seen: &Arc<Seen>, mut ask: impl FnMut() -> Result<(), String> + Send + 'static) -> JoinHandle<()> {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        while !seen.over.load(Ordering::Relaxed) {
            seen.under_way.fetch_add(1, Ordering::Relaxed);
            let answer = ask();
            seen.under_way.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok(()) => {
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => seen.errors.lock().unwrap().push(error),
            }
            // The machine is to be left some time for the ingest.
            pause(200);
        }
    })
}
