//! Elasticsearch goes away in the middle.

use std::collections::BTreeMap;
use std::process::Child;

use crate::harness::node::{Node, try_request, wait_until};
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, images, run};

fn count(url: &str, name: &str) -> Option<u64> {
    try_request(url, "POST", &format!("/{name}/_refresh"), None)?;
    try_request(url, "GET", &format!("/{name}/_count"), None)?.1["count"].as_u64()
}

fn start_ingest(space: &Space, more: &[&str]) -> Child {
    let many = space.path("many");
    let arguments: Vec<&str> = ["ingest", &many, "--json", "--bulk-faces", "2", "--workers", "1"]
        .iter()
        .chain(more)
        .copied()
        .collect();
    space.command(&arguments).spawn().unwrap()
}

#[test]
fn a_node_killed_in_the_middle_costs_no_face() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), 0);
    let (port, url) = (node.port(), node.url.clone());
    let space = Space::at(&url);
    const PHOTOS: u32 = 150;
    for (number, bytes) in images::variants("query/biden.jpg", PHOTOS).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let mut ingest = start_ingest(&space, &[]);
    wait_until("some faces are there", || count(&url, &space.name) > Some(6));
    node.kill();
    assert!(
        ingest.try_wait().unwrap().is_none(),
        "the outage came too late: raise PHOTOS"
    );
    let node = Node::start(data.path(), port);
    let output = ingest.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("will send again"), "{stderr}");
    let last = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .unwrap()
        .to_owned();
    let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (summary["images"].as_u64(), summary["indexed"].as_u64()),
        (Some(150), Some(150)),
        "{summary}"
    );
    assert_eq!(count(&node.url, &space.name), Some(u64::from(PHOTOS)));

    // For good: the run ends with a reason after the time that it was given, and can be taken up again.
    let again = space.path("more");
    std::fs::rename(space.path("many"), &again).unwrap();
    for (number, bytes) in images::variants("query/obama-3.jpg", PHOTOS).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let before = u64::from(PHOTOS);
    let ingest = start_ingest(&space, &["--retry-for", "1s"]);
    wait_until("some more faces are there", || {
        count(&url, &space.name) > Some(before + 6)
    });
    node.kill();
    let output = ingest.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("did not accept it") && stderr.contains("run the same command again"),
        "{stderr}"
    );
    let node = Node::start(data.path(), port);
    let output = start_ingest(&space, &[]).wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(count(&node.url, &space.name), Some(2 * u64::from(PHOTOS)));
}

/// Nodes that are down answer no request of any kind: a batch's look for deleted faces fails as its write does.
#[test]
fn an_outage_is_waited_out_whatever_it_meets() {
    let space = Space::new();
    for (number, bytes) in images::variants_of_size("query/biden.jpg", 160, 30).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    // One face was deleted, so that there is something to look at.
    space.put_photo("query/obama-3.jpg", "many/Ann/1.jpg");
    space.ingest(0, &[&space.path("many/Ann/1.jpg"), "--person-from-dir"]);
    space.run(&["person", "delete", "Ann", "--yes"]).expect(0);
    let mut left: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut has_written = false;
    let proxy = Proxy::start(&space.url, move |seen| {
        has_written |= seen.kind == Kind::Bulk;
        let left = left.entry(seen.kind).or_insert(5);
        let fails = has_written && *left > 0;
        *left -= usize::from(fails);
        fails.then_some(Fault::ResetBefore)
    });
    let many = space.path("many");
    let mut ingest = space.command(&["ingest", &many, "--json", "--bulk-faces", "2", "--bulk-in-flight", "1"]);
    ingest.env("ELASTICSEARCH_URL", &proxy.url);
    let ran = run(ingest).expect(0);
    assert_eq!((ran.json()["indexed"].as_u64(), space.count()), (Some(30), 30));
    for kind in [Kind::Bulk, Kind::Tombstones] {
        let seen = proxy.seen();
        let failed = seen.iter().filter(|seen| seen.kind == kind && seen.fault.is_some());
        assert_eq!(failed.count(), 5, "{kind:?}");
    }
}
