//! What a run tells while it goes on, and what it leaves as it was.

use super::*;

#[test]
fn load_mode_restores_what_it_changed_and_leaves_live_collections_alone() {
    let space = Space::new();
    let settings = || {
        let (_, reply) = space.elastic("GET", &format!("/{}", space.index()), None);
        let index = &reply[space.index()]["settings"]["index"];
        let meta = &reply[space.index()]["mappings"]["_meta"];
        (
            index["refresh_interval"].clone(),
            index["auto_expand_replicas"].clone(),
            meta["bulk_load"].clone(),
        )
    };
    space.ingest(0, &[&gallery(), "--bulk-load", "--force-merge"]);
    assert_eq!(settings(), (Value::Null, json!("0-1"), Value::Null));
    assert_eq!(space.count(), 7);
    let live = space.run(&["ingest", &gallery(), "--bulk-load"]).expect(2);
    assert!(live.stderr.contains("--bulk-load is for a new collection"), "{live:?}");
    // A load that died: its settings and its note are still there.
    let (_, reply) = space.elastic("GET", &format!("/{}/_mapping", space.index()), None);
    let mut meta = reply[space.index()]["mappings"]["_meta"].clone();
    meta["bulk_load"] =
        json!({"refresh_interval": "7s", "number_of_replicas": "0", "auto_expand_replicas": null, "run": "x"});
    space.elastic(
        "PUT",
        &format!("/{}/_mapping", space.index()),
        Some(json!({"_meta": meta})),
    );
    let off = json!({"index": {"refresh_interval": "-1", "auto_expand_replicas": false}});
    space.elastic("PUT", &format!("/{}/_settings", space.index()), Some(off));
    let repaired = space.run(&["ingest", &gallery()]).expect(0);
    assert!(
        repaired.stderr.contains("an earlier --bulk-load did not end"),
        "{repaired:?}"
    );
    let (refresh, _, note) = settings();
    assert_eq!((refresh, note), (json!("7s"), Value::Null));
}

#[test]
fn json_streams_events_and_the_profile_names_the_bottleneck() {
    let space = Space::new();
    for (number, bytes) in images::variants("query/biden.jpg", 150).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let ran = space
        .run(&["ingest", &space.path("many"), "--json", "--profile", "--workers", "1"])
        .expect(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 1 && lines[0]["event"] == "progress", "{ran:?}");
    assert_eq!(lines.last().unwrap()["indexed"], 150);
    assert!(lines.last().unwrap()["event"].is_null());
    let bottleneck = lines.last().unwrap()["profile"]["bottleneck"].as_str().unwrap();
    assert!(bottleneck.starts_with("the processor: embed"), "{ran:?}");
}

#[test]
fn metrics_are_served_during_the_run() {
    let space = Space::new();
    for (number, bytes) in images::variants("query/biden.jpg", 200).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let many = space.path("many");
    let mut child = space
        .command(&[
            "ingest",
            &many,
            "--workers",
            "1",
            "--bulk-faces",
            "4",
            "--metrics-addr",
            &address,
        ])
        .spawn()
        .unwrap();
    let mut text = String::new();
    crate::harness::node::wait_until("metrics tell of faces", || {
        text = reqwest::blocking::get(format!("http://{address}/metrics"))
            .and_then(reqwest::blocking::Response::text)
            .unwrap_or_default();
        text.contains("facedex_faces_total")
    });
    for name in [
        "facedex_stage_seconds",
        "facedex_bulk_seconds",
        "facedex_bulk_bytes_total",
        "facedex_queue_depth",
    ] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_dry_run_counts_and_names_and_writes_nothing() {
    let space = Space::new();
    space.put_photo("gallery/Barack_Obama/obama-1.jpg", "in/a.jpg");
    space.put("in/broken.jpg", b"\xFF\xD8\xFFnothing");
    let folder = space.path("in");
    let summary = space.ingest(1, &[&folder, "--dry-run", "--profile"]);
    assert_eq!(
        [
            &summary["images"],
            &summary["faces"],
            &summary["indexed"],
            &summary["failed"]
        ],
        [&json!(2), &json!(1), &json!(0), &json!(1)]
    );
    assert!(summary["profile"]["inference_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(space.dead_letters().len(), 1);
    assert!(!space.exists());
    // Nor is anything taken for done.
    assert_eq!(space.ingest(1, &[&folder])["indexed"], 1);
    // It needs no cluster.
    let away = Space::at("http://127.0.0.1:9");
    let photo = space.path("in/a.jpg");
    assert_eq!(away.ingest(0, &[&photo, "--dry-run"])["faces"], 1);
}
