//! Several searches in one request: refused ones do not silence the others.

use serde_json::Value;

use super::{builder, error, proxy};

fn knn(clause: &str) -> String {
    format!(
        r#"{{"knn": {{"field": "face.embedding", {clause}, "k": 3, "num_candidates": 20}}, "_source": ["person"]}}"#
    )
}

/// The items of an answer, as they are written there but for `took`.
fn items(text: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Reply<'r> {
        #[serde(borrow)]
        responses: Vec<&'r serde_json::value::RawValue>,
    }
    let reply: Reply<'_> = serde_json::from_str(text).unwrap();
    let without_took = |item: &str| match item.strip_prefix("{\"took\":") {
        Some(rest) => rest[rest.find(',').unwrap()..].to_owned(),
        None => item.to_owned(),
    };
    reply.responses.iter().map(|item| without_took(item.get())).collect()
}

#[test]
fn all_searches_together_give_the_bytes_that_they_give_straight() {
    let proxy = proxy();
    let name = &proxy.space.name;
    let lines = |clause: &str| {
        format!(
            "{{}}\n{}\n\n{{\"size\":1,\"query\":{{\"match_all\":{{}}}},\"sort\":[\"_doc\"]}}\n{{\"index\":[\"{name}\"]}}\n{}\n",
            knn(clause),
            knn(clause)
        )
    };
    let path = format!("/{name}/_msearch?typed_keys=true");
    let through = proxy.post(&path, lines(&proxy.builder)).expect(200);
    let straight = proxy.straight(&path, lines(&proxy.vector)).expect(200);
    assert_eq!(items(through.text()), items(straight.text()));
    assert_eq!(items(through.text()).len(), 3);
    assert_eq!(through.headers["x-elastic-product"], "Elasticsearch");
}

#[test]
fn a_refused_search_has_its_error_in_its_place() {
    let proxy = proxy();
    let name = &proxy.space.name;
    let header = format!("{{\"index\":\"{name}\"}}");
    type Search<'s> = (&'s str, String, Option<(u16, &'s str)>);
    let bodies: [Search<'_>; 9] = [
        (
            &header,
            knn(&builder("formats/no-face.jpg", "\"largest\"")),
            Some((400, "illegal_argument_exception")),
        ),
        (&header, knn(&proxy.builder), None),
        (
            "{\"index\":\"*\"}",
            "{}".to_owned(),
            Some((400, "invalid_index_name_exception")),
        ),
        ("{}", "{}".to_owned(), Some((400, "illegal_argument_exception"))),
        (
            "{\"index\":\"no-such\"}",
            "{}".to_owned(),
            Some((404, "index_not_found_exception")),
        ),
        (&header, "{\"size\":1}".to_owned(), None),
        (
            &header,
            "{\"pit\":{}}".to_owned(),
            Some((400, "illegal_argument_exception")),
        ),
        (&header, "{".to_owned(), Some((400, "parsing_exception"))),
        (
            &header,
            "{\"query\":{\"term\":{\"image.width\":\"x\"}}}".to_owned(),
            None,
        ),
    ];
    let lines: String = bodies
        .iter()
        .map(|(header, body, _)| format!("{header}\n{body}\n"))
        .collect();
    let got = proxy.post("/_msearch", lines).expect(200);
    assert_eq!(got.headers["content-length"], got.body.len().to_string());
    let responses = got.json()["responses"].as_array().unwrap().clone();
    assert_eq!(responses.len(), bodies.len());
    for ((_, body, refused), response) in bodies.iter().zip(&responses) {
        match refused {
            Some((status, kind)) => {
                error(response, *status, kind);
            }
            None => assert_eq!(
                response["status"],
                if body.contains("width") { 400 } else { 200 },
                "{response}"
            ),
        }
    }
    assert_eq!(
        responses[1]["hits"]["hits"][0]["_source"]["person"]["id"],
        "Barack_Obama"
    );
    // Those that were let through are the node's, byte for byte.
    let straight: String = [1, 5, 8]
        .map(|at: usize| {
            format!(
                "{}\n{}\n",
                bodies[at].0,
                bodies[at].1.replace(&proxy.builder, &proxy.vector)
            )
        })
        .concat();
    let straight = items(proxy.straight("/_msearch", straight).text());
    let through = items(got.text());
    assert_eq!([1, 5, 8].map(|at: usize| through[at].clone()).to_vec(), straight);
}

#[test]
fn refused_searches_alone_are_answered_without_elasticsearch() {
    let proxy = proxy();
    let got = proxy
        .post("/_msearch", "{\"index\":\"_all\"}\n{}\n{\"index\":[\"a\",\"b\"]}\n{}\n")
        .expect(200);
    assert_eq!(got.headers["x-elastic-product"], "Elasticsearch");
    let answer: Value = got.json();
    assert!(answer["took"].is_u64());
    error(&answer["responses"][0], 400, "invalid_index_name_exception");
    error(&answer["responses"][1], 400, "illegal_argument_exception");
}

#[test]
fn a_request_that_cannot_be_taken_apart_is_refused_as_a_whole() {
    let proxy = proxy();
    for lines in ["", "{}\n{}", "{}\n", "{}\n{}\n{}\n"] {
        proxy
            .post(&format!("/{}/_msearch", proxy.space.name), lines)
            .refusal(400, "illegal_argument_exception");
    }
    let path = "/_msearch?filter_path=responses.hits.total";
    proxy
        .post(path, "{\"index\":\"*\"}\n{}\n")
        .refusal(400, "invalid_index_name_exception");
    let five = format!("{{}}\n{}\n", knn(&proxy.builder)).repeat(5);
    let answer = proxy
        .post(&format!("/{}/_msearch", proxy.space.name), five)
        .expect(200)
        .json();
    assert_eq!(answer["responses"][3]["status"], 200);
    error(&answer["responses"][4], 400, "illegal_argument_exception");
}
