//! One test for each code of the table that this server can be made to answer. Those of keys are in the tests of keys.

use std::net::TcpListener;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{bytes, own, served};
use crate::harness::api::{Api, send};
use crate::harness::node::wait_until;
use crate::harness::{Space, images};

/// Searches the demo's collection with a photo.
fn search(photo: Vec<u8>, options: &[(&str, &str)]) -> crate::harness::api::Answer {
    let served = served();
    let all: Vec<_> = [("collection", served.space.name.as_str())]
        .iter()
        .chain(options)
        .copied()
        .collect();
    served.api.post_form("/v1/search", &all, &[("photo", photo)])
}

fn vector() -> Value {
    json!(vec![1.0; 128])
}

fn in_collection(name: &str) -> Value {
    json!({"collection": name, "embedding": vector()})
}

#[test]
fn bad_request() {
    let obama = || bytes("query/obama-3.jpg");
    for (options, named) in [
        (&[("k", "0")][..], "k"),
        (&[("k", "many")], "k"),
        (&[("kk", "1")], "kk"),
        (&[("k", "1"), ("k", "2")], "k"),
        (&[("k", "9000"), ("offset", "2000")], "offset"),
        (&[("oversample", "nan")], "oversample"),
        (&[("max_fpir", "1.5")], "max_fpir"),
        (&[("max_fpir", "0.1"), ("min_similarity", "0.5")], "min_similarity"),
        (&[("min_similarity", "2")], "min_similarity"),
        (&[("filter", "person.id")], "filter"),
        (&[("filter", "nothing=1")], "nothing"),
        (&[("filter", "@timestamp=yesterday")], "yesterday"),
        (&[("filter", "face.score=high")], "filter"),
        (&[("face", "biggest")], "face"),
    ] {
        let error = search(obama(), options).refused(400, "bad_request");
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{options:?}: {error}"
        );
    }
    let served = served();
    let name = served.space.name.as_str();
    let photo = BASE64_STANDARD.encode(obama());
    for body in [
        json!({"photo": photo}),
        json!({"collection": name}),
        json!({"collection": "A*", "embedding": vector()}),
        json!({"collection": name, "photo": "%%%"}),
        json!({"collection": name, "photo": 1}),
        json!({"collection": name, "photo": photo, "embedding": vector()}),
        json!({"collection": name, "embedding": [1.0, 2.0]}),
        json!({"collection": name, "embedding": vec![0.0; 128]}),
        json!({"collection": name, "embedding": vec!["1"; 128]}),
        json!({"collection": name, "embedding": vector(), "k": "3"}),
        json!([1]),
    ] {
        served.api.post_json("/v1/search", &body).refused(400, "bad_request");
    }
    let broken = served
        .api
        .request("POST", "/v1/search")
        .header("content-type", "application/json")
        .body("{");
    send(broken).refused(400, "bad_request");
    let broken = served
        .api
        .request("POST", "/v1/search")
        .header("content-type", "multipart/form-data")
        .body("x");
    send(broken).refused(400, "bad_request");
    let empty = format!("/v1/search?collection={name}");
    served.api.post_photo(&empty, Vec::new()).refused(400, "bad_request");
}

#[test]
fn not_found_and_method_not_allowed() {
    let api = &served().api;
    for path in ["/nowhere", "/v1/nowhere", "/v1/faces/../../_search", "/v1"] {
        api.get(path).refused(404, "not_found");
    }
    api.get("/v1/search").refused(405, "method_not_allowed");
    api.delete("/readyz").refused(405, "method_not_allowed");
}

#[test]
fn no_collection_and_not_a_collection() {
    let served = served();
    let error = served
        .api
        .post_json("/v1/search", &in_collection("nowhere"))
        .refused(404, "no_collection");
    assert_eq!(error["details"]["collection"], "nowhere");
    let options = [("collection", "nowhere"), ("person_id", "x")];
    let photos = [("photo", bytes("query/obama-3.jpg"))];
    served
        .api
        .post_form("/v1/faces", &options, &photos)
        .refused(404, "no_collection");
    assert_eq!(served.space.elastic("GET", "/nowhere", None).0, 404);
    let plain = format!("plain-{}", std::process::id());
    served.space.elastic("PUT", &format!("/{plain}"), None);
    let answer = served.api.post_json("/v1/search", &in_collection(&plain));
    served.space.elastic("DELETE", &format!("/{plain}"), None);
    answer.refused(404, "not_a_collection");
}

#[test]
fn face_not_found_and_no_thumbnail() {
    let served = served();
    let name = &served.space.name;
    let at = |id: &str, rest: &str| format!("/v1/faces/{id}{rest}?collection={name}");
    let none = "0123456789abcdef0123456789abcdef-0";
    for id in [none, "x", "..%2F_search", "%F0%9F%98%80"] {
        served.api.get(&at(id, "")).refused(404, "face_not_found");
        served.api.get(&at(id, "/thumbnail")).refused(404, "face_not_found");
    }
    served.api.get(&at("%FF", "")).refused(400, "bad_request");
    // The demo is ingested without pictures.
    let id = served.space.documents().into_keys().next().unwrap();
    served.api.get(&at(&id, "/thumbnail")).refused(404, "no_thumbnail");
}

#[test]
fn other_engine() {
    let (space, api) = own(&[]);
    let options = [("collection", space.name.as_str()), ("person_id", "x")];
    let photos = [("photo", bytes("query/obama-3.jpg"))];
    let made = api.post_form("/v1/faces", &options, &photos).expect(201);
    let id = made["faces"][0]["id"].as_str().unwrap();
    let change = json!({"doc": {"image": {"engine": "another"}}});
    space.elastic("POST", &format!("/{}/_update/{id}", space.index()), Some(change));
    let error = api
        .post_form("/v1/faces", &options, &photos)
        .refused(409, "other_engine");
    assert_eq!(error["details"]["stored"], "another");
}

#[test]
fn wrong_space() {
    let (space, api) = own(&[]);
    let (_, index) = space.elastic("GET", &format!("/{}", space.index()), None);
    let mut meta = index[&space.index()]["mappings"]["_meta"].clone();
    meta["space"] = json!("another");
    space.elastic(
        "PUT",
        &format!("/{}/_mapping", space.name),
        Some(json!({"_meta": meta})),
    );
    let error = api
        .post_json("/v1/search", &in_collection(&space.name))
        .refused(409, "wrong_space");
    assert_eq!(error["details"]["stored"], "another");
    let options = [("collection", space.name.as_str()), ("person_id", "x")];
    let photos = [("photo", bytes("query/obama-3.jpg"))];
    api.post_form("/v1/faces", &options, &photos)
        .refused(409, "wrong_space");
    let error = api.get("/readyz").refused(503, "not_ready");
    assert_eq!(error["details"]["collection"], "wrong_space");
}

#[test]
fn too_large_and_too_many_pixels() {
    let space = Space::new();
    let api = Api::start(&space, &["--max-body", "100000", "--max-image-bytes", "50000"]);
    let body = |size: usize| vec![0xFF; size];
    for size in [60_000, 200_000, 20_000_000] {
        api.post_photo("/v1/represent", body(size)).refused(413, "too_large");
        api.post_form("/v1/represent", &[], &[("photo", body(size))])
            .refused(413, "too_large");
    }
    let text = json!({"photo": "A".repeat(200_000)});
    api.post_json("/v1/represent", &text).refused(413, "too_large");
    let error = search(images::png_header(60_000, 60_000), &[]).refused(413, "too_many_pixels");
    assert_eq!(error["details"]["width"], 60_000);
}

#[test]
fn unsupported_type_and_not_an_image() {
    let served = served();
    for (path, kind) in [
        ("/v1/search", "text/plain"),
        ("/v1/search", ""),
        ("/v1/verify", "image/jpeg"),
    ] {
        let mut request = served.api.request("POST", path).body("x");
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        send(request).refused(415, "unsupported_type");
    }
    search(b"<svg/>".to_vec(), &[]).refused(415, "not_an_image");
}

#[test]
fn damaged_image() {
    let obama = bytes("query/obama-3.jpg");
    let error = search(obama[..obama.len() / 2].to_vec(), &[]).refused(422, "damaged_image");
    assert_eq!(error["details"]["photo"], "photo");
}

#[test]
fn no_face_several_faces_no_such_face() {
    let blank = images::encode(&image::DynamicImage::new_rgb8(64, 64), image::ImageFormat::Png);
    search(blank.clone(), &[]).refused(422, "no_face");
    let error = search(bytes("query/obama-3.jpg"), &[("face", "7")]).refused(422, "no_such_face");
    assert_eq!(
        (&error["details"]["face"], &error["details"]["faces"]),
        (&json!(7), &json!(1))
    );
    let (space, api) = own(&[]);
    let enrol = |photo: Vec<u8>| {
        let options = [("collection", space.name.as_str()), ("person_id", "x")];
        api.post_form("/v1/faces", &options, &[("photo", photo)])
    };
    enrol(bytes("gallery-unlabelled/four-people.jpg")).refused(422, "several_faces");
    enrol(blank).refused(422, "no_face");
    assert_eq!(space.count(), 0);
}

#[test]
fn elasticsearch_refused() {
    let (space, api) = own(&[]);
    // An index that gives less than a search asks for.
    let window = json!({"index": {"max_result_window": 1}});
    space.elastic("PUT", &format!("/{}/_settings", space.index()), Some(window));
    let error = api
        .post_json("/v1/search", &in_collection(&space.name))
        .refused(502, "elasticsearch_refused");
    assert_eq!(error["details"]["status"], 400);
}

#[test]
fn index_closed() {
    let (space, api) = own(&[]);
    space.elastic("POST", &format!("/{}/_close", space.index()), None);
    let error = api
        .post_json("/v1/search", &in_collection(&space.name))
        .refused(503, "index_closed");
    assert_eq!(error["details"]["index"], space.index());
}

/// Elasticsearch says so at once: nobody is told to wait for what an operator must lift.
#[test]
fn index_blocked() {
    let (space, api) = own(&[]);
    let options = [("collection", space.name.as_str()), ("person_id", "x")];
    let enrol = || api.post_form("/v1/faces", &options, &[("photo", bytes("query/obama-3.jpg"))]);
    let search = || api.post_json("/v1/search", &in_collection(&space.name));
    let set = |block: &str, value: Value| {
        let path = format!("/{}/_settings", space.index());
        let body = json!({format!("index.blocks.{block}"): value});
        assert_eq!(space.elastic("PUT", &path, Some(body)).0, 200);
    };
    for (block, reads) in [
        ("write", true),
        ("read_only_allow_delete", true),
        ("read_only", true),
        ("read", false),
    ] {
        set(block, json!(true));
        let answer = if reads { enrol() } else { search() };
        assert!(!answer.headers.contains_key("retry-after"), "{block}");
        let error = answer.refused(503, "index_blocked");
        assert_eq!(error["details"]["block"], format!("index.blocks.{block}"), "{error}");
        if reads {
            search().expect(200);
        }
        set(block, Value::Null);
    }
    enrol().expect(201);
}

/// One that takes connections and answers nothing is told from a photo that is too large.
#[test]
fn a_hanging_elasticsearch_is_no_timeout_of_the_photo() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let space = Space::at(&format!("http://{}", listener.local_addr().unwrap()));
    let api = Api::start(&space, &[]);
    let held = std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            held.push(connection);
        }
    });
    api.post_json("/v1/search", &in_collection("any"))
        .refused(503, "elasticsearch_unavailable");
    drop(held);
}

#[test]
fn collection_in_doubt() {
    let (space, api) = own(&[]);
    let write = format!("facedex-faces-{}@sface-2021dec@arcface-112", space.name);
    let other = format!("hand-{}", space.name);
    space.elastic(
        "PUT",
        &format!("/{other}"),
        Some(json!({"aliases": {write.clone(): {}}})),
    );
    let error = api
        .post_json("/v1/search", &in_collection(&space.name))
        .refused(409, "collection_in_doubt");
    assert!(error["message"].as_str().unwrap().contains(&write), "{error}");
}

#[test]
fn newer_index() {
    let (space, api) = own(&[]);
    let (_, mut found) = space.elastic("GET", &format!("/{}/_mapping", space.index()), None);
    let mut meta = found[space.index()]["mappings"]["_meta"].take();
    meta["mapping_version"] = json!(1000);
    let path = format!("/{}/_mapping", space.index());
    assert_eq!(space.elastic("PUT", &path, Some(json!({"_meta": meta}))).0, 200);
    // Searched it may be.
    api.post_json("/v1/search", &in_collection(&space.name)).expect(200);
    let options = [("collection", space.name.as_str()), ("person_id", "x")];
    api.post_form("/v1/faces", &options, &[("photo", bytes("query/obama-3.jpg"))])
        .refused(409, "newer_index");
    assert_eq!(space.count(), 0);
}

#[test]
fn elasticsearch_unavailable_and_not_ready() {
    // Nobody listens on the port of a listener that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let space = Space::at(&format!("http://127.0.0.1:{port}"));
    let api = Api::start(&space, &[]);
    let answer = api.post_json("/v1/search", &in_collection("faces"));
    assert_eq!(answer.header("retry-after"), "5");
    assert!(!answer.text().contains(&port.to_string()), "{}", answer.text());
    answer.refused(503, "elasticsearch_unavailable");
    wait_until("the log has the address", || api.said().contains(&port.to_string()));
    let error = api.get("/readyz").refused(503, "not_ready");
    let details = json!({
        "engine": "ok",
        "elasticsearch": "elasticsearch_unavailable",
        "collection": "elasticsearch_unavailable",
    });
    assert_eq!(error["details"], details);
    assert_eq!(api.get("/healthz").text(), "ok\n");
    // What needs no Elasticsearch goes on.
    api.post_photo("/v1/represent", bytes("query/obama-3.jpg")).expect(200);
}

#[test]
fn timeout() {
    // It takes connections and answers nothing, for longer than a request may take.
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    let space = Space::at(&format!("http://{}", node.local_addr().unwrap()));
    let api = Api::start(&space, &["--timeout", "300ms"]);
    api.get("/v1/collections").refused(504, "timeout");
    drop(node);
}
