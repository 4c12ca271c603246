//! `facedex bench`: it runs, its figures belong together, and it leaves nothing behind.

use serde_json::Value;

use crate::harness::{Space, full, photo, root};

#[test]
fn ingest_is_measured_beside_inference_alone_and_leaves_nothing() {
    let space = Space::new();
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    let mut arguments = vec!["bench", "ingest", &gallery, "--rounds", "1", "--json"];
    let peer = root().join("benches/peers/opencv_elasticsearch.py");
    let peer = peer.to_str().unwrap();
    // The peer's packages are 100 MB: the long suite fetches them.
    arguments.extend(if full() {
        vec!["--peer", peer]
    } else {
        vec!["--no-peer"]
    });
    let ran = space.run(&arguments).expect(0);
    let report = ran.json();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), if full() { 4 } else { 2 });
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
    let (_, left) = space.elastic("GET", "/_cat/indices/*bench-*?format=json", None);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn a_peer_that_is_not_there_is_said_before_anything_runs() {
    let space = Space::new();
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    let ran = space
        .run(&["bench", "ingest", &gallery, "--peer", "nowhere.py"])
        .expect(2);
    assert!(ran.stderr.contains("no such peer: nowhere.py"), "{}", ran.stderr);
}

#[test]
fn a_photo_that_is_no_use_is_said_before_anything_is_filled() {
    let space = Space::new();
    let nobody = photo("formats/no-face.jpg").to_str().unwrap().to_owned();
    for (photo, expected) in [("nowhere.jpg", "cannot read nowhere.jpg"), (&nobody, "no face in it")] {
        let ran = space.run(&["bench", "serve", photo, "--faces", "2000"]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!ran.stderr.contains("merging"), "{}", ran.stderr);
    }
}
