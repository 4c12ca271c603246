//! All faces of one person: shown, renamed, deleted.

use std::collections::BTreeMap;

use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};

use super::{bytes, own};
use crate::harness::api::{Answer, Api, send};
use crate::harness::images::variants;
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, facedex_at, node};

fn patch(api: &Api, path: &str, body: &Value) -> Answer {
    let request: RequestBuilder = api.request("PATCH", path).json(body);
    send(request)
}

/// A collection with so many photos of one person, and one of another.
fn with_photos(count: u32) -> (Space, Api) {
    let (space, api) = own(&[]);
    for (number, photo) in variants("query/obama-3.jpg", count).enumerate() {
        space.put(&format!("photos/obama/{number}.png"), &photo);
    }
    space.put("photos/biden/1.jpg", &bytes("query/biden.jpg"));
    let photos = space.path("photos");
    space.ingest(0, &[&photos, "--person-from-dir", "--label", "set=a"]);
    (space, api)
}

#[test]
fn a_person_is_shown_page_by_page() {
    let (space, api) = with_photos(5);
    let at = |options: &str| format!("/v1/persons/obama?collection={}{options}", space.name);
    let all = api.get(&at("")).expect(200);
    assert_eq!((&all["total"], &all["person"]["id"]), (&json!(5), &json!("obama")));
    let ids = |answer: &Value| -> Vec<String> {
        let faces = answer["faces"].as_array().unwrap().iter();
        faces.map(|face| face["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut paged = ids(&api.get(&at("&limit=3")).expect(200));
    paged.extend(ids(&api.get(&at("&limit=3&offset=3")).expect(200)));
    assert_eq!(paged, ids(&all));
    api.get(&at("&limit=0")).refused(400, "bad_request");
    let nobody = format!("/v1/persons/nobody?collection={}", space.name);
    api.get(&nobody).refused(404, "person_not_found");
}

#[test]
fn a_renamed_person_keeps_faces_and_vectors() {
    let (space, api) = with_photos(3);
    let at = format!("/v1/persons/obama?collection={}", space.name);
    let hits = || {
        let path = format!("/v1/search?collection={}", space.name);
        let answer = api.post_photo(&path, bytes("query/obama-3.jpg")).expect(200);
        answer["faces"][0]["hits"].as_array().unwrap().clone()
    };
    // The vectors themselves: Lucene sums a similarity in another order once its code is compiled, so that its last digit may differ.
    let vectors = || {
        let body = json!({"size": 100, "_source": false, "fields": ["face.embedding"]});
        let (_, found) = space.elastic("POST", &format!("/{}/_search", space.name), Some(body));
        let hits = found["hits"]["hits"].as_array().unwrap().iter();
        hits.map(|hit| (hit["_id"].to_string(), hit["fields"]["face.embedding"].clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let similarity = |hit: &Value| hit["similarity"].as_f64().unwrap();
    let stored = vectors();
    assert!(
        stored
            .values()
            .all(|vector| vector.as_array().is_some_and(|vector| vector.len() == 128)),
        "{stored:?}"
    );
    let before = hits();
    assert_eq!(before.len(), 3);
    let change = json!({"name": "Barack Obama", "labels": {"set": "b", "new": "1"}});
    assert_eq!(patch(&api, &at, &change).expect(200), json!({"total": 3, "updated": 3}));
    let after = hits();
    assert_eq!(vectors(), stored);
    assert_eq!(after.len(), 3);
    for (after, before) in after.iter().zip(&before) {
        assert!(
            (similarity(after) - similarity(before)).abs() < 1e-5,
            "{after} {before}"
        );
    }
    for hit in &after {
        assert_eq!(hit["person"], json!({"id": "obama", "name": "Barack Obama"}));
        assert_eq!(hit["labels"], json!({"set": "b", "new": "1"}));
    }
    assert_eq!(patch(&api, &at, &change).expect(200), json!({"total": 3, "updated": 0}));
    let removal = json!({"name": null, "labels": {"new": null}});
    assert_eq!(patch(&api, &at, &removal).expect(200)["updated"], 3);
    assert_eq!(
        (&hits()[0]["person"], &hits()[0]["labels"]),
        (&json!({"id": "obama"}), &json!({"set": "b"}))
    );
    let biden = api
        .get(&format!("/v1/persons/biden?collection={}", space.name))
        .expect(200);
    assert_eq!(biden["faces"][0]["labels"], json!({"set": "a"}));
    patch(&api, &at, &json!({})).refused(400, "bad_request");
    patch(&api, &at, &json!({"nome": "x"})).refused(400, "bad_request");
}

#[test]
fn a_deleted_person_is_gone_whatever_refreshes_or_is_written_meanwhile() {
    let (space, api) = with_photos(4);
    // Without refreshes of its own, the index shows only what a route makes it show.
    let settings = json!({"index": {"refresh_interval": "-1"}});
    space.elastic("PUT", &format!("/{}/_settings", space.name), Some(settings));
    let document = space
        .documents()
        .into_iter()
        .find(|(_, face)| face["person"]["id"] == "obama");
    let (id, _) = document.unwrap();
    // A write that no search sees yet changes the version of one face.
    let touch = json!({"doc": {"labels": {"touched": "1"}}});
    space.elastic("POST", &format!("/{}/_update/{id}", space.index()), Some(touch));
    // A rewrite that was cut off left the name in the document of somebody else's face.
    let (other, _) = space
        .documents()
        .into_iter()
        .find(|(_, face)| face["person"]["id"] == "biden")
        .unwrap();
    let known = |id: &str| json!({"box": {"x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0}, "person": {"id": id}});
    let cut_off = json!({"doc": {"image": {"unfinished": true, "previous": [known("obama"), known("biden")]}}});
    space.elastic(
        "POST",
        &format!("/{}/_update/{other}?refresh=true", space.index()),
        Some(cut_off),
    );
    let at = format!("/v1/persons/obama?collection={}", space.name);
    assert_eq!(api.delete(&at).expect(200), json!({"deleted": 4}));
    assert_eq!(space.documents()[&other]["image"]["previous"], json!([known("biden")]));
    let query = json!({"query": {"term": {"person.id": "obama"}}});
    let (_, left) = node::request(&space.url, "POST", &format!("/{}/_count", space.name), Some(query));
    assert_eq!((&left["count"], space.count()), (&json!(0), 1));
    api.delete(&at).refused(404, "person_not_found");
}

#[test]
fn a_deletion_goes_on_when_its_time_is_over() {
    let space = Space::new();
    space.put("photos/obama/1.jpg", &bytes("query/obama-3.jpg"));
    space.ingest(0, &[&space.path("photos"), "--person-from-dir"]);
    let faces = space.count();
    let slow = Proxy::start(&space.url, |seen| {
        (seen.kind == Kind::Bulk && seen.number == 0).then_some(Fault::Slow(4000))
    });
    let audit = space.path("audit.ndjson");
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--timeout",
        "2s",
        "--audit-log",
        &audit,
    ];
    let api = Api::run(facedex_at(&slow.url, space.folder.path(), &serve));
    let told = api
        .delete(&format!("/v1/persons/obama?collection={}", space.name))
        .refused(504, "timeout");
    assert!(told["message"].as_str().unwrap().contains("goes on"), "{told}");
    node::wait_until("the person is gone", || space.count() == faces - 1);
    // The line comes when the work ends, with what was deleted.
    node::wait_until("the deletion is written down", || {
        let written = std::fs::read_to_string(&audit).unwrap();
        written.lines().count() == 2 && written.ends_with('\n')
    });
    let written = std::fs::read_to_string(&audit).unwrap();
    let last: Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["outcome"], &last["faces"]["total"]),
        (&json!("unknown"), &json!(1)),
        "{last}"
    );
}

#[test]
fn who_is_stored_is_told_page_by_page() {
    let (space, api) = own(&[]);
    for (number, (id, name)) in [("ada*", "Ada L."), ("bob", "Bob"), ("zoe", "Zo\u{eb}")]
        .iter()
        .enumerate()
    {
        let photo = variants("query/obama-3.jpg", 3).nth(number).unwrap();
        let options = [
            ("collection", space.name.as_str()),
            ("person_id", id),
            ("person_name", name),
        ];
        api.post_form("/v1/faces", &options, &[("photo", photo)]).expect(201);
    }
    let list = |more: &str| {
        api.get(&format!("/v1/persons?collection={}{more}", space.name))
            .expect(200)
    };
    let all = list("");
    assert_eq!(all["persons"].as_array().unwrap().len(), 3);
    assert_eq!(all["persons"][0], json!({"id": "ada*", "name": "Ada L.", "faces": 1}));
    assert!(all["after"].is_null());
    let first = list("&limit=2");
    assert_eq!(first["after"], "bob");
    assert_eq!(list("&limit=2&after=bob")["persons"][0]["id"], "zoe");
    // The text is no pattern, and its case does not matter.
    assert_eq!(list("&search=DA*")["persons"][0]["id"], "ada*");
    assert_eq!(list("&search=b*b")["persons"], json!([]));
    assert_eq!(list("&search=ZO%C3%AB")["persons"][0]["id"], "zoe");
    api.get(&format!("/v1/persons?collection={}&limit=0", space.name))
        .refused(400, "bad_request");
    let shown = space.run(&["person", "list", "--limit", "2"]).expect(0);
    assert!(
        shown.stdout.contains("bob") && shown.stdout.contains("--after bob"),
        "{shown:?}"
    );
    let json = space.run(&["person", "list", "--json"]).expect(0).json();
    assert_eq!((&json["persons"], &json["more"]), (&all["persons"], &json!(false)));
    space.run(&["person", "list", "--search", "nobody"]).expect(1);
}
