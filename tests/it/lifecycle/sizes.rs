//! What a collection costs, foreseen and counted.

use serde_json::{Value, json};

use crate::harness::{Space, facedex_at, run};

#[test]
fn plan_needs_no_cluster_and_gives_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |more: &[&str]| {
        let arguments = [&["collection", "plan", "--faces", "10000000"], more].concat();
        run(facedex_at("http://127.0.0.1:9", folder.path(), &arguments)).expect(0)
    };
    let planned = plan(&["--dims", "512", "--json"]).json();
    let ram: Vec<(&str, u64)> = planned["index_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|need| {
            (
                need["index_type"].as_str().unwrap(),
                need["ram_bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    let face = [2048 + 128, 528 + 128, 272 + 128, 78 + 128, 2048].map(|bytes: u64| bytes * 10_000_000);
    let names = ["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat"];
    assert_eq!(ram, names.into_iter().zip(face).collect::<Vec<_>>());
    assert_eq!(planned["dims"], 512);
    // Without --dims, those of the default embedder; the text has the formulas.
    let text = plan(&[]).stdout;
    assert!(
        text.contains("of 128 dimensions") && text.contains("int8_hnsw: 144 bytes a face (dims + 16) + 128 (4 * m)"),
        "{text}"
    );
}

#[test]
fn status_counts_segments_vectors_and_memory() {
    let space = Space::new();
    let photo = space.put_photo("gallery-unlabelled/four-people.jpg", "four.jpg");
    space.ingest(0, &[&photo]);
    let status = space
        .run(&["collection", "status", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!((&status["documents"], &status["deleted"]), (&json!(4), &json!(0)));
    assert!(status["segments"].as_u64() >= Some(1), "{status}");
    assert_eq!(
        (&status["writes_blocked"], &status["versions"]),
        (&json!(false), &json!([]))
    );
    let off_heap = &status["off_heap"];
    let bytes = |value: &Value| value.as_u64().unwrap();
    let (_, info) = space.elastic("GET", "/", None);
    // 8.19 does not count what lies off-heap: then it is the documented formula.
    let counts = !info["version"]["number"].as_str().unwrap().starts_with("8.");
    let searched = if counts {
        // Four vectors of 128 floats, and the same in bytes with a few more for each.
        assert_eq!(bytes(&off_heap["whole_bytes"]), 4 * 128 * 4);
        let quantised = bytes(&off_heap["quantised_bytes"]);
        assert!((4 * 128..4 * 160).contains(&quantised), "{status}");
        quantised + bytes(&off_heap["graph_bytes"])
    } else {
        4 * (128 + 16 + 32 * 4)
    };
    let ram = &status["ram"];
    assert_eq!(
        (bytes(&ram["needed_bytes"]), &ram["counted"]),
        (searched, &json!(counts))
    );
    assert!(
        bytes(&ram["there_bytes"]) > 0 && bytes(&ram["data_nodes"]) >= 1,
        "{status}"
    );
    let text = space.run(&["collection", "status", &space.name]).expect(0).stdout;
    assert!(
        text.contains("sface-2021dec@arcface-112") && text.contains("needed;"),
        "{text}"
    );
}
