//! Whose credentials go to Elasticsearch, which headers come back, and what happens when a node is away.

use std::collections::BTreeSet;

use serde_json::json;

use super::{http, proxy, send};
use crate::harness::api::Api;
use crate::harness::node::wait_until;

#[test]
fn the_callers_credentials_go_on_and_ours_never_do() {
    let proxy = proxy();
    let url = format!("{}/es{}", proxy.serve.url, proxy.search());
    let ask = |id: &str, authorization: Option<&str>| {
        let mut request = http()
            .post(&url)
            .header("content-type", "application/json")
            .header("x-opaque-id", id)
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("x-api-key", "fdx_not_for_elasticsearch")
            .header("x-http-method-override", "DELETE")
            .header("x-forwarded-for", "10.0.0.1")
            .header("cookie", "a=b")
            .header("connection", "x-hop, keep-alive")
            .header("x-hop", "1");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let got =
            send(request.body(proxy.with_photo(r#"{"knn": {"field": "face.embedding", @, "k": 1}}"#))).expect(200);
        assert_eq!(got.headers["x-opaque-id"], id);
        assert_eq!(got.headers["x-elastic-product"], "Elasticsearch");
        assert!(!got.headers.contains_key("connection") && !got.headers.contains_key("keep-alive"));
        let heads = proxy.tee.heads();
        let mut head = heads.into_iter().filter(|head| head.contains(id));
        let one = head.next().unwrap();
        assert!(head.next().is_none());
        one.to_lowercase()
    };
    let theirs = ask("with-theirs", Some("ApiKey dGhlaXI6a2V5"));
    assert!(theirs.contains("authorization: apikey dghlaxi6a2v5\r\n"), "{theirs}");
    assert_eq!(theirs.matches("authorization").count(), 1, "{theirs}");
    assert!(
        theirs.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-"),
        "{theirs}"
    );
    let none = ask("with-none", None);
    assert!(!none.contains("authorization"), "{none}");
    for head in [theirs, none] {
        for stripped in ["x-api-key", "fdx_", "override", "forwarded", "cookie", "x-hop"] {
            assert!(!head.contains(stripped), "{stripped}: {head}");
        }
    }
    // The look-up of the collection is ours.
    let lookup = format!("GET /{},", proxy.space.name);
    let heads = proxy.tee.heads();
    let ours = heads.iter().find(|head| head.starts_with(&lookup)).unwrap();
    assert!(ours.to_lowercase().contains("authorization: basic "), "{ours}");
}

#[test]
fn no_photo_and_no_vector_is_logged() {
    let proxy = proxy();
    proxy
        .post(
            &proxy.search(),
            proxy.with_photo(r#"{"knn": {"field": "face.embedding", @, "k": 1}}"#),
        )
        .expect(200);
    let log = proxy.serve.said();
    assert!(log.contains("searched"), "{log}");
    let image = proxy.builder.split('"').nth(7).unwrap();
    assert!(image.len() > 1000 && !log.contains(&image[..60]), "{log}");
    let number = proxy.vector.split(['[', ',']).nth(1).unwrap();
    assert!(number.len() > 6 && !log.contains(number), "{log}");
}

#[test]
fn the_audit_log_has_who_was_found() {
    let proxy = proxy();
    let body = proxy.with_photo(r#"{"knn": {"field": "face.embedding", @, "k": 3, "num_candidates": 20}}"#);
    let lines = format!("{{}}\n{body}\n{{\"index\":\"*\"}}\n{{}}\n");
    let (search, msearch) = (proxy.search(), format!("/{}/_msearch", proxy.space.name));
    for (id, path, body, encoding) in [
        ("audit-plain", &search, &body, "identity"),
        ("audit-gzip", &search, &body, "gzip, deflate, br"),
        ("audit-several", &msearch, &lines, "identity"),
    ] {
        let kind = if path == &search {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let request = http().post(format!("{}/es{path}", proxy.serve.url));
        let request = request.header("content-type", kind).header("accept-encoding", encoding);
        let got = send(request.header("x-request-id", id).body(body.clone())).expect(200);
        assert_eq!(got.headers.get("content-encoding").is_some(), id == "audit-gzip");
        assert_eq!(got.headers["x-request-id"], id);
    }
    let found = proxy.post(&search, body.clone()).expect(200).json();
    let hits = found["hits"]["hits"].as_array().unwrap().iter();
    // The log has them in the order of their names, the answer in that of their scores.
    let ids: BTreeSet<_> = hits.map(|hit| hit["_id"].as_str().unwrap()).collect();
    for id in ["audit-plain", "audit-gzip", "audit-several"] {
        let line = || proxy.audit().into_iter().find(|line| line["request_id"] == id);
        wait_until("the line is there", || line().is_some());
        let line = line().unwrap();
        assert_eq!(
            (&line["action"], &line["outcome"]),
            (&json!("es_search"), &json!("success")),
            "{line}"
        );
        assert_eq!(line["collections"], json!([proxy.space.name]), "{line}");
        assert_eq!(line["faces"], json!({"ids": ids, "total": 3}), "{line}");
        assert!(!line.to_string().contains(&proxy.builder[60..200]));
    }
}

#[test]
fn a_node_that_is_away_is_passed_over() {
    let proxy = proxy();
    let mut command = proxy
        .space
        .command(&["serve", "--listen", "127.0.0.1:0", "--threads", "1"]);
    // Nothing listens on port 1.
    command.env("ELASTICSEARCH_URL", format!("http://127.0.0.1:1,{}", proxy.space.url));
    let serve = Api::run(command);
    let body = proxy.with_photo(r#"{"knn": {"field": "face.embedding", @, "k": 1}}"#);
    for _ in 0..4 {
        super::post(&serve.url, &format!("/es{}", proxy.search()), body.clone()).expect(200);
    }
}

#[test]
fn no_node_at_all_is_said_in_elasticsearchs_shape() {
    let proxy = proxy();
    let mut command = proxy
        .space
        .command(&["serve", "--listen", "127.0.0.1:0", "--threads", "1"]);
    command.env("ELASTICSEARCH_URL", "http://127.0.0.1:1");
    let serve = Api::run(command);
    let got = super::post(&serve.url, &format!("/es{}", proxy.search()), "{}");
    assert!(got.headers.contains_key("retry-after"));
    let reason = got.refusal(503, "no_node_available_exception");
    assert!(!reason.contains("127.0.0.1"), "addresses are the operator's: {reason}");
    wait_until("the log says why", || serve.said().contains("unavailable"));
}
