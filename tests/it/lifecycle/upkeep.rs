//! Merging and checking.

use serde_json::{Value, json};

use crate::harness::Space;

#[test]
fn optimize_merges_and_spares_a_live_collection() {
    let space = Space::new();
    for (number, photo) in ["query/biden.jpg", "query/obama-3.jpg"].into_iter().enumerate() {
        let photo = space.put_photo(photo, &format!("{number}.jpg"));
        space.ingest(0, &[&photo]);
        space.count();
    }
    let segments = |merge: &Value| merge["segments"].as_u64().unwrap();
    let dry = space.collection(0, "optimize", &["--dry-run"]);
    assert!(segments(&dry["before"]) > 1 && dry["after"].is_null(), "{dry}");
    // Its faces are some seconds old.
    let refused = space.run(&["collection", "optimize", &space.name]).expect(1);
    assert!(refused.stderr.contains("is live"), "{refused:?}");
    let still = space.collection(0, "optimize", &["--dry-run"]);
    assert_eq!(segments(&still["before"]), segments(&dry["before"]));
    let merged = space.collection(0, "optimize", &["--force"]);
    assert_eq!(
        (segments(&merged["after"]), &merged["after"]["deleted"]),
        (1, &json!(0)),
        "{merged}"
    );
    // Nothing is left to do: no warning, no merge.
    let again = space.run(&["collection", "optimize", &space.name]).expect(0);
    assert!(
        again.stdout.contains("nothing to merge") && !again.stderr.contains("is live"),
        "{again:?}"
    );
}

#[test]
fn check_finds_what_is_wrong_and_nothing_else() {
    let space = Space::new();
    let four = space.put_photo("gallery-unlabelled/four-people.jpg", "four.jpg");
    let obama = space.put_photo("query/obama-3.jpg", "obama.jpg");
    let biden = space.put_photo("query/biden.jpg", "biden.jpg");
    space.ingest(0, &[&four, &obama, &biden]);
    let clean = space.collection(0, "check", &[]);
    assert_eq!((&clean["faces"], &clean["photos"]), (&json!(6), &json!(3)), "{clean}");

    // A face goes, a vector is doubled, a picture comes again in another file, a file changes, a field is added.
    let documents = space.documents();
    let of = |name: &str| {
        let mut ids = documents
            .iter()
            .filter(|(_, document)| document["image"]["uri"].as_str().unwrap().ends_with(name));
        ids.next().unwrap().0.clone()
    };
    let (gone, long) = (of("four.jpg"), of("biden.jpg"));
    assert_eq!(
        space.elastic("DELETE", &format!("/{}/_doc/{gone}", space.name), None).0,
        200
    );
    let body = json!({"query": {"ids": {"values": [&long]}}, "fields": ["face.embedding"]});
    let (_, reply) = space.elastic("POST", &format!("/{}/_search", space.name), Some(body));
    let vector = reply["hits"]["hits"][0]["fields"]["face.embedding"].as_array().unwrap();
    let doubled: Vec<f64> = vector.iter().map(|value| value.as_f64().unwrap() * 2.0).collect();
    let update = json!({"doc": {"face": {"embedding": doubled}}});
    assert_eq!(
        space
            .elastic("POST", &format!("/{}/_update/{long}", space.name), Some(update))
            .0,
        200
    );
    let mut bytes = std::fs::read(&obama).unwrap();
    // Behind the end of the picture.
    bytes.extend_from_slice(b"a note");
    let copy = space.put("copy.jpg", &bytes);
    space.put_photo("gallery/Barack_Obama/obama-1.jpg", "biden.jpg");
    space.ingest(0, &[&copy, &biden]);
    let mapping = json!({"properties": {"extra": {"type": "keyword"}}});
    assert_eq!(
        space
            .elastic("PUT", &format!("/{}/_mapping", space.name), Some(mapping))
            .0,
        200
    );

    let found = space.collection(1, "check", &[]);
    for (kind, example) in [
        ("incomplete", format!("{} (", gone.split_once('-').unwrap().0)),
        ("lengths", format!("{long}: length 2.0000")),
        ("duplicates", "obama.jpg".to_owned()),
        ("changed", "biden.jpg".to_owned()),
        ("drift", "extra: the field was added".to_owned()),
    ] {
        assert_eq!(found[kind]["count"], 1, "{kind}: {found}");
        assert!(
            found[kind]["examples"][0].as_str().unwrap().contains(&example),
            "{kind}: {found}"
        );
    }
    let few = space.collection(1, "check", &["--examples", "0"]);
    assert_eq!(
        (&few["drift"]["count"], &few["drift"]["examples"]),
        (&json!(1), &json!([]))
    );
}
