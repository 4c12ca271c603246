//! Out of a collection and into another; and out of deepface's stores.

use std::process::Command;

use serde_json::{Value, json};

use super::made_up::{expect_same, vector};
use crate::harness::node::wait_until;
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, run};

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_is_the_collection_and_goes_on_where_it_was_cut_off() {
    let (space, other) = (Space::new(), Space::new());
    let obama = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "Barack_Obama/1.jpg");
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "Four/four.jpg");
    space.ingest(
        0,
        &[&obama, &four, "--person-from-dir", "--label", "album=a", "--thumbnails"],
    );
    space.fill(0..1200);
    let file = space.path("faces.ndjson");
    space.count();
    let dry = space.collection(0, "export", &["--to", &file, "--dry-run"]);
    assert_eq!(
        (&dry["faces"], std::path::Path::new(&file).exists()),
        (&json!(1205), false)
    );
    assert_eq!(space.collection(0, "export", &["--to", &file])["faces"], 1205);
    let whole = lines(&file);
    assert_eq!((whole.len(), &whole[1206]), (1207, &json!({"faces": 1205})));
    assert_eq!(whole[0]["space"], "sface-2021dec@arcface-112");

    // Cut off in the middle of a line, between photos, and at its very end.
    let bytes = std::fs::read(&file).unwrap();
    for length in [bytes.len() / 2, bytes.len() - 1, 10, bytes.len()] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let goes_on = space.collection(0, "export", &["--to", &file]);
        assert_eq!(
            (&goes_on["faces"], goes_on["resumed_at"].is_u64()),
            (&json!(1205), length > 10),
            "{length}"
        );
        let again = lines(&file);
        // The faces of a photo come in no order.
        let sorted = |lines: &[Value]| {
            let mut texts: Vec<String> = lines.iter().map(Value::to_string).collect();
            texts.sort();
            texts
        };
        assert!(sorted(&again) == sorted(&whole), "cut at {length}");
    }
    // Standard output takes the same.
    let piped = space.run(&["collection", "export", &space.name]).expect(0);
    assert_eq!(piped.stdout.lines().count(), 1207);

    let import = |code: i32, from: &str| other.collection(code, "import", &["--from", from]);
    let dry = other.collection(0, "import", &["--from", &file, "--dry-run"]);
    assert_eq!((&dry["imported"], other.exists()), (&json!(1205), false));
    // Of a file that was cut off nothing is imported, unless that is asked for.
    let part = space.path("part.ndjson");
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let refused = other
        .run(&["collection", "import", &other.name, "--from", &part])
        .expect(2);
    assert!(
        refused.stderr.contains("the end of the export is missing"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("nothing was imported"), "{refused:?}");
    assert!(!other.exists());
    let some = other.collection(1, "import", &["--from", &part, "--skip-bad"]);
    let imported = some["imported"].as_u64().unwrap();
    assert!(imported > 300 && imported < 1000, "{some}");
    let rest = import(0, &file);
    assert_eq!(
        (&rest["imported"], &rest["existing"]),
        (&json!(1205 - imported), &json!(imported))
    );
    let without_import = |space: &Space| {
        let mut documents = space.documents();
        for document in documents.values_mut() {
            document["ingest"].as_object_mut().unwrap().remove("import");
        }
        documents
    };
    assert_eq!(without_import(&other), without_import(&space));
    expect_same(&other.vectors(), &space.vectors());
    assert_eq!(import(0, &file)["existing"], 1205);

    // Into a collection of another space nothing goes.
    let header = json!({"facedex_export": 1, "collection": "x", "collection_id": "x", "space": "other@x", "dims": 128});
    let foreign = space.put("foreign.ndjson", format!("{header}\n{{\"faces\":0}}\n").as_bytes());
    let refused = other
        .run(&["collection", "import", &other.name, "--from", &foreign])
        .expect(2);
    assert!(refused.stderr.contains("cannot be compared"), "{refused:?}");
    // An export of another collection is not gone on with.
    let refused = other
        .run(&["collection", "export", &other.name, "--to", &file])
        .expect(2);
    assert!(refused.stderr.contains("another collection"), "{refused:?}");
}

/// Base64 and arrays of numbers are two forms of the same bits, for Elasticsearch too.
#[test]
fn vectors_have_the_same_bits_however_they_are_written_and_read() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..50);
    let file = space.path("faces.ndjson");
    space.count();
    space.collection(0, "export", &["--to", &file]);
    let other = Space::new();
    other.collection(0, "import", &["--from", &file]);
    other.collection(0, "migrate", &["--index-type", "hnsw"]);
    let bits = |vector: &Value| -> Vec<u32> {
        let numbers = vector.as_array().unwrap().iter();
        numbers
            .map(|number| (number.as_f64().unwrap() as f32).to_bits())
            .collect()
    };
    let exported = |space: &Space| -> Vec<(String, Vec<u32>)> {
        let printed = space.run(&["collection", "export", &space.name]).expect(0).stdout;
        let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let faces = lines.filter(|line| line["_id"].is_string());
        let face = |line: Value| (line["_id"].to_string(), bits(&line["_source"]["face"]["embedding"]));
        faces.map(face).collect()
    };
    let there = exported(&other);
    assert!(there == exported(&space) && there.len() == 50);
    // As arrays, which every version writes and reads.
    for space in [&space, &other] {
        let body = json!({"size": 100, "_source": false, "fields": ["face.embedding"], "sort": ["image.hash"]});
        let (_, reply) = space.elastic("POST", &format!("/{}/_search", space.name), Some(body));
        let hits = reply["hits"]["hits"].as_array().unwrap();
        let arrays = hits
            .iter()
            .map(|hit| (hit["_id"].to_string(), bits(&hit["fields"]["face.embedding"])));
        assert!(arrays.eq(there.iter().cloned()), "{}", space.name);
    }
}

#[test]
fn an_import_that_was_cut_off_is_told_gone_on_with_and_taken_back() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    space.fill(0..3000);
    space.count();
    let file = space.path("faces.ndjson");
    space.collection(0, "export", &["--to", &file]);
    let other = Space::new();
    other.run(&["collection", "create", &other.name]).expect(0);
    // One that the import finds there, and one that it does not know: both stay.
    other.fill(0..1);
    other.fill(5000..5001);
    let proxy = Proxy::start(&other.url, |seen| {
        (seen.kind == Kind::Bulk && seen.number >= 3).then_some(Fault::HangBefore)
    });
    let mut command = other.command(&["collection", "import", &other.name, "--from", &file]);
    let mut import = command.env("ELASTICSEARCH_URL", &proxy.url).spawn().unwrap();
    wait_until("a part is there", || proxy.count(Kind::Bulk) > 4);
    let status = || other.run(&["collection", "status", &other.name]).expect(0).stdout;
    assert!(status().contains("an import goes on"), "{}", status());
    import.kill().unwrap();
    import.wait().unwrap();
    assert!(status().contains("an import did not end"), "{}", status());
    let checked = other.run(&["collection", "check", &other.name]).expect(1);
    assert!(checked.stdout.contains("--take-back"), "{checked:?}");

    // From standard input, which is looked at as a whole as well.
    let mut again = other.command(&["collection", "import", &other.name, "--from", "-", "--json"]);
    again.stdin(std::fs::File::open(&file).unwrap());
    let done = run(again).expect(0).json();
    let run = done["run"].as_str().unwrap();
    assert_eq!(
        done["imported"].as_u64().unwrap() + done["existing"].as_u64().unwrap(),
        3000
    );
    assert!(done["existing"].as_u64().unwrap() > 1, "{done}");
    assert!(!status().contains("import"), "{}", status());
    assert_eq!(other.count(), 3001);

    let dry = other.collection(0, "import", &["--take-back", run, "--dry-run"]);
    assert_eq!((&dry["faces"], other.count()), (&json!(2999), 3001));
    // What the killed one wrote has the same id.
    let back = other.collection(0, "import", &["--take-back", run]);
    assert_eq!((&back["faces"], other.count()), (&json!(2999), 2));
    assert_eq!(other.collection(1, "import", &["--take-back", run])["faces"], 0);
    // It leaves nothing that keeps the faces out.
    assert_eq!(other.collection(0, "import", &["--from", &file])["imported"], 2999);
}

#[test]
fn lines_that_are_no_faces_are_named_and_the_rest_is_imported() {
    let space = Space::new();
    let header = json!({"facedex_export": 1, "collection": "x", "collection_id": "x", "space": "made-up@3", "dims": 3});
    let bbox = json!({"x": 0, "y": 0, "width": 1, "height": 1});
    let face = |id: &str, vector: Value| json!({"_id": id, "_source": {"face": {"embedding": vector, "box": bbox}, "model": {"space": "made-up@3"}, "image": {"hash": id, "uri": id}}});
    let mut stranger = face("f", json!([1, 0, 0]));
    stranger["_source"]["model"]["space"] = json!("other");
    let mut odd = face("g", json!([1, 0, 0]));
    odd["_source"]["unknown"] = json!(1);
    let mut boxless = face("h", json!([1, 0, 0]));
    boxless["_source"]["face"]["box"] = json!({"x": 0});
    let mut blank = face("i", json!([1, 0, 0]));
    blank["_source"]["person"] = json!({"id": " "});
    let all = [
        header,
        face("a", json!([0.6, 0.8, 0.0])),
        face("b", json!([0.6, 0.8])),
        face("c", json!([0, 0, 0])),
        face("d", json!(["x", 0, 0])),
        face("", json!([1, 0, 0])),
        stranger,
        odd,
        boxless,
        blank,
        face("j", json!([3, 4, 0])),
        json!({"faces": 10}),
    ];
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    let file = space.put("faces.ndjson", text.as_bytes());
    let whole = ["collection", "import", &space.name, "--from", &file, "--json"];
    let refused = space.run(&whole).expect(2);
    assert!(
        refused.stderr.contains("8 things in it cannot be imported"),
        "{refused:?}"
    );
    assert!(!space.exists(), "nothing is written before all was looked at");
    let ran = space.run(&[&whole[..], &["--skip-bad"]].concat()).expect(1);
    assert_eq!(
        (&ran.json()["imported"], &ran.json()["failed"]),
        (&json!(1), &json!(9)),
        "{ran:?}"
    );
    for reason in [
        "2 numbers, not 3",
        "no direction",
        "an id has",
        "of the space",
        "strict_dynamic_mapping_exception",
        "no box",
        "a person's id",
        "5.000 long",
    ] {
        assert!(ran.stderr.contains(reason), "{reason}: {ran:?}");
    }
    assert_eq!(space.documents().keys().collect::<Vec<_>>(), ["a"]);
}

/// Writes a store as `DeepFace.find` does: a list of dictionaries, by pickle, with vectors of any length.
fn deepface_store(space: &Space, entries: &Value) -> String {
    let path = space.path("ds_model_facenet512_detector_retinaface_aligned_normalization_base_expand_0.pkl");
    let script = "import json, pickle, sys; pickle.dump(json.loads(sys.argv[2]), open(sys.argv[1], 'wb'))";
    let status = Command::new("python3")
        .args(["-c", script, &path, &entries.to_string()])
        .status();
    assert!(status.unwrap().success());
    path
}

#[test]
fn a_store_of_deepface_s_is_imported_without_embedding_again() {
    let space = Space::new();
    let entry = |identity: &str, number: u64, width: u32| {
        let long: Vec<f64> = vector(number).iter().map(|&value| f64::from(value) * 17.5).collect();
        json!({"identity": identity, "hash": format!("sha1-{identity}"), "embedding": long,
            "target_x": 10, "target_y": 20, "target_w": width, "target_h": width})
    };
    let nobody = json!({"identity": "db/Nobody/1.jpg", "hash": "x", "embedding": null,
        "target_x": 0, "target_y": 0, "target_w": 0, "target_h": 0});
    let entries = json!([
        entry("db/Ada_Lovelace/1.jpg", 1, 50),
        entry("db/Ada_Lovelace/1.jpg", 2, 90),
        nobody,
        entry("db/Bob/2.jpg", 3, 60)
    ]);
    let store = deepface_store(&space, &entries);
    let refused = space
        .run(&["collection", "import", &space.name, "--from", &store])
        .expect(2);
    assert!(refused.stderr.contains("--space"), "{refused:?}");
    let options = ["--from", &store, "--space", "facenet512@deepface", "--person-from-dir"];
    let imported = space.collection(0, "import", &options);
    assert_eq!(
        (&imported["imported"], &imported["without_face"]),
        (&json!(3), &json!(1)),
        "{imported}"
    );
    assert_eq!(space.collection(0, "import", &options)["existing"], 3);

    let documents = space.documents();
    let mut seen: Vec<(String, String, f64)> = documents
        .values()
        .map(|document| {
            let person = document["person"]["name"].as_str().unwrap_or("-").to_owned();
            (
                person,
                document["image"]["uri"].as_str().unwrap().to_owned(),
                document["face"]["box"]["width"].as_f64().unwrap(),
            )
        })
        .collect();
    seen.sort_by(|a, b| a.2.total_cmp(&b.2));
    let expected = [
        ("-", "db/Ada_Lovelace/1.jpg", 50.0),
        ("Bob", "db/Bob/2.jpg", 60.0),
        ("Ada Lovelace", "db/Ada_Lovelace/1.jpg", 90.0),
    ];
    assert_eq!(
        seen,
        expected.map(|(person, uri, width)| (person.to_owned(), uri.to_owned(), width))
    );
    // Their vectors, of length 1; the collection is one of the stated space, and finds by vector.
    assert_eq!(space.collection(0, "check", &[])["faces"], 3);
    let query = json!({"knn": {"field": "face.embedding", "query_vector": vector(2), "k": 1, "num_candidates": 9}});
    let (_, reply) = space.elastic("POST", &format!("/{}/_search", space.name), Some(query));
    let hit = &reply["hits"]["hits"][0];
    assert!(
        hit["_score"].as_f64() > Some(0.9999) && hit["_source"]["person"]["id"] == "Ada_Lovelace",
        "{reply}"
    );
    let photo = space.put_photo("query/biden.jpg", "photo.jpg");
    let refused = space.run(&["search", &photo]).expect(2);
    assert!(refused.stderr.contains("facenet512@deepface"), "{refused:?}");
}

#[test]
fn pickles_that_are_no_stores_are_refused_and_run_nothing() {
    let space = Space::new();
    let path = space.path("evil.pkl");
    let trace = space.path("trace");
    let script = "import os, pickle, sys
class Evil:
    def __reduce__(self): return (os.system, ('touch ' + sys.argv[2],))
pickle.dump([Evil()], open(sys.argv[1], 'wb'))";
    assert!(
        Command::new("python3")
            .args(["-c", script, &path, &trace])
            .status()
            .unwrap()
            .success()
    );
    let refused = space
        .run(&["collection", "import", &space.name, "--from", &path, "--space", "x@y"])
        .expect(2);
    assert!(refused.stderr.contains("no store of deepface"), "{refused:?}");
    assert!(!std::path::Path::new(&trace).exists() && !space.exists());
}
