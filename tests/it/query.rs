//! Search, identify, verify, represent: the answers and the exit codes.

use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};

use crate::harness::proxy::{Fault, Kind, Proxy, REJECTED};
use crate::harness::{Space, photo, run};

/// A collection with the demo's photos, shared by the tests that run at the same time, and gone after the last of them.
pub fn loaded() -> Arc<Space> {
    static SPACE: Mutex<Weak<Space>> = Mutex::new(Weak::new());
    let mut shared = SPACE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(space) = shared.upgrade() {
        return space;
    }
    let space = Arc::new(Space::new());
    let (named, unnamed) = (query("gallery"), query("gallery-unlabelled"));
    space.ingest(0, &[&named, "--person-from-dir", "--label", "set=named"]);
    space.ingest(0, &[&unnamed, "--label", "set=unnamed"]);
    *shared = Arc::downgrade(&space);
    space
}

pub fn query(name: &str) -> String {
    photo(name).to_str().unwrap().to_owned()
}

fn persons(hits: &Value) -> Vec<&str> {
    hits.as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["person"]["id"].as_str().unwrap_or("-"))
        .collect()
}

#[test]
fn a_photo_that_was_never_loaded_finds_its_person_and_nobody_else() {
    let space = loaded();
    let answer = space
        .run(&["search", &query("query/obama-3.jpg"), "--json"])
        .expect(0)
        .json();
    let face = &answer["faces"][0];
    assert_eq!(persons(&face["hits"]), ["Barack_Obama", "Barack_Obama"]);
    assert!(face["hits"][0]["similarity"].as_f64() > face["hits"][1]["similarity"].as_f64());
    assert_eq!(face["threshold"]["faces_searched"], 12);
    assert_eq!(face["embedding"].as_array().unwrap().len(), 128);
    assert!(answer["took"]["search_ms"].as_f64().unwrap() > 0.0);
    let shown = space.run(&["search", &query("query/obama-3.jpg")]).expect(0);
    assert!(
        shown.stdout.contains("2 matches") && shown.stdout.contains("Barack Obama"),
        "{shown:?}"
    );
}

#[test]
fn a_stranger_has_no_match() {
    let space = loaded();
    let answer = space
        .run(&["search", &query("query/biden.jpg"), "--json"])
        .expect(1)
        .json();
    assert_eq!(answer["faces"][0]["hits"], json!([]));
    let identity = space
        .run(&["identify", &query("query/biden.jpg"), "--json"])
        .expect(1)
        .json();
    assert_eq!(identity["faces"][0]["decision"], "unknown");
    assert!(identity["faces"][0]["person"].is_null());
    let shown = space.run(&["identify", &query("query/biden.jpg")]).expect(1);
    assert!(shown.stdout.contains("unknown"), "{shown:?}");
}

#[test]
fn identify_groups_hits_by_person() {
    let space = loaded();
    let answer = space
        .run(&["identify", &query("query/obama-3.jpg"), "--json"])
        .expect(0)
        .json();
    let face = &answer["faces"][0];
    assert_eq!(
        (&face["decision"], &face["person"]["id"]),
        (&json!("match"), &json!("Barack_Obama"))
    );
    let candidates = face["candidates"].as_array().unwrap();
    assert_eq!(candidates[0]["hits"].as_array().unwrap().len(), 2);
    // Five persons besides him, and five faces without a name, each on its own: ten groups were asked for.
    assert_eq!(candidates.len(), 10);
    let two = space
        .run(&["identify", &query("query/obama-3.jpg"), "-k", "2", "--json"])
        .expect(0)
        .json();
    assert_eq!(two["faces"][0]["candidates"].as_array().unwrap().len(), 2);
}

#[test]
fn a_cluster_that_has_too_much_to_do_ends_no_exact_search() {
    let space = loaded();
    let proxy = Proxy::start(&space.url, |seen| {
        let busy = seen.kind == Kind::Search && seen.number % 3 == 1;
        busy.then_some(Fault::status(429, REJECTED))
    });
    let photo = query("query/obama-3.jpg");
    let mut command = space.command(&["search", &photo, "--exact", "--json"]);
    command.env("ELASTICSEARCH_URL", &proxy.url);
    let through = run(command).expect(0).json();
    let straight = space.run(&["search", &photo, "--exact", "--json"]).expect(0).json();
    assert!(proxy.injected()["429"] > 0);
    assert_eq!(through["faces"][0]["hits"], straight["faces"][0]["hits"]);
}

#[test]
fn an_exact_search_finds_what_the_index_finds() {
    let space = loaded();
    let obama = query("query/obama-3.jpg");
    let ask = |command: &str, more: &[&str]| {
        let all: Vec<&str> = [command, &obama, "--json", "-k", "12"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let mut answer = space.run(&all).expect(0).json();
        answer["took"].take();
        answer
    };
    for more in [
        vec![],
        vec!["--min-similarity", "-1"],
        vec!["--filter", "labels.set=named"],
    ] {
        let with_exact: Vec<&str> = more.iter().copied().chain(["--exact"]).collect();
        let (indexed, exact) = (ask("search", &more), ask("search", &with_exact));
        let (indexed, exact) = (&indexed["faces"][0], &exact["faces"][0]);
        assert_eq!(indexed["threshold"], exact["threshold"]);
        let (a, b) = (indexed["hits"].as_array().unwrap(), exact["hits"].as_array().unwrap());
        assert_eq!((a.len(), persons(&indexed["hits"])), (b.len(), persons(&exact["hits"])));
        for (a, b) in a.iter().zip(b) {
            let difference = a["similarity"].as_f64().unwrap() - b["similarity"].as_f64().unwrap();
            assert!(difference.abs() < 1e-3, "{a} {b}");
            assert_eq!((&a["id"], &a["box"], &a["labels"]), (&b["id"], &b["box"], &b["labels"]));
        }
    }
    let identity = ask("identify", &["--exact"]);
    assert_eq!(identity["faces"][0]["person"]["id"], "Barack_Obama");
    // Six people, and five faces without a name, each on its own.
    assert_eq!(identity["faces"][0]["candidates"].as_array().unwrap().len(), 11);
}

#[test]
fn filters_apply_inside_the_search() {
    let space = loaded();
    let obama = query("query/obama-3.jpg");
    let search = |arguments: &[&str], code: i32| {
        let all: Vec<&str> = ["search", &obama, "--json"].iter().chain(arguments).copied().collect();
        space.run(&all).expect(code).json()
    };
    let only = search(&["--filter", "person.id=Eileen_Collins", "--min-similarity", "-1"], 0);
    assert_eq!(persons(&only["faces"][0]["hits"]), ["Eileen_Collins"]);
    assert_eq!(only["faces"][0]["threshold"]["faces_searched"], 1);
    let unnamed = search(
        &["--filter", "labels.set=unnamed", "--min-similarity", "-1", "-k", "3"],
        0,
    );
    assert_eq!(persons(&unnamed["faces"][0]["hits"]), ["-", "-", "-"]);
    search(&["--filter", "person.id!=Barack_Obama"], 1);
    let both = search(
        &[
            "--filter",
            "person.id=Barack_Obama",
            "--filter",
            "person.id=Eileen_Collins",
        ],
        0,
    );
    assert_eq!(persons(&both["faces"][0]["hits"]).len(), 2);
}

#[test]
fn the_limit_decides_what_is_shown() {
    let space = loaded();
    let obama = query("query/obama-3.jpg");
    let at = |limit: &[&str]| {
        let all: Vec<&str> = ["search", &obama, "--json"].iter().chain(limit).copied().collect();
        let answer = space.run(&all).json();
        answer["faces"][0]["hits"].as_array().unwrap().len()
    };
    assert_eq!(at(&["--min-similarity", "0.75"]), 1);
    assert_eq!(at(&["--min-similarity=-1"]), 10);
    assert_eq!(at(&["--min-similarity=-1", "-k", "12", "--candidates", "12"]), 12);
    let refused = space.run(&["search", &obama, "--max-fpir", "1.5"]).expect(2);
    assert!(refused.stderr.contains("max-fpir"), "{refused:?}");
}

#[test]
fn each_face_of_a_photo_can_be_asked_about() {
    let space = loaded();
    let four = query("gallery-unlabelled/four-people.jpg");
    let all = space.run(&["search", &four, "--json"]).expect(0).json();
    let ordinals: Vec<u64> = all["faces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["ordinal"].as_u64().unwrap())
        .collect();
    assert_eq!(ordinals, [0, 1, 2, 3]);
    for face in all["faces"].as_array().unwrap() {
        // The photo is loaded: each face finds itself first.
        assert!(face["hits"][0]["similarity"].as_f64().unwrap() > 0.999);
    }
    let one = space.run(&["search", &four, "--face", "2", "--json"]).expect(0).json();
    assert_eq!(one["faces"].as_array().unwrap().len(), 1);
    assert_eq!(one["faces"][0]["hits"][0]["id"], all["faces"][2]["hits"][0]["id"]);
    let none = space.run(&["search", &four, "--face", "4"]).expect(2);
    assert!(none.stderr.contains("there is no face 4"), "{none:?}");
}

#[test]
fn verify_compares_two_photos() {
    let space = loaded();
    let (a, b) = (query("gallery/Barack_Obama/obama-1.jpg"), query("query/obama-3.jpg"));
    let same = space.run(&["verify", &a, &b, "--json"]).expect(0).json();
    assert_eq!(same["decision"], "match");
    assert!((same["threshold"]["similarity"].as_f64().unwrap() - 0.4268).abs() < 1e-9);
    assert_eq!(same["photos"][0]["face"]["landmarks"].as_array().unwrap().len(), 5);
    space.run(&["verify", &a, &query("query/biden.jpg")]).expect(1);
    space.run(&["verify", &a, &query("formats/no-face.jpg")]).expect(2);
    space.run(&["verify", &a, "missing.jpg"]).expect(2);
}

#[test]
fn represent_prints_the_faces_of_each_photo() {
    let space = loaded();
    let four = query("gallery-unlabelled/four-people.jpg");
    let answer = space
        .run(&["represent", &four, &query("formats/no-face.jpg")])
        .expect(0);
    let lines: Vec<Value> = answer
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    let faces = lines[0]["faces"].as_array().unwrap();
    assert_eq!(faces.len(), 4);
    for key in ["box", "landmarks", "score", "embedding"] {
        assert!(!faces[0][key].is_null(), "{key}");
    }
    for key in ["x", "y", "width", "height"] {
        assert!(faces[0]["box"][key].is_number(), "{key}");
    }
    let norm: f64 = faces[0]["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap().powi(2))
        .sum();
    assert!((norm - 1.0).abs() < 1e-5);
    assert_eq!(lines[1]["faces"], json!([]));
    space.run(&["represent", &query("formats/no-face.jpg")]).expect(1);
}

#[test]
fn a_picture_shows_the_answer() {
    let space = loaded();
    let file = space.path("answer.png");
    space
        .run(&["search", &query("query/obama-3.jpg"), "--picture", &file])
        .expect(0);
    let picture = image::open(&file).unwrap();
    assert!(picture.width() > 600 && picture.height() > 400);
    let refused = space
        .run(&["search", &query("query/obama-3.jpg"), "--picture", "answer.xyz"])
        .expect(2);
    assert!(
        refused.stderr.contains("cannot write the picture answer.xyz"),
        "{refused:?}"
    );
}

#[test]
fn a_missing_collection_is_named() {
    let space = Space::new();
    let missing = space.run(&["search", &query("query/biden.jpg")]).expect(2);
    assert!(
        missing.stderr.contains("no collection") && missing.stderr.contains(&space.name),
        "{missing:?}"
    );
}

#[test]
fn an_empty_collection_knows_nobody() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let answer = space
        .run(&["identify", &query("query/biden.jpg"), "--json"])
        .expect(1)
        .json();
    assert_eq!(answer["faces"][0]["candidates"], json!([]));
    let shown = space.run(&["identify", &query("query/biden.jpg")]).expect(1);
    assert!(shown.stdout.contains("no faces were searched"), "{shown:?}");
}

#[test]
fn a_nearer_face_without_a_name_does_not_hide_a_person() {
    let space = Space::new();
    let bystander = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "crowd/1.jpg");
    let named = space.put_photo("gallery/Barack_Obama/obama-2.jpg", "Obama/2.jpg");
    space.ingest(0, &[&bystander]);
    space.ingest(0, &[&named, "--person-from-dir"]);
    for k in ["10", "1"] {
        let answer = space
            .run(&["identify", &query("query/obama-3.jpg"), "-k", k, "--json"])
            .expect(0)
            .json();
        let face = &answer["faces"][0];
        assert_eq!(
            (&face["decision"], &face["person"]["id"]),
            (&json!("match"), &json!("Obama")),
            "-k {k}: {answer}"
        );
    }
}

#[test]
fn a_mistyped_filter_is_an_error_and_no_stranger() {
    let space = loaded();
    for filter in ["persn.id=Barack_Obama", "persn.id!=x", "face.landmarks=1"] {
        let refused = space
            .run(&["search", &query("query/obama-3.jpg"), "--filter", filter])
            .expect(2);
        assert!(
            refused.stderr.contains("no field") && refused.stderr.contains("person.id"),
            "{refused:?}"
        );
    }
    // Labels can have any key, but one that is on no face would match nothing, or exclude nothing.
    for filter in ["labels.albm=1927", "labels.albm!=1927"] {
        for command in [&["search", &query("query/obama-3.jpg")][..], &["cluster"]] {
            let refused = space.run(&[command, &["--filter", filter]].concat()).expect(2);
            assert!(refused.stderr.contains("a label \"albm\""), "{refused:?}");
        }
    }
}

#[test]
fn a_photo_that_cannot_be_used_does_not_silence_the_others() {
    let space = loaded();
    let (stranger, nobody) = (query("query/biden.jpg"), query("formats/no-face.jpg"));
    let ran = space
        .run(&["search", &stranger, &nobody, &query("query/obama-3.jpg"), "--json"])
        .expect(2);
    assert_eq!(ran.stdout.lines().count(), 2);
    assert_eq!(
        persons(&ran.json()["faces"][0]["hits"]),
        ["Barack_Obama", "Barack_Obama"]
    );
    assert!(ran.stderr.contains("no face found"), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_does_not_change_the_answer() {
    let space = loaded();
    let mut child = space.command(&["search", &query("query/biden.jpg")]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn labels_that_others_wrote_as_numbers_do_not_break_a_search() {
    let space = Space::new();
    let file = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "1.jpg");
    space.ingest(0, &[&file]);
    let id = space.documents().into_keys().next().unwrap();
    let body = json!({"doc": {"labels": {"year": 2026}}});
    space.elastic(
        "POST",
        &format!("/{}/_update/{id}?refresh=true", space.name),
        Some(body),
    );
    let answer = space
        .run(&["search", &query("query/obama-3.jpg"), "--json"])
        .expect(0)
        .json();
    assert_eq!(answer["faces"][0]["hits"][0]["labels"], json!({"year": "2026"}));
}
