//! What people typed stays, whatever is ingested, named or written beside it.

use serde_json::{Value, json};

use crate::harness::{Space, photo};

/// One face with everything that can be given to it after the fact.
fn known() -> (Space, String) {
    let space = Space::new();
    let file = space.put_photo("query/obama-3.jpg", "Barack_Obama/1.jpg");
    space.ingest(0, &[&file, "--person-from-dir", "--thumbnails", "--label", "album=a"]);
    let id = space.documents().into_keys().next().unwrap();
    let rename = [
        "person",
        "rename",
        "Barack_Obama",
        "--name",
        "The President",
        "--audit-log",
    ];
    let log = space.path("audit.ndjson");
    space.run(&[&rename[..], &[&log]].concat()).expect(0);
    let path = format!("/{}/_update/{id}?refresh=true", space.index());
    let given =
        json!({"doc": {"cluster": {"id": "c-1"}, "labels": {"rating": "5"}, "label_pairs": ["album=a", "rating=5"]}});
    assert_eq!(space.elastic("POST", &path, Some(given)).0, 200);
    (space, file)
}

fn counted(space: &Space, query: Value) -> u64 {
    let path = format!("/{}/_count", space.index());
    let (_, reply) = space.elastic("POST", &path, Some(json!({"query": query})));
    reply["count"].as_u64().unwrap()
}

fn face(space: &Space) -> Value {
    let all: Vec<Value> = space.documents().into_values().collect();
    assert_eq!(all.len(), 1);
    all.into_iter().next().unwrap()
}

#[test]
fn a_rewrite_keeps_what_it_was_not_given() {
    let (space, file) = known();
    let before = face(&space);
    assert!(before["face"]["thumbnail"].is_string());
    let ways: [&[&str]; 4] = [
        &["--overwrite"],
        &["--overwrite", "--person-from-dir"],
        &["--overwrite", "--label", "batch=2"],
        &["--replace", "--label", "batch=3"],
    ];
    for way in ways {
        let all = [&[file.as_str()], way].concat();
        let told = space.ingest(0, &[&all[..], &["--dry-run"]].concat());
        assert_eq!(
            (&told["indexed"], face(&space)["ingest"].clone()),
            (&json!(1), face(&space)["ingest"].clone()),
            "{way:?}"
        );
        assert_eq!(space.ingest(0, &all)["indexed"], 1, "{way:?}");
        let now = face(&space);
        for field in ["person", "cluster"] {
            assert_eq!(now[field], before[field], "{way:?}");
        }
        assert_eq!(now["face"]["thumbnail"], before["face"]["thumbnail"], "{way:?}");
        assert_eq!(
            (&now["labels"]["album"], &now["labels"]["rating"]),
            (&json!("a"), &json!("5")),
            "{way:?}"
        );
        assert!(
            now["image"]["unfinished"].is_null() && now["image"]["previous"].is_null(),
            "{way:?}"
        );
    }
    assert_eq!(face(&space)["labels"]["batch"], "3");
    assert_eq!(face(&space)["label_pairs"], json!(["album=a", "batch=3", "rating=5"]));
    // Another person is what was asked for, and that is said before and after.
    let other = space.put_photo("query/obama-3.jpg", "Somebody/1.jpg");
    let all = [other.as_str(), "--person-from-dir", "--overwrite"];
    assert_eq!(space.ingest(0, &[&all[..], &["--dry-run"]].concat())["renamed"], 1);
    assert_eq!(face(&space)["person"], before["person"]);
    let ran = space.run(&[&["ingest", "--json"], &all[..]].concat()).expect(0);
    assert!(ran.stderr.contains("gives a face to another person"), "{ran:?}");
    assert_eq!(
        (&ran.json()["renamed"], &face(&space)["person"]["id"]),
        (&json!(1), &json!("Somebody"))
    );
}

#[test]
fn pictures_are_added_to_faces_that_lack_them() {
    let space = Space::new();
    let file = space.put_photo("query/obama-3.jpg", "1.jpg");
    space.ingest(0, &[&file]);
    // The journal does not hide that something is wanted that is not there.
    assert_eq!(space.ingest(0, &[&file, "--thumbnails"])["other_labels"], 1);
    assert_eq!(face(&space)["face"]["thumbnail"], Value::Null);
    assert_eq!(space.ingest(0, &[&file, "--thumbnails", "--replace"])["indexed"], 1);
    assert!(face(&space)["face"]["thumbnail"].is_string());
    assert_eq!(space.ingest(0, &[&file, "--thumbnails", "--replace"])["existing"], 1);
}

#[test]
fn a_label_reaches_all_faces_and_all_have_one_name() {
    let space = Space::new();
    let file = space.put_photo("query/obama-3.jpg", "1.jpg");
    space.ingest(0, &[&file]);
    let (id, face) = space.documents().into_iter().next().unwrap();
    // More than one page, in a cluster.
    const MANY: usize = 2500;
    let mut document = face.clone();
    document["cluster"] = json!({"id": "c-many"});
    let mut lines = String::new();
    for number in 1..=MANY {
        lines.push_str(&json!({"index": {"_id": format!("{}-{number}", &id[..32])}}).to_string());
        lines.push_str(&format!("\n{document}\n"));
    }
    let bulk = format!("{}/{}/_bulk?refresh=true", space.url, space.index());
    let request = reqwest::blocking::Client::new()
        .post(bulk)
        .header("content-type", "application/x-ndjson");
    let reply: Value = request.body(lines).send().unwrap().json().unwrap();
    assert_eq!(reply["errors"], false);
    let label = |which: &str, more: &[&str]| {
        let all = [&["label", which, "--json"], more].concat();
        space.run(&all).expect(0).json()
    };
    assert_eq!(label("c-many", &["--person", "ann"])["changed"], MANY);
    assert_eq!(counted(&space, json!({"term": {"person.id": "ann"}})), MANY as u64);
    // A name is all of hers, and a face that joins them gets it.
    let named = label(&format!("{}-7", &id[..32]), &["--person", "ann", "--name", "Ann"]);
    assert_eq!((&named["changed"], &named["renamed"]), (&json!(0), &json!(MANY)));
    assert_eq!(label(&id, &["--person", "ann"])["changed"], 1);
    assert_eq!(
        counted(&space, json!({"term": {"person.name": "Ann"}})),
        MANY as u64 + 1
    );
    // Somebody without a name does not keep the one of before.
    label(&id, &["--person", "bob", "--overwrite"]);
    assert_eq!(space.documents()[&id]["person"], json!({"id": "bob", "name": null}));
}

#[test]
fn ids_that_nobody_could_ask_for_are_refused_by_every_way_in() {
    let space = Space::new();
    let file = space.put_photo("query/obama-3.jpg", "1.jpg");
    space.ingest(0, &[&file]);
    let id = space.documents().into_keys().next().unwrap();
    let long = "y".repeat(513);
    for wrong in ["", " ", "..", "a\u{1b}[31mred", "two\nlines", &long] {
        let refused = space.run(&["label", &id, "--person", wrong]).expect(2);
        assert!(refused.stderr.contains("a person's id"), "{refused:?}");
        space.run(&["person", "rename", "x", "--id", wrong]).expect(2);
    }
    space.run(&["person", "rename", "x", "--name", " "]).expect(2);
    let manifest = json!({"uri": file, "person": {"id": long}}).to_string();
    space.put("manifest.ndjson", manifest.as_bytes());
    let failed = space.ingest(1, &["--manifest", &space.path("manifest.ndjson")]);
    assert_eq!(failed["failed"], 1, "{failed}");
    assert!(space.dead_letters()[0]["reason"].as_str().unwrap().contains("1 to 512"));
    // One that an earlier release took is found by `check` and mended by `label`.
    let path = format!("/{}/_update/{id}?refresh=true", space.index());
    let stored = json!({"doc": {"person": {"id": "y".repeat(9000)}}});
    assert_eq!(space.elastic("POST", &path, Some(stored)).0, 200);
    let check = |code| {
        let all = ["collection", "check", &space.name, "--json"];
        space.run(&all).expect(code).json()["foreign"]["count"].clone()
    };
    assert_eq!(check(1), 1);
    let left = space.run(&["label", &id, "--person", "ann", "--json"]).expect(0).json();
    assert_eq!(left["somebody_else"], 1, "{left}");
    space.run(&["label", &id, "--person", "ann", "--overwrite"]).expect(0);
    assert_eq!(check(0), 0);
}

/// Documents that facedex did not write, as the mapping takes them: each is shown with what it has, and goes like any other.
#[test]
fn one_strange_document_costs_no_answer_and_can_be_deleted() {
    let space = Space::new();
    space.put_photo("query/obama-3.jpg", "Barack_Obama/1.jpg");
    space.ingest(0, &[&space.path("Barack_Obama"), "--person-from-dir"]);
    let shown = space
        .run(&["represent", photo("query/obama-3.jpg").to_str().unwrap()])
        .expect(0);
    let embedding = shown.json()["faces"][0]["embedding"].clone();
    let strange = [
        json!({}),
        json!({"person": {"id": 7}}),
        json!({"person": {"id": "p"}, "face": {"score": 0.9}}),
        json!({"person": {"id": "p"}, "face": {"box": {"x": "1", "y": 1, "width": 2, "height": 2}}}),
        json!({"person": {"id": "p"}, "image": {"hash": null, "uri": null}, "ingest": {"run": null}}),
        json!({"person": {"id": "p"}, "image": {"uri": ["a", "b"]}}),
        json!({"person": {"id": "p"}, "@timestamp": 1_700_000_000_000_u64}),
        json!({"person": {"name": "nameless"}}),
        json!({"person": {"id": "p"}, "image": null, "labels": null}),
    ];
    let query = photo("query/obama-3.jpg");
    let query = query.to_str().unwrap();
    for (number, document) in strange.iter().enumerate() {
        let mut document = document.clone();
        document["face"]["embedding"] = embedding.clone();
        let path = format!("/{}/_doc/strange-{number}?refresh=true", space.index());
        let (status, reply) = space.elastic("PUT", &path, Some(document.clone()));
        assert_eq!(status, 201, "{reply}");
        for exact in [&[][..], &["--exact"]] {
            let all = [&["search", query, "--json"], exact].concat();
            let found = space.run(&all).expect(0).json();
            let hits = found["faces"][0]["hits"].as_array().unwrap();
            assert_eq!(hits.len(), number + 2, "{document}: {found}");
        }
        space.run(&["identify", query, "--json"]).expect(0);
    }
    space.run(&["cluster", "--dry-run"]).expect(0);
    let check = ["collection", "check", &space.name, "--json"];
    assert_eq!(space.run(&check).expect(1).json()["foreign"]["count"], strange.len());
    let log = space.path("audit.ndjson");
    let delete = |who: &str| {
        let all = ["person", "delete", who, "--yes", "--json", "--audit-log", &log];
        space.run(&all).expect(0).json()["deleted"].clone()
    };
    assert_eq!((delete("p"), delete("7")), (json!(6), json!(1)));
    assert_eq!(counted(&space, json!({"match_all": {}})), 3);
}
