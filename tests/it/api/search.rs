//! Search, identify, verify, represent: the same answers as the command line's, however the photo comes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{bytes, served};
use crate::query::query;

/// What the command line says of a photo, without what the routes leave out.
fn from_cli(command: &str, photo: &str) -> Value {
    let mut answer = served().space.run(&[command, &query(photo), "--json"]).json();
    for face in answer["faces"].as_array_mut().unwrap() {
        face.as_object_mut().unwrap().remove("embedding");
    }
    answer["faces"].clone()
}

#[test]
fn three_ways_to_send_a_photo_give_the_command_line_s_answer() {
    let served = served();
    let (photo, name) = (bytes("query/obama-3.jpg"), served.space.name.as_str());
    for command in ["search", "identify"] {
        let path = format!("/v1/{command}");
        let expected = from_cli(command, "query/obama-3.jpg");
        let form = served
            .api
            .post_form(&path, &[("collection", name)], &[("photo", photo.clone())])
            .expect(200);
        assert_eq!(form["faces"], expected, "{command}");
        assert_eq!(form["collection"], name);
        assert!(form["image"]["width"].as_u64() > Some(0) && form["took"]["search_ms"].as_f64() > Some(0.0));
        let body = served
            .api
            .post_photo(&format!("{path}?collection={name}"), photo.clone())
            .expect(200);
        assert_eq!(body["faces"], expected, "{command}");
        let text = BASE64_STANDARD.encode(&photo);
        for text in [format!("data:image/jpeg;base64,{text}"), text] {
            let json = json!({"collection": name, "photo": text});
            let answer = served.api.post_json(&path, &json).expect(200);
            assert_eq!(answer["faces"], expected, "{command}");
        }
    }
}

#[test]
fn an_embedding_stands_for_its_photo() {
    let served = served();
    let name = served.space.name.as_str();
    let seen = served
        .api
        .post_photo("/v1/represent", bytes("query/obama-3.jpg"))
        .expect(200);
    let embedding = &seen["faces"][0]["embedding"];
    assert_eq!(embedding.as_array().unwrap().len(), 128);
    let asked = json!({"collection": name, "embedding": embedding});
    let answer = served.api.post_json("/v1/search", &asked).expect(200);
    let expected = from_cli("search", "query/obama-3.jpg");
    let ids = |faces: &Value| -> Vec<Value> {
        let hits = faces[0]["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["id"].clone()).collect()
    };
    assert_eq!(ids(&answer["faces"]), ids(&expected));
    assert!(
        answer["image"].is_null() && answer["faces"][0]["box"].is_null(),
        "{answer}"
    );
    // Whatever its length: only the direction counts.
    let long: Vec<f64> = embedding
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap() * 7.0)
        .collect();
    let again = served
        .api
        .post_json("/v1/search", &json!({"collection": name, "embedding": long}));
    assert_eq!(ids(&again.expect(200)["faces"]), ids(&expected));
}

#[test]
fn represent_is_what_the_command_line_prints() {
    let served = served();
    let photo = "gallery-unlabelled/four-people.jpg";
    let printed = served.space.run(&["represent", &query(photo)]).json();
    let answer = served.api.post_photo("/v1/represent", bytes(photo)).expect(200);
    for (ours, theirs) in [
        (&answer["faces"], &printed["faces"]),
        (&answer["space"], &printed["space"]),
        (&answer["engine"], &printed["engine"]),
        (&answer["image"]["width"], &printed["width"]),
    ] {
        assert_eq!(ours, theirs);
    }
    let one = served.api.post_photo("/v1/represent?face=2", bytes(photo)).expect(200);
    assert_eq!(one["faces"][0], printed["faces"][2]);
}

#[test]
fn options_work_as_on_the_command_line() {
    let served = served();
    let name = served.space.name.as_str();
    let ask = |options: &[(&str, &str)]| {
        let all: Vec<_> = [("collection", name)].iter().chain(options).copied().collect();
        let photos = [("photo", bytes("query/obama-3.jpg"))];
        let answer = served.api.post_form("/v1/search", &all, &photos).expect(200);
        answer["faces"][0].clone()
    };
    let hits = |face: &Value| face["hits"].as_array().unwrap().clone();
    let all = hits(&ask(&[("min_similarity", "-1"), ("k", "12")]));
    assert_eq!(all.len(), 12);
    let page = hits(&ask(&[("min_similarity", "-1"), ("k", "4"), ("offset", "3")]));
    let ids = |hits: &[Value]| hits.iter().map(|hit| hit["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&page), ids(&all[3..7]));
    assert!(hits(&ask(&[("offset", "100")])).is_empty());
    let filtered = ask(&[
        ("min_similarity", "-1"),
        ("filter", "person.id=Eileen_Collins"),
        ("filter", "person.id=Barack_Obama"),
    ]);
    assert_eq!(filtered["threshold"]["faces_searched"], 3);
    assert_eq!(hits(&filtered).len(), 3);
    for widest in [
        &[("k", "10000"), ("candidates", "1"), ("rescored", "1")][..],
        &[("k", "1"), ("candidates", "10000"), ("rescored", "10000")],
        &[("k", "1"), ("num_candidates", "10000"), ("oversample", "1")],
    ] {
        assert_eq!(
            hits(&ask(&[&[("min_similarity", "-1")], widest].concat())).len(),
            if widest[0].1 == "1" { 1 } else { 12 }
        );
    }
    let with = ask(&[("include_embedding", "true")]);
    assert_eq!(with["embedding"].as_array().unwrap().len(), 128);
    assert!(ask(&[])["embedding"].is_null());
}

#[test]
fn former_names_are_taken_for_one_more_release_and_said_to_be_former() {
    let served = served();
    let ask = |options: &[(&str, &str)]| {
        let all: Vec<_> = [("collection", served.space.name.as_str())]
            .iter()
            .chain(options)
            .copied()
            .collect();
        let photos = [("photo", bytes("query/obama-3.jpg"))];
        served.api.post_form("/v1/identify", &all, &photos)
    };
    for (options, is_former) in [
        (&[][..], false),
        (&[("candidates", "500"), ("rescored", "50")], false),
        (&[("num_candidates", "100")], true),
        (&[("oversample", "3")], true),
        (&[("num_candidates", "100"), ("oversample", "3")], true),
    ] {
        let answer = ask(options);
        let said = [
            answer.header("deprecation").to_owned(),
            answer.header("link").to_owned(),
        ];
        let expected = match is_former {
            true => ["@1796083200", "</docs>; rel=\"deprecation\""],
            false => ["", ""],
        };
        assert_eq!(said, expected, "{options:?}");
        assert_eq!(answer.expect(200)["faces"][0]["person"]["id"], "Barack_Obama");
    }
    for (options, because) in [
        (&[("candidates", "50"), ("rescored", "51")][..], "at most candidates"),
        (&[("candidates", "0")], "from 1 to 10000"),
        (&[("rescored", "10001")], "from 1 to 10000"),
        (&[("candidates", "50"), ("oversample", "2")], "former names"),
        (&[("num_candidates", "0")], "from 1 to 10000"),
        (&[("oversample", "0.5")], "from 1 to 10000"),
    ] {
        let error = ask(options).refused(400, "bad_request");
        assert!(
            error["message"].as_str().unwrap().contains(because),
            "{options:?}: {error}"
        );
    }
}

#[test]
fn verify_compares_photos_and_embeddings() {
    let served = served();
    let (a, b) = (bytes("query/obama-3.jpg"), bytes("query/biden.jpg"));
    let verify = |options: &[(&str, &str)], a: &[u8], b: &[u8]| {
        let photos = [("photo_a", a.to_vec()), ("photo_b", b.to_vec())];
        served.api.post_form("/v1/verify", options, &photos).expect(200)
    };
    let same = verify(&[], &a, &a);
    assert_eq!(same["decision"], "match");
    assert!(same["similarity"].as_f64().unwrap() > 0.999);
    let other = verify(&[], &a, &b);
    assert_eq!(
        (&other["decision"], &other["photos"][1]["photo"]),
        (&json!("unknown"), &json!("photo_b"))
    );
    let printed = served
        .space
        .run(&[
            "verify",
            &query("query/obama-3.jpg"),
            &query("query/biden.jpg"),
            "--json",
        ])
        .json();
    assert_eq!(
        (&other["similarity"], &other["threshold"]),
        (&printed["similarity"], &printed["threshold"])
    );
    assert_eq!(verify(&[("min_similarity", "-1")], &a, &b)["decision"], "match");
    let seen = served.api.post_photo("/v1/represent", a).expect(200);
    let vector = &seen["faces"][0]["embedding"];
    let body = json!({"embedding_a": vector, "photo_b": BASE64_STANDARD.encode(&b)});
    let mixed = served.api.post_json("/v1/verify", &body).expect(200);
    let difference = mixed["similarity"].as_f64().unwrap() - other["similarity"].as_f64().unwrap();
    assert!(difference.abs() < 1e-6, "{mixed}");
}

#[test]
fn figures_and_names_of_collections() {
    let served = served();
    let name = served.space.name.as_str();
    let stats = served.api.get(&format!("/v1/stats?collection={name}")).expect(200);
    assert_eq!(
        (&stats["faces"], &stats["persons"], &stats["approximate"]),
        (&json!(12), &json!(6), &json!(false))
    );
    assert_eq!(stats["name"], name);
    let threshold = &stats["threshold"];
    assert_eq!(
        (&threshold["faces_searched"], &threshold["fpir"]),
        (&json!(12), &json!(0.01))
    );
    let asked = format!("/v1/identify?collection={name}");
    let identified = served.api.post_photo(&asked, bytes("query/obama-3.jpg")).expect(200);
    assert_eq!(&identified["faces"][0]["threshold"], threshold);
    let (_, info) = served.space.elastic("GET", "/", None);
    assert_eq!(stats["elasticsearch"][0]["version"], info["version"]["number"]);
    assert_eq!(stats["elasticsearch"][0]["nodes"], json!([info["name"]]));
    assert_eq!(stats["warnings"], json!([]));
    let names = served.api.get("/v1/collections").expect(200);
    assert!(
        names["collections"].as_array().unwrap().contains(&json!(name)),
        "{names}"
    );
}
