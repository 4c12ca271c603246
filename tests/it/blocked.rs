//! Indices that take or tell nothing, on a node of their own: a block of one must not be felt by the tests of others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::node::{Node, request};
use crate::harness::{Space, photo};

/// Two collections on a node of their own, each with photos of two people.
fn two() -> (tempfile::TempDir, Node, Space, Space) {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), 0);
    let (good, bad) = (Space::at(&node.url), Space::at(&node.url));
    for space in [&good, &bad] {
        for person in ["Barack_Obama", "Eileen_Collins"] {
            let folder = photo("gallery").join(person);
            space.ingest(0, &[folder.to_str().unwrap(), "--person-from-dir"]);
        }
    }
    (data, node, good, bad)
}

#[test]
fn an_index_that_tells_nothing_takes_no_other_along() {
    let (_data, node, good, bad) = two();
    let api = Api::start(&good, &["--threads", "1"]);
    let block = |value: Value| {
        let body = json!({"index.blocks.metadata": value});
        let (status, reply) = request(&node.url, "PUT", &format!("/{}/_settings", bad.index()), Some(body));
        assert_eq!(status, 200, "{reply}");
    };
    block(json!(true));
    let listed = api.get("/v1/collections").expect(200);
    assert_eq!(listed["collections"], json!([good.name]));
    let listed = good.run(&["collection", "list", "--json"]).expect(0).json();
    assert_eq!(listed["unusable"][0]["index"], bad.index(), "{listed}");
    let reason = listed["unusable"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("index.blocks.metadata"), "{reason}");
    // Whose index it is cannot be told: what can be deleted is, and that it may not be all is said.
    let deleted = good.run(&["person", "delete", "Barack_Obama", "--yes"]).expect(2);
    assert!(deleted.stdout.contains("deleted 2 faces"), "{deleted:?}");
    assert!(deleted.stderr.contains(&bad.index()), "{deleted:?}");
    api.delete(&format!("/v1/persons/Eileen_Collins?collection={}", good.name))
        .refused(503, "not_all_reached");
    assert_eq!(good.count(), 0);
    let checked = good.run(&["collection", "check", &good.name]).expect(1);
    assert!(checked.stdout.contains(&bad.index()), "{checked:?}");
    api.get(&format!("/v1/stats?collection={}", bad.name))
        .refused(503, "index_blocked");
    block(Value::Null);
    good.run(&["collection", "check", &good.name]).expect(0);
}

#[test]
fn a_closed_index_of_deleted_faces_is_said_at_once() {
    let (_data, node, good, _) = two();
    good.run(&["person", "delete", "Barack_Obama", "--yes"]).expect(0);
    assert_eq!(request(&node.url, "POST", "/facedex-tombstones/_close", None).0, 200);
    let api = Api::start(&good, &["--threads", "1"]);
    let collection = format!("collection={}", good.name);
    let start = Instant::now();
    let bytes = std::fs::read(photo("query/biden.jpg")).unwrap();
    let enrolled = api.post_photo(&format!("/v1/faces?{collection}&person_id=joe"), bytes);
    let error = enrolled.refused(503, "index_closed");
    assert!(
        error["message"].as_str().unwrap().contains("facedex-tombstones"),
        "{error}"
    );
    let deleted = api.delete(&format!("/v1/persons/Eileen_Collins?{collection}"));
    assert_eq!(deleted.status, 503, "{}", deleted.text());
    assert!(deleted.text().contains("facedex-tombstones"), "{}", deleted.text());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Searches need nothing of it.
    api.get(&format!("/v1/persons/Eileen_Collins?{collection}")).expect(200);
    let ran = good
        .run(&["ingest", photo("gallery").to_str().unwrap(), "--retry-for", "3s"])
        .expect(2);
    assert!(ran.stderr.contains("facedex-tombstones"), "{ran:?}");
}
