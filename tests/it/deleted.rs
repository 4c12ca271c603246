//! Who was deleted stays out: however spelled, however the picture is saved, wherever the faces go.

use serde_json::{Value, json};

use crate::harness::images::{turned_jpeg, variants};
use crate::harness::{Space, photo};
use crate::person::{counts, family, ingest, person, persons};

#[test]
fn every_spelling_of_a_person_goes_and_nobody_else() {
    let space = Space::new();
    for (number, name) in ["Zoë", "Zoe\u{308}", " Zoë\u{a0}", "Zoé", "Zoë B", "zoë"]
        .iter()
        .enumerate()
    {
        let bytes = variants("query/obama-3.jpg", 6).nth(number).unwrap();
        let path = space.put(&format!("{number}.png"), &bytes);
        // Only so many ways in take a blank.
        space.ingest(0, &[&path]);
        let id = space
            .documents()
            .into_keys()
            .find(|id| id.starts_with(&hash(&bytes)))
            .unwrap();
        let named = json!({"doc": {"person": {"id": name}}});
        let path = format!("/{}/_update/{id}?refresh=true", space.index());
        assert_eq!(space.elastic("POST", &path, Some(named)).0, 200);
    }
    let shown = person(&space, &["delete", "Zoë", "--dry-run"]).expect(0).json();
    assert_eq!(shown["deleted"], 3, "{shown}");
    let done = person(&space, &["delete", "Zoë"]).expect(0).json();
    let found = done["collections"][&space.name].clone();
    assert_eq!(
        (&done["deleted"], found["spellings"].as_array().unwrap().len()),
        (&json!(3), 3),
        "{done}"
    );
    assert_eq!(persons(&space), counts(&[("Zoé", 1), ("Zoë B", 1), ("zoë", 1)]));
}

fn hash(bytes: &[u8]) -> String {
    facedex_elastic::schema::document::image_hash(bytes)
}

/// A copy of the picture, saved again in other ways: another file each time.
fn saved_again(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    use image::codecs::jpeg::JpegEncoder;
    let original = std::fs::read(photo(name)).unwrap();
    let picture = image::load_from_memory(&original).unwrap();
    let jpeg = |quality| {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode_image(&picture.to_rgb8())
            .unwrap();
        bytes
    };
    let mut commented = original[..2].to_vec();
    commented.extend([0xFF, 0xFE, 0, 8]);
    commented.extend(b"edited");
    commented.extend(&original[2..]);
    vec![
        ("one byte more.jpg", [&original[..], b"x"].concat()),
        ("a comment.jpg", commented),
        ("quality 90.jpg", jpeg(90)),
        ("quality 50.jpg", jpeg(50)),
        (
            "lossless.png",
            crate::harness::images::encode(&picture, image::ImageFormat::Png),
        ),
    ]
}

#[test]
fn a_deleted_face_stays_out_however_its_picture_is_saved() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "photos/joe/1.jpg");
    ingest(&space, &[]);
    person(&space, &["delete", "joe"]).expect(0);
    let copies = saved_again("query/biden.jpg");
    for (name, bytes) in &copies {
        space.put(&format!("again/joe/{name}"), bytes);
    }
    let again = space.path("again");
    let all = |more: &[&str]| {
        space.ingest(
            0,
            &[&[again.as_str(), "--person-from-dir", "--no-journal"], more].concat(),
        )
    };
    let done = all(&[]);
    assert_eq!(
        (&done["indexed"], &done["deleted"]),
        (&json!(0), &json!(copies.len())),
        "{done}"
    );
    assert_eq!(space.count(), 0);
    // Another picture under the same name is stored, and that is said.
    space.put_photo("query/obama-3.jpg", "other/joe/2.jpg");
    let other = space
        .run(&[
            "ingest",
            &space.path("other"),
            "--person-from-dir",
            "--no-journal",
            "--json",
        ])
        .expect(0);
    assert_eq!(
        (&other.json()["indexed"], &other.json()["namesakes"]),
        (&json!(1), &json!(["joe"]))
    );
    assert!(other.stderr.contains("somebody called joe was deleted"), "{other:?}");
    // Whoever wants the face back, gets every copy of it.
    assert_eq!(all(&["--restore-deleted"])["indexed"], copies.len());
}

/// The same coded picture with another word about which side is up: the face is where it then is.
#[test]
fn a_deleted_face_stays_out_when_its_picture_is_turned_by_its_metadata() {
    let space = Space::new();
    let picture = image::open(photo("gallery-unlabelled/four-people.jpg")).unwrap();
    let mirrored = turned_jpeg(&picture, 2);
    let upright = turned_jpeg(&picture, 1);
    let same_code: Vec<u8> = {
        let header = upright
            .iter()
            .zip(&turned_jpeg(&picture, 3))
            .position(|(a, b)| a != b)
            .unwrap();
        let mut bytes = mirrored.clone();
        bytes[header] = 1;
        bytes
    };
    let path = space.put("photos/1.jpg", &mirrored);
    space.ingest(0, &[&path]);
    let documents = space.documents();
    let left = |face: &Value| face["face"]["box"]["x"].as_f64().unwrap();
    let leftmost = documents.iter().min_by(|a, b| left(a.1).total_cmp(&left(b.1))).unwrap();
    space.run(&["label", leftmost.0, "--person", "bea"]).expect(0);
    person(&space, &["delete", "bea"]).expect(0);
    assert_eq!(space.count(), 3);
    let path = space.put("again/1.jpg", &same_code);
    let done = space.ingest(0, &[&path, "--no-journal"]);
    assert_eq!((&done["indexed"], &done["deleted"]), (&json!(3), &json!(1)), "{done}");
}

#[test]
fn one_person_s_face_comes_back_without_the_other_s() {
    let space = Space::new();
    space.put_photo("gallery-unlabelled/four-people.jpg", "photos/ada/group.jpg");
    ingest(&space, &[]);
    let bystander = space
        .documents()
        .into_iter()
        .find(|(_, face)| face["person"].is_null())
        .unwrap()
        .0;
    space.run(&["label", &bystander, "--person", "bea"]).expect(0);
    for id in ["ada", "bea"] {
        assert_eq!(person(&space, &["delete", id]).expect(0).json()["deleted"], 1);
    }
    // Nobody is named: nobody comes back.
    let photos = space.path("photos");
    let done = space.ingest(0, &[&photos, "--no-journal", "--restore-deleted"]);
    assert_eq!((&done["indexed"], &done["deleted"]), (&json!(0), &json!(2)), "{done}");
    let done = ingest(&space, &["--restore-deleted"]);
    assert_eq!((&done["indexed"], &done["deleted"]), (&json!(1), &json!(1)), "{done}");
    assert_eq!(persons(&space), counts(&[("-", 2), ("ada", 1)]));
}

#[test]
fn an_export_takes_its_deletions_along() {
    let space = family(2);
    let before = space.path("before.ndjson");
    space
        .run(&["collection", "export", &space.name, "--to", &before])
        .expect(0);
    person(&space, &["delete", "obama"]).expect(0);
    let after = space.path("after.ndjson");
    space
        .run(&["collection", "export", &space.name, "--to", &after])
        .expect(0);
    let other = Space::new();
    let import = |file: &str| {
        other
            .run(&["collection", "import", &other.name, "--from", file, "--json"])
            .expect(0)
            .json()
    };
    // An export of before, into another name: who was deleted since stays out.
    let old = import(&before);
    assert_eq!((&old["imported"], &old["deleted"]), (&json!(1), &json!(2)), "{old}");
    let new = import(&after);
    assert_eq!((&new["existing"], &new["noted"]), (&json!(1), &json!(2)), "{new}");
    let done = other.ingest(0, &[&space.path("photos"), "--person-from-dir", "--no-journal"]);
    assert_eq!((&done["existing"], &done["deleted"]), (&json!(1), &json!(2)), "{done}");
}

#[test]
fn a_collection_s_deletions_follow_it_and_no_other() {
    let space = family(1);
    person(&space, &["delete", "obama"]).expect(0);
    let renamed = format!("{}-renamed", space.name);
    let actions = json!({"actions": [
        {"remove": {"index": space.index(), "alias": space.name}},
        {"add": {"index": space.index(), "alias": renamed}},
    ]});
    space.elastic("POST", "/_aliases", Some(actions));
    let photos = space.path("photos");
    let done = space.ingest(0, &[&photos, "--person-from-dir", "--no-journal", "-c", &renamed]);
    assert_eq!((&done["existing"], &done["deleted"]), (&json!(1), &json!(1)), "{done}");
    // The name is free, and a collection that is made under it is another one; its index's own name is taken.
    space.elastic("DELETE", &format!("/{}", space.index()), None);
    let done = ingest(&space, &[]);
    assert_eq!(
        (&done["indexed"], &done["deleted"]),
        (&json!(2), &Value::Null),
        "{done}"
    );
}

#[test]
fn deletions_that_a_snapshot_lost_are_done_again_by_the_audit_log() {
    let space = family(2);
    let before = space.path("before.ndjson");
    space
        .run(&["collection", "export", &space.name, "--to", &before])
        .expect(0);
    let deleted = person(&space, &["delete", "obama"]).expect(0);
    assert_eq!(deleted.json()["deleted"], 2);
    // As after a snapshot of both indices was restored: the faces are there, and what was noted of them is not.
    let query = json!({"query": {"term": {"collection": space.name}}});
    space.elastic("POST", "/facedex-tombstones/_refresh", None);
    let (_, found) = space.elastic("POST", "/facedex-tombstones/_search", Some(query));
    for noted in found["hits"]["hits"].as_array().unwrap() {
        let path = format!(
            "/facedex-tombstones/_doc/{}?refresh=true",
            noted["_id"].as_str().unwrap()
        );
        assert_eq!(space.elastic("DELETE", &path, None).0, 200);
    }
    space
        .run(&["collection", "import", &space.name, "--from", &before])
        .expect(0);
    assert_eq!(persons(&space)["obama"], 2);
    let log = space.path("audit.ndjson");
    // A server's log: one face that was to stay out, one that was put right, one that was not found.
    let ids: Vec<String> = space.documents().into_keys().collect();
    let [first, second, third] = &ids[..] else {
        panic!("{ids:?}");
    };
    let line = |action: &str, outcome: &str, id: &str| {
        let mut line: Value = std::fs::read_to_string(&log)
            .unwrap()
            .lines()
            .last()
            .map(|line| serde_json::from_str(line).unwrap())
            .unwrap();
        (line["action"], line["outcome"]) = (json!(action), json!(outcome));
        (line["faces"], line["persons"]) = (json!({"ids": [id], "total": 1}), json!({"ids": [], "total": 0}));
        format!("{line}\n")
    };
    let served = [
        line("forget_face", "started", first),
        line("forget_face", "failure", second),
        line("delete_face", "success", third),
    ];
    let server = space.put("server.ndjson", served.concat().as_bytes());
    let of_server = [
        "collection",
        "adopt",
        &space.name,
        "--json",
        "--dry-run",
        "--deleted-by",
        &server,
    ];
    assert_eq!(space.run(&of_server).expect(0).json()["removed"], 0);
    space.put("server.ndjson", line("forget_face", "success", first).as_bytes());
    assert_eq!(space.run(&of_server).expect(0).json()["removed"], 1);
    let adopt = |more: &[&str]| {
        let all = [
            &[
                "collection",
                "adopt",
                &space.name,
                "--json",
                "--deleted-by",
                &log,
                "--audit-log",
                "adopt.ndjson",
            ],
            more,
        ];
        space.run(&all.concat()).expect(0).json()
    };
    assert_eq!(adopt(&["--dry-run"])["removed"], 2);
    assert_eq!(persons(&space)["obama"], 2);
    assert_eq!(adopt(&[])["removed"], 2);
    assert_eq!(persons(&space), counts(&[("biden", 1)]));
    assert_eq!(ingest(&space, &[])["deleted"], 2);
}
