//! Ingest: what is stored, and that nothing is stored twice, lost, or overwritten unasked.

mod run;

use image::ImageFormat;
use image::imageops::FilterType;
use serde_json::{Value, json};

use crate::harness::images::{encode, open};
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
    let hash = facedex_elastic::schema::document::image_hash(
        &std::fs::read(photo("gallery/Barack_Obama/obama-1.jpg")).unwrap(),
    );
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
fn a_named_face_that_falls_short_is_left_out_and_the_reason_is_recorded() {
    let space = Space::new();
    let small = open("gallery/Eileen_Collins/astronaut.png").resize(110, 110, FilterType::Triangle);
    let small = space.put("all/Eileen_Collins/1.png", &encode(&small, ImageFormat::Png));
    space.put_photo("gallery/Eileen_Collins/astronaut.png", "all/Eileen_Collins/2.png");
    let summary = space.ingest(1, &[&space.path("all"), "--person-from-dir", "--min-quality", "strict"]);
    assert_eq!(
        (&summary["indexed"], &summary["failures"]),
        (&json!(1), &json!({"quality": 1})),
        "{summary}"
    );
    let letter = &space.dead_letters()[0];
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.starts_with("the face is too small: "), "{reason}");
    assert!(letter["uri"].as_str().unwrap().ends_with("/1.png"), "{letter}");
    // A face without a name stands for nobody, and one measure may be given alone.
    let unnamed = space.ingest(0, &[&small, "--min-quality", "strict"]);
    assert_eq!(unnamed["indexed"], 1, "{unnamed}");
    let strictest = space.ingest(
        1,
        &[&space.path("all"), "--person-from-dir", "--min-score", "1", "--dry-run"],
    );
    assert_eq!(strictest["failures"], json!({"quality": 2}), "{strictest}");
    // Searches warn, and answer.
    space.count();
    let asked = space.run(&["search", &small, "--json"]).expect(0);
    assert!(!asked.stderr.contains("warning"), "{asked:?}");
    let tiny = open("gallery/Eileen_Collins/astronaut.png").resize(64, 64, FilterType::Triangle);
    let tiny = space.put("tiny.png", &encode(&tiny, ImageFormat::Png));
    let asked = space
        .run(&["search", &tiny, "--json", "--min-similarity", "-1"])
        .expect(0);
    assert!(
        asked.stderr.contains("too small") && asked.stderr.contains("tiny.png"),
        "{asked:?}"
    );
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
    let stored = || space.documents().into_values().next().unwrap()["person"]["id"].clone();
    // Photos are read side by side: either may be the first.
    let first = stored();
    let other = if first == "Ada" { "Bob" } else { "Ada" };
    let letter = &space.dead_letters()[0];
    assert_eq!(
        (&letter["stage"], &letter["person"]["id"]),
        (&json!("conflict"), &json!(other))
    );
    assert!(letter["reason"].as_str().unwrap().contains(first.as_str().unwrap()));

    // No name is no contradiction.
    let folder = space.path(&format!("all/{other}"));
    let unnamed = space.ingest(0, &[&folder, "--no-journal"]);
    assert_eq!(unnamed["existing"], 1);
    let overwritten = space.ingest(0, &[&folder, "--person-from-dir", "--overwrite"]);
    assert_eq!(overwritten["indexed"], 1);
    assert_eq!(stored(), other);
}

#[test]
fn a_name_for_a_face_stored_without_one_is_not_dropped_silently() {
    let space = Space::new();
    let file = space.put_photo("query/biden.jpg", "Ada/1.jpg");
    space.ingest(0, &[&file]);
    let summary = space.ingest(1, &[&file, "--person-from-dir"]);
    assert_eq!(
        [&summary["unnamed"], &summary["conflicts"], &summary["existing"]],
        [&json!(1), &json!(0), &json!(0)]
    );
    assert!(
        space.dead_letters()[0]["reason"]
            .as_str()
            .unwrap()
            .contains("--name-unnamed")
    );
    // That names it, and nobody who has a name.
    let told = space.ingest(0, &[&file, "--person-from-dir", "--name-unnamed", "--dry-run"]);
    assert_eq!((&told["named"], &told["indexed"]), (&json!(1), &json!(0)), "{told}");
    let person = || space.documents().into_values().next().unwrap()["person"].clone();
    assert_eq!(person(), Value::Null);
    let named = space.ingest(0, &[&file, "--person-from-dir", "--name-unnamed"]);
    assert_eq!((&named["named"], &named["indexed"]), (&json!(1), &json!(0)), "{named}");
    assert_eq!(person(), json!({"id": "Ada", "name": "Ada"}));
    let bob = space.put_photo("query/biden.jpg", "Bob/1.jpg");
    let other = space.ingest(1, &[&bob, "--person-from-dir", "--name-unnamed"]);
    assert_eq!(
        (&other["conflicts"], &person()["id"]),
        (&json!(1), &json!("Ada")),
        "{other}"
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

#[test]
fn replace_keeps_names_when_a_photo_is_there_twice() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/Ada/1.jpg");
    space.ingest(0, &[&space.path("all"), "--person-from-dir"]);
    age(&space);
    space.put_photo("query/biden.jpg", "all/copy/1.jpg");
    let summary = space.ingest(0, &[&space.path("all"), "--replace"]);
    assert_eq!((&summary["indexed"], &summary["existing"]), (&json!(1), &json!(1)));
    let document = space.documents().into_values().next().unwrap();
    assert_eq!(document["person"]["id"], "Ada");
    assert_ne!(document["image"]["engine"], "an-older-engine");
}

#[test]
fn a_replace_that_was_cut_off_is_finished_without_losing_a_name() {
    let space = Space::new();
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "four.jpg");
    space.ingest(0, &[&four]);
    // As if an older engine had found three of the four, each with a name, and one face that is none; and a rewrite had
    // been cut off after its first document, which took the place of the first of them.
    let documents: Vec<(String, Value)> = space.documents().into_iter().collect();
    let names = ["Ann", "Bob", "Cyd"];
    let known: Vec<Value> = (0..3)
        .map(|at| json!({"box": documents[at + 1].1["face"]["box"], "person": {"id": names[at]}}))
        .collect();
    let put = |id: &str, mut document: Value| {
        document["face"]["embedding"] = json!(vec![0.5; 128]);
        let (status, reply) = space.elastic(
            "PUT",
            &format!("/{}/_doc/{id}?refresh=true", space.name),
            Some(document),
        );
        assert!(status < 300, "{reply}");
    };
    let (first, mut half) = documents[0].clone();
    half["image"]["unfinished"] = json!(true);
    half["image"]["previous"] = json!(known);
    put(&first, half);
    // Old face 1 is new face 2, and so on; old face 0 (Ann, new face 1) is overwritten already.
    for old in [1, 2] {
        let mut document = documents[old + 1].1.clone();
        document["image"]["engine"] = json!("an-older-engine");
        document["person"] = json!({"id": names[old]});
        put(&documents[old].0, document);
    }
    let mut stray = documents[3].1.clone();
    stray["image"]["engine"] = json!("an-older-engine");
    stray["face"]["box"] = json!({"x": 0.0, "y": 0.0, "width": 5.0, "height": 5.0});
    let hash = documents[0].1["image"]["hash"].as_str().unwrap().to_owned();
    put(&format!("{hash}-7"), stray);

    let summary = space.ingest(0, &[&four, "--replace"]);
    assert_eq!(
        (&summary["indexed"], &summary["removed"]),
        (&json!(4), &json!(1)),
        "{summary}"
    );
    let now: Vec<Value> = space.documents().into_values().collect();
    let people: Vec<&str> = now.iter().map(|d| d["person"]["id"].as_str().unwrap_or("-")).collect();
    assert_eq!(people, ["-", "Ann", "Bob", "Cyd"]);
    assert!(
        now.iter()
            .all(|d| d["image"]["unfinished"].is_null() && d["image"]["previous"].is_null()),
        "{now:?}"
    );
    let again = space.ingest(0, &[&four, "--replace"]);
    assert_eq!((&again["indexed"], &again["existing"]), (&json!(0), &json!(4)));
}

#[test]
fn overwrite_does_not_hide_a_contradiction_within_a_run() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/Ada/1.jpg");
    space.put_photo("query/biden.jpg", "all/Bob/1.jpg");
    let summary = space.ingest(
        1,
        &[&space.path("all"), "--person-from-dir", "--overwrite", "--workers", "1"],
    );
    assert_eq!(
        (&summary["indexed"], &summary["conflicts"]),
        (&json!(1), &json!(1)),
        "{summary}"
    );
    assert_eq!(space.count(), 1);
}

#[test]
fn labels_that_are_not_stored_are_reported() {
    let space = Space::new();
    let file = space.put_photo("query/biden.jpg", "1.jpg");
    space.ingest(0, &[&file]);
    let again = space.ingest(0, &[&file, "--label", "album=2026", "--no-journal"]);
    assert_eq!((&again["existing"], &again["other_labels"]), (&json!(1), &json!(1)));
    let shown = space
        .run(&["ingest", &file, "--label", "album=2026", "--no-journal"])
        .expect(0);
    assert!(shown.stdout.contains("--replace adds these"), "{shown:?}");
    // The journal knows the photo without the label: it does not hide that this one is not stored.
    let again = space.ingest(0, &[&file, "--label", "album=2026"]);
    assert_eq!((&again["done_before"], &again["other_labels"]), (&json!(0), &json!(1)));
    let replaced = space.ingest(0, &[&file, "--label", "album=2026", "--replace"]);
    assert_eq!(replaced["indexed"], 1);
    assert_eq!(
        space.documents().into_values().next().unwrap()["labels"],
        json!({"album": "2026"})
    );
}

#[test]
fn the_journal_saves_a_second_look_and_a_changed_photo_is_seen() {
    let space = Space::new();
    let file = space.put_photo("query/biden.jpg", "all/1.jpg");
    space.put_photo("formats/no-face.jpg", "all/2.jpg");
    let first = space.ingest(0, &[&space.path("all")]);
    assert_eq!((&first["images"], &first["done_before"]), (&json!(2), &json!(0)));
    let second = space.ingest(0, &[&space.path("all")]);
    assert_eq!(
        [&second["images"], &second["done_before"], &second["faces"]],
        [&json!(2), &json!(2), &json!(0)]
    );
    std::fs::write(
        &file,
        std::fs::read(crate::harness::photo("query/obama-3.jpg")).unwrap(),
    )
    .unwrap();
    let third = space.ingest(0, &[&space.path("all")]);
    assert_eq!((&third["indexed"], &third["done_before"]), (&json!(1), &json!(1)));
    // A collection of the same name that was made anew is another collection.
    space.elastic("DELETE", &format!("/{}", space.index()), None);
    let fourth = space.ingest(0, &[&space.path("all")]);
    assert_eq!((&fourth["indexed"], &fourth["done_before"]), (&json!(1), &json!(0)));
}

#[test]
fn without_a_journal_the_index_can_be_asked() {
    let space = Space::new();
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "four.jpg");
    space.ingest(0, &[&four]);
    let asked = space.ingest(0, &[&four, "--no-journal", "--skip-indexed"]);
    assert_eq!((&asked["done_before"], &asked["faces"]), (&json!(1), &json!(0)));
    // A photo of which a face is missing is not there.
    let id = space.documents().into_keys().next_back().unwrap();
    space.elastic("DELETE", &format!("/{}/_doc/{id}?refresh=true", space.name), None);
    let asked = space.ingest(0, &[&four, "--no-journal", "--skip-indexed"]);
    assert_eq!((&asked["indexed"], &asked["existing"]), (&json!(1), &json!(3)));
}

#[test]
fn shards_divide_a_folder_between_them() {
    let space = Space::new();
    for (number, bytes) in images::variants("query/biden.jpg", 12).enumerate() {
        space.put(&format!("many/{number}.png"), &bytes);
    }
    let mut indexed = 0;
    for shard in ["0/3", "1/3", "2/3"] {
        let summary = space.ingest(0, &[&space.path("many"), "--shard", shard]);
        assert!(summary["images"].as_u64().unwrap() < 12);
        indexed += summary["indexed"].as_u64().unwrap();
    }
    assert_eq!((indexed, space.count()), (12, 12));
}
