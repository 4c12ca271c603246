//! A migration while photos are ingested, faces are written, changed and deleted, and searches are asked: nothing is lost,
//! nothing is wrong, and no search fails.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::made_up::{document, expect_same, id, vector};
use crate::harness::api::Api;
use crate::harness::images::variants_of_size;
use crate::harness::node::{pause, wait_until};
use crate::harness::{Space, photo};

/// Faces that are there before.
const BEFORE: u64 = 3000;

/// What those who search met.
#[derive(Default)]
struct Searches {
    asked: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

impl Searches {
    fn count(&self, answered: bool, right: bool) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!answered), Ordering::Relaxed);
        self.wrong.fetch_add(u64::from(answered && !right), Ordering::Relaxed);
    }
}

/// Asks Elasticsearch for the nearest face to that of a made-up one that nobody touches.
fn ask_by_vector(space: &Space, searches: &Searches, number: u64) {
    let number = number % 1000;
    let body = json!({"knn": {"field": "face.embedding", "query_vector": vector(number), "k": 1, "num_candidates": 200}, "_source": false});
    let (status, reply) = space.elastic("POST", &format!("/{}/_search", space.name), Some(body));
    searches.count(
        status == 200 && reply["_shards"]["failed"] == 0,
        reply["hits"]["hits"][0]["_id"] == id(number),
    );
}

/// Asks the API who is in a photo.
fn ask_by_photo(api: &Api, space: &Space, searches: &Searches, bytes: &[u8]) {
    let answer = api.post_photo(&format!("/v1/identify?collection={}", space.name), bytes.to_vec());
    let right = answer.status == 200 && answer.json()["faces"][0]["person"]["id"] == "Barack_Obama";
    searches.count(answer.status == 200, right);
}

/// What a writer that tries again has done, by the index that took it.
#[derive(Default)]
struct Written {
    made: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    /// The last name that a face was given.
    changed: BTreeMap<u64, String>,
    by_index: BTreeMap<String, u64>,
    told_to_wait: u64,
}

impl Written {
    /// Makes a face, deletes one, changes one; each until it is done.
    fn step(&mut self, space: &Space, turn: u64) {
        let (new, old, other) = (BEFORE + turn, 1000 + turn % 1000, 2000 + turn % 1000);
        self.send(space, &[json!({"create": {"_id": id(new)}}), document(new)]);
        self.made.insert(new);
        if self.deleted.insert(old) {
            self.send(space, &[json!({"delete": {"_id": id(old)}})]);
        }
        let name = format!("changed {turn}");
        let change = json!({"doc": {"person": {"name": name}}});
        self.send(space, &[json!({"update": {"_id": id(other)}}), change]);
        self.changed.insert(other, name);
    }

    fn send(&mut self, space: &Space, lines: &[Value]) {
        loop {
            let items = space.bulk(lines);
            let item = items[0].as_object().unwrap().values().next().unwrap().clone();
            match item["status"].as_u64().unwrap() {
                200 | 201 => {
                    *self
                        .by_index
                        .entry(item["_index"].as_str().unwrap().to_owned())
                        .or_default() += 1;
                    return;
                }
                403 => {
                    assert_eq!(item["error"]["type"], "cluster_block_exception", "{item}");
                    self.told_to_wait += 1;
                    pause(20);
                }
                // A write whose answer was lost is not part of this test.
                _ => panic!("{item}"),
            }
        }
    }
}

/// Ends the others, also when a test fails in between.
struct Over<'t>(&'t AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `facedex ingest --watch`. It ends when it is dropped.
struct Watching(Option<Child>);

impl Watching {
    fn start(space: &Space, folder: &str) -> Self {
        std::fs::create_dir_all(space.path(folder)).unwrap();
        let arguments = ["ingest", "--json", "--watch", &space.path(folder)];
        Self(Some(space.command(&arguments).spawn().unwrap()))
    }

    /// Tells it to end, and gives its summary.
    fn end(mut self) -> Value {
        let child = self.0.take().unwrap();
        let mut kill = Command::new("kill");
        assert!(kill.args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        serde_json::from_str(String::from_utf8_lossy(&ended.stdout).lines().last().unwrap()).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn nothing_is_lost_wrong_or_down_while_a_collection_moves() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..BEFORE);
    let obama = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "Barack_Obama/1.jpg");
    space.ingest(0, &[&obama, "--person-from-dir"]);
    space.count();
    let query = std::fs::read(photo("query/obama-3.jpg")).unwrap();
    let api = Api::start(&space, &["--threads", "1"]);
    let ingest = Watching::start(&space, "in");

    let (over, searches, photos) = (AtomicBool::new(false), Searches::default(), AtomicU64::new(0));
    let is_over = || over.load(Ordering::Relaxed);
    let (moved, written) = std::thread::scope(|scope| {
        let ending = Over(&over);
        scope.spawn(|| {
            (0..)
                .take_while(|_| !is_over())
                .for_each(|turn| ask_by_vector(&space, &searches, turn))
        });
        scope.spawn(|| {
            (0..)
                .take_while(|_| !is_over())
                .for_each(|_: u64| ask_by_photo(&api, &space, &searches, &query))
        });
        // Photos for the ingest, one after the other.
        scope.spawn(|| {
            for bytes in variants_of_size("query/biden.jpg", 200, 100_000).take_while(|_| !is_over()) {
                let number = photos.fetch_add(1, Ordering::Relaxed);
                space.put(&format!("in/{number}.png"), &bytes);
                pause(100);
            }
        });
        let writer = scope.spawn(|| {
            let mut written = Written::default();
            (0..)
                .take_while(|_| !is_over())
                .for_each(|turn| written.step(&space, turn));
            written
        });
        wait_until("all of them work", || {
            searches.asked.load(Ordering::Relaxed) > 20
                && space.count() > BEFORE + 20
                && photos.load(Ordering::Relaxed) > 5
        });
        let mut moved = Vec::new();
        for goal in [
            ["--index-type", "hnsw", "--shards", "2"],
            ["--index-type", "int8_hnsw", "--shards", "1"],
        ] {
            moved.push(space.collection(0, "migrate", &goal));
            // Also afterwards, for a while.
            let (asked, count) = (searches.asked.load(Ordering::Relaxed), space.count());
            wait_until("all of them still work", || {
                searches.asked.load(Ordering::Relaxed) > asked + 20 && space.count() > count
            });
        }
        drop(ending);
        (moved, writer.join().unwrap())
    });

    // Every photo that was put there is taken, then the ingest ends.
    let put = photos.load(Ordering::Relaxed);
    let wanted = BEFORE + 1 + written.made.len() as u64 - written.deleted.len() as u64 + put;
    wait_until("the ingest has caught up", || space.count() == wanted);
    let summary = ingest.end();
    assert_eq!(
        (&summary["indexed"], &summary["failed"]),
        (&json!(put), &json!(0)),
        "{summary}"
    );

    // Lost 0, wrong 0.
    let documents = space.documents();
    let mut found = space.vectors();
    found.retain(|id, _| documents[id]["ingest"]["run"] == "made-up");
    let stay = (0..BEFORE).filter(|number| !written.deleted.contains(number));
    let made: BTreeMap<String, Vec<f32>> = stay
        .chain(written.made.iter().copied())
        .map(|number| (id(number), vector(number)))
        .collect();
    expect_same(&found, &made);
    for (number, name) in &written.changed {
        assert_eq!(documents[&id(*number)]["person"]["name"], name.as_str(), "{number}");
    }
    assert!(
        written.by_index.len() == 3,
        "every index took writes: {:?}",
        written.by_index
    );
    // Downtime 0.
    let figures = [&searches.asked, &searches.failed, &searches.wrong].map(|figure| figure.load(Ordering::Relaxed));
    println!("| migration | faces | rounds | writers waited, s | lost | wrong |\n|---|---|---|---|---|---|");
    for outcome in &moved {
        let (faces, rounds) = (&outcome["faces"], &outcome["rounds"]);
        println!(
            "| {} | {faces} | {rounds} | {:.2} | 0 | 0 |",
            outcome["to"],
            outcome["blocked_seconds"].as_f64().unwrap()
        );
    }
    println!(
        "searches {}, failed {}, wrong {}; photos ingested {put}; written {:?}, of which {} tries were told to wait",
        figures[0], figures[1], figures[2], written.by_index, written.told_to_wait
    );
    assert_eq!((figures[1], figures[2]), (0, 0));
}
