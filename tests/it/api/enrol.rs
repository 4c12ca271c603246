//! Enrolment, and single stored faces.

use serde_json::{Value, json};

use super::{bytes, own};
use crate::harness::Space;
use crate::harness::api::Api;

fn enrol(api: &Api, space: &Space, photo: &str, options: &[(&str, &str)]) -> crate::harness::api::Answer {
    let all: Vec<_> = [("collection", space.name.as_str())]
        .iter()
        .chain(options)
        .copied()
        .collect();
    api.post_form("/v1/faces", &all, &[("photo", bytes(photo))])
}

fn search(api: &Api, space: &Space, photo: &str) -> Value {
    let path = format!("/v1/search?collection={}", space.name);
    api.post_photo(&path, bytes(photo)).expect(200)["faces"][0]["hits"].clone()
}

#[test]
fn an_enrolled_face_is_found_at_once_and_is_the_command_line_s_own() {
    let (space, api) = own(&[]);
    let options = [
        ("person_id", "obama"),
        ("person_name", "Barack Obama"),
        ("label", "album=1"),
    ];
    let made = enrol(&api, &space, "query/obama-3.jpg", &options).expect(201);
    assert_eq!((&made["indexed"], &made["existing"]), (&json!(1), &json!(0)));
    assert_eq!(
        made["faces"][0]["person"],
        json!({"id": "obama", "name": "Barack Obama"})
    );
    let id = made["faces"][0]["id"].as_str().unwrap();
    let hits = search(&api, &space, "query/obama-3.jpg");
    assert_eq!(
        (&hits[0]["id"], &hits[0]["labels"]),
        (&json!(id), &json!({"album": "1"}))
    );
    // The same photo once more changes nothing, and neither does an ingest of it.
    let again = enrol(&api, &space, "query/obama-3.jpg", &options).expect(200);
    assert_eq!((&again["existing"], &again["faces"][0]["id"]), (&json!(1), &json!(id)));
    let file = space.put_photo("query/obama-3.jpg", "obama/a.jpg");
    let summary = space.ingest(0, &[&file]);
    assert_eq!(summary["existing"], 1, "{summary}");
    let stored = space.documents();
    let document = &stored[id];
    assert_eq!(
        document["image"]["uri"],
        format!("upload:{}", made["photo"].as_str().unwrap())
    );
    assert_eq!(document["label_pairs"], json!(["album=1"]));
}

#[test]
fn another_name_for_a_stored_face_is_a_conflict() {
    let (space, api) = own(&[]);
    enrol(&api, &space, "query/obama-3.jpg", &[("person_id", "obama")]).expect(201);
    let error = enrol(&api, &space, "query/obama-3.jpg", &[("person_id", "biden")]).refused(409, "conflict");
    assert_eq!(error["details"]["stored_person"], "obama");
    assert_eq!(space.count(), 1);
}

#[test]
fn one_face_of_several_is_the_person() {
    let (space, api) = own(&[]);
    let photo = "gallery-unlabelled/four-people.jpg";
    let error = enrol(&api, &space, photo, &[("person_id", "x")]).refused(422, "several_faces");
    assert_eq!((&error["details"]["faces"], space.count()), (&json!(4), 0));
    let made = enrol(&api, &space, photo, &[("person_id", "x"), ("subject", "largest")]).expect(201);
    let faces = made["faces"].as_array().unwrap();
    let named = faces.iter().filter(|face| face["person"]["id"] == "x").count();
    assert_eq!((faces.len(), named, space.count()), (4, 1, 4));
    enrol(&api, &space, "query/biden.jpg", &[]).refused(400, "bad_request");
    let bare = enrol(&api, &space, "query/biden.jpg", &[("unlabelled", "true")]).expect(201);
    assert!(bare["faces"][0]["person"].is_null(), "{bare}");
}

#[test]
fn a_face_can_be_looked_at_shown_and_deleted() {
    let (space, api) = own(&[]);
    let options = [("person_id", "obama"), ("uri", "https://u:secret@example.org/a.jpg")];
    let made = enrol(&api, &space, "query/obama-3.jpg", &options).expect(201);
    let id = made["faces"][0]["id"].as_str().unwrap();
    let at = |rest: &str| format!("/v1/faces/{id}{rest}?collection={}", space.name);
    let face = api.get(&at("")).expect(200);
    assert_eq!((&face["id"], &face["person"]["id"]), (&json!(id), &json!("obama")));
    assert_eq!(face["box"], made["faces"][0]["box"]);
    assert_eq!(face["image"]["uri"], "https://example.org/a.jpg");
    assert!(face["embedding"].is_null() && face["landmarks"].as_array().unwrap().len() == 5);
    let picture = api.get(&at("/thumbnail"));
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/jpeg"));
    let decoded = image::load_from_memory(&picture.body).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (128, 128));
    assert_eq!(api.delete(&at("")).expect(200), json!({"deleted": 1}));
    assert_eq!(search(&api, &space, "query/obama-3.jpg"), json!([]));
    api.get(&at("")).refused(404, "face_not_found");
    api.delete(&at("")).refused(404, "face_not_found");
}
