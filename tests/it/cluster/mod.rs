//! Three nodes: one is killed in the middle of everything and comes back.
//!
//! `cargo test --test it cluster -- --nocapture` prints the table.

mod faces;
mod searchers;
mod upgrade;

use std::collections::BTreeSet;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use facedex_elastic::schema::document::{face_id, image_hash};
use serde_json::{Value, json};

use self::searchers::{Searchers, Seen};
use crate::harness::api::Api;
use crate::harness::cluster::Cluster;
use crate::harness::node::{request, wait_as_long, wait_until};
use crate::harness::{Ran, Space, full, images, photo};

#[test]
fn three_nodes_of_which_one_dies_and_comes_back() {
    let mut cluster = Cluster::start();
    let space = Space::at(cluster.url());
    a_search_s_work_is_spread_over_the_nodes_with_the_shards(&space);
    a_node_dies_in_the_middle_of_an_ingest_and_of_searches(&mut cluster, &space);
    a_person_who_is_deleted_while_a_node_is_away_stays_deleted(&mut cluster, &space);
}

/// One line of the table.
struct Row {
    event: String,
    in_flight: String,
    lost: usize,
    duplicated: usize,
    errors: usize,
    seconds_to_green: f64,
}

fn a_search_s_work_is_spread_over_the_nodes_with_the_shards(space: &Space) {
    let arguments = "knn --faces 3000 --queries 10 --shards 1,3 --candidates 500 --length 100ms --json";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let report = space.bench(&arguments).expect(0).json();
    let results = report["results"].as_array().unwrap();
    for search in results.iter().filter(|result| result["kind"] == "search") {
        let work = |name: &str| search[name].as_f64().unwrap();
        let share = work("of_busiest_node") / work("comparisons");
        let expected = if search["shards"] == 1 { 1.0..=1.0 } else { 0.3..=0.5 };
        assert!(expected.contains(&share), "{search}");
    }
    assert_eq!(results.len(), 4);
}

fn a_node_dies_in_the_middle_of_an_ingest_and_of_searches(cluster: &mut Cluster, space: &Space) {
    let photos: u32 = if full() { 400 } else { 100 };
    let name = space.name.as_str();
    let urls = cluster.urls();
    let command = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        command.env("ELASTICSEARCH_URL", &urls);
        command
    };
    let create = ["collection", "create", name, "--shards", "3", "--replicas", "1"];
    crate::harness::run(command(&create)).expect(0);
    let gallery = photo("gallery").to_str().unwrap().to_owned();
    crate::harness::run(command(&["ingest", &gallery, "--person-from-dir"])).expect(0);
    faces::store(cluster.url(), name);
    let mut expected = BTreeSet::new();
    for (number, bytes) in images::variants_of_size("query/biden.jpg", 160, photos).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
        expected.insert(face_id(&image_hash(&bytes), 0));
    }
    let api = Api::start(space, &["--elasticsearch-url", &urls]);
    cluster.seconds_to_green(name, Instant::now());
    let recall_before = faces::recall(&api.url, name);

    let searching = {
        let (url, collection, folder) = (urls.clone(), space.name.clone(), space.folder.path().to_owned());
        let obama = photo("query/obama-3.jpg").to_str().unwrap().to_owned();
        Searchers::start(&api.url, name, move || {
            crate::harness::facedex_at(&url, &folder, &["search", &obama, "--json", "-c", &collection])
        })
    };
    let seen = &searching.seen;
    let many = space.path("many");
    let mut ingest = command(&["ingest", &many, "--json", "--bulk-faces", "4", "--workers", "1"])
        .spawn()
        .unwrap();
    let stored = |cluster: &Cluster| stored_ids(cluster, name, &expected).len();
    let mut table = Vec::new();

    wait_until("a quarter is stored", || stored(cluster) >= expected.len() / 4);
    let (master, start) = (cluster.master(), Instant::now());
    let in_flight = in_flight(stored(cluster), &expected, seen);
    cluster.kill(master);
    still_runs(&mut ingest);
    let (errors, answered) = (seen.errors(), seen.answered.load(Ordering::Relaxed));
    wait_until("the ingest goes on with two nodes", || {
        stored(cluster) >= expected.len() / 2 && seen.answered.load(Ordering::Relaxed) > answered + 10
    });
    still_runs(&mut ingest);
    let restarted = Instant::now();
    let back = self::in_flight(stored(cluster), &expected, seen);
    let errors_while_dead = seen.errors();
    cluster.restart(master);
    let to_green = cluster.seconds_to_green(name, restarted);
    let output = ingest.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let summary = ran.expect(0).json();
    let searches = seen.answered.load(Ordering::Relaxed);
    let wrong = seen.errors.lock().unwrap().clone();
    let retries = retries(&api);
    searching.stop();

    let found = stored_ids(cluster, name, &expected);
    let distinct: BTreeSet<&String> = found.iter().collect();
    let (lost, duplicated) = (expected.len() - distinct.len(), found.len() - distinct.len());
    table.push(Row {
        event: format!("kill -9 of n{master}, the master"),
        in_flight,
        lost,
        duplicated,
        errors: errors_while_dead - errors,
        seconds_to_green: (restarted - start).as_secs_f64() + to_green,
    });
    table.push(Row {
        event: format!("n{master} started again"),
        in_flight: back,
        lost,
        duplicated,
        errors: wrong.len() - errors_while_dead,
        seconds_to_green: to_green,
    });
    let recall_after = faces::recall(&api.url, name);
    show(&table);
    println!(
        "{searches} searches answered, {retries} asked twice; recall@10 {recall_before:.4} before, {recall_after:.4} after"
    );

    assert_eq!((lost, duplicated), (0, 0), "{summary}");
    assert_eq!(
        (&summary["images"], &summary["failed"], &summary["conflicts"]),
        (&json!(photos), &json!(0), &json!(0)),
        "{summary}"
    );
    // The node that took a write repeats it when the shard's node dies, and then finds what its first try wrote.
    let counted = ["indexed", "existing"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counted[0] + counted[1], u64::from(photos), "{summary}");
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(
        recall_before > 0.95 && recall_after >= recall_before - 0.01,
        "{recall_before}, {recall_after}"
    );
    copies_agree(cluster, name);
}

/// The node that was away comes back with copies that still have the person.
fn a_person_who_is_deleted_while_a_node_is_away_stays_deleted(cluster: &mut Cluster, space: &Space) {
    let name = space.name.as_str();
    let urls = cluster.urls();
    let delete = |more: &[&str]| {
        let all = [&["person", "delete", "made-up-7", "--yes", "--json", "-c", name], more].concat();
        let mut command = space.command(&all);
        command.env("ELASTICSEARCH_URL", &urls).env_remove("FACEDEX_COLLECTION");
        crate::harness::run(command)
    };
    let count = |cluster: &Cluster| {
        let body = json!({"size": 0, "track_total_hits": true, "query": {"term": {"person.id": "made-up-7"}}});
        // Another copy each time.
        let counts = (0..20).map(|number| {
            let path = format!("/{name}/_search?allow_partial_search_results=false&preference=copy-{number}");
            let (_, found) = request(cluster.url(), "POST", &path, Some(body.clone()));
            found["hits"]["total"]["value"].as_u64().unwrap()
        });
        counts.max().unwrap()
    };
    // As Lucene has a vector in its files, and as the transaction log has it.
    let needles: Vec<Vec<u8>> = (0..faces::COUNT)
        .filter(|number| faces::person(*number) == "made-up-7")
        .map(|number| {
            faces::vector(number)[..8]
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    request(cluster.url(), "POST", &format!("/{name}/_flush?force=true"), None);
    assert_eq!(count(cluster), 50);
    assert!(cluster.files_with(&needles).len() >= 2, "both copies have them");

    let away = (cluster.master() + 1) % 3;
    cluster.kill(away);
    wait_until("its absence is noticed", || {
        cluster.health(name)["number_of_nodes"] == 2
    });
    let first = delete(&["--purge", "--purge-timeout", "5s"]).expect(1).json();
    assert_eq!(
        (&first["deleted"], &first["purged"]["complete"]),
        (&json!(50), &json!(false)),
        "{first}"
    );
    assert!(first["purged"]["missing_copies"].as_u64() > Some(0), "{first}");
    assert_eq!(count(cluster), 0);

    // Where it is back, a copy may be made anew before anybody looks.
    assert!(
        !cluster.files_with(&needles).is_empty(),
        "nothing would be left to purge"
    );
    let back = Instant::now();
    cluster.restart(away);
    let seconds = cluster.seconds_to_green(name, back);
    assert_eq!(count(cluster), 0, "the stale copy gave the person back");
    copies_agree(cluster, name);
    let start = Instant::now();
    let second = delete(&["--purge"]).expect(0).json();
    assert_eq!(
        (&second["deleted"], &second["purged"]["complete"]),
        (&json!(0), &json!(true)),
        "{second}"
    );
    // A copy drops the files of its last commit but one when it has heard that all others are as far.
    let left = || cluster.files_with(&needles);
    let told = || format!("the vectors are off all disks; they are in {:?}", left());
    wait_as_long(Duration::from_secs(300), told, || left().is_empty());
    assert_eq!(count(cluster), 0);
    println!(
        "a person of 50 faces deleted while n{away} was away: green {seconds:.1} s after it came back, 0 faces left, \
         vectors on 0 of 3 disks {:.1} s later",
        start.elapsed().as_secs_f64()
    );
}

#[track_caller]
fn still_runs(ingest: &mut Child) {
    assert!(
        ingest.try_wait().unwrap().is_none(),
        "the ingest ended too soon: raise its photos"
    );
}

fn in_flight(stored: usize, expected: &BTreeSet<String>, seen: &Seen) -> String {
    let searches = seen.under_way.load(Ordering::Relaxed);
    format!(
        "{} of {} photos, {searches} searches",
        expected.len() - stored,
        expected.len()
    )
}

/// The ids of these that are stored, each as often as it is there.
fn stored_ids(cluster: &Cluster, collection: &str, of: &BTreeSet<String>) -> Vec<String> {
    request(cluster.url(), "POST", &format!("/{collection}/_refresh"), None);
    let body = json!({"size": 10_000, "_source": false, "query": {"match_all": {}}});
    let path = format!("/{collection}/_search?allow_partial_search_results=false");
    let (status, found) = request(cluster.url(), "POST", &path, Some(body));
    // A shard may be without a node at this moment.
    let hits = (status == 200).then(|| found["hits"]["hits"].as_array().cloned().unwrap_or_default());
    let ids = hits
        .unwrap_or_default()
        .into_iter()
        .map(|hit| hit["_id"].as_str().unwrap().to_owned());
    ids.filter(|id| of.contains(id)).collect()
}

/// How often the server asked another node, as it tells by itself.
fn retries(api: &Api) -> u64 {
    let text = api.get("/metrics").text();
    let line = text
        .lines()
        .find(|line| line.starts_with("facedex_elasticsearch_read_retries_total "));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Both copies of each shard hold as many faces.
fn copies_agree(cluster: &Cluster, collection: &str) {
    let path = format!("/_cat/shards/{collection}?format=json&h=shard,docs,state");
    let (_, shards) = request(cluster.url(), "GET", &path, None);
    let shards = shards.as_array().unwrap();
    assert_eq!(shards.len(), 6, "{shards:?}");
    for copy in shards {
        let same = |other: &&Value| other["shard"] == copy["shard"] && other["docs"] == copy["docs"];
        assert_eq!(copy["state"], "STARTED");
        assert_eq!(shards.iter().filter(same).count(), 2, "{shards:?}");
    }
}

fn show(table: &[Row]) {
    println!("| event | in flight | lost | duplicated | errors seen by the searcher | seconds to green |");
    println!("|---|---|---|---|---|---|");
    for row in table {
        println!(
            "| {} | {} | {} | {} | {} | {:.1} |",
            row.event, row.in_flight, row.lost, row.duplicated, row.errors, row.seconds_to_green
        );
    }
}
