//! What the proxy does not let through, and how it says so.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use serde_json::json;

use super::{Proxied, builder, http, proxy, send};
use crate::harness::Space;
use crate::harness::api::Api;

fn knn(clause: &str) -> String {
    format!(r#"{{"knn": {{"field": "face.embedding", {clause}, "k": 3, "num_candidates": 10}}}}"#)
}

#[test]
fn photos_that_cannot_be_used_are_named() {
    let proxy = proxy();
    let ask = |clause: &str| proxy.post(&proxy.search(), knn(clause));
    let raw = |image: &str| {
        ask(&format!(
            r#""query_vector_builder": {{"face_embedding": {{"image": "{image}"}}}}"#
        ))
    };
    let illegal = "illegal_argument_exception";
    for (got, code, because) in [
        (
            ask(&builder("formats/no-face.jpg", "\"largest\"")),
            "no_face",
            "no face found",
        ),
        (
            ask(&builder("query/obama-3.jpg", "7")),
            "no_such_face",
            "there is no face 7",
        ),
        (
            ask(&builder("query/obama-3.jpg", "\"all\"")),
            "bad_request",
            "cannot be \"all\"",
        ),
        (raw("aGVsbG8="), "not_an_image", "not an image"),
        (raw("/9j/4AAQ"), "damaged_image", "truncated"),
        (raw("not base64"), "bad_request", "no base64"),
        (raw(""), "bad_request", "no [image]"),
    ] {
        assert_eq!(got.json()["error"]["facedex_code"], code, "{because}");
        // Others than 400 would tell the official clients that the server is ill.
        let reason = got.refusal(400, illegal);
        assert!(reason.contains(because), "{because}: {reason}");
    }
    let both = ask(&format!("{}, {}", proxy.builder, proxy.vector));
    assert!(both.refusal(400, illegal).contains("both [query_vector]"));
    let many = vec![format!(r#"{{"field": "face.embedding", {}}}"#, proxy.builder); 5].join(",");
    let reason = proxy
        .post(&proxy.search(), format!(r#"{{"knn": [{many}]}}"#))
        .refusal(400, illegal);
    assert!(reason.contains("--max-photos"), "{reason}");
}

#[test]
fn what_reaches_elsewhere_is_refused_and_never_asked_for() {
    let proxy = proxy();
    let search = proxy.search();
    for body in [
        r#"{"pit": {"id": "abc"}}"#,
        r#"{"script_fields": {"x": {"script": "1"}}}"#,
        r#"{"runtime_mappings": {}}"#,
        r#"{"ext": {}}"#,
        r#"{"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": "1"}}}}"#,
        r#"{"query": {"terms": {"person.id": {"index": "other", "id": "1", "path": "p"}}}}"#,
        r#"{"query": {"more_like_this": {"like": [{"_index": "other", "_id": "1"}]}}}"#,
        r#"{"query": {"percolate": {"field": "f", "index": "other", "id": "1"}}}"#,
        r#"{"query": {"wrapper": {"query": "eyJtYXRjaF9hbGwiOnt9fQ=="}}}"#,
        r#"{"aggs": {"a": {"scripted_metric": {"map_script": "1"}}}}"#,
        r#"{"sort": {"_script": {"type": "number", "script": "1"}}}"#,
    ] {
        let reason = proxy.post(&search, body).refusal(400, "illegal_argument_exception");
        assert!(reason.contains("is not accepted here"), "{reason}");
    }
    for query in [
        "scroll=1m",
        "source=%7B%7D&source_content_type=application%2Fjson",
        "format=yaml",
        "index=other",
    ] {
        let reason = proxy
            .post(&format!("{search}?{query}"), "{}")
            .refusal(400, "illegal_argument_exception");
        assert!(reason.contains("is not accepted here"), "{reason}");
    }
    // Elasticsearch takes `;` for `&`: as a part of the value it is nothing that `pretty` could be.
    assert_eq!(proxy.post(&format!("{search}?pretty=true;scroll=1m"), "{}").status, 400);
    let targets: HashSet<String> = proxy.tee.heads().iter().map(|head| first(head)).collect();
    assert!(
        !targets.iter().any(|target| target.contains("scroll=1m")),
        "{targets:?}"
    );
}

fn first(head: &str) -> String {
    head.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn only_a_facedex_collection_of_the_same_models_is_searched() {
    let proxy = proxy();
    let missing = proxy.post("/no-such-collection/_search", "{}");
    missing.refusal(404, "index_not_found_exception");

    let plain = Guarded::new(&proxy, "plain", json!({}));
    let body = "{}";
    plain.expect(body, 404, "index_not_found_exception");

    let meta = json!({"space": "another@space", "collection_id": "1"});
    let other = Guarded::new(&proxy, "other", meta);
    let reason = other.expect(&knn(&proxy.builder), 409, "illegal_argument_exception");
    assert!(reason.contains("another@space"), "{reason}");
    let count = proxy.post(&format!("/{}/_count", other.alias), "").expect(200).json();
    assert_eq!(count["count"], 0, "without a photo nothing depends on the models");
}

/// An index with an alias and this `_meta`, gone when it goes out of scope.
struct Guarded<'d> {
    proxy: &'d Proxied,
    alias: String,
}

impl<'d> Guarded<'d> {
    fn new(proxy: &'d Proxied, name: &str, meta: serde_json::Value) -> Self {
        let alias = format!("{}-{name}", proxy.space.name);
        let body = json!({"aliases": {&alias: {}}, "mappings": {"_meta": meta, "properties": {"face": {"properties": {
            "embedding": {"type": "dense_vector", "dims": 128, "index": true, "similarity": "cosine",
                "index_options": {"type": "hnsw"}}}}}}});
        let (status, reply) = proxy.space.elastic("PUT", &format!("/index-of-{alias}"), Some(body));
        assert_eq!(status, 200, "{reply}");
        Self { proxy, alias }
    }

    #[track_caller]
    fn expect(&self, body: &str, status: u16, kind: &str) -> String {
        self.proxy
            .post(&format!("/{}/_search", self.alias), body)
            .refusal(status, kind)
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        self.proxy
            .space
            .elastic("DELETE", &format!("/index-of-{}", self.alias), None);
    }
}

#[test]
fn a_key_is_good_for_its_collections_alone() {
    let proxy = proxy();
    let keys = proxy.space.path("keys.json");
    let other = format!("{}-theirs", proxy.space.name);
    let key = |name: &str, collection: &str| {
        let made = proxy
            .space
            .run(&["keys", "create", name, "--keys", &keys, "--collection", collection])
            .expect(0);
        let start = made.stdout.find("fdx_").unwrap();
        let rest = &made.stdout[start..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)))
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    let (ours, theirs) = (key("ours", &proxy.space.name), key("theirs", &other));
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--threads", "1", "--keys", &keys];
    let serve = Api::run(proxy.space.command(&arguments));
    let ask = |key: Option<&str>, path: &str, body: String| {
        let kind = if path.ends_with("_msearch") {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let mut request = http()
            .post(format!("{}/es{path}", serve.url))
            .header("content-type", kind);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        send(request.body(body))
    };
    let none = ask(None, &proxy.search(), "{}".to_owned());
    assert!(none.headers.contains_key("www-authenticate"), "{none:?}");
    none.refusal(401, "security_exception");
    ask(Some(&theirs), &proxy.search(), "{}".to_owned()).refusal(403, "security_exception");
    ask(Some(&ours), &proxy.search(), "{}".to_owned()).expect(200);
    let lines = format!(
        "{{\"index\":\"{other}\"}}\n{{}}\n{{\"index\":\"{}\"}}\n{{}}\n",
        proxy.space.name
    );
    let answer = ask(Some(&ours), "/_msearch", lines).expect(200).json();
    super::error(&answer["responses"][0], 403, "security_exception");
    assert_eq!(answer["responses"][1]["status"], 200);
}

#[test]
fn bodies_that_elasticsearch_would_read_otherwise_are_refused() {
    let proxy = proxy();
    let url = format!("{}/es{}", proxy.serve.url, proxy.search());
    let ask = |kind: Option<&str>, body: Vec<u8>| {
        let mut request = http().post(&url);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        send(request.body(body))
    };
    let yaml = "query:\n  wrapper:\n    query: e30=\n".as_bytes().to_vec();
    for kind in [
        None,
        Some("application/yaml"),
        Some("application/cbor"),
        Some("application/smile"),
        Some("application/vnd.elasticsearch+cbor;compatible-with=9"),
        Some("text/plain"),
        Some("application/json; charset=utf-16"),
        Some("application/x-ndjson"),
        Some("application/x-www-form-urlencoded"),
    ] {
        ask(kind, yaml.clone()).refusal(406, "media_type_header_exception");
    }
    let utf_16: Vec<u8> = r#"{"pit":{}}"#.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for body in [
        yaml,
        utf_16,
        b"\xef\xbb\xbf{}".to_vec(),
        b"{/* c */}".to_vec(),
        b"{\"a\":\"\xff\"}".to_vec(),
    ] {
        ask(Some("application/json"), body).refusal(400, "parsing_exception");
    }
    let encoded = http()
        .post(&url)
        .header("content-type", "application/json")
        .header("content-encoding", "br");
    send(encoded.body("{}")).refusal(415, "illegal_argument_exception");
    // The audit log reads answers: JSON is what is asked for, if the client takes it at all.
    let asked = |accept: &str| {
        let asked = http().post(&url).header("content-type", "application/json");
        send(asked.header("accept", accept).body("{}"))
    };
    for accept in ["application/yaml", "application/cbor", "application/smile, text/html"] {
        asked(accept).refusal(406, "media_type_header_exception");
    }
    for accept in ["application/cbor, application/json;q=0.5", "text/html, */*;q=0.1"] {
        assert!(asked(accept).expect(200).json()["hits"].is_object(), "{accept}");
    }
}

#[test]
fn more_photos_than_can_be_worked_off_get_429() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let serve = Api::run(space.command(&["serve", "--listen", "127.0.0.1:0", "--threads", "1", "--queue", "1"]));
    let body = knn(&builder("query/obama-3.jpg", "\"largest\""));
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let got = super::post(&serve.url, &format!("/es/{}/_search", space.name), body.clone());
                answers.lock().unwrap().push(got);
            });
        }
    });
    let (good, refused): (Vec<_>, Vec<_>) = answers
        .into_inner()
        .unwrap()
        .into_iter()
        .partition(|got| got.status == 200);
    assert!(
        !good.is_empty() && !refused.is_empty(),
        "{} answered, {} refused",
        good.len(),
        refused.len()
    );
    for got in refused {
        assert!(got.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
        got.refusal(429, "es_rejected_execution_exception");
    }
    // It goes on as if nothing had been.
    super::post(&serve.url, &format!("/es/{}/_search", space.name), body).expect(200);
}
