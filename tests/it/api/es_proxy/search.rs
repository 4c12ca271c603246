//! The same body through the proxy, with a photo, and straight to the node, with the vector.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::clients::version;
use super::{builder, http, proxy, send, vector};
use crate::harness::photo;

/// Bodies with `@` where the photo or its vector stands.
const BODIES: [&str; 9] = [
    r#"{"knn": {"field": "face.embedding", @, "k": 5, "num_candidates": 50}, "_source": ["person", "labels"]}"#,
    r#"{ "size" :3,"knn":[{"field":"face.embedding",@,"k":3,"num_candidates":20,"boost":0.50}, {"field":"face.embedding",@,"k":2,"num_candidates":9,"boost":5E-1}]}"#,
    r#"{"query": {"knn": {"field": "face.embedding", @, "k": 4, "num_candidates": 30, "similarity": 1.0e-1}}}"#,
    r#"{"query": {"bool": {"should": [{"knn": {"field": "face.embedding", @, "num_candidates": 30}}, {"term": {"person.id": {"value": "Barack_Obama", "boost": 2.5}}}], "filter": {"exists": {"field": "person.id"}}}}}"#,
    r#"{"query": {"function_score": {"query": {"constant_score": {"filter": {"knn": {"field": "face.embedding", @, "k": 2, "num_candidates": 9}}}}, "weight": 3}}}"#,
    r#"{"query": {"dis_max": {"queries": [{"knn": {"field": "face.embedding", @, "num_candidates": 9}}, {"match_all": {}}]}}, "fields": ["person.*"], "_source": false}"#,
    r#"{"retriever": {"knn": {"field": "face.embedding", @, "k": 5, "num_candidates": 50, "filter": {"prefix": {"person.id": "B"}}}}}"#,
    r#"{"retriever": {"standard": {"query": {"knn": {"field": "face.embedding", @, "num_candidates": 50}}, "filter": [{"exists": {"field": "face.score"}}]}}, "size": 4}"#,
    r#"{"size": 0, "query": {"match_all": {}}, "aggs": {"script": {"filter": {"knn": {"field": "face.embedding", @, "k": 3, "num_candidates": 50}}, "aggs": {"who": {"terms": {"field": "person.id"}}}}}}"#,
];

#[test]
fn a_photo_through_the_door_gives_the_bytes_that_its_vector_gives_straight() {
    let proxy = proxy();
    for body in BODIES {
        let through = proxy.post(&proxy.search(), proxy.with_photo(body));
        let straight = proxy.straight(&proxy.search(), proxy.with_vector(body));
        assert_eq!(through.without_took(), straight.without_took(), "{body}");
        assert_eq!(through.headers["x-elastic-product"], "Elasticsearch");
        assert_eq!(through.headers["content-type"], straight.headers["content-type"]);
    }
    let found = proxy.post(&proxy.search(), proxy.with_photo(BODIES[0])).json();
    assert_eq!(found["hits"]["hits"][0]["_source"]["person"]["id"], "Barack_Obama");
}

#[test]
fn the_face_that_is_meant_is_searched_for() {
    let proxy = proxy();
    let four = "gallery-unlabelled/four-people.jpg";
    let body =
        |clause: &str| format!(r#"{{"knn": {{"field": "face.embedding", {clause}, "k": 6, "num_candidates": 50}}}}"#);
    let mut answers = Vec::new();
    for (json, flag) in [
        ("\"central\"", "central"),
        ("\"largest\"", "largest"),
        ("0", "0"),
        ("3", "3"),
    ] {
        let through = proxy.post(&proxy.search(), body(&builder(four, json)));
        let straight = proxy.straight(&proxy.search(), body(&vector(&proxy.space, four, flag)));
        assert_eq!(through.without_took(), straight.without_took(), "{json}");
        answers.push(through.without_took());
    }
    assert_ne!(answers[2], answers[3]);
}

#[test]
fn counts_and_searches_without_a_photo_pass() {
    let proxy = proxy();
    let count = format!("/{}/_count", proxy.space.name);
    for body in ["", r#"{"query": {"term": {"person.id": "Barack_Obama"}}}"#] {
        let through = proxy.post(&count, body).expect(200);
        assert_eq!(through.text(), proxy.straight(&count, body).text());
    }
    let query = "?size=1&sort=image.uri&_source_includes=person&filter_path=hits.hits._source&q=person.id:Barack_Obama";
    let path = proxy.search() + query;
    let get = |base: &str| send(http().get(format!("{base}{path}")));
    let through = get(&format!("{}/es", proxy.serve.url)).expect(200);
    assert_eq!(through.text(), get(proxy.space.url.trim_end_matches('/')).text());
    assert_eq!(through.json()["hits"]["hits"].as_array().unwrap().len(), 1);
}

/// From 9.4 on Elasticsearch counts `k` in place of the faces above `similarity`, wherever it counts without fetching. This asks
/// the version at hand whether it does: a version that counts rightly again is to be let through.
#[test]
fn a_count_that_elasticsearch_gets_wrong_is_refused_with_forms_that_count_right() {
    let proxy = proxy();
    let knn = r#"{"knn": {"field": "face.embedding", @, "k": 3, "num_candidates": 50, "similarity": 0.4}}"#;
    let fetched = proxy.post(
        &proxy.search(),
        proxy.with_photo(&format!(r#"{{"query": {knn}, "size": 1}}"#)),
    );
    assert_eq!(fetched.json()["hits"]["total"]["value"], 2);
    let version = version(&proxy.space);
    let major_minor: Vec<u64> = version.split('.').take(2).map(|part| part.parse().unwrap()).collect();
    let is_wrong = major_minor >= vec![9, 4];
    let count = format!("/{}/_count", proxy.space.name);
    for (path, body, wrong, right) in [
        (&count, format!(r#"{{"query": {knn}}}"#), "/count", 2),
        (
            &count,
            format!(r#"{{"query": {{"bool": {{"filter": [{knn}]}}}}}}"#),
            "/count",
            2,
        ),
        (
            &proxy.search(),
            format!(r#"{{"query": {knn}, "size": 0}}"#),
            "/hits/total/value",
            2,
        ),
        (
            &proxy.search(),
            format!(r#"{{"size": 0, "query": {{"constant_score": {{"filter": {knn}}}}}}}"#),
            "/hits/total/value",
            2,
        ),
        (
            &proxy.search(),
            format!(r#"{{"size": 1, "aggs": {{"near": {{"filter": {knn}}}}}}}"#),
            "/aggregations/near/doc_count",
            2,
        ),
        (
            &proxy.search(),
            format!(r#"{{"size": 0, "aggs": {{"near": {{"filters": {{"filters": {{"a": {knn}}}}}}}}}}}"#),
            "/aggregations/near/buckets/a/doc_count",
            2,
        ),
        (
            &proxy.search(),
            format!(r#"{{"size": 1, "query": {knn}, "aggs": {{"all": {{"filter": {{"match_all": {{}}}}}}}}}}"#),
            "/aggregations/all/doc_count",
            2,
        ),
    ] {
        let straight = proxy.straight(path, proxy.with_vector(&body)).json();
        let counted = straight.pointer(wrong).unwrap().as_u64();
        assert_eq!(
            counted,
            Some(if is_wrong { 3 } else { right }),
            "{version}: {body}: {straight}"
        );
        let through = proxy.post(path, proxy.with_photo(&body));
        if is_wrong {
            let error = through.expect(400).json();
            let reason = error["error"]["reason"].as_str().unwrap();
            assert!(reason.contains("min_score") && reason.contains(&version), "{error}");
        } else {
            assert_eq!(through.json().pointer(wrong).unwrap().as_u64(), Some(right), "{body}");
        }
    }
    // The forms that the refusal names.
    let plain = r#"{"field": "face.embedding", @, "k": 3, "num_candidates": 50"#;
    for (path, body, count) in [
        (
            &proxy.search(),
            format!(r#"{{"knn": {plain}, "similarity": 0.4}}, "size": 0}}"#),
            "/hits/total/value",
        ),
        (
            &proxy.search(),
            format!(r#"{{"retriever": {{"knn": {plain}, "similarity": 0.4}}}}, "size": 0}}"#),
            "/hits/total/value",
        ),
        (
            &proxy.search(),
            format!(r#"{{"query": {{"knn": {plain}}}}}, "min_score": 0.7, "size": 0}}"#),
            "/hits/total/value",
        ),
    ] {
        let found = proxy.post(path, proxy.with_photo(&body)).expect(200).json();
        assert_eq!(found.pointer(count).unwrap().as_u64(), Some(2), "{body}: {found}");
    }
}

#[test]
fn a_photo_in_the_forms_of_typed_clients_is_the_same_photo() {
    let proxy = proxy();
    let search = |body: String| proxy.post(&proxy.search(), body).expect(200).without_took();
    let body =
        |clause: &str| format!(r#"{{"knn": {{"field": "face.embedding", {clause}, "k": 3, "num_candidates": 50}}}}"#);
    let photo = STANDARD.encode(std::fs::read(photo("query/obama-3.jpg")).unwrap());
    let expected = search(proxy.with_photo(&body("@")));
    for builder in [
        format!(r#"{{"text_embedding": {{"model_id": "facedex", "model_text": "{photo}"}}}}"#),
        format!(
            r#"{{"embedding": {{"inference_id": "facedex/0", "input": {{"type": "image", "value": "{photo}"}}}}}}"#
        ),
    ] {
        assert_eq!(search(body(&format!(r#""query_vector_builder": {builder}"#))), expected);
    }
    // Another model is Elasticsearch's, which has none here and says so in its own words.
    let other = r#""query_vector_builder": {"text_embedding": {"model_id": "mine", "model_text": "x"}}"#;
    let (through, straight) = (
        proxy.post(&proxy.search(), body(other)),
        proxy.straight(&proxy.search(), body(other)),
    );
    assert_eq!((through.status, through.text()), (straight.status, straight.text()));
}

#[test]
fn a_look_up_reads_the_collection_and_nothing_else() {
    let proxy = proxy();
    let hits = proxy
        .straight(
            &proxy.search(),
            r#"{"size": 1, "query": {"term": {"person.id": "Barack_Obama"}}}"#,
        )
        .json();
    let hit = &hits["hits"]["hits"][0];
    let (id, index) = (hit["_id"].as_str().unwrap(), hit["_index"].as_str().unwrap());
    let body = |index: &str| {
        let lookup = json!({"index": index, "id": id, "path": "face.embedding"});
        json!({"knn": {"field": "face.embedding", "query_vector_builder": {"lookup": lookup}, "k": 1, "num_candidates": 9}}).to_string()
    };
    for name in [&proxy.space.name, index] {
        let (through, straight) = (
            proxy.post(&proxy.search(), body(name)),
            proxy.straight(&proxy.search(), body(name)),
        );
        // Elasticsearch before 9.4 does not know it.
        assert_eq!(through.status, straight.status, "{}", through.text());
        if through.status == 200 {
            assert_eq!(through.json()["hits"]["hits"][0]["_id"], id);
        }
    }
    let refused = proxy.post(&proxy.search(), body("other")).expect(400).json();
    assert!(
        refused["error"]["reason"].as_str().unwrap().contains("another index"),
        "{refused}"
    );

    // A filtered alias shows a part: a look-up would read the rest.
    let alias = format!("{}-part", proxy.space.name);
    let filter = json!({"term": {"person.id": "Eileen_Collins"}});
    let add = json!({"actions": [{"add": {"index": index, "alias": &alias, "filter": filter}}]});
    assert_eq!(proxy.space.elastic("POST", "/_aliases", Some(add)).0, 200);
    let refused = proxy
        .post(&format!("/{alias}/_search"), body(&alias))
        .expect(400)
        .json();
    assert!(
        refused["error"]["reason"].as_str().unwrap().contains("has a filter"),
        "{refused}"
    );
}

#[test]
fn a_get_may_carry_the_body() {
    let proxy = proxy();
    let url = format!("{}/es{}", proxy.serve.url, proxy.search());
    let request = http()
        .get(url)
        .header("content-type", "application/json; charset=UTF-8");
    let found = send(request.body(proxy.with_photo(BODIES[0]))).expect(200).json();
    assert_eq!(found["hits"]["hits"][0]["_source"]["person"]["id"], "Barack_Obama");
}

#[test]
fn the_media_types_of_clients_come_back() {
    let proxy = proxy();
    let root: Value = send(http().get(format!("{}/es/", proxy.serve.url))).expect(200).json();
    let version = root["version"]["number"].as_str().unwrap().to_owned();
    let major = version.split('.').next().unwrap();
    let kind = format!("application/vnd.elasticsearch+json; compatible-with={major}");
    let ask = |base: &str, body: String| {
        let request = http().post(format!("{base}{}", proxy.search()));
        send(request.header("content-type", &kind).header("accept", &kind).body(body))
    };
    let through = ask(&format!("{}/es", proxy.serve.url), proxy.with_photo(BODIES[0])).expect(200);
    let straight = ask(proxy.space.url.trim_end_matches('/'), proxy.with_vector(BODIES[0]));
    assert_eq!(through.headers["content-type"], straight.headers["content-type"]);
    let refused = ask(&format!("{}/es", proxy.serve.url), r#"{"pit": {}}"#.to_owned());
    assert_eq!(refused.headers["content-type"], kind.as_str());
    refused.refusal(400, "illegal_argument_exception");

    let head = send(http().head(format!("{}/es/", proxy.serve.url)));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["x-elastic-product"], "Elasticsearch");
    assert_eq!(
        send(http().get(format!("{}/es", proxy.serve.url))).expect(200).json(),
        root
    );
}

#[test]
fn compressed_bodies_and_answers_pass() {
    let proxy = proxy();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(proxy.with_photo(BODIES[0]).as_bytes()).unwrap();
    let request = http()
        .post(format!("{}/es{}", proxy.serve.url, proxy.search()))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip");
    let got = send(request.body(gzip.finish().unwrap())).expect(200);
    assert_eq!(got.headers["content-encoding"], "gzip");
    let mut text = String::new();
    GzDecoder::new(got.body.as_slice()).read_to_string(&mut text).unwrap();
    let straight = proxy
        .straight(&proxy.search(), proxy.with_vector(BODIES[0]))
        .without_took();
    assert!(text.ends_with(&straight), "{text}");
}

#[test]
fn a_body_goes_on_as_small_as_it_came() {
    let proxy = proxy();
    let padded = |body: &str| format!("{}{}", body, " ".repeat(1 << 20));
    for (id, body, is_changed) in [
        (
            "small-as-it-is",
            padded(r#"{"size": 1, "query": {"match_all": {}}}"#),
            false,
        ),
        ("small-with-vector", padded(&proxy.with_photo(BODIES[0])), true),
    ] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(body.as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        let request = http()
            .post(format!("{}/es{}", proxy.serve.url, proxy.search()))
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .header("x-opaque-id", id);
        send(request.body(packed.clone())).expect(200);
        let heads = proxy.tee.heads();
        let head = heads.iter().rfind(|head| head.contains(id)).unwrap();
        assert!(head.contains("content-encoding: gzip"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let length: usize = length.parse().unwrap();
        match is_changed {
            // The photo was most of it.
            true => assert!(length < 30_000, "{length}"),
            false => assert_eq!(length, packed.len()),
        }
    }
}

#[test]
fn elasticsearchs_own_errors_come_through() {
    let proxy = proxy();
    let body = r#"{"query": {"no_such_query": {}}}"#;
    let (through, straight) = (proxy.post(&proxy.search(), body), proxy.straight(&proxy.search(), body));
    assert_eq!((through.status, through.text()), (400, straight.text()));
    // A builder of another kind is Elasticsearch's.
    let other = json!({"knn": {"field": "face.embedding", "k": 1, "num_candidates": 1,
        "query_vector_builder": {"text_embedding": {"model_id": "m", "model_text": "t"}}}});
    let (through, straight) = (
        proxy.post(&proxy.search(), other.to_string()),
        proxy.straight(&proxy.search(), other.to_string()),
    );
    assert_eq!((through.status, through.text()), (straight.status, straight.text()));
    assert!(through.status >= 400);
}
