//! The events index and the dashboards that read it: on a node of their own, since data views name all collections.
//! The panels' searches are run as Kibana would send them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::node::{self, Node, wait_until};
use crate::harness::{Space, images, photo, run};
use crate::kibana::dashboards;

/// A node, a collection in it and a folder for both.
struct Own {
    // Before the node, which must outlive it.
    space: Space,
    node: Node,
    _folder: tempfile::TempDir,
}

fn own() -> Own {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), 0);
    Own {
        space: Space::at(&node.url),
        node,
        _folder: folder,
    }
}

fn events(url: &str) -> Vec<Value> {
    node::try_request(url, "POST", "/facedex-events-*/_refresh", None);
    let body = json!({"size": 1000, "sort": ["@timestamp"]});
    let (_, reply) = node::request(url, "POST", "/facedex-events-*/_search", Some(body));
    let hits = reply["hits"]["hits"].as_array().cloned().unwrap_or_default();
    hits.into_iter().map(|hit| hit["_source"].clone()).collect()
}

fn count(events: &[Value], action: &str) -> usize {
    events.iter().filter(|event| event["event"]["action"] == action).count()
}

/// Photos of people in a folder of the test, one of them twice under another name, one unlabelled, two broken.
fn gallery(space: &Space) -> String {
    for person in std::fs::read_dir(photo("gallery")).unwrap() {
        let person = person.unwrap();
        for file in std::fs::read_dir(person.path()).unwrap() {
            let file = file.unwrap();
            let name = format!("people/{}/{}", person.file_name().display(), file.file_name().display());
            space.put(&name, &std::fs::read(file.path()).unwrap());
        }
    }
    space.put_photo("gallery/Barack_Obama/obama-1.jpg", "people/Somebody_Else/copy.jpg");
    space.put_photo("formats/no-face.jpg", "people/Nobody/landscape.jpg");
    space.put("people/Nobody/broken.jpg", b"no photo at all");
    let jpeg = std::fs::read(photo("gallery/Barack_Obama/obama-2.jpg")).unwrap();
    space.put("people/Nobody/torn.jpg", &jpeg[..jpeg.len() / 2]);
    space.path("people")
}

/// Asks a server of the test all sorts of questions, good and bad.
fn ask(space: &Space, api: &Api) {
    let bytes = |name: &str| std::fs::read(photo(name)).unwrap();
    let path = |route: &str| format!("/v1/{route}?collection={}", space.name);
    for name in ["query/obama-3.jpg", "query/biden.jpg"] {
        api.post_photo(&path("search"), bytes(name)).expect(200);
        api.post_photo(&path("identify"), bytes(name)).expect(200);
    }
    let photos = [
        ("photo_a", bytes("query/obama-3.jpg")),
        ("photo_b", bytes("gallery/Barack_Obama/obama-1.jpg")),
    ];
    api.post_form("/v1/verify", &[], &photos).expect(200);
    api.post_photo("/v1/search?collection=no-such-collection", bytes("query/biden.jpg"))
        .refused(404, "no_collection");
    api.post_photo(&path("search"), b"no photo".to_vec())
        .refused(415, "not_an_image");
    api.get(&path("stats")).expect(200);
    let count = api.post_json(
        &format!("/es/{}/_count", space.name),
        &json!({"query": {"match_all": {}}}),
    );
    count.expect(200);
    api.get("/healthz");
}

/// Every text and number of a document, with the name of its field.
fn leaves(value: &Value, name: &str, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                leaves(value, format!("{name}.{key}").trim_start_matches('.'), into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(value, name, into)),
        leaf => into.push((name.to_owned(), leaf.clone())),
    }
}

/// The fields of an index pattern's mappings, and those that every index has.
fn mapped(url: &str, pattern: &str) -> BTreeSet<String> {
    fn walk(prefix: &str, mapping: &Value, into: &mut BTreeSet<String>) {
        for (name, field) in mapping["properties"].as_object().into_iter().flatten() {
            into.insert(format!("{prefix}{name}"));
            walk(&format!("{prefix}{name}."), field, into);
        }
    }
    let (_, reply) = node::request(url, "GET", &format!("/{pattern}/_mapping"), None);
    let mut found = BTreeSet::from(["_index".to_owned()]);
    for index in reply.as_object().unwrap().values() {
        walk("", &index["mappings"], &mut found);
    }
    found
}

/// Whether an answer's aggregation, and every one inside its first full bucket, has data.
fn has_data(aggregation: &Value) -> bool {
    if let Some(buckets) = aggregation["buckets"].as_array() {
        let Some(full) = buckets.iter().find(|bucket| bucket["doc_count"].as_u64() > Some(0)) else {
            return false;
        };
        let inner = full.as_object().unwrap().values();
        return inner.filter(|value| value.is_object()).all(has_data);
    }
    match aggregation["values"].as_object() {
        Some(percentiles) => percentiles.values().all(Value::is_number),
        None => aggregation["value"].is_number(),
    }
}

fn now() -> String {
    // Older Pythons read no more digits.
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[test]
fn every_panel_s_search_is_answered_with_data_after_an_ingest_and_searches() {
    let own = own();
    let (space, url) = (&own.space, own.node.url.as_str());
    let before = now();
    let people = gallery(space);
    let summary = space.ingest(1, &[&people, "--person-from-dir", "--label", "album=test", "--events"]);
    let crowd = photo("gallery-unlabelled");
    space.ingest(0, &[crowd.to_str().unwrap(), "--events"]);
    let mut api = Api::start(space, &["--events"]);
    ask(space, &api);
    api.signal("TERM");
    api.process.wait().unwrap();

    let found = events(url);
    assert_eq!(
        (count(&found, "ingest-begin"), count(&found, "ingest-end")),
        (2, 2),
        "{found:#?}"
    );
    assert_eq!(count(&found, "ingest-failure"), 3, "two photos and a conflict");
    let sum = |name: &str| -> u64 {
        let told = found
            .iter()
            .filter(|event| event["event"]["action"] == "ingest-progress");
        let told = told.filter(|event| event["facedex"]["run"] == summary["run"]);
        told.map(|event| event["facedex"]["ingest"][name].as_u64().unwrap())
            .sum()
    };
    for name in ["images", "faces", "indexed", "conflicts", "no_face", "failed"] {
        assert_eq!(json!(sum(name)), summary[name], "{name}");
    }
    for (action, times) in [
        ("search", 4),
        ("identify", 2),
        ("verify", 1),
        ("look-up", 1),
        ("es-search", 1),
    ] {
        assert_eq!(count(&found, action), times, "{action}: {found:#?}");
    }
    names_nobody(&found);

    let searches: Vec<Value> = serde_json::from_str(&dashboards(&["searches", &before, &now()])).unwrap();
    assert!(searches.len() > 30, "{}", searches.len());
    node::request(url, "POST", "/facedex-*/_refresh", None);
    for search in &searches {
        let pattern = search["index"].as_str().unwrap();
        let name = format!("{}: {}", search["dashboard"], search["title"]);
        let mapped = mapped(url, pattern);
        for field in search["fields"].as_array().unwrap() {
            assert!(mapped.contains(field.as_str().unwrap()), "{name}: {field}");
        }
        let (status, answer) = node::request(
            url,
            "POST",
            &format!("/{pattern}/_search"),
            Some(search["body"].clone()),
        );
        assert_eq!(
            (status, &answer["_shards"]["failed"]),
            (200, &json!(0)),
            "{name}: {answer}"
        );
        assert!(answer["hits"]["total"]["value"].as_u64() > Some(0), "{name}: {answer}");
        for aggregation in answer["aggregations"].as_object().into_iter().flatten() {
            assert!(has_data(aggregation.1), "{name}: {answer}");
        }
    }
    // They can also be drawn.
    let drawn = dashboards(&["draw", url, &before, &now(), &space.path("drawn")]);
    for path in drawn.lines() {
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("no data"), "{path}");
    }
    assert_eq!(drawn.lines().count(), 3);
}

/// No person, no photo's name and no vector is in the events; a similarity has two digits.
fn names_nobody(found: &[Value]) {
    for event in found {
        let mut all = Vec::new();
        leaves(event, "", &mut all);
        for (name, value) in all {
            let text = value.to_string();
            for word in ["Obama", "Somebody", "Nobody", ".jpg", "people/", "file:"] {
                assert!(!text.contains(word), "{name}: {text}");
            }
            if name == "facedex.query.similarity" {
                let hundredths = value.as_f64().unwrap() * 100.0;
                assert!((hundredths - hundredths.round()).abs() < 1e-6, "{text}");
            }
        }
        let query = event["facedex"]["query"]["similarity"].as_array();
        assert!(query.is_none_or(|values| values.len() <= 10), "{event}");
    }
}

#[test]
fn without_events_nothing_is_written_and_where_they_cannot_be_the_work_goes_on() {
    let own = own();
    let (space, url) = (&own.space, own.node.url.as_str());
    let file = photo("query/biden.jpg");
    let file = file.to_str().unwrap();
    let mut environment = space.command(&["ingest", file, "--no-events"]);
    environment.env("FACEDEX_EVENTS", "1");
    run(environment).expect(0);
    space.run(&["ingest", file]).expect(0);
    assert_eq!(events(url), [json!(null); 0]);

    // Somebody else's template for the same names: ours cannot be put beside it.
    let other = json!({"index_patterns": ["facedex-events-*"], "priority": 500});
    node::request(url, "PUT", "/_index_template/others", Some(other));
    let mut photos = Vec::new();
    for (number, bytes) in images::variants("query/biden.jpg", 3).enumerate() {
        photos.push(space.put(&format!("more/{number}.png"), &bytes));
    }
    let ran = space
        .run(&["ingest", &space.path("more"), "--events", "--json"])
        .expect(0);
    assert_eq!(ran.json()["indexed"], photos.len());
    assert!(ran.stderr.contains("events cannot be written"), "{ran:?}");
    assert!(ran.stderr.contains("not all events were written"), "{ran:?}");
    assert_eq!(events(url), [json!(null); 0]);
    node::request(url, "DELETE", "/_index_template/others", None);
    space.run(&["ingest", file, "--events", "--overwrite"]).expect(0);
    wait_until("events are written", || count(&events(url), "ingest-end") == 1);
}
