//! Into another embedding space, from the photos.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::made_up::{expect_same, vector};
use crate::harness::node::wait_until;
use crate::harness::{Space, photo, server};

const OLD: &str = "older@arcface-112";

/// Makes a collection of another space, with the documents of `from` and vectors of `dims` numbers that mean nothing.
fn older(from: &Space, dims: usize) -> Space {
    let space = Space::new();
    let body = json!({
        "aliases": {&space.name: {}, format!("facedex-faces-{}@{OLD}", space.name): {}},
        "mappings": {"_meta": {"space": OLD, "collection_id": format!("older-{}", space.name)}, "properties": {"face": {"properties": {
            "embedding": {"type": "dense_vector", "dims": dims, "index": true, "similarity": "cosine",
                "index_options": {"type": "int8_hnsw", "m": 16, "ef_construction": 100}}}}}},
    });
    assert_eq!(space.elastic("PUT", &format!("/{}", space.index()), Some(body)).0, 200);
    for (number, (id, document)) in (0..).zip(from.documents()) {
        let mut document = document.clone();
        document["face"]["embedding"] = json!(vector(number)[..dims]);
        document["model"]["space"] = json!(OLD);
        document["image"]["engine"] = json!("older-engine");
        store(&space, &id, document);
    }
    space
}

fn store(space: &Space, id: &str, document: Value) {
    let path = format!("/{}/_doc/{id}", space.name);
    assert_eq!(space.elastic("PUT", &path, Some(document)).0, 201);
}

/// The document of a face of this photo, which lies elsewhere.
fn elsewhere(from: &Space, bytes: &[u8], uri: &str, dims: usize) -> (String, Value) {
    let mut document = from.documents().into_values().next().unwrap();
    let hash = facedex_elastic::schema::document::image_hash(bytes);
    document["face"]["embedding"] = json!(vector(99)[..dims]);
    document["image"]["uri"] = json!(uri);
    document["image"]["hash"] = json!(hash);
    document["model"]["space"] = json!(OLD);
    (format!("{hash}-0"), document)
}

#[test]
fn every_photo_is_read_again_and_names_stay() {
    let real = Space::new();
    let obama = real.put_photo("gallery/Barack_Obama/obama-1.jpg", "Barack_Obama/1.jpg");
    let four = real.put_photo("gallery-unlabelled/four-people.jpg", "Four/four.jpg");
    real.ingest(0, &[&obama, &four, "--person-from-dir", "--label", "album=a"]);
    let space = older(&real, 64);
    let refused = space.run(&["ingest", &obama]).expect(2);
    assert!(refused.stderr.contains("cannot be compared"), "{refused:?}");
    let dry = space.collection(0, "migrate", &["--re-embed", "--dry-run"]);
    assert_eq!((&dry["dry_run"], space.live_index()), (&json!(true), space.index()));
    let moved = space.collection(0, "migrate", &["--re-embed"]);
    assert_eq!(
        (
            &moved["faces"],
            &moved["sample"]["found"],
            &moved["sample"]["agreement"]
        ),
        (&json!(5), &json!(1.0), &Value::Null)
    );
    // As if the photos had been ingested anew, run and time aside.
    expect_same(&space.vectors(), &real.vectors());
    assert_eq!(space.documents(), real.documents());
    let status = space.collection(0, "status", &[]);
    assert_eq!(
        (&status["space"], &status["dims"]),
        (&json!("sface-2021dec@arcface-112"), &json!(128))
    );
    let query = space.put_photo("query/obama-3.jpg", "query.jpg");
    assert_eq!(
        space.run(&["identify", &query, "--json"]).expect(0).json()["faces"][0]["person"]["id"],
        "Barack_Obama"
    );
    assert_eq!(space.ingest(0, &[&obama, &four, "--person-from-dir"])["existing"], 5);
    let again = space
        .run(&["collection", "migrate", &space.name, "--re-embed"])
        .expect(0);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
}

#[test]
fn photos_that_are_gone_changed_or_private_are_not_lost_silently() {
    let real = Space::new();
    let obama = real.put_photo("gallery/Barack_Obama/obama-1.jpg", "1.jpg");
    real.ingest(0, &[&obama]);
    let bytes = std::fs::read(&obama).unwrap();
    let space = older(&real, 64);
    let mut other = bytes.clone();
    other.extend_from_slice(b"another file of the same picture");
    let url = server::serve(HashMap::from([("/private.jpg".to_owned(), other.clone())]));
    let mut gone = bytes.clone();
    gone.push(0);
    let (id, document) = elsewhere(&real, &gone, &format!("file://{}", space.path("gone.jpg")), 64);
    store(&space, &id, document);
    let (private, document) = elsewhere(&real, &other, &format!("{url}/private.jpg"), 64);
    store(&space, &private, document);

    let refused = space
        .run(&["collection", "migrate", &space.name, "--re-embed"])
        .expect(2);
    assert!(
        refused.stderr.contains("2 faces cannot be taken along") && refused.stderr.contains("gone.jpg"),
        "{refused:?}"
    );
    assert_eq!(space.live_index(), space.index());
    // It came back, but it is another photo.
    space.put_photo("query/biden.jpg", "gone.jpg");
    let allowed = ["--re-embed", "--allow-private-addresses"];
    let refused = space
        .run(&[&["collection", "migrate", &space.name], allowed.as_slice()].concat())
        .expect(2);
    assert!(
        refused.stderr.contains("1 faces cannot be taken along")
            && refused.stderr.contains("another one than was ingested"),
        "{refused:?}"
    );
    let moved = space.collection(0, "migrate", &[allowed.as_slice(), &["--leave-behind"]].concat());
    assert_eq!(
        (&moved["faces"], &moved["left_behind"]),
        (&json!(2), &json!(1)),
        "{moved}"
    );
    assert!(space.documents().contains_key(&private));
}

#[test]
fn a_writer_of_the_old_space_meets_no_index_of_the_new_one() {
    // The other way round, with vectors of the same length: the ingest's own space is the old one.
    let space = Space::new();
    let first = space.put_photo("query/biden.jpg", "in/first.jpg");
    let mut child = space
        .command(&["ingest", "--json", "--watch", &space.path("in")])
        .spawn()
        .unwrap();
    wait_until("the first photo is there", || space.exists() && space.count() == 1);
    let next = format!("facedex-faces-{}-000002", space.name);
    let (_, old) = space.elastic("GET", &format!("/{}", space.index()), None);
    let mut mappings = old[space.index()]["mappings"].clone();
    mappings["_meta"]["space"] = json!("newer@arcface-112");
    let aliases = json!({format!("facedex-faces-{}@newer@arcface-112", space.name): {}});
    let body = json!({"mappings": mappings, "aliases": aliases});
    assert_eq!(space.elastic("PUT", &format!("/{next}"), Some(body)).0, 200);
    space.mark(&next);
    let own = format!("facedex-faces-{}@sface-2021dec@arcface-112", space.name);
    let switch = json!({"actions": [
        {"remove": {"index": space.index(), "alias": &space.name, "must_exist": true}},
        {"remove": {"index": space.index(), "alias": own, "must_exist": true}},
        {"add": {"index": &next, "alias": &space.name}},
    ]});
    assert_eq!(space.elastic("POST", "/_aliases", Some(switch)).0, 200);
    std::fs::copy(photo("query/obama-3.jpg"), space.path("in/second.jpg")).unwrap();
    wait_until("the ingest ends", || child.try_wait().unwrap().is_some());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.code() == Some(2) && said.contains("newer@arcface-112"),
        "{ended:?}"
    );
    assert_eq!(space.count(), 0, "{first}");
}
