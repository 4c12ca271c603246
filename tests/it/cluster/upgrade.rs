//! A cluster is upgraded node by node while faces are ingested and searched for.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::searchers::Searchers;
use super::{faces, stored_ids};
use crate::harness::cluster::{Cluster, NODES};
use crate::harness::node::{request, wait_until};
use crate::harness::{Space, full, images, photo, run};

const OLD: &str = "8.19.21";
const NEW: &str = "9.5.3";
const PHOTOS: u32 = 4000;

#[test]
fn a_rolling_upgrade_loses_and_doubles_nothing_and_misses_nobody() {
    if !full() {
        eprintln!("a cluster is upgraded from {OLD} to {NEW} by the long suite");
        return;
    }
    let mut cluster = Cluster::start_at(Some(OLD));
    let space = Space::at(cluster.url());
    let (name, urls) = (space.name.clone(), cluster.urls());
    let command = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        command.env("ELASTICSEARCH_URL", &urls);
        command
    };
    run(command(&[
        "collection",
        "create",
        &name,
        "--shards",
        "3",
        "--replicas",
        "1",
    ]))
    .expect(0);
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    run(command(&["ingest", &gallery, "--person-from-dir"])).expect(0);
    faces::store(cluster.url(), &name);
    let mut expected = BTreeSet::new();
    for (number, bytes) in images::variants_of_size("query/biden.jpg", 160, PHOTOS).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
        expected.insert(super::face_id(&super::image_hash(&bytes), 0));
    }
    let api = crate::harness::api::Api::start(&space, &["--elasticsearch-url", &urls]);
    let searching = {
        let (urls, name, folder) = (urls.clone(), name.clone(), space.folder.path().to_owned());
        let obama = photo("query/obama-3.jpg").to_str().unwrap().to_owned();
        let collection = name.clone();
        Searchers::start(&api.url, &name, move || {
            crate::harness::facedex_at(&urls, &folder, &["search", &obama, "--json", "-c", &collection])
        })
    };
    let many = space.path("many");
    let mut ingest = command(&["ingest", &many, "--json", "--bulk-faces", "4", "--workers", "1"])
        .spawn()
        .unwrap();
    let stored = |cluster: &Cluster| stored_ids(cluster, &name, &expected).len();

    // The master last, as Elasticsearch's guide has it.
    let master = cluster.master();
    let order = (0..NODES).filter(|at| *at != master).chain([master]);
    let mut mixed = 0;
    for (done, at) in order.enumerate() {
        wait_until("more is stored", || stored(&cluster) >= 50 * (done + 1));
        allocation(&cluster, "primaries");
        cluster.upgrade(at, NEW);
        allocation(&cluster, "all");
        cluster.seconds_to_green(&name, std::time::Instant::now());
        let answered = searching.seen.answered.load(Ordering::Relaxed);
        wait_until("searches go on", || {
            searching.seen.answered.load(Ordering::Relaxed) > answered + 5
        });
        let status = run(command(&["collection", "status", &name, "--json"]))
            .expect(0)
            .json();
        mixed += usize::from(status["elasticsearch"].as_array().map(Vec::len) == Some(2));
    }
    assert_eq!(mixed, 2, "a mixed cluster is named while it is mixed");
    let is_over = ingest.try_wait().unwrap().is_some();
    let output = ingest.wait_with_output().unwrap();
    assert!(
        !is_over,
        "the ingest ended too soon: raise its photos; it said {output:?}"
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let wrong = searching.seen.errors.lock().unwrap().clone();
    let answered = searching.seen.answered.load(Ordering::Relaxed);
    searching.stop();
    let found = stored_ids(&cluster, &name, &expected);
    let distinct: BTreeSet<&String> = found.iter().collect();
    println!(
        "{OLD} to {NEW}: lost {}, doubled {}, {answered} searches answered, {} wrongly",
        expected.len() - distinct.len(),
        found.len() - distinct.len(),
        wrong.len()
    );
    assert_eq!((distinct.len(), found.len()), (expected.len(), expected.len()));
    assert!(wrong.is_empty(), "{wrong:?}");
    super::copies_agree(&cluster, &name);
    // What was made on the old version is searched as it should be on the new one.
    run(command(&["collection", "repair", &name])).expect(0);
    let check = run(command(&["collection", "check", &name, "--json"])).json();
    assert_eq!(check["drift"]["count"], 0, "{check}");
    run(command(&["ingest", &gallery, "--person-from-dir", "--no-journal"])).expect(0);
}

/// Which shards may be allocated while a node is away.
fn allocation(cluster: &Cluster, which: &str) {
    let settings = json!({"persistent": {"cluster.routing.allocation.enable": which}});
    let (status, answer) = request(cluster.url(), "PUT", "/_cluster/settings", Some(settings));
    assert_eq!(status, 200, "{answer}");
}
