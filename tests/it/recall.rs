//! What a search finds where nobody says how far it is to look, on the version of Elasticsearch at hand; and what is said when
//! that does not hold.

use serde_json::{Value, json};

use crate::harness::node::Node;
use crate::harness::{Space, full};

/// Photos that are asked about, and as many of strangers.
const QUERIES: u32 = 1000;

/// Among fewer faces a search that looks too near finds nearly all the same.
const FACES: u32 = 50_000;

/// `facedex-bench knn` with the efforts that the questions have by default: made-up faces that are distributed like real ones.
fn measured(url: &str, index_type: &str, more: &[&str]) -> Vec<Value> {
    // Results that are in the folder already would be reported too.
    let space = Space::at(url);
    let (faces, queries) = (FACES.to_string(), QUERIES.to_string());
    let arguments = [
        "knn",
        "--index-types",
        index_type,
        "--faces",
        &faces,
        "--queries",
        &queries,
    ];
    let arguments = [&arguments[..], &["--length", "100ms", "--json"], more].concat();
    let report = space.bench(&arguments).expect(0).json();
    let results = report["results"].as_array().unwrap().clone();
    results
        .into_iter()
        .filter(|result| result["kind"] == "search")
        .collect()
}

#[track_caller]
fn expect(search: &Value, of: &str, least: f64) {
    let found = search["recall"][of].as_f64().unwrap();
    assert!(found >= least, "{of} of {search}");
}

#[test]
fn the_defaults_find_what_the_documentation_says() {
    let types: &[&str] = match full() {
        true => &["int8_hnsw", "hnsw", "int4_hnsw", "bbq_hnsw"],
        false => &["int8_hnsw"],
    };
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_for_graphs(data.path());
    for index_type in types {
        let [search] = &measured(&node.url, index_type, &["--candidates", "search", "--keep"])[..] else {
            panic!("{index_type}");
        };
        expect(search, "at_10", 0.99);
        // As many hits as a question about who somebody is asks for.
        let [identify] = &measured(&node.url, index_type, &["--candidates", "identify", "-k", "50"])[..] else {
            panic!("{index_type}");
        };
        expect(identify, "at_1", 0.999);
        assert!(
            identify["candidates"].as_u64() < search["candidates"].as_u64(),
            "{identify} looks as far as {search}"
        );
    }
}

#[test]
fn searches_that_end_early_are_named_and_set_right_by_one_command() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let settings = |early: Value| {
        let body = json!({"index.dense_vector.hnsw_enable_early_termination": early});
        space.elastic("PUT", &format!("/{}/_settings", space.index()), Some(body))
    };
    let status = || {
        space
            .run(&["collection", "status", &space.name, "--json"])
            .expect(0)
            .json()
    };
    let check = |code: i32| {
        space
            .run(&["collection", "check", &space.name, "--json"])
            .expect(code)
            .json()
    };
    assert_eq!(status()["warnings"], json!([]));
    assert_eq!(check(0)["drift"]["count"], 0);
    let (code, answer) = settings(json!(true));
    if code != 200 {
        // 8.19 has no such setting, and searches no less for it.
        assert!(answer.to_string().contains("unknown setting"), "{answer}");
        assert!(
            space
                .run(&["collection", "repair", &space.name])
                .expect(0)
                .stdout
                .contains("nothing to do")
        );
        return;
    }
    let warning = status()["warnings"][0].as_str().unwrap().to_owned();
    assert!(
        warning.contains(&format!("collection repair {}", space.name)),
        "{warning}"
    );
    assert_eq!(check(1)["drift"]["examples"], json!([warning]));
    let repaired = space
        .run(&["collection", "repair", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!(
        repaired["changed"],
        json!(["index.dense_vector.hnsw_enable_early_termination to false"])
    );
    assert_eq!(check(0)["drift"]["count"], 0);
    assert!(
        space
            .run(&["collection", "repair", &space.name])
            .expect(0)
            .stdout
            .contains("nothing to do")
    );
    // Without the setting a version does what it does by itself; only where that ends early is it said.
    settings(Value::Null);
    let (_, defaults) = space.elastic(
        "GET",
        &format!("/{}/_settings?include_defaults=true&flat_settings=true", space.index()),
        None,
    );
    let by_itself = &defaults[space.index()]["defaults"]["index.dense_vector.hnsw_enable_early_termination"];
    assert_eq!(
        status()["warnings"].as_array().unwrap().len(),
        usize::from(by_itself == "true"),
        "{by_itself}"
    );
}

#[test]
fn a_collection_without_a_graph_has_nothing_to_end_early() {
    let space = Space::new();
    space
        .run(&["collection", "create", &space.name, "--index-type", "flat"])
        .expect(0);
    let status = space
        .run(&["collection", "status", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!(status["warnings"], json!([]));
    space.run(&["collection", "check", &space.name]).expect(0);
    assert!(
        space
            .run(&["collection", "repair", &space.name])
            .expect(0)
            .stdout
            .contains("nothing to do")
    );
}

#[test]
fn a_new_graph_searches_to_its_end_and_so_does_a_migrated_one() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space
        .run(&["collection", "migrate", &space.name, "--index-type", "bbq_hnsw"])
        .expect(0);
    let (_, reply) = space.elastic("GET", &format!("/{}/_settings?flat_settings=true", space.name), None);
    let index = reply.as_object().unwrap().values().next().unwrap();
    let set = &index["settings"]["index.dense_vector.hnsw_enable_early_termination"];
    let (_, info) = space.elastic("GET", "/", None);
    let is_known = !info["version"]["number"].as_str().unwrap().starts_with("8.");
    assert_eq!(*set, if is_known { json!("false") } else { Value::Null }, "{reply}");
}
