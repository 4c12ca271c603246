//! The same body through the door, with a photo, and straight to the node, with the vector.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{builder, door, http, send, vector};

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
    let door = door();
    for body in BODIES {
        let through = door.post(&door.search(), door.with_photo(body));
        let straight = door.straight(&door.search(), door.with_vector(body));
        assert_eq!(through.without_took(), straight.without_took(), "{body}");
        assert_eq!(through.headers["x-elastic-product"], "Elasticsearch");
        assert_eq!(through.headers["content-type"], straight.headers["content-type"]);
    }
    let found = door.post(&door.search(), door.with_photo(BODIES[0])).json();
    assert_eq!(found["hits"]["hits"][0]["_source"]["person"]["id"], "Barack_Obama");
}

#[test]
fn the_face_that_is_meant_is_searched_for() {
    let door = door();
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
        let through = door.post(&door.search(), body(&builder(four, json)));
        let straight = door.straight(&door.search(), body(&vector(&door.space, four, flag)));
        assert_eq!(through.without_took(), straight.without_took(), "{json}");
        answers.push(through.without_took());
    }
    assert_ne!(answers[2], answers[3]);
}

#[test]
fn counts_and_searches_without_a_photo_pass() {
    let door = door();
    let count = format!("/{}/_count", door.space.name);
    for body in ["", r#"{"query": {"term": {"person.id": "Barack_Obama"}}}"#] {
        let through = door.post(&count, body).expect(200);
        assert_eq!(through.text(), door.straight(&count, body).text());
    }
    let near = r#"{"query": {"knn": {"field": "face.embedding", @, "k": 3, "num_candidates": 50, "similarity": 0.4}}}"#;
    let counted = door.post(&count, door.with_photo(near)).expect(200);
    assert_eq!(counted.text(), door.straight(&count, door.with_vector(near)).text());
    assert_eq!(counted.json()["count"], 2);

    let query = "?size=1&sort=image.uri&_source_includes=person&filter_path=hits.hits._source&q=person.id:Barack_Obama";
    let path = door.search() + query;
    let get = |base: &str| send(http().get(format!("{base}{path}")));
    let through = get(&format!("{}/es", door.serve.url)).expect(200);
    assert_eq!(through.text(), get(door.space.url.trim_end_matches('/')).text());
    assert_eq!(through.json()["hits"]["hits"].as_array().unwrap().len(), 1);
}

#[test]
fn a_get_may_carry_the_body() {
    let door = door();
    let url = format!("{}/es{}", door.serve.url, door.search());
    let request = http()
        .get(url)
        .header("content-type", "application/json; charset=UTF-8");
    let found = send(request.body(door.with_photo(BODIES[0]))).expect(200).json();
    assert_eq!(found["hits"]["hits"][0]["_source"]["person"]["id"], "Barack_Obama");
}

#[test]
fn the_media_types_of_clients_come_back() {
    let door = door();
    let root: Value = send(http().get(format!("{}/es/", door.serve.url))).expect(200).json();
    let version = root["version"]["number"].as_str().unwrap().to_owned();
    let major = version.split('.').next().unwrap();
    let kind = format!("application/vnd.elasticsearch+json; compatible-with={major}");
    let ask = |base: &str, body: String| {
        let request = http().post(format!("{base}{}", door.search()));
        send(request.header("content-type", &kind).header("accept", &kind).body(body))
    };
    let through = ask(&format!("{}/es", door.serve.url), door.with_photo(BODIES[0])).expect(200);
    let straight = ask(door.space.url.trim_end_matches('/'), door.with_vector(BODIES[0]));
    assert_eq!(through.headers["content-type"], straight.headers["content-type"]);
    let refused = ask(&format!("{}/es", door.serve.url), r#"{"pit": {}}"#.to_owned());
    assert_eq!(refused.headers["content-type"], kind.as_str());
    refused.refusal(400, "illegal_argument_exception");

    let head = send(http().head(format!("{}/es/", door.serve.url)));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["x-elastic-product"], "Elasticsearch");
    assert_eq!(
        send(http().get(format!("{}/es", door.serve.url))).expect(200).json(),
        root
    );
}

#[test]
fn compressed_bodies_and_answers_pass() {
    let door = door();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(door.with_photo(BODIES[0]).as_bytes()).unwrap();
    let request = http()
        .post(format!("{}/es{}", door.serve.url, door.search()))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip");
    let got = send(request.body(gzip.finish().unwrap())).expect(200);
    assert_eq!(got.headers["content-encoding"], "gzip");
    let mut text = String::new();
    GzDecoder::new(got.body.as_slice()).read_to_string(&mut text).unwrap();
    let straight = door
        .straight(&door.search(), door.with_vector(BODIES[0]))
        .without_took();
    assert!(text.ends_with(&straight), "{text}");
}

#[test]
fn elasticsearchs_own_errors_come_through() {
    let door = door();
    let body = r#"{"query": {"no_such_query": {}}}"#;
    let (through, straight) = (door.post(&door.search(), body), door.straight(&door.search(), body));
    assert_eq!((through.status, through.text()), (400, straight.text()));
    // A builder of another kind is Elasticsearch's.
    let other = json!({"knn": {"field": "face.embedding", "k": 1, "num_candidates": 1,
        "query_vector_builder": {"text_embedding": {"model_id": "m", "model_text": "t"}}}});
    let (through, straight) = (
        door.post(&door.search(), other.to_string()),
        door.straight(&door.search(), other.to_string()),
    );
    assert_eq!((through.status, through.text()), (straight.status, straight.text()));
    assert!(through.status >= 400);
}
