//! `facedex kibana` and the saved objects. No Kibana is here: its import and export are answered by a stand-in that keeps
//! the request, whose form is checked.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::harness::{Space, root, run};

/// Runs `dev/dashboards`.
pub fn dashboards(arguments: &[&str]) -> String {
    let mut script = Command::new(root().join("dev/dashboards"));
    script.args(arguments);
    run(script).expect(0).stdout
}

/// Answers one request as Kibana would, and gives what was asked: head and body.
fn stand_in(status: &str, body: String) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/kibana", listener.local_addr().unwrap());
    let (send, asked) = channel();
    let status = status.to_owned();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut content = vec![0; length.unwrap()];
        reader.read_exact(&mut content).unwrap();
        send.send((head, content)).unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (url, asked)
}

#[test]
fn import_sends_the_objects_as_kibana_takes_them_and_says_what_was_left_out() {
    let space = Space::new();
    let conflict = json!({"success": false, "successCount": 4, "errors": [
        {"id": "facedex-ingest", "type": "dashboard", "title": "facedex: ingest", "error": {"type": "conflict"}}]});
    let (url, asked) = stand_in("200 OK", conflict.to_string());
    let key = "c2VjcmV0OnNlY3JldA==";
    let ran = space
        .run(&[
            "kibana",
            "import",
            "--kibana-url",
            &url,
            "--elasticsearch-api-key",
            key,
            "--kibana-space",
            "ops",
        ])
        .expect(1);
    assert!(
        ran.stdout.contains("imported 4 objects") && ran.stdout.contains("--overwrite"),
        "{ran:?}"
    );
    let (head, body) = asked.recv().unwrap();
    assert!(
        head.starts_with("POST /kibana/s/ops/api/saved_objects/_import?overwrite=false HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_lowercase();
    assert!(
        head.contains("kbn-xsrf: ") && head.contains("content-type: multipart/form-data; boundary="),
        "{head}"
    );
    assert!(
        head.contains(&format!("authorization: apikey {}", key.to_lowercase())),
        "{head}"
    );
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("name=\"file\"; filename=\"facedex.ndjson\""), "{body}");
    let objects = std::fs::read_to_string(root().join("kibana/facedex.ndjson")).unwrap();
    assert!(body.contains(objects.trim_end()), "the file goes out as it is");
    assert_eq!(space.run(&["kibana", "print"]).expect(0).stdout, objects);

    let (url, asked) = stand_in("200 OK", json!({"success": true, "successCount": 5}).to_string());
    let all = ["kibana", "import", "--kibana-url", &url, "--overwrite", "--json"];
    assert_eq!(
        space.run(&all).expect(0).json(),
        json!({"success": true, "success_count": 5})
    );
    assert!(asked.recv().unwrap().0.contains("_import?overwrite=true "));

    let refusal = json!({"statusCode": 403, "error": "Forbidden", "message": "Unable to bulk_create dashboard"});
    let (url, _asked) = stand_in("403 Forbidden", refusal.to_string());
    let ran = space.run(&["kibana", "import", "--kibana-url", &url]).expect(2);
    assert!(ran.stderr.contains("Unable to bulk_create dashboard"), "{ran:?}");
    let ran = space
        .run(&["kibana", "import", "--kibana-url", "http://127.0.0.1:9"])
        .expect(2);
    assert!(ran.stderr.contains("no answer from kibana"), "{ran:?}");
}

#[test]
fn addresses_that_cannot_be_used_are_named_and_passwords_are_not() {
    let space = Space::new();
    let plain = space.put("plain.txt", b"no certificate");
    for (arguments, expected) in [
        (
            &["--kibana-url", "ftp://ada:secret@h/"][..],
            "--kibana-url (KIBANA_URL) is no address",
        ),
        (
            &["--kibana-url", "https://ada:secret@127.0.0.1:9/kb"],
            "https://127.0.0.1:9/kb",
        ),
        (&["--kibana-ca-file", &plain], "CA file"),
    ] {
        let ran = space.run(&[&["kibana", "export"][..], arguments].concat()).expect(2);
        assert!(ran.stderr.contains(expected), "{ran:?}");
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
    let help = space
        .command(&["kibana", "import", "--help"])
        .env("KIBANA_URL", "https://a:secret@h")
        .output();
    assert!(!String::from_utf8_lossy(&help.unwrap().stdout).contains("secret"));
}

#[test]
fn export_names_our_objects_and_prints_what_comes() {
    let space = Space::new();
    let there = "{\"type\":\"dashboard\",\"id\":\"facedex-ingest\"}\n".to_owned();
    let (url, asked) = stand_in("200 OK", there.clone());
    let user = [
        "--elasticsearch-username",
        "elastic",
        "--elasticsearch-password",
        "secret",
    ];
    let ran = space
        .run(&[&["kibana", "export", "--kibana-url", &url][..], &user].concat())
        .expect(0);
    assert_eq!(ran.stdout, there);
    let (head, body) = asked.recv().unwrap();
    assert!(
        head.starts_with("POST /kibana/api/saved_objects/_export HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains("authorization: basic zwxhc3rpyzpzzwnyzxq="),
        "{head}"
    );
    let body: Value = serde_json::from_slice(&body).unwrap();
    let named: Vec<&str> = body["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "facedex-faces",
            "facedex-events",
            "facedex-ingest",
            "facedex-search",
            "facedex-people"
        ]
    );
    assert_eq!(body["includeReferencesDeep"], true);
}

#[test]
fn the_saved_objects_say_which_kibana_wrote_them_and_name_no_view_that_is_not_there() {
    dashboards(&["check"]);
    let objects = std::fs::read_to_string(root().join("kibana/facedex.ndjson")).unwrap();
    let objects: Vec<Value> = objects
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: BTreeSet<&str> = objects.iter().map(|object| object["id"].as_str().unwrap()).collect();
    for object in &objects {
        assert_eq!(object["coreMigrationVersion"], "8.8.0");
        let version = if object["type"] == "dashboard" {
            "8.9.0"
        } else {
            "8.0.0"
        };
        assert_eq!(object["typeMigrationVersion"], version);
        for reference in object["references"].as_array().unwrap() {
            assert!(ids.contains(reference["id"].as_str().unwrap()), "{reference}");
        }
        let Some(panels) = object["attributes"]["panelsJSON"].as_str() else {
            continue;
        };
        let panels: Vec<Value> = serde_json::from_str(panels).unwrap();
        let mut taken = BTreeSet::new();
        for panel in &panels {
            let at = |name: &str| panel["gridData"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 48, "{panel}");
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "panels lie over one another: {}", panel["title"]);
            }
        }
    }
}
