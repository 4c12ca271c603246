//! `facedex cluster` and `facedex label`: unlabelled faces become people.

use serde_json::json;

use crate::harness::{Space, photo};

#[test]
fn faces_of_one_person_become_a_cluster_and_get_a_name() {
    let space = Space::new();
    let images = crate::eval::people(&space);
    space.ingest(0, &[&images, "--person-from-dir"]);
    let faces = space.count();
    let report = space
        .run(&["cluster", "--json", "--duplicates", "0.99"])
        .expect(0)
        .json();
    assert_eq!((&report["faces"], &report["clusters"]), (&json!(faces), &json!(6)));
    // Six people of three photos each; everybody else is alone.
    assert_eq!(
        (&report["clustered"], &report["agreement"]["bcubed_f"]),
        (&json!(18), &json!(1.0))
    );
    assert_eq!(report["written"], json!({"changed": 18, "passed_over": 0}));
    let documents = space.documents();
    for document in documents.values() {
        let person = document["person"]["id"].as_str().unwrap();
        let cluster = &document["cluster"]["id"];
        let own: Vec<_> = documents
            .values()
            .filter(|other| other["person"]["id"] == person)
            .collect();
        assert_eq!(cluster.is_string(), own.len() > 1, "{person}");
        assert!(own.iter().all(|other| other["cluster"]["id"] == *cluster), "{person}");
    }
    // The same again changes nothing, and vectors outlive it.
    let again = space.run(&["cluster", "--json"]).expect(0).json();
    assert_eq!(again["written"], json!({"changed": 0, "passed_over": 0}));
    assert_eq!(again["largest"], report["largest"]);
    // A threshold that nothing reaches takes the clusters away again.
    let none = space
        .run(&["cluster", "--min-similarity", "1", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&none["clusters"], &none["written"]["changed"]),
        (&json!(0), &json!(18))
    );
}

#[test]
fn a_cluster_is_labelled_and_a_name_is_not_taken_from_anybody() {
    let space = Space::new();
    let images = crate::eval::people(&space);
    space.ingest(
        0,
        &[&format!("{images}/Barack_Obama"), &format!("{images}/Eileen_Collins")],
    );
    space.count();
    let report = space.run(&["cluster", "--json"]).expect(0).json();
    let clusters = report["largest"].as_array().unwrap();
    assert_eq!((clusters.len(), &clusters[0]["mostly"]), (2, &json!(null)));
    let documents = space.documents();
    let is_obama = |uri: &serde_json::Value| uri.as_str().unwrap().contains("Barack_Obama");
    let obama = documents
        .iter()
        .find(|(_, document)| is_obama(&document["image"]["uri"]));
    let (face, document) = obama.unwrap();
    let id = document["cluster"]["id"].as_str().unwrap();
    let label = |which: &str, person: &str, more: &[&str], code| {
        let mut arguments = vec!["label", which, "--person", person, "--json"];
        arguments.extend(more);
        space.run(&arguments).expect(code)
    };
    let one = label(id, "ada", &["--name", "Ada"], 0).json();
    assert_eq!(one, json!({"changed": 3, "already": 0, "somebody_else": 0}));
    assert_eq!(
        label(id, "ada", &[], 0).json(),
        json!({"changed": 0, "already": 3, "somebody_else": 0})
    );
    assert_eq!(
        label(id, "bob", &[], 0).json(),
        json!({"changed": 0, "already": 0, "somebody_else": 3})
    );
    assert_eq!(label(face, "bob", &["--overwrite"], 0).json()["changed"], 1);
    assert!(
        label("c-000000000000", "bob", &[], 1)
            .stderr
            .contains("no face and no cluster")
    );
    let named = space
        .run(&["identify", photo("query/obama-3.jpg").to_str().unwrap(), "--json"])
        .expect(0)
        .json();
    let person = named["faces"][0]["person"]["id"].as_str().unwrap();
    assert!(["ada", "bob"].contains(&person), "{named}");
}
