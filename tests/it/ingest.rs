//! Ingest: what is stored, and that nothing is stored twice, lost, or overwritten unasked.

use serde_json::{Value, json};

use crate::harness::{Space, images, photo};

fn gallery() -> String {
    photo("gallery").to_str().unwrap().to_owned()
}

#[test]
fn a_folder_of_people_is_stored_once_with_its_names() {
    let space = Space::new();
    let first = space.ingest(
        0,
        &[
            &gallery(),
            "--person-from-dir",
            "--label",
            "album=press",
            "--thumbnails",
        ],
    );
    assert_eq!(
        [
            &first["images"],
            &first["faces"],
            &first["indexed"],
            &first["existing"],
            &first["failed"]
        ],
        [&json!(7), &json!(7), &json!(7), &json!(0), &json!(0)]
    );
    assert_eq!(space.count(), 7);
    let again = space.ingest(0, &[&gallery(), "--person-from-dir", "--no-journal"]);
    assert_eq!((&again["indexed"], &again["existing"]), (&json!(0), &json!(7)));
    assert_eq!(space.count(), 7);

    let documents = space.documents();
    let (id, obama) = documents
        .iter()
        .find(|(_, document)| document["image"]["uri"].as_str().unwrap().ends_with("obama-1.jpg"))
        .unwrap();
    let hash =
        facedex::elastic::document::image_hash(&std::fs::read(photo("gallery/Barack_Obama/obama-1.jpg")).unwrap());
    assert_eq!(*id, format!("{hash}-0"));
    assert_eq!(obama["person"], json!({"id": "Barack_Obama", "name": "Barack Obama"}));
    assert_eq!(obama["image"]["hash"], hash.as_str());
    assert_eq!(
        (&obama["image"]["width"], &obama["image"]["height"]),
        (&json!(910), &json!(1137))
    );
    assert!(obama["image"]["uri"].as_str().unwrap().starts_with("file:///"));
    assert_eq!(obama["model"]["space"], "sface-2021dec@arcface-112");
    assert_eq!(obama["labels"], json!({"album": "press"}));
    assert_eq!(obama["label_pairs"], json!(["album=press"]));
    assert_eq!(obama["ingest"]["run"], first["run"]);
    assert_eq!(obama["face"]["landmarks"].as_array().unwrap().len(), 5);
    let thumbnail = obama["face"]["thumbnail"].as_str().unwrap();
    assert!(thumbnail.starts_with("/9j/"), "a JPEG in base64 begins with /9j/");
}

#[test]
fn one_face_of_a_crowd_is_the_named_person() {
    for (subject, labelled) in [("central", 1), ("largest", 1), ("all", 29)] {
        let space = Space::new();
        let crowd = space.put_photo("crowd/solvay-1927.png", "Solvay/1927.png");
        let summary = space.ingest(0, &[&crowd, "--person-from-dir", "--subject", subject]);
        assert_eq!((&summary["faces"], &summary["indexed"]), (&json!(29), &json!(29)));
        let named = space
            .documents()
            .values()
            .filter(|document| !document["person"].is_null())
            .count();
        assert_eq!(named, labelled, "--subject {subject}");
    }
    let space = Space::new();
    let crowd = space.put_photo("crowd/solvay-1927.png", "Solvay/1927.png");
    let summary = space.ingest(1, &[&crowd, "--person-from-dir", "--subject", "only"]);
    assert_eq!((&summary["failed"], &summary["indexed"]), (&json!(1), &json!(0)));
    assert_eq!(space.dead_letters()[0]["stage"], "subject");
}

#[test]
fn the_same_photo_as_two_people_is_a_conflict_and_keeps_the_first() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/Ada/1.jpg");
    space.put_photo("query/biden.jpg", "all/Bob/1.jpg");
    let summary = space.ingest(1, &[&space.path("all"), "--person-from-dir", "--workers", "1"]);
    assert_eq!(
        (&summary["indexed"], &summary["conflicts"], &summary["failed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let document = space.documents().into_values().next().unwrap();
    assert_eq!(document["person"]["id"], "Ada");
    let letter = &space.dead_letters()[0];
    assert_eq!(
        (&letter["stage"], &letter["person"]),
        (&json!("conflict"), &json!({"id": "Bob", "name": "Bob"}))
    );
    assert!(letter["reason"].as_str().unwrap().contains("\"Ada\""));

    // No name is no contradiction; a name for an unlabelled face is one.
    let unnamed = space.ingest(0, &[&space.path("all/Bob"), "--no-journal"]);
    assert_eq!(unnamed["existing"], 1);
    let overwritten = space.ingest(0, &[&space.path("all/Bob"), "--person-from-dir", "--overwrite"]);
    assert_eq!(overwritten["indexed"], 1);
    let document = space.documents().into_values().next().unwrap();
    assert_eq!(document["person"]["id"], "Bob");
}

#[test]
fn a_name_for_a_face_stored_without_one_is_not_dropped_silently() {
    let space = Space::new();
    let file = space.put_photo("query/biden.jpg", "Ada/1.jpg");
    space.ingest(0, &[&file]);
    let summary = space.ingest(1, &[&file, "--person-from-dir"]);
    assert_eq!((&summary["conflicts"], &summary["existing"]), (&json!(1), &json!(0)));
    assert!(
        space.dead_letters()[0]["reason"]
            .as_str()
            .unwrap()
            .contains("unlabelled")
    );
}

/// Makes the stored faces look as if another engine had found them.
fn age(space: &Space) {
    for id in space.documents().keys() {
        let body = json!({"doc": {"image": {"engine": "an-older-engine"}}});
        let (status, reply) = space.elastic(
            "POST",
            &format!("/{}/_update/{id}?refresh=true", space.name),
            Some(body),
        );
        assert_eq!(status, 200, "{reply}");
    }
}

#[test]
fn a_photo_of_another_engine_is_refused_until_replace() {
    let space = Space::new();
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "Family/four.jpg");
    space.ingest(
        0,
        &[&four, "--person-from-dir", "--subject", "largest", "--label", "album=a"],
    );
    age(&space);
    // One face is missing and an extra one is there, as an older engine could have seen it.
    let documents = space.documents();
    let unnamed = documents.iter().find(|(_, d)| d["person"].is_null()).unwrap().0.clone();
    space.elastic("DELETE", &format!("/{}/_doc/{unnamed}?refresh=true", space.name), None);
    let mut extra = documents.values().next().unwrap().clone();
    extra["face"]["box"] = json!({"x": 0.0, "y": 0.0, "width": 5.0, "height": 5.0});
    extra["face"]["embedding"] = json!(vec![0.5; 128]);
    let hash = extra["image"]["hash"].as_str().unwrap().to_owned();
    let (status, reply) = space.elastic(
        "PUT",
        &format!("/{}/_doc/{hash}-9?refresh=true", space.name),
        Some(extra),
    );
    assert_eq!(status, 201, "{reply}");
    let person: Vec<Value> = space.documents().values().map(|d| d["person"].clone()).collect();

    let refused = space.ingest(1, &[&four, "--no-journal"]);
    assert_eq!((&refused["failed"], &refused["indexed"]), (&json!(1), &json!(0)));
    assert!(
        space.dead_letters()[0]["reason"]
            .as_str()
            .unwrap()
            .contains("--replace")
    );
    // The face that was free is not left there: a photo's faces come from one engine.
    assert_eq!(space.count(), 4);
    let unchanged: Vec<Value> = space.documents().values().map(|d| d["person"].clone()).collect();
    assert_eq!(person, unchanged);

    let replaced = space.ingest(0, &[&four, "--label", "album=b", "--label", "year=2020", "--replace"]);
    assert_eq!((&replaced["indexed"], &replaced["failed"]), (&json!(4), &json!(0)));
    let now = space.documents();
    assert_eq!(now.len(), 4, "the face that this engine does not find is gone");
    assert!(now.values().all(|d| d["image"]["engine"] != "an-older-engine"));
    let named: Vec<&Value> = now.values().filter(|d| !d["person"].is_null()).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["person"]["id"], "Family");
    assert_eq!(named[0]["labels"], json!({"album": "b", "year": "2020"}));
}

#[test]
fn the_same_photo_twice_in_a_run_is_stored_once() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "a/1.jpg");
    space.put_photo("query/biden.jpg", "b/copy.jpg");
    let summary = space.ingest(0, &[&space.path("a"), &space.path("b"), &space.path("a/1.jpg")]);
    assert_eq!(
        [&summary["images"], &summary["indexed"], &summary["existing"]],
        [&json!(2), &json!(1), &json!(1)]
    );
}

#[test]
fn batches_of_every_size_lose_nothing() {
    let space = Space::new();
    for (number, bytes) in images::variants("gallery/Eileen_Collins/astronaut.png", 40).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let many = space.path("many");
    let summary = space.ingest(
        0,
        &[&many, "--bulk-faces", "3", "--bulk-in-flight", "4", "--workers", "3"],
    );
    assert_eq!((&summary["images"], &summary["indexed"]), (&json!(40), &json!(40)));
    assert_eq!(space.count(), 40);
    let again = space.ingest(0, &[&many, "--bulk-bytes", "1", "--no-journal"]);
    assert_eq!((&again["indexed"], &again["existing"]), (&json!(0), &json!(40)));
}

#[test]
fn people_see_a_table() {
    let space = Space::new();
    let shown = space.run(&["ingest", &gallery(), "--person-from-dir"]).expect(0);
    assert!(shown.stdout.contains("indexed now"), "{shown:?}");
    assert!(shown.stdout.contains("7 faces in"), "{shown:?}");
    assert_eq!(shown.stderr, "", "nothing to warn of");
}
