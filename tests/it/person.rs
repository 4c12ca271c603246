//! What people may ask for: to be deleted everywhere and for good, to be called otherwise, to see what is stored of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::images::variants;
use crate::harness::node::wait_until;
use crate::harness::{Ran, Space, photo, run};

/// A collection with so many photos of one person, one photo of another, and one of several people without names.
pub fn family(photos: u32) -> Space {
    let space = Space::new();
    for (number, bytes) in variants("query/obama-3.jpg", photos).enumerate() {
        space.put(&format!("photos/obama/{number}.png"), &bytes);
    }
    space.put_photo("query/biden.jpg", "photos/biden/1.jpg");
    ingest(&space, &[]);
    space
}

pub fn ingest(space: &Space, more: &[&str]) -> Value {
    let photos = space.path("photos");
    let all = [&[photos.as_str(), "--person-from-dir", "--no-journal"], more].concat();
    space.ingest(0, &all)
}

pub fn person(space: &Space, arguments: &[&str]) -> Ran {
    let yes: &[&str] = if arguments[0] == "delete" { &["--yes"] } else { &[] };
    let all = [&["person"], arguments, yes, &["--json", "--audit-log", "audit.ndjson"]].concat();
    space.run(&all)
}

fn audited(space: &Space) -> Vec<Value> {
    let text = std::fs::read_to_string(space.path("audit.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Faces by person.
pub fn persons(space: &Space) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for document in space.documents().values() {
        let id = document["person"]["id"].as_str().unwrap_or("-");
        *counts.entry(id.to_owned()).or_default() += 1;
    }
    counts
}

pub fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
}

/// Another index of the same collection with the same faces, as a move to another index leaves it behind.
fn copy_to_version(space: &Space, number: u32) -> String {
    let index = format!("facedex-faces-{}-{number:06}", space.name);
    let (_, found) = space.elastic("GET", &format!("/{}", space.index()), None);
    let mappings = found[space.index()]["mappings"].clone();
    let (status, made) = space.elastic("PUT", &format!("/{index}"), Some(json!({"mappings": mappings})));
    assert_eq!(status, 200, "{made}");
    space.mark(&index);
    let body = json!({"size": 1000, "query": {"match_all": {}}, "fields": ["face.embedding"]});
    let (_, found) = space.elastic("POST", &format!("/{}/_search", space.index()), Some(body));
    for hit in found["hits"]["hits"].as_array().unwrap() {
        let mut document = hit["_source"].clone();
        document["face"]["embedding"] = hit["fields"]["face.embedding"].clone();
        let path = format!("/{index}/_create/{}", hit["_id"].as_str().unwrap());
        assert_eq!(space.elastic("PUT", &path, Some(document)).0, 201);
    }
    space.elastic("POST", &format!("/{index}/_refresh"), None);
    index
}

fn count_in(space: &Space, index: &str, id: &str) -> u64 {
    let query = json!({"query": {"term": {"person.id": id}}});
    let (_, found) = space.elastic("POST", &format!("/{index}/_count"), Some(query));
    found["count"].as_u64().unwrap()
}

/// Removes what a test has made besides its collection.
struct Cleanup<'s>(&'s Space, Vec<String>);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        for index in &self.1 {
            self.0.elastic("DELETE", &format!("/{index}"), None);
        }
    }
}

#[test]
fn a_deleted_person_is_gone_from_every_index_and_does_not_come_back() {
    let space = family(3);
    let (old, next) = (copy_to_version(&space, 0), copy_to_version(&space, 2));
    let _cleanup = Cleanup(&space, vec![old.clone(), next.clone()]);
    let block = json!({"index": {"blocks": {"write": true}}});
    space.elastic("PUT", &format!("/{old}/_settings"), Some(block));

    let shown = person(&space, &["delete", "obama", "--dry-run"]).expect(0).json();
    assert_eq!(
        (&shown["deleted"], &shown["dry_run"]),
        (&json!(3), &json!(true)),
        "{shown}"
    );
    assert_eq!(persons(&space)["obama"], 3);

    let done = person(&space, &["delete", "obama"]).expect(0).json();
    assert_eq!(done["deleted"], 3, "{done}");
    for index in [&space.index(), &old, &next] {
        assert_eq!(done["collections"][&space.name]["indices"][index], 3, "{done}");
        assert_eq!(
            (count_in(&space, index, "obama"), count_in(&space, index, "biden")),
            (0, 1)
        );
    }
    let (_, settings) = space.elastic("GET", &format!("/{old}/_settings"), None);
    assert_eq!(settings[&old]["settings"]["index"]["blocks"]["write"], "true");
    let lines = audited(&space);
    let of = |at: usize| {
        (
            &lines[at]["action"],
            &lines[at]["outcome"],
            &lines[at]["faces"]["total"],
        )
    };
    assert_eq!(of(0), (&json!("delete_person"), &json!("started"), &json!(0)));
    assert_eq!(of(1), (&json!("delete_person"), &json!("success"), &json!(3)));
    assert_eq!(lines[1]["persons"]["ids"], json!(["obama"]));
    person(&space, &["delete", "obama"]).expect(1);

    // Whatever way the photos come again: other people's faces are stored, the deleted ones are not.
    for mode in [&[][..], &["--overwrite"], &["--replace"], &["--skip-indexed"]] {
        let summary = ingest(&space, mode);
        assert_eq!(
            (&summary["deleted"], &summary["failed"]),
            (&json!(3), &json!(0)),
            "{mode:?}: {summary}"
        );
        assert_eq!(persons(&space), counts(&[("biden", 1)]), "{mode:?}");
    }
    let (_, tombstones) = space.elastic(
        "POST",
        "/facedex-tombstones/_search?q=*&size=1000",
        Some(json!({"query": {"term": {"collection": space.name}}})),
    );
    assert!(
        !tombstones.to_string().contains("obama"),
        "a tombstone tells whose it is: {tombstones}"
    );
    let back = ingest(&space, &["--restore-deleted"]);
    assert_eq!(
        (&back["indexed"], &back["deleted"]),
        (&json!(3), &Value::Null),
        "{back}"
    );
    assert_eq!(persons(&space), counts(&[("biden", 1), ("obama", 3)]));
    assert_eq!(ingest(&space, &[])["existing"], 4);
}

#[test]
fn only_the_persons_own_face_of_a_photo_goes() {
    let space = Space::new();
    space.put_photo("gallery-unlabelled/four-people.jpg", "photos/ada/group.jpg");
    let before = ingest(&space, &[]);
    assert_eq!(before["indexed"], 4);
    assert_eq!(person(&space, &["delete", "ada"]).expect(0).json()["deleted"], 1);
    assert_eq!(persons(&space), counts(&[("-", 3)]));
    let ids: Vec<String> = space.documents().into_keys().collect();
    for mode in [&[][..], &["--overwrite"]] {
        assert_eq!(ingest(&space, mode)["deleted"], 1);
        assert_eq!(space.documents().into_keys().collect::<Vec<_>>(), ids, "{mode:?}");
    }
}

#[test]
fn a_person_who_is_ingested_all_the_time_can_be_deleted() {
    let space = family(40);
    let photos = space.path("photos");
    let arguments = [
        "ingest",
        &photos,
        "--person-from-dir",
        "--no-journal",
        "--overwrite",
        "--bulk-faces",
        "1",
        "--json",
    ];
    let mut writing = space.command(&arguments).spawn().unwrap();
    crate::harness::node::pause(1500);
    assert!(
        writing.try_wait().unwrap().is_none(),
        "the ingest ended too soon: give it more photos"
    );
    let done = person(&space, &["delete", "obama"]).expect(0).json();
    assert_eq!(done["deleted"], 40, "{done}");
    let output = writing.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(persons(&space), counts(&[("biden", 1)]));
}

#[test]
fn old_faces_go_by_their_age() {
    let space = family(2);
    let (id, _) = space
        .documents()
        .into_iter()
        .find(|(_, face)| face["person"]["id"] == "obama")
        .unwrap();
    let old = json!({"doc": {"@timestamp": "2020-01-01T00:00:00Z"}});
    space.elastic(
        "POST",
        &format!("/{}/_update/{id}?refresh=true", space.index()),
        Some(old),
    );
    person(&space, &["delete", "biden", "--older-than", "90d"]).expect(1);
    let done = person(&space, &["delete", "--older-than", "90d"]).expect(0).json();
    assert_eq!(done["deleted"], 1, "{done}");
    assert!(!space.documents().contains_key(&id));
    assert_eq!(persons(&space), counts(&[("biden", 1), ("obama", 1)]));
    assert_eq!(audited(&space).last().unwrap()["action"], "delete_old_faces");
    let missing = space.run(&["person", "delete"]).expect(2);
    assert!(missing.stderr.contains("ID"), "{missing:?}");
}

#[test]
fn two_people_become_one_and_keep_their_faces() {
    let space = family(2);
    person(&space, &["rename", "obama", "--name", "Barack Obama"]).expect(0);
    let taken = person(&space, &["rename", "biden", "--id", "obama"]).expect(2);
    assert!(taken.stderr.contains("facedex person merge"), "{taken:?}");
    let merged = person(&space, &["merge", "biden", "obama"]).expect(0).json();
    assert_eq!(merged["updated"], 1, "{merged}");
    assert_eq!(persons(&space), counts(&[("obama", 3)]));
    for document in space.documents().values() {
        assert_eq!(document["person"]["name"], "Barack Obama");
    }
    person(&space, &["rename", "obama", "--id", "44"]).expect(0);
    assert_eq!(persons(&space), counts(&[("44", 3)]));
    let biden = photo("query/biden.jpg").to_str().unwrap().to_owned();
    let found = space.run(&["search", &biden, "--json"]).expect(0).json();
    assert_eq!(found["faces"][0]["hits"][0]["person"]["id"], "44");
    let nobody = person(&space, &["merge", "nobody", "44"]).expect(2);
    assert!(nobody.stderr.contains("no person \"nobody\""), "{nobody:?}");
    person(&space, &["merge", "44", "nobody"]).expect(2);
    let actions: Vec<Value> = audited(&space).into_iter().map(|line| line["action"].clone()).collect();
    assert!(
        actions.contains(&json!("merge_persons")) && actions.contains(&json!("change_person")),
        "{actions:?}"
    );
}

#[test]
fn an_export_has_everything_that_is_stored() {
    let space = family(2);
    let mut command = space.command(&["person", "export", "obama", "--audit-log", "audit.ndjson"]);
    command.env("FACEDEX_LOG", "error");
    let ran = run(command).expect(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    let stored = space.documents();
    for line in &lines {
        assert_eq!(line["index"], space.index());
        let document = &line["document"];
        assert_eq!(document["face"]["embedding"].as_array().unwrap().len(), 128);
        assert_eq!(document["image"], stored[line["id"].as_str().unwrap()]["image"]);
    }
    let file = space.path("obama.ndjson");
    let done = person(&space, &["export", "obama", "--output", &file]).expect(0).json();
    assert_eq!(done["exported"], 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ran.stdout);
    person(&space, &["export", "obama", "--output", &file]).expect(2);
    person(&space, &["export", "nobody"]).expect(2);
    assert_eq!(audited(&space).last().unwrap()["action"], "export_person");
}

#[test]
fn an_import_does_not_bring_a_deleted_person_back() {
    let space = family(2);
    let file = space.path("all.ndjson");
    space
        .run(&["collection", "export", &space.name, "--to", &file])
        .expect(0);
    person(&space, &["delete", "obama"]).expect(0);
    let again = space.run(&["collection", "import", &space.name, "--from", &file, "--json"]);
    let again = again.expect(0).json();
    assert_eq!(
        (&again["deleted"], &again["imported"], &again["existing"]),
        (&json!(2), &json!(0), &json!(1)),
        "{again}"
    );
    assert_eq!(persons(&space), counts(&[("biden", 1)]));
}

/// A migration blocks writes, fills the next index, and lets the aliases name it.
#[test]
fn a_deletion_that_meets_a_move_to_another_index_is_complete() {
    let space = family(3);
    let (old, next) = (space.index(), copy_to_version(&space, 2));
    let _cleanup = Cleanup(&space, vec![old.clone(), next.clone()]);
    // No face has there the sequence number that it has here.
    for id in space.documents().keys() {
        let touch = json!({"doc": {"labels": {"moved": "yes"}}});
        let (status, touched) = space.elastic("POST", &format!("/{next}/_update/{id}?refresh=true"), Some(touch));
        assert_eq!(status, 200, "{touched}");
    }
    let block = json!({"index": {"blocks": {"write": true}}});
    space.elastic("PUT", &format!("/{old}/_settings"), Some(block));

    let deletion = space
        .command(&[
            "person",
            "delete",
            "obama",
            "--yes",
            "--json",
            "--audit-log",
            "audit.ndjson",
        ])
        .spawn()
        .unwrap();
    wait_until("its deletions wait for the block", || {
        space.elastic("POST", "/facedex-tombstones/_refresh", None);
        let query = json!({"query": {"term": {"collection": space.name}}});
        space.elastic("POST", "/facedex-tombstones/_count", Some(query)).1["count"] == 3
    });
    let actions: Vec<Value> = [
        space.name.clone(),
        format!("facedex-faces-{}@sface-2021dec@arcface-112", space.name),
    ]
    .iter()
    .flat_map(|alias| {
        [
            json!({"remove": {"index": old, "alias": alias}}),
            json!({"add": {"index": next, "alias": alias}}),
        ]
    })
    .collect();
    let (status, moved) = space.elastic("POST", "/_aliases", Some(json!({"actions": actions})));
    assert_eq!(status, 200, "{moved}");

    let ended = deletion.wait_with_output().unwrap();
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    for index in [&old, &next] {
        assert_eq!(
            (count_in(&space, index, "obama"), count_in(&space, index, "biden")),
            (0, 1),
            "{index}"
        );
    }
}
