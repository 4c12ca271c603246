//! `facedex-bench`: it runs, its figures belong together, and it leaves nothing behind.

use serde_json::Value;

use crate::harness::{Space, full, photo, root};

#[test]
fn ingest_is_measured_beside_inference_alone_and_leaves_nothing() {
    let space = Space::new();
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    let mut arguments = vec!["ingest", &gallery, "--rounds", "1", "--json"];
    let peer = root().join("benches/peers/opencv_elasticsearch.py");
    let peer = peer.to_str().unwrap();
    // The peer's packages are 100 MB: the long suite fetches them.
    arguments.extend(if full() {
        vec!["--peer", peer]
    } else {
        vec!["--no-peer"]
    });
    let ran = space.bench(&arguments).expect(0);
    let report = ran.json();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), if full() { 3 } else { 2 });
    let whole = &runs[0];
    let dry = &runs[1];
    assert_eq!((&whole["photos"], &whole["faces"]), (&dry["photos"], &dry["faces"]));
    assert_eq!(whole["faces"], 7);
    let seconds = |run: &Value, name: &str| run[name].as_f64().unwrap();
    for run in runs {
        assert!(seconds(run, "seconds") <= seconds(run, "wall_seconds"), "{run}");
        assert!(run["peak_rss"].as_u64().unwrap() > 50_000_000, "{run}");
        assert!(seconds(run, "cpu_seconds") > 0.1, "{run}");
    }
    assert!(seconds(dry, "inference_seconds") > 0.0);
    let cores = report["cores"].as_f64().unwrap();
    let bound = seconds(dry, "inference_seconds") / cores;
    assert!((report["bound"]["seconds"].as_f64().unwrap() - bound).abs() < 1e-9);
    // A run's line each, then the report.
    assert_eq!(ran.stdout.lines().count(), runs.len() + 1);
    let (_, left) = space.elastic("GET", "/_cat/indices/*bench-*,-*bench-knn-*?format=json", None);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn benchmarks_are_a_command_of_their_own() {
    let ran = Space::new().run(&["bench", "knn", "--faces", "2000"]).expect(2);
    assert!(ran.stderr.contains("`facedex-bench knn`"), "{}", ran.stderr);
}

#[test]
fn a_settings_file_of_facedex_serves_it_too() {
    let space = Space::new();
    let settings = space.folder.path().join("facedex.toml");
    std::fs::write(&settings, "collection = \"x\"\nprecision = \"fast\"\n[search]\nk = 3\n[serve]\nlisten = \"127.0.0.1:0\"\n[bench.serve]\nfaces = 2000\n").unwrap();
    let ran = space.bench(&["serve", "nowhere.jpg"]).expect(2);
    assert!(ran.stderr.contains("cannot read nowhere.jpg"), "{}", ran.stderr);
    // And the other way round.
    space.run(&["models", "path", "runtime"]).expect(0);
    std::fs::write(&settings, "[bench]\nfases = 1\n").unwrap();
    let ran = space.bench(&["serve", "nowhere.jpg"]).expect(2);
    assert!(ran.stderr.contains("\"fases\" is no setting"), "{}", ran.stderr);
    std::fs::write(&settings, "colection = \"x\"\n").unwrap();
    let ran = space.bench(&["serve", "nowhere.jpg"]).expect(2);
    assert!(ran.stderr.contains("\"colection\" is no setting"), "{}", ran.stderr);
}

#[test]
fn a_peer_that_is_not_there_is_said_before_anything_runs() {
    let space = Space::new();
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    let ran = space.bench(&["ingest", &gallery, "--peer", "nowhere.py"]).expect(2);
    assert!(ran.stderr.contains("no such peer: nowhere.py"), "{}", ran.stderr);
}

#[test]
fn a_photo_that_is_no_use_is_said_before_anything_is_filled() {
    let space = Space::new();
    let nobody = photo("formats/no-face.jpg").to_str().unwrap().to_owned();
    for (photo, expected) in [("nowhere.jpg", "cannot read nowhere.jpg"), (&nobody, "no face in it")] {
        let ran = space.bench(&["serve", photo, "--faces", "2000"]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!ran.stderr.contains("merging"), "{}", ran.stderr);
    }
}

#[test]
fn searches_are_measured_against_the_truth_and_not_twice() {
    let space = Space::new();
    let script = root().join("benches/peers/knn.py");
    let script = script.to_str().unwrap();
    let mut arguments = vec![
        "knn",
        "--faces",
        "2000",
        "--index-types",
        "int8_hnsw,flat",
        "--queries",
        "20",
    ];
    arguments.extend([
        "--candidates",
        "500",
        "--filters",
        "none,tenth",
        "--segments",
        "as_filled,merged",
    ]);
    arguments.extend(["--clients", "1,4", "--length", "200ms", "--plot", "knn.svg", "--json"]);
    if full() {
        // The peers' packages are fetched by the long suite alone.
        arguments.extend(["--peers", "--script", script]);
    }
    let report = space.bench(&arguments).expect(0).json();
    let of_kind = |kind: &str| -> Vec<Value> {
        let results = report["results"].as_array().unwrap();
        results
            .iter()
            .filter(|result| result["kind"] == kind)
            .cloned()
            .collect()
    };
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(of_kind("index").len(), 4);
    for index in of_kind("index") {
        // At least the whole vectors are on disk.
        assert!(number(&index["disk_bytes"]) > 2000.0 * 512.0, "{index}");
        assert!(index["segments"] != "merged" || index["segment_count"] == 1, "{index}");
    }
    assert_eq!(of_kind("search").len(), 8);
    for search in of_kind("search") {
        let exact = search["index_type"] == "flat";
        let least = if exact { 1.0 } else { 0.9 };
        for recall in [&search["recall"], &search["strangers"]] {
            for at in ["at_1", "at_10"] {
                assert!((least..=1.0).contains(&number(&recall[at])), "{search}");
            }
        }
        // Elasticsearch counts those of graphs alone.
        assert!(exact || number(&search["comparisons"]) > 50.0, "{search}");
        // There is one node.
        assert_eq!(search["of_busiest_node"], search["comparisons"], "{search}");
        assert_eq!(search["cpu_ms_of_busiest_node"], search["cpu_ms"], "{search}");
        let loads = search["loads"].as_array().unwrap();
        assert_eq!(loads.len(), 2);
        for load in loads {
            let [p50, p95, p99] = ["p50_ms", "p95_ms", "p99_ms"].map(|at| number(&load[at]));
            assert!(
                0.0 < p50 && p50 <= p95 && p95 <= p99 && number(&load["per_second"]) > 0.0,
                "{load}"
            );
        }
    }
    let peers = of_kind("peer");
    assert_eq!(peers.is_empty(), !full());
    for peer in peers.iter().filter(|peer| {
        ["numpy", "pickle", "faiss-flat"]
            .iter()
            .any(|exact| peer["peer"] == *exact)
    }) {
        assert_eq!(number(&peer["recall"]["at_10"]), 1.0, "{peer}");
    }
    // Each peer beside each index.
    let turns = of_kind("turns");
    assert_eq!(turns.len(), if full() { 14 } else { 0 });
    for turn in turns {
        let [ratio, low, high] = [&turn["ratio"], &turn["interval"][0], &turn["interval"][1]].map(number);
        assert!(0.0 < low && low <= ratio && ratio <= high, "{turn}");
    }
    let file = space.folder.path().join("bench-knn.ndjson");
    let measured = std::fs::read_to_string(&file).unwrap();
    assert_eq!(measured.lines().count(), report["results"].as_array().unwrap().len());
    assert!(
        std::fs::read_to_string(space.folder.path().join("knn.svg"))
            .unwrap()
            .contains("recall@10")
    );
    // One measurement is lost, as if the run had been cut off in its line: it alone is made again.
    let kept: Vec<&str> = measured.lines().take(measured.lines().count() - 1).collect();
    std::fs::write(&file, kept.join("\n") + "\n{\"kind\":\"se").unwrap();
    let again = space.bench(&arguments).expect(0).json();
    assert_eq!(again["results"].as_array().unwrap().len(), measured.lines().count());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&(kept.join("\n") + "\n")));
    let (_, left) = space.elastic("GET", "/_cat/indices/*bench-knn-2000-*?format=json", None);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
}
