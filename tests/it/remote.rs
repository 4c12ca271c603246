//! Photos from URLs and buckets, through the real binary. What servers can do wrong is tried in `src/ingest/fetch`.

use std::collections::HashMap;
use std::process::Command;

use serde_json::json;

use crate::harness::server::{Moto, serve};
use crate::harness::{Space, photo, run};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(photo(name)).unwrap()
}

#[test]
fn photos_are_fetched_from_urls_without_keeping_the_login() {
    let space = Space::new();
    let url = serve(HashMap::from([(
        "/Joe_Biden/1.jpg?v=2".to_owned(),
        bytes("query/biden.jpg"),
    )]));
    let with_login = url.replace("http://", "http://ada:secret@");
    let list = space.put(
        "list",
        format!("{with_login}/Joe_Biden/1.jpg?v=2\n{with_login}/missing.jpg\n").as_bytes(),
    );
    let arguments = ["--files-from", &list, "--person-from-dir"];
    let refused = space.ingest(1, &arguments);
    assert_eq!((&refused["failed"], &refused["indexed"]), (&json!(2), &json!(0)));
    for letter in space.dead_letters() {
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("--allow-private-addresses"), "{reason}");
    }

    let all = [
        &arguments[..],
        &["--allow-private-addresses", "--dead-letter", "second"],
    ]
    .concat();
    let summary = space.ingest(1, &all);
    assert_eq!((&summary["failed"], &summary["indexed"]), (&json!(1), &json!(1)));
    let document = space.documents().into_values().next().unwrap();
    assert_eq!(document["image"]["uri"], format!("{url}/Joe_Biden/1.jpg?v=2"));
    assert_eq!(document["person"]["id"], "Joe_Biden");
    let letters = std::fs::read_to_string(space.path("second")).unwrap();
    assert!(letters.contains("404 Not Found"), "{letters}");
    assert!(!letters.contains("secret"), "{letters}");
}

#[test]
fn photos_are_fetched_from_buckets() {
    let moto = Moto::start();
    let space = Space::new();
    moto.put("/photos", Vec::new());
    moto.put("/photos/people/Joe_Biden/a%20b.jpg", bytes("query/biden.jpg"));
    moto.put("/photos/people/Joe_Biden/notes.txt", b"text".to_vec());
    moto.put("/photos/large.jpg", vec![0; 2_000_000]);
    let with_bucket = |arguments: &[&str]| -> Command {
        let all = [&["ingest", "--json", "--max-image-bytes", "1000000"], arguments].concat();
        let mut command = space.command(&all);
        for (name, value) in [
            ("AWS_ENDPOINT_URL", moto.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ] {
            command.env(name, value);
        }
        command
    };
    let manifest = space.put(
        "manifest.csv",
        b"uri,person.id\ns3://photos/people/Joe_Biden/a%20b.jpg,biden\ns3://photos/none.jpg,\ns3://photos/large.jpg,\n",
    );
    let summary = run(with_bucket(&["--manifest", &manifest])).expect(1).json();
    assert_eq!(
        (&summary["failed"], &summary["indexed"]),
        (&json!(2), &json!(1)),
        "{summary}"
    );
    let document = space.documents().into_values().next().unwrap();
    assert_eq!(document["image"]["uri"], "s3://photos/people/Joe_Biden/a%20b.jpg");
    assert_eq!(document["person"]["id"], "biden");
    let mut reasons: Vec<String> = space
        .dead_letters()
        .iter()
        .map(|letter| letter["reason"].as_str().unwrap().to_owned())
        .collect();
    reasons.sort();
    assert!(reasons[0].contains("more than 1000000 bytes"), "{reasons:?}");
    assert!(reasons[1].contains("no such object"), "{reasons:?}");

    let prefix = ["s3://photos/people/"];
    let listed = run(with_bucket(&prefix)).expect(0).json();
    let counts = [&listed["images"], &listed["existing"], &listed["skipped"]];
    assert_eq!(counts, [&json!(1), &json!(1), &json!(1)], "{listed}");
    let again = run(with_bucket(&prefix)).expect(0).json();
    assert_eq!(again["done_before"], 1);
}
