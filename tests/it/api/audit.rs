//! The audit log of the real server: what is in it, what is not, and what happens when it cannot be written.

use serde_json::{Value, json};

use super::site::{Site, key, photo};
use crate::harness::Space;

#[test]
fn what_was_done_is_in_the_audit_log_and_no_biometrics_are() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let (name, file, audit) = (space.name.clone(), space.path("keys.json"), space.path("audit.ndjson"));
    let admin = key(&space, "boss", "admin", "*", &[]);
    let reader = key(&space, "reader", "read", &space.name, &[]);
    let site = Site::start(space, &["--keys", &file, "--audit-log", &audit]);
    let obama = photo("gallery/Barack_Obama/obama-1.jpg");
    let enrolment = json!({"collection": name, "person_id": "obama", "photo": obama, "subject": "largest"});
    let enrolled = site.with(&admin, "POST", "/v1/faces", &enrolment);
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    let id = enrolled.json()["faces"][0]["id"].as_str().unwrap().to_owned();
    let question = json!({"collection": name, "photo": photo("query/obama-3.jpg")});
    assert_eq!(site.with(&reader, "POST", "/v1/identify", &question).status, 200);
    assert_eq!(site.with(&reader, "POST", "/v1/search", &question).status, 200);
    assert_eq!(site.with(&reader, "POST", "/v1/faces", &enrolment).status, 403);
    let at = |path: &str| format!("{path}?collection={name}");
    assert_eq!(
        site.with(&admin, "DELETE", &at(&format!("/v1/faces/{id}")), &Value::Null)
            .status,
        200
    );
    assert_eq!(
        site.with(&admin, "DELETE", &at("/v1/persons/nobody"), &Value::Null)
            .status,
        404
    );
    let forget = format!("{}&forget=True", at(&format!("/v1/faces/{id}")));
    assert_eq!(site.with(&admin, "DELETE", &forget, &Value::Null).status, 404);
    // Nothing of this is written down.
    assert_eq!(site.with(&reader, "GET", &at("/v1/stats"), &Value::Null).status, 200);
    let lines = site.audited(11);
    let told: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|line| (text(line, "key"), text(line, "action"), text(line, "outcome")))
        .collect();
    assert_eq!(
        told,
        [
            ("boss", "enrol", "started"),
            ("boss", "enrol", "success"),
            ("reader", "identify", "success"),
            ("reader", "search", "success"),
            ("reader", "enrol", "denied"),
            ("boss", "delete_face", "started"),
            ("boss", "delete_face", "success"),
            ("boss", "delete_person", "started"),
            ("boss", "delete_person", "failure"),
            ("boss", "forget_face", "started"),
            ("boss", "forget_face", "failure"),
        ]
    );
    for (at, line) in lines.iter().enumerate().filter(|(at, _)| ![0, 4].contains(at)) {
        assert_eq!(line["collections"], json!([name]), "{at}: {line}");
        assert!(
            !text(line, "request_id").is_empty() && line["address"] == "127.0.0.1",
            "{line}"
        );
    }
    assert_eq!(lines[0]["request_id"], lines[1]["request_id"]);
    for (line, persons) in [(1, json!(["obama"])), (2, json!(["obama"])), (3, json!(["obama"]))] {
        assert!(
            lines[line]["faces"]["ids"].as_array().unwrap().contains(&json!(id)),
            "{}",
            lines[line]
        );
        assert_eq!(lines[line]["persons"]["ids"], persons, "{}", lines[line]);
    }
    assert_eq!(lines[6]["faces"]["ids"], json!([id]));
    assert_eq!(lines[7]["persons"]["ids"], json!(["nobody"]));
    let written = std::fs::read_to_string(&audit).unwrap();
    for secret in ["embedding", "score", "landmarks", &obama[..100], &admin[4..]] {
        assert!(!written.contains(secret), "{secret} is in the audit log");
    }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

#[test]
fn nothing_is_changed_that_cannot_be_written_down() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let (name, audit) = (space.name.clone(), space.path("audit.ndjson"));
    // Writing to this device fails as a full disk does.
    std::os::unix::fs::symlink("/dev/full", &audit).unwrap();
    let site = Site::start(space, &["--audit-log", &audit]);
    let enrolment = json!({
        "collection": name, "person_id": "obama", "subject": "largest",
        "photo": photo("gallery/Barack_Obama/obama-1.jpg"),
    });
    let json = [("content-type", "application/json")];
    let enrol = || site.ask("POST", "/v1/faces", &json, &enrolment.to_string());
    let refused = enrol();
    assert_eq!(
        (refused.status, refused.code()),
        (503, "not_audited".to_owned()),
        "{refused:?}"
    );
    assert_eq!(refused.json()["error"]["details"]["done"], false);
    let person = site.ask("DELETE", &format!("/v1/persons/obama?collection={name}"), &json, "");
    assert_eq!(person.status, 503, "{person:?}");
    assert_eq!(site.space.count(), 0);
    let question = json!({"collection": name, "photo": photo("query/obama-3.jpg")});
    assert_eq!(site.ask("POST", "/v1/search", &json, &question.to_string()).status, 200);
    let log = site.serve.said();
    assert!(
        log.contains("cannot write the audit log") && log.contains("No space left"),
        "{log}"
    );
    std::fs::remove_file(&audit).unwrap();
    assert_eq!(enrol().status, 201);
    let actions: Vec<String> = site
        .audited(3)
        .iter()
        .map(|line| text(line, "action").to_owned())
        .collect();
    assert!(
        actions.contains(&"search".to_owned()),
        "what was kept is written late: {actions:?}"
    );
    assert_eq!(site.space.count(), 1);
}

#[test]
fn one_server_writes_an_audit_log() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let audit = space.path("audit.ndjson");
    let name = space.name.clone();
    let site = Site::start(space, &["--audit-log", &audit]);
    let embedding: Vec<f64> = (0..128).map(|n| if n == 0 { 1.0 } else { 0.0 }).collect();
    let question = json!({"collection": name, "embedding": embedding}).to_string();
    for _ in 0..20 {
        let answer = site.ask(
            "POST",
            "/v1/identify",
            &[("content-type", "application/json")],
            &question,
        );
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(site.audited(20).len(), 20);
    // It belongs to this server alone.
    let second = site
        .space
        .run(&["serve", "--listen", "127.0.0.1:0", "--audit-log", &audit])
        .expect(2);
    assert!(second.stderr.contains("another facedex"), "{second:?}");
}
