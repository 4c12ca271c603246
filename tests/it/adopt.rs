//! Who says which index a collection is, is believed; and what a snapshot brings back is removed.

use serde_json::{Value, json};

use crate::hands::{alias, clone, copy, family, family_at, move_aliases, ok, query, remove};
use crate::harness::api::Api;
use crate::harness::node::Node;
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Ran, Space};

/// `collection adopt NAME` with more options.
fn adopt(space: &Space, more: &[&str]) -> Value {
    let all = [
        &[
            "collection",
            "adopt",
            &space.name,
            "--json",
            "--audit-log",
            "audit.ndjson",
        ],
        more,
    ]
    .concat();
    space.run(&all).expect(0).json()
}

fn delete(space: &Space, person: &str) -> Ran {
    space.run(&[
        "person",
        "delete",
        person,
        "--yes",
        "--json",
        "--audit-log",
        "audit.ndjson",
    ])
}

fn count_in(space: &Space, index: &str, person: &str) -> u64 {
    space.elastic("POST", &format!("/{index}/_refresh"), None);
    let query = json!({"query": {"term": {"person.id": person}}});
    space.elastic("POST", &format!("/{index}/_count"), Some(query)).1["count"]
        .as_u64()
        .unwrap()
}

fn id_of(space: &Space, index: &str) -> String {
    let (_, found) = space.elastic("GET", &format!("/{index}/_mapping"), None);
    found[index]["mappings"]["_meta"]["collection_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn who_says_which_index_is_meant_is_believed() {
    let space = family();
    let (index, copied) = (space.index(), copy(&space));
    clone(&space, &index, &copied);
    let refused = delete(&space, "obama").expect(2);
    assert!(
        refused.stderr.contains(&index) && refused.stderr.contains(&copied),
        "{refused:?}"
    );
    assert_eq!(
        (count_in(&space, &index, "obama"), count_in(&space, &copied, "obama")),
        (2, 2)
    );
    let before = id_of(&space, &index);
    let shown = adopt(&space, &["--dry-run"]);
    assert_eq!(shown["separated"][0]["index"], copied, "{shown}");
    assert_eq!(id_of(&space, &copied), before);
    adopt(&space, &[]);
    assert_eq!(id_of(&space, &index), before);
    assert_ne!(id_of(&space, &copied), before);
    assert_eq!(delete(&space, "obama").expect(0).json()["deleted"], 2);
    assert_eq!(
        (count_in(&space, &index, "obama"), count_in(&space, &copied, "obama")),
        (0, 2)
    );
    // What is a backup is no migration's.
    let kept = space
        .run(&["collection", "retire", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!(kept["removed"], json!([]));
    // It holds faces that no name finds, and nobody is told that these were all.
    let listed = space.run(&["collection", "list", "--json"]).expect(0).json();
    let unusable = listed["unusable"].as_array().unwrap();
    let of_copy: Vec<&Value> = unusable.iter().filter(|name| name["name"] == copied.as_str()).collect();
    assert!(
        of_copy.len() == 1 && of_copy[0]["reason"].as_str().unwrap().contains("no alias"),
        "{listed}"
    );

    // The alias is moved to the copy, which has a face of the deleted person: it is another collection now.
    move_aliases(&space, &index, &copied);
    let found = space.run(&["identify", &query(), "--json"]).expect(0).json();
    assert_eq!(found["faces"][0]["decision"], "match", "{found}");
    assert_eq!(
        space
            .run(&["collection", "status", &space.name, "--json"])
            .expect(0)
            .json()["faces"],
        3
    );
}

#[test]
fn aliases_that_went_apart_come_together_and_the_deleted_stay_deleted() {
    let space = family();
    let (index, copied) = (space.index(), copy(&space));
    clone(&space, &index, &copied);
    adopt(&space, &["--dry-run"]);
    // Deleted while there was no copy.
    remove(&space, &copied);
    delete(&space, "biden").expect(0);
    // Somebody brings an index with her back, and moves one of the two aliases to it.
    clone(&space, &index, &copied);
    let biden = std::fs::read_to_string(space.path("source.ndjson")).unwrap();
    let biden: Value = serde_json::from_str(biden.lines().find(|line| line.contains("biden")).unwrap()).unwrap();
    let path = format!("/{copied}/_doc/{}", biden["_id"].as_str().unwrap());
    let (status, _) = space.elastic("PUT", &path, Some(biden["_source"].clone()));
    assert_eq!(status, 201);
    alias(
        &space,
        json!([
            {"remove": {"index": index, "alias": space.name}},
            {"add": {"index": copied, "alias": space.name, "is_write_index": true}},
        ]),
    );
    let refused = space.run(&["search", &query()]).expect(2);
    assert!(
        refused.stderr.contains("read from index") && refused.stderr.contains("collection adopt"),
        "{refused:?}"
    );
    let adopted = adopt(&space, &[]);
    assert_eq!(
        (&adopted["removed"], adopted["moved"].as_array().unwrap().len()),
        (&json!(1), 1),
        "{adopted}"
    );
    assert_eq!(adopted["separated"][0]["index"], index);
    assert_eq!(count_in(&space, &space.name, "biden"), 0);
    let done = space.ingest(0, &[&space.path("photos"), "--person-from-dir", "--no-journal"]);
    assert_eq!((&done["existing"], &done["deleted"]), (&json!(2), &json!(1)), "{done}");
    assert_eq!(count_in(&space, &space.name, "biden"), 0);
}

#[test]
fn a_collection_is_removed_with_all_its_indices() {
    let space = family();
    delete(&space, "biden").expect(0);
    space
        .run(&[
            "collection",
            "migrate",
            &space.name,
            "--m",
            "33",
            "--min-agreement",
            "0",
        ])
        .expect(0);
    let unasked = space.run(&["collection", "delete", &space.name]).expect(2);
    assert!(
        unasked.stderr.contains("--yes") && unasked.stderr.contains("2 faces"),
        "{unasked:?}"
    );
    let options = ["--tombstones", "--json", "--audit-log", "audit.ndjson"];
    let all = [&["collection", "delete", &space.name, "--dry-run"], &options[..]].concat();
    let shown = space.run(&all).expect(0).json();
    assert_eq!(
        (shown["indices"].as_array().unwrap().len(), &shown["tombstones"]),
        (2, &json!(1)),
        "{shown}"
    );
    assert_eq!(space.count(), 2);
    let all = [&["collection", "delete", &space.name, "--yes"], &options[..]].concat();
    space.run(&all).expect(0);
    let all = format!("/facedex-faces-{}-*", space.name);
    assert_eq!(space.elastic("GET", &all, None).1, json!({}));
    let gone = space.run(&["collection", "status", &space.name]).expect(2);
    assert!(gone.stderr.contains("no collection"), "{gone:?}");
    // A collection of the name is another one, and free.
    let done = space.ingest(0, &[&space.path("photos"), "--person-from-dir", "--no-journal"]);
    assert_eq!(
        (&done["indexed"], &done["deleted"]),
        (&json!(3), &Value::Null),
        "{done}"
    );
}

/// A node of its own, which may write snapshots.
#[test]
fn a_restored_snapshot_brings_nobody_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    let snapshots = format!("path.repo={}", folder.path().join("snapshots").display());
    let node = Node::spawn(&data, 0, &[snapshots], None).ready(&data);
    let space = family_at(Space::at(&node.url));
    let location = folder.path().join("snapshots").display().to_string();
    ok(
        &space,
        "PUT",
        "/_snapshot/r",
        Some(json!({"type": "fs", "settings": {"location": location}})),
    );
    let what = json!({"indices": space.index(), "include_global_state": false});
    ok(
        &space,
        "PUT",
        "/_snapshot/r/s?wait_for_completion=true",
        Some(what.clone()),
    );
    assert_eq!(delete(&space, "obama").expect(0).json()["deleted"], 2);

    // Over itself.
    ok(&space, "POST", &format!("/{}/_close", space.index()), None);
    ok(
        &space,
        "POST",
        "/_snapshot/r/s/_restore?wait_for_completion=true",
        Some(what),
    );
    for command in [
        &["identify", &query()][..],
        &["ingest", &space.path("more")],
        &["person", "export", "obama"],
    ] {
        let refused = space.run(command).expect(2);
        assert!(
            refused.stderr.contains("holds 2 faces that were deleted on request"),
            "{refused:?}"
        );
    }
    assert_eq!(adopt(&space, &[])["removed"], 2);
    space.run(&["identify", &query()]).expect(1);
    assert_eq!(space.count(), 1);

    // Under another name, after the index was lost.
    remove(&space, &space.index());
    let renamed = json!({
        "indices": space.index(), "rename_pattern": ".+", "rename_replacement": copy(&space), "include_aliases": true,
    });
    ok(
        &space,
        "POST",
        "/_snapshot/r/s/_restore?wait_for_completion=true",
        Some(renamed),
    );
    space.run(&["search", &query()]).expect(2);
    assert_eq!(adopt(&space, &[])["removed"], 2);
    space.run(&["identify", &query()]).expect(1);
    let done = space.ingest(0, &[&space.path("photos"), "--person-from-dir", "--no-journal"]);
    assert_eq!((&done["existing"], &done["deleted"]), (&json!(1), &json!(2)), "{done}");
}

/// An account that sees a part: a proxy stands for security, which the node has not.
#[test]
fn who_sees_a_part_does_not_speak_of_everything() {
    let space = family();
    let part = r#"{"username":"ingest","has_all_requested":false,"cluster":{},"index":{"*":{"view_index_metadata":false}},"application":{}}"#;
    let proxy = Proxy::start(&space.url, move |seen| {
        (seen.kind == Kind::Privileges).then(|| Fault::status(200, part))
    });
    let at = |arguments: &[&str]| {
        let all = [arguments, &["--json", "--elasticsearch-url", &proxy.url]].concat();
        space.run(&all)
    };
    let said = "looked at only what this account may see";
    let done = at(&["person", "delete", "obama", "--yes"]).expect(2);
    assert!(done.stderr.contains(said) && done.json()["deleted"] == 2, "{done:?}");
    assert_eq!(
        at(&["person", "delete", "biden", "--yes", "--visible-only"])
            .expect(0)
            .json()["deleted"],
        1
    );
    for command in [
        &["person", "delete", "nobody", "--yes"][..],
        &["person", "rename", "nobody", "--name", "x"],
        &["person", "export", "nobody"],
        &["collection", "retire", &space.name],
        &["collection", "delete", &space.name, "--yes"],
    ] {
        let done = at(command).expect(2);
        assert!(done.stderr.contains(said), "{command:?}: {done:?}");
    }
    at(&["collection", "retire", &space.name, "--visible-only"]).expect(0);
    let api = Api::run(space.command(&["serve", "--listen", "127.0.0.1:0", "--elasticsearch-url", &proxy.url]));
    api.delete(&format!("/v1/persons/nobody?collection={}", space.name))
        .refused(503, "not_all_reached");
}
