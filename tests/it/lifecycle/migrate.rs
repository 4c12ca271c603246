//! To another index type, graph and number of shards, and back out of what was cut off.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::made_up::{document, expect_same, id, vector};
use crate::harness::node::{pause, request, wait_until};
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, run};

#[test]
fn a_collection_moves_with_all_that_it_holds() {
    let space = Space::new();
    let obama = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "Barack_Obama/1.jpg");
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "Four/four.jpg");
    space.ingest(
        0,
        &[&obama, &four, "--person-from-dir", "--label", "album=a", "--thumbnails"],
    );
    let (documents, vectors) = (space.documents(), space.vectors());
    let before = space.collection(0, "status", &[]);
    let wanted = ["--index-type", "hnsw", "--shards", "3", "--m", "20"];

    let dry = space.collection(0, "migrate", &[wanted.as_slice(), &["--dry-run"]].concat());
    let next = format!("facedex-faces-{}-000002", space.name);
    assert_eq!((&dry["from"], &dry["to"]), (&json!(space.index()), &json!(next)));
    assert_eq!(space.elastic("GET", &format!("/{next}"), None).0, 404);

    let moved = space.collection(0, "migrate", &wanted);
    assert_eq!(
        (&moved["faces"], &moved["carried"], &moved["left_behind"]),
        (&json!(5), &json!(5), &json!(0)),
        "{moved}"
    );
    assert_eq!(
        (&moved["sample"]["searches"], &moved["sample"]["found"]),
        (&json!(5), &json!(1.0))
    );
    assert_eq!(space.live_index(), next);
    assert_eq!(space.documents(), documents);
    expect_same(&space.vectors(), &vectors);
    let after = space.collection(0, "status", &[]);
    for (what, value) in [
        ("index_type", json!("hnsw")),
        ("shards", json!(3)),
        ("collection_id", before["collection_id"].clone()),
    ] {
        assert_eq!(after[what], value, "{what}");
    }
    let (_, settings) = space.elastic("GET", &format!("/{next}/_settings"), None);
    let settings = &settings[&next]["settings"]["index"];
    assert!(
        settings["refresh_interval"].is_null() && settings["auto_expand_replicas"] == "0-1",
        "{settings}"
    );
    // The journal still holds, new photos arrive, searches find.
    let again = space.ingest(0, &[&obama, "--person-from-dir", "--label", "album=a", "--thumbnails"]);
    assert_eq!(again["done_before"], 1);
    let biden = space.put_photo("query/biden.jpg", "Biden/1.jpg");
    space.ingest(0, &[&biden, "--person-from-dir"]);
    let query = space.put_photo("query/obama-3.jpg", "query.jpg");
    let who = space.run(&["identify", &query, "--json"]).expect(0).json();
    assert_eq!(who["faces"][0]["person"]["id"], "Barack_Obama");
    assert_eq!(space.collection(0, "check", &[])["faces"], 6);

    // The same once more does nothing. The old index takes no writes, and goes when it is told to.
    let again = space
        .run(&["collection", "migrate", &space.name, "--index-type", "hnsw"])
        .expect(0);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
    assert_eq!(after["versions"][0]["state"], "kept");
    let write = space.elastic("PUT", &format!("/{}/_doc/x", space.index()), Some(document(1)));
    assert_eq!(
        (write.0, &write.1["error"]["type"]),
        (403, &json!("cluster_block_exception"))
    );
    let dry = space.collection(0, "retire", &["--dry-run"]);
    assert_eq!(
        (&dry["removed"][0]["index"], space.exists()),
        (&json!(space.index()), true)
    );
    assert_eq!(space.collection(0, "retire", &[])["removed"][0]["index"], space.index());
    assert!(!space.exists() && space.live_index() == next);
    assert_eq!(space.collection(0, "retire", &[])["removed"], json!([]));
}

#[test]
fn a_migration_that_was_cut_off_is_taken_up_again() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..2000);
    let wanted = ["collection", "migrate", &space.name, "--index-type", "hnsw", "--json"];
    let next = format!("facedex-faces-{}-000002", space.name);
    // Killed as soon as some faces are over.
    let mut child = space.command(&wanted).spawn().unwrap();
    let over = || {
        space.elastic("POST", &format!("/{next}/_refresh"), None).0 == 200
            && space.elastic("GET", &format!("/{next}/_count"), None).1["count"].as_u64() > Some(0)
    };
    crate::harness::node::wait_until("some faces are over", || over() || child.try_wait().unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had come to the block: writers wait until it is taken up again.
    if space.live_index() == space.index() {
        assert_eq!(
            space
                .elastic("PUT", &format!("/{}/_block/write", space.index()), None)
                .0,
            200
        );
        let states = &space.collection(0, "status", &[])["versions"];
        assert_eq!(
            (&states[0]["index"], &states[0]["state"]),
            (&json!(next), &json!("building"))
        );
        let other = space
            .run(&["collection", "migrate", &space.name, "--index-type", "flat"])
            .expect(2);
        assert!(
            other.stderr.contains("another migration (hnsw") && other.stderr.contains("--unfinished"),
            "{other:?}"
        );
        space.run(&wanted).expect(0);
    }
    assert_eq!(space.live_index(), next);
    let vectors = (0..2000).map(|number| (id(number), vector(number))).collect();
    expect_same(&space.vectors(), &vectors);
}

#[test]
fn an_index_with_wrong_vectors_is_not_switched_to() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..60);
    space.count();
    // The next index as an earlier run would have left it, with the right versions, but with each other's vectors.
    let (_, old) = space.elastic("GET", &format!("/{}", space.index()), None);
    let mut mappings = old[space.index()]["mappings"].clone();
    mappings["properties"]["face"]["properties"]["embedding"]["index_options"] =
        json!({"type": "hnsw", "m": 32, "ef_construction": 100});
    let next = format!("facedex-faces-{}-000002", space.name);
    let building = format!("facedex-faces-{}-building", space.name);
    let body = json!({"aliases": {building: {}}, "mappings": mappings, "settings": {"number_of_replicas": 0}});
    assert_eq!(space.elastic("PUT", &format!("/{next}"), Some(body)).0, 200);
    let stored = json!({"size": 100, "seq_no_primary_term": true, "_source": false});
    let (_, stored) = space.elastic("POST", &format!("/{}/_search", space.name), Some(stored));
    for hit in stored["hits"]["hits"].as_array().unwrap() {
        let number = (0..60).find(|&number| hit["_id"] == id(number)).unwrap();
        let mut wrong = document(number);
        wrong["face"]["embedding"] = json!(vector((number + 1) % 60 + 1000));
        let version = (hit["_primary_term"].as_u64().unwrap() << 40) | hit["_seq_no"].as_u64().unwrap();
        let path = format!("/{next}/_doc/{}?version={version}&version_type=external", id(number));
        assert_eq!(space.elastic("PUT", &path, Some(wrong)).0, 201);
    }
    let refused = space
        .run(&["collection", "migrate", &space.name, "--index-type", "hnsw"])
        .expect(2);
    assert!(refused.stderr.contains("finds too little"), "{refused:?}");
    // All is as it was: the alias, and writers may go on.
    assert_eq!(space.live_index(), space.index());
    space.fill(60..61);
    let gone = space.collection(0, "retire", &["--unfinished"]);
    assert_eq!(gone["removed"][0]["index"], next);
    let moved = space.collection(0, "migrate", &["--index-type", "hnsw"]);
    assert_eq!(
        (&moved["faces"], &moved["sample"]["agreement"]),
        (&json!(61), &json!(1.0)),
        "{moved}"
    );
}

#[test]
fn a_small_collection_that_is_written_to_moves() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..20);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // It waits while the migration does.
            for turn in (20..).step_by(40).take_while(|_| !over.load(Ordering::Relaxed)) {
                let mut left: Vec<u64> = (turn..turn + 40).collect();
                while !left.is_empty() {
                    let lines: Vec<Value> = left
                        .iter()
                        .flat_map(|&number| [json!({"create": {"_id": id(number)}}), document(number)])
                        .collect();
                    let items = space.bulk(&lines);
                    let is_there = |item: &Value| item["create"]["status"] == 201;
                    left = left
                        .into_iter()
                        .zip(&items)
                        .filter(|(_, item)| !is_there(item))
                        .map(|(number, _)| number)
                        .collect();
                    pause(20);
                }
            }
        });
        wait_until("it writes", || space.count() > 100);
        let ran = space.run(&["collection", "migrate", &space.name, "--index-type", "hnsw", "--json"]);
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let moved = ran.expect(0).json();
        assert_eq!(moved["sample"]["found"], 1.0, "{moved}");
    });
}

#[test]
fn writers_wait_no_longer_than_they_may() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..500);
    space.count();
    let migrate = ["collection", "migrate", &space.name, "--index-type", "hnsw"];
    let refused = space.run(&[&migrate[..], &["--max-pause", "1ms"]].concat()).expect(2);
    assert!(refused.stderr.contains("--max-pause"), "{refused:?}");
    assert_eq!(space.live_index(), space.index());
    space.fill(500..501);
    // The same command goes on.
    assert_eq!(space.collection(0, "migrate", &["--index-type", "hnsw"])["faces"], 501);
}

#[test]
fn the_index_that_a_migration_builds_is_its_own_while_it_goes_on() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..50);
    space.count();
    let proxy = Proxy::start(&space.url, |seen| {
        (seen.kind == Kind::Bulk).then_some(Fault::HangBefore)
    });
    let mut command = space.command(&["collection", "migrate", &space.name, "--index-type", "hnsw"]);
    let mut first = command.env("ELASTICSEARCH_URL", &proxy.url).spawn().unwrap();
    wait_until("it carries faces over", || proxy.count(Kind::Bulk) > 0);
    for other in [
        &["collection", "retire", &space.name, "--unfinished"][..],
        &["collection", "migrate", &space.name, "--index-type", "hnsw"],
    ] {
        let refused = space.run(other).expect(2);
        assert!(refused.stderr.contains("a migration that goes on"), "{refused:?}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(
        space.collection(0, "retire", &["--unfinished"])["removed"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(space.collection(0, "migrate", &["--index-type", "hnsw"])["faces"], 50);
}

/// A run that is killed may have asked for the switch already: Elasticsearch answers it while the next run looks.
#[test]
fn a_switch_that_a_killed_run_asked_for_comes_while_the_next_run_looks() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..50);
    space.count();
    let next = format!("facedex-faces-{}-000002", space.name);
    let (old, name) = (space.index(), space.name.clone());
    let (node, new) = (space.url.clone(), next.clone());
    let proxy = Proxy::start(&space.url, move |seen| {
        if seen.kind == Kind::Refresh && seen.number == 2 {
            let (_, aliases) = request(&node, "GET", &format!("/{old},{new}/_alias"), None);
            let of = |index: &str| aliases[index]["aliases"].as_object().unwrap().clone();
            let mut actions: Vec<Value> = of(&new)
                .keys()
                .map(|alias| json!({"remove": {"index": new, "alias": alias}}))
                .collect();
            for (alias, mut properties) in of(&old) {
                properties["index"] = json!(new);
                properties["alias"] = json!(alias);
                actions.push(json!({"remove": {"index": old, "alias": alias}}));
                actions.push(json!({"add": properties}));
            }
            let (status, switched) = request(&node, "POST", "/_aliases", Some(json!({"actions": actions})));
            assert_eq!(status, 200, "{switched}");
        }
        None
    });
    let mut command = space.command(&["collection", "migrate", &name, "--index-type", "hnsw", "--json"]);
    command.env("ELASTICSEARCH_URL", &proxy.url);
    let moved = run(command).expect(0).json();
    assert!(proxy.count(Kind::Refresh) > 2, "{:?}", proxy.seen());
    assert_eq!((&moved["to"], &moved["faces"]), (&json!(next), &json!(50)), "{moved}");
    assert_eq!(space.live_index(), next);
    // Nothing is left blocked that is written to, and nothing is left to do.
    space.fill(50..51);
    let again = space
        .run(&["collection", "migrate", &name, "--index-type", "hnsw"])
        .expect(0);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
    assert_eq!(space.count(), 51);
}
