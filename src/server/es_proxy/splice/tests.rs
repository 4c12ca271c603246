use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PHOTO: &[u8] = b"a photo";

fn builder() -> Value {
    json!({"face_embedding": {"image": STANDARD.encode(PHOTO), "face": "largest"}})
}

/// A clause with a photo, as text.
fn clause() -> String {
    json!({"field": "face.embedding", "query_vector_builder": builder(), "k": 10}).to_string()
}

/// The body with vectors for all of its photos.
fn spliced(body: &str) -> String {
    let found = scan(body, 16).unwrap_or_else(|refusal| panic!("{refusal}: {body}"));
    let vectors: Vec<_> = found
        .photos
        .into_iter()
        .map(|clause| (clause.span, vec![0.5, -1.0]))
        .collect();
    String::from_utf8(splice(body, &vectors).unwrap()).unwrap()
}

#[track_caller]
fn refused(body: &str, because: &str) {
    match scan(body, 2) {
        Err(refusal) => assert!(refusal.reason.contains(because), "{refusal}: {body}"),
        Ok(found) => panic!("{} photos found in {body}", found.photos.len()),
    }
}

/// Bodies with `@` in every place for a knn clause, and `?` for a query.
const PLACES: [&str; 27] = [
    r#"{"knn": @}"#,
    r#"{"knn": [@, @]}"#,
    r#"{"query": {"knn": @}}"#,
    r#"{"query": {"bool": {"must": {"knn": @}, "should": [{"knn": @}, {"match_all": {}}], "filter": [{"knn": @}]}}}"#,
    r#"{"query": {"bool": {"must_not": [{"bool": {"should": {"dis_max": {"queries": [{"knn": @}]}}}}]}}}"#,
    r#"{"query": {"constant_score": {"filter": {"knn": @}}}}"#,
    r#"{"query": {"boosting": {"positive": {"knn": @}, "negative": {"knn": @}, "negative_boost": 0.5}}}"#,
    r#"{"query": {"nested": {"path": "x", "query": {"knn": @}, "inner_hits": {"highlight": {"highlight_query": {"knn": @}}}}}}"#,
    r#"{"query": {"function_score": {"query": {"knn": @}, "functions": [{"filter": {"knn": @}, "weight": 2}]}}}"#,
    r#"{"query": {"pinned": {"ids": ["1"], "organic": {"knn": @}}}}"#,
    r#"{"query": {"knn": {"field": "f", "query_vector": [1], "filter": [{"knn": @}]}}}"#,
    r#"{"retriever": {"knn": @}}"#,
    r#"{"retriever": {"standard": {"query": {"knn": @}, "filter": {"knn": @}}}}"#,
    r#"{"retriever": {"rrf": {"retrievers": [{"knn": @}, {"standard": {"query": {"knn": @}}}]}}}"#,
    r#"{"retriever": {"linear": {"retrievers": [{"retriever": {"knn": @}, "weight": 2, "normalizer": "minmax"}]}}}"#,
    r#"{"retriever": {"text_similarity_reranker": {"retriever": {"rrf": {"retrievers": [{"knn": @}]}}, "field": "x"}}}"#,
    r#"{"retriever": {"rescorer": {"rescore": {"query": {"rescore_query": {"knn": @}}}, "retriever": {"knn": @}}}}"#,
    r#"{"retriever": {"rrf": {"retrievers": [{"retriever": {"knn": @}, "weight": 0.3}, {"retriever": {"linear": {"retrievers": [{"retriever": {"knn": @}}]}}}], "rank_window_size": 50}}}"#,
    r#"{"retriever": {"linear": {"retrievers": [{"retriever": {"rescorer": {"rescore": [{"window_size": 9, "query": {"rescore_query": {"knn": @}}}], "retriever": {"knn": @}}}, "weight": 1}], "filter": {"knn": @}}}}"#,
    r#"{"retriever": {"knn": {"field": "f", "query_vector": [1], "k": 5, "filter": [{"knn": @}]}}}"#,
    r#"{"retriever": {"pinned": {"ids": ["1"], "retriever": {"knn": @}}}}"#,
    r#"{"rescore": [{"window_size": 5, "query": {"rescore_query": {"knn": @}, "query_weight": 1}}]}"#,
    r#"{"post_filter": {"knn": @}}"#,
    r#"{"sub_searches": [{"query": {"knn": @}}, {"query": {"match_all": {}}}], "rank": {"rrf": {}}}"#,
    r#"{"aggs": {"script": {"filter": {"knn": @}, "aggs": {"n": {"filters": {"filters": {"index": {"knn": @}}}}}}}}"#,
    r#"{"aggregations": {"a": {"filters": {"filters": [{"knn": @}]}}, "b": {"significant_terms": {"field": "x", "background_filter": {"knn": @}}}}}"#,
    r#"{"sort": [{"labels.x": {"nested": {"path": "p", "filter": {"knn": @}}}}], "highlight": {"fields": {"x": {"highlight_query": {"knn": @}}}}}"#,
];

#[test]
fn a_photo_is_found_wherever_a_clause_may_stand() {
    let vector = r#""query_vector":[0.5,-1.0]"#;
    for place in PLACES {
        let body = place.replace('@', &clause());
        let expected = body.replace(&format!(r#""query_vector_builder":{}"#, builder()), vector);
        assert_eq!(spliced(&body), expected);
        let found = scan(&body, 16).unwrap().photos;
        assert_eq!(found.len(), place.matches('@').count(), "{place}");
        assert!(found.iter().all(|c| c.image == PHOTO && c.face == FaceChoice::Largest));
    }
}

#[test]
fn what_only_looks_like_a_clause_stays() {
    let look_alike = format!(r#"{{"knn": {}}}"#, clause());
    for place in [
        r#"{"query": {"term": ?}}"#,
        r#"{"query": {"match": {"knn": ?}}}"#,
        r#"{"_source": ?}"#,
        r#"{"fields": [?]}"#,
        r#"{"aggs": {"a": {"terms": {"field": "x"}, "meta": ?}}}"#,
        r#"{"suggest": ?}"#,
        r#"{"aggs": ?}"#,
        r#"{"unknown": ?}"#,
        r#"{"query": {"query_string": {"query": "\"query_vector_builder\": {\"face_embedding\": {}}"}}}"#,
        r#"{"knn": {"query_vector_builder": {"text_embedding": {"model_id": "m", "model_text": "knn"}}}}"#,
    ] {
        let body = place.replace('?', &look_alike);
        assert_eq!(scan(&body, 1), Ok(Found::default()), "{body}");
        assert_eq!(spliced(&body), body);
    }
}

#[test]
fn every_other_byte_stays() {
    let body = "\r\n{ \"size\" : 1.0E+2,\t\"knn\":{\"k\":10,\"k\":1e1 , \"query\\u005fvector_builder\"\n: {\"face_embedding\":{\"face\":2,\"image\":\"YSBw\\u0061G90bw==\"}} ,\"x\":[0.10,-0,1234567890123456789012]},\"ünï\":\"\\/\u{1F600}\"} ";
    let expected = body.replace(
        "\"query\\u005fvector_builder\"\n: {\"face_embedding\":{\"face\":2,\"image\":\"YSBw\\u0061G90bw==\"}}",
        "\"query_vector\":[0.5,-1.0]",
    );
    assert_eq!(spliced(body), expected);
    let found = scan(body, 1).unwrap().photos;
    assert_eq!(
        (found[0].face, found[0].image.as_slice()),
        (FaceChoice::Ordinal(2), PHOTO)
    );
}

#[test]
fn a_clause_that_says_nothing_clear_is_refused() {
    let with = |text: &str| format!(r#"{{"knn": {{"field": "f", {text}}}}}"#);
    let embedding = |text: &str| with(&format!(r#""query_vector_builder": {{"face_embedding": {text}}}"#));
    let good = r#""query_vector_builder": {"face_embedding": {"image": "YQ=="}}"#;
    for (body, because) in [
        (with(&format!(r#"{good}, "query_vector": [1]"#)), "both [query_vector]"),
        (with(&format!(r#""query_vector": [1], {good}"#)), "both [query_vector]"),
        (with(&format!("{good}, {good}")), "twice"),
        (with(&format!(r#"{good}, "query_vector\u005fbuilder": {{}}"#)), "twice"),
        (embedding("{}"), "no [image]"),
        (embedding(r#"{"image": ""}"#), "no [image]"),
        (embedding(r#"{"image": null}"#), "no [image]"),
        (embedding(r#"{"image": "*"}"#), "no base64"),
        (embedding(r#"{"image": "https://x/y.jpg"}"#), "not fetched"),
        (embedding(r#"{"image": 7}"#), "takes an object"),
        (embedding("7"), "takes an object"),
        (embedding(r#"{"image": "YQ==", "image": "Yg=="}"#), "duplicate field"),
        (embedding(r#"{"image": "YQ==", "url": "http://x"}"#), "unknown field"),
        (embedding(r#"{"image": "YQ==", "face": "all"}"#), "cannot be \"all\""),
        (embedding(r#"{"image": "YQ==", "face": "first"}"#), "[face] takes"),
        (embedding(r#"{"image": "YQ==", "face": -1}"#), "[face] takes"),
        (embedding(r#"{"image": "YQ==", "face": 0.5}"#), "[face] takes"),
        (
            with(r#""query_vector_builder": {"text_embedding": {}, "face_embedding": {"image": "YQ=="}}"#),
            "one builder",
        ),
        (format!(r#"{{"knn": [{0}, {0}, {0}]}}"#, clause()), "more photos"),
    ] {
        refused(&body, because);
    }
}

/// `{"knn": {.., "query_vector_builder": BUILDER}}`
fn with_builder(builder: &str) -> String {
    format!(r#"{{"knn": {{"field": "f", "query_vector_builder": {builder}}}}}"#)
}

#[test]
fn a_photo_comes_in_the_forms_that_typed_clients_know_too() {
    let base64 = STANDARD.encode(PHOTO);
    let text = |model: &str| format!(r#"{{"text_embedding": {{"model_id": "{model}", "model_text": "{base64}"}}}}"#);
    let embedding =
        |input: &str| format!(r#"{{"embedding": {{"inference_id": "facedex/1", "input": {input}, "timeout": "1s"}}}}"#);
    let typed = format!(r#"{{"type": "image", "format": "base64", "value": "{base64}"}}"#);
    let short = format!(r#"{{"type": "image", "value": "{base64}"}}"#);
    for (builder, face) in [
        (text("facedex"), FaceChoice::Largest),
        (text("facedex/largest"), FaceChoice::Largest),
        (text("facedex/central"), FaceChoice::Central),
        (text("facedex/3"), FaceChoice::Ordinal(3)),
        (embedding(&format!("\"{base64}\"")), FaceChoice::Ordinal(1)),
        (embedding(&format!("[\"{base64}\"]")), FaceChoice::Ordinal(1)),
        (embedding(&typed), FaceChoice::Ordinal(1)),
        (embedding(&format!("[{short}]")), FaceChoice::Ordinal(1)),
        (
            embedding(&typed.replace(&base64, &format!("data:image/jpeg;base64,{base64}"))),
            FaceChoice::Ordinal(1),
        ),
        (
            embedding(&format!("\"data:image/png;base64,{base64}\"")),
            FaceChoice::Ordinal(1),
        ),
    ] {
        let body = with_builder(&builder);
        let found = scan(&body, 1)
            .unwrap_or_else(|refusal| panic!("{refusal}: {body}"))
            .photos;
        assert_eq!((found[0].face, found[0].image.as_slice()), (face, PHOTO), "{body}");
        assert_eq!(spliced(&body), r#"{"knn": {"field": "f", "query_vector":[0.5,-1.0]}}"#);
    }
    // Other models are Elasticsearch's affair.
    for builder in [
        text("facedexter"),
        text("my-model"),
        text("my/facedex"),
        format!(r#"{{"text_embedding": {{"model_text": "{base64}"}}}}"#),
        r#"{"embedding": {"inference_id": "jina", "input": {"type": "image", "value": "x"}}}"#.to_owned(),
        r#"{"embedding": {"input": "x"}}"#.to_owned(),
        r#"{"text_embedding": 7}"#.to_owned(),
    ] {
        let body = with_builder(&builder);
        assert_eq!(scan(&body, 1), Ok(Found::default()), "{body}");
    }
    for (builder, because) in [
        (text("facedex/all"), "cannot be \"all\""),
        (text("facedex/first"), "[facedex/..] takes"),
        (text("facedex/"), "[facedex/..] takes"),
        (
            r#"{"text_embedding": {"model_id": "facedex"}}"#.to_owned(),
            "no [model_text]",
        ),
        (
            r#"{"text_embedding": {"model_id": "facedex", "model_text": "*"}}"#.to_owned(),
            "no base64",
        ),
        (embedding("7"), "takes one photo"),
        (embedding(&format!("[{typed}, {typed}]")), "takes one photo"),
        (embedding(r#"{"type": "text", "value": "YQ=="}"#), "takes one photo"),
        (
            format!(
                r#"{{"lookup": {{"index": "x", "id": "1", "path": "p"}}, {}"#,
                &text("facedex")[1..]
            ),
            "one builder",
        ),
    ] {
        refused(&with_builder(&builder), because);
    }
}

#[test]
fn look_ups_are_named_and_nothing_hides_in_them() {
    let body = with_builder(r#"{"lookup": {"ind\u0065x": "other", "id": "1", "path": "p", "routing": "r"}}"#);
    assert_eq!(scan(&body, 1).unwrap().lookups, ["other"]);
    assert_eq!(spliced(&body), body);
    for builder in [
        r#"{"lookup": {"id": "1", "path": "p"}}"#,
        r#"{"lookup": {"index": "a", "index": "b", "id": "1", "path": "p"}}"#,
        r#"{"lookup": {"index": ["a"], "id": "1", "path": "p"}}"#,
        r#"{"lookup": {"index": "a", "id": "1", "path": "p", "query": {}}}"#,
        r#"{"lookup": 7}"#,
    ] {
        refused(&with_builder(builder), "[lookup] takes");
    }
}

#[test]
fn what_reaches_elsewhere_or_runs_scripts_is_refused() {
    for body in [
        r#"{"pit": {"id": "x"}}"#,
        r#"{"index": "other"}"#,
        r#"{"indices_boost": [{"other": 2}]}"#,
        r#"{"script_fields": {"x": {"script": "1"}}}"#,
        r#"{"runtime_mappings": {"x": {"type": "lookup", "target_index": "other"}}}"#,
        r#"{"ext": {}}"#,
        r#"{"sort": {"_script": {"type": "number"}}}"#,
        r#"{"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": "1"}}}}"#,
        r#"{"query": {"script": {"script": "1"}}}"#,
        r#"{"query": {"function_score": {"functions": [{"script_score": {}}]}}}"#,
        r#"{"query": {"terms_set": {"f": {"terms": [], "minimum_should_match_script": {}}}}}"#,
        r#"{"query": {"intervals": {"f": {"match": {"query": "x", "filter": {"script": {}}}}}}}"#,
        r#"{"query": {"terms": {"person.id": {"index": "other", "id": "1", "path": "p"}}}}"#,
        r#"{"query": {"bool": {"filter": [{"terms": {"f": {"id": "1"}}}]}}}"#,
        r#"{"query": {"more_like_this": {"like": [{"_index": "other", "_id": "1"}]}}}"#,
        r#"{"query": {"percolate": {"field": "f", "index": "other", "id": "1"}}}"#,
        r#"{"query": {"geo_shape": {"f": {"indexed_shape": {"index": "other", "id": "1"}}}}}"#,
        r#"{"query": {"wrapper": {"query": "e30="}}}"#,
        r#"{"query": {"bool": {"unknown": {"terms": {"f": {"index": "other"}}}}}}"#,
        r#"{"knn": {"field": "f", "filter": {"terms": {"f": {"index": "other"}}}}}"#,
        r#"{"aggs": {"a": {"scripted_metric": {}}}}"#,
        r#"{"aggs": {"a": {"terms": {"script": "1"}}}}"#,
        r#"{"aggs": {"a": {"bucket_selector": {"buckets_path": {}, "script": "1"}}}}"#,
        r#"{"aggs": {"a": {"filter": {"wrapper": {"query": "e30="}}}}}"#,
        r#"{"aggs": {"a": {"top_hits": {"script_fields": {}}}}}"#,
        r#"{"query": {"nested": {"path": "p", "query": {"match_all": {}}, "inner_hits": {"script_fields": {}}}}}"#,
        r#"{"suggest": {"s": {"phrase": {"collate": {"query": {"source": "x"}}}}}}"#,
        r#"{"rescore": {"script": {"script": "1"}}}"#,
        r#"{"retriever": {"standard": {"query": {"script_score": {}}}}}"#,
        r#"{"query": {"term": {"x": {"scr\u0069pt": "1"}}}}"#,
    ] {
        refused(body, "is not accepted here");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for body in [
        "",
        "{",
        "{}x",
        "{} {}",
        "{'a': 1}",
        "{a: 1}",
        "{/**/}",
        "{\"a\": NaN}",
        "\u{feff}{}",
        "{\"a\": 1,}",
    ] {
        refused(body, "no JSON");
    }
    let nested = |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(scan(&nested(MAX_DEPTH - 1), 1), Ok(Found::default()));
    refused(&nested(MAX_DEPTH), "within one another");
    refused(&nested(1_000_000), "within one another");
}

/// JSON with odd but valid numbers, strings, spaces and repeated keys, as text.
fn text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", " ", "\n", "\t ", "\r\n"]);
    let string = prop::sample::select(vec![
        r#""""#,
        r#""knn""#,
        r#""a\"b""#,
        r#""\u00e9\/""#,
        r#""é😀""#,
        r#""]}""#,
        r#""query_vector_builder""#,
        r#""face_embedding""#,
    ]);
    let number = prop::sample::select(vec![
        "0",
        "-0",
        "1.50",
        "1E5",
        "12e-3",
        "123456789012345678901234567890",
        "0.1",
    ]);
    let leaf = prop_oneof![
        string.clone().prop_map(str::to_owned),
        number.prop_map(str::to_owned),
        prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let entry = (string.clone(), space(), inner.clone(), space());
        prop_oneof![
            vec(entry, 0..4).prop_map(|entries| {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(k, a, v, b)| format!("{a}{k}{b}:{a}{v}{b}"))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }),
            (vec(inner, 0..4), space()).prop_map(|(values, s)| format!("[{s}{}{s}]", values.join(&format!("{s},{s}")))),
        ]
    })
}

proptest! {
    #[test]
    fn a_body_without_a_photo_is_the_same_byte_for_byte(data in text()) {
        let body = format!("{{\"_source\": {data}, \"query\": {{\"match\": {{\"x\": {data}}}}}}}");
        prop_assert_eq!(scan(&body, 4).map(|found| found.photos.len()), Ok(0));
        prop_assert_eq!(spliced(&body), body);
    }

    #[test]
    fn a_photo_in_any_body_is_replaced_and_nothing_else(
        place in prop::sample::select(PLACES.to_vec()), before in text(), after in text(), space in "[ \n\r\t]{0,3}",
    ) {
        let ours = format!("\"query_vector_builder\"{space}:{space}{}", builder());
        let clause = |ours: &str| format!("{{\"boost\":{before}{space},{ours}{space},\"k\" :{after}}}");
        let around = |clause: &str| {
            let body = place.replace('@', clause);
            format!("{{\"_source\":{before},{}", &body[1..body.len() - 1]) + &format!(",\"fields\":{after}}}")
        };
        let expected = around(&clause("\"query_vector\":[0.5,-1.0]"));
        prop_assert_eq!(spliced(&around(&clause(&ours))), expected);
    }

    #[test]
    fn no_text_makes_it_panic(body in "\\PC{0,60}", json in text()) {
        let _ = scan(&body, 1);
        let _ = scan(&format!("{{\"knn\": {json}, \"query\": {json}, \"retriever\": {json}, \"aggs\": {json}}}"), 1);
    }
}
