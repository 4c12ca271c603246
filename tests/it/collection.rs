//! Collections: what is created, what is refused.

use serde_json::json;

use crate::harness::{Space, facedex_at, run};

#[test]
fn create_makes_template_index_alias_and_metadata() {
    let space = Space::new();
    let dry = space
        .run(&["collection", "create", &space.name, "--dry-run", "--json"])
        .expect(0);
    assert_eq!((&dry.json()["index"], space.exists()), (&json!(space.index()), false));
    let created = space.run(&[
        "collection",
        "create",
        &space.name,
        "--shards",
        "2",
        "--replicas",
        "0",
        "--m",
        "24",
        "--json",
    ]);
    let made = created.expect(0).json();
    assert_eq!(made["index"], space.index());
    let (_, reply) = space.elastic("GET", &format!("/{}", space.name), None);
    let index = &reply[space.index()];
    assert_eq!(index["settings"]["index"]["number_of_shards"], "2");
    assert_eq!(index["mappings"]["dynamic"], "strict");
    assert_eq!(index["mappings"]["_meta"]["space"], "sface-2021dec@arcface-112");
    assert_eq!(index["mappings"]["_meta"]["collection_id"], made["collection_id"]);
    let vector = &index["mappings"]["properties"]["face"]["properties"]["embedding"];
    assert_eq!(
        (&vector["dims"], &vector["similarity"]),
        (&json!(128), &json!("cosine"))
    );
    assert_eq!(vector["index_options"]["type"], "int8_hnsw");
    assert_eq!(vector["index_options"]["m"], 24);
    // The template's part.
    assert_eq!(index["mappings"]["properties"]["labels"]["type"], "flattened");
    let again = space.run(&["collection", "create", &space.name]).expect(2);
    assert!(again.stderr.contains("exists already"), "{again:?}");
}

#[test]
fn every_index_type_takes_faces_and_finds_them() {
    for index_type in ["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat"] {
        let space = Space::new();
        space
            .run(&["collection", "create", &space.name, "--index-type", index_type])
            .expect(0);
        let obama = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "Obama/1.jpg");
        let collins = space.put_photo("gallery/Eileen_Collins/astronaut.png", "Collins/1.png");
        space.ingest(0, &[&obama, &collins, "--person-from-dir"]);
        let query = space.put_photo("query/obama-3.jpg", "query.jpg");
        let answer = space.run(&["search", &query, "--json"]).expect(0).json();
        let hits = answer["faces"][0]["hits"].as_array().unwrap();
        assert_eq!(hits.len(), 1, "{index_type}: {answer}");
        assert_eq!(hits[0]["person"]["id"], "Obama", "{index_type}");
        // Whole vectors decide the similarity, however short those in the index are.
        assert!(
            (hits[0]["similarity"].as_f64().unwrap() - 0.788).abs() < 0.02,
            "{index_type}: {answer}"
        );
    }
}

#[test]
fn status_and_list_show_what_is_there() {
    let space = Space::new();
    let missing = space.run(&["collection", "status", &space.name]).expect(2);
    assert!(missing.stderr.contains("no collection"), "{missing:?}");
    let photo = space.put_photo("gallery-unlabelled/four-people.jpg", "four.jpg");
    space.ingest(0, &[&photo]);
    let status = space
        .run(&["collection", "status", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&status["faces"], &status["photos"], &status["persons"]),
        (&json!(4), &json!(1), &json!(0))
    );
    assert_eq!(status["index_type"], "int8_hnsw");
    let list = space.run(&["collection", "list"]).expect(0);
    assert!(list.stdout.contains(&space.name), "{list:?}");
}

#[test]
fn a_collection_of_another_space_is_refused_and_left_alone() {
    let space = Space::new();
    let body = json!({
        "aliases": {&space.name: {}},
        "mappings": {"_meta": {"space": "other@template", "collection_id": "x"}, "properties": {"face": {"properties": {
            "embedding": {"type": "dense_vector", "dims": 3, "index": true, "similarity": "cosine",
                "index_options": {"type": "int8_hnsw"}}}}}},
    });
    assert_eq!(space.elastic("PUT", &format!("/{}", space.index()), Some(body)).0, 200);
    let photo = space.put_photo("query/biden.jpg", "photo.jpg");
    for command in [["ingest", &photo], ["search", &photo], ["identify", &photo]] {
        let refused = space.run(&command).expect(2);
        assert!(
            refused.stderr.contains("other@template") && refused.stderr.contains("cannot be compared"),
            "{refused:?}"
        );
    }
    assert_eq!(space.count(), 0);
}

#[test]
fn names_of_other_things_are_refused() {
    let space = Space::new();
    let photo = space.put_photo("query/biden.jpg", "photo.jpg");
    for name in ["Faces", "a*", "a,b", "../x", "_all", ""] {
        let refused = space.run(&["ingest", &photo, "--collection", name]).expect(2);
        assert!(
            refused.stderr.contains("cannot name a collection"),
            "{name}: {refused:?}"
        );
    }
    // An index that is no alias of ours.
    let foreign = format!("{}-foreign", space.name);
    space.elastic("PUT", &format!("/{foreign}"), Some(json!({})));
    let refused = space.run(&["ingest", &photo, "--collection", &foreign]);
    space.elastic("DELETE", &format!("/{foreign}"), None);
    assert!(refused.expect(2).stderr.contains("is no facedex collection"));
}

#[test]
fn two_ingests_may_make_the_collection_at_once() {
    let space = Space::new();
    let photo = space.put_photo("query/biden.jpg", "photo.jpg");
    let start = || space.command(&["ingest", &photo, "--json"]).spawn().unwrap();
    let runs = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    let mut indexed = 0;
    for output in runs {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        indexed += summary["indexed"].as_u64().unwrap();
    }
    assert_eq!((indexed, space.count()), (1, 1));
}

#[test]
fn a_dead_cluster_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let photo = crate::harness::photo("query/biden.jpg");
    // Port 9 of loopback: nothing listens there.
    for arguments in [
        ["ingest", photo.to_str().unwrap()].as_slice(),
        &["search", photo.to_str().unwrap()],
        &["collection", "list"],
    ] {
        let failed = run(facedex_at("http://127.0.0.1:9", folder.path(), arguments)).expect(2);
        assert!(
            failed
                .stderr
                .contains("no answer from elasticsearch at http://127.0.0.1:9/"),
            "{failed:?}"
        );
        assert!(failed.stderr.contains("ELASTICSEARCH_URL"), "{failed:?}");
    }
}
