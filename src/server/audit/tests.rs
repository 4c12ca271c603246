//! The audit log on real files.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::server::access::{Collections, Scope};

fn caller() -> Caller {
    Caller {
        name: "web".to_owned(),
        scope: Scope::Admin,
        collections: Collections::All,
        address: Ipv4Addr::LOCALHOST.into(),
        has_key: true,
        entry: Entry::default(),
    }
}

fn entry(audit: &Audit, method: Method, target: &str) -> Entry {
    let uri: Uri = target.parse().unwrap();
    Entry::new(audit, Action::of(&method, uri.path()), &caller(), "r1", &uri)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log() -> (tempfile::TempDir, PathBuf, Audit) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let audit = Audit::open(Some(&path)).unwrap();
    (folder, path, audit)
}

#[tokio::test]
async fn a_change_is_written_before_and_after() {
    let (_folder, path, audit) = log();
    let deletion = entry(&audit, Method::DELETE, "/v1/persons/ad%C3%A8le?collection=faces");
    deletion.started().await.unwrap();
    let begun = lines(&path);
    assert_eq!((begun.len(), &begun[0]["outcome"]), (1, &"started".into()));
    deletion.face("f1");
    deletion.face("f2");
    deletion.ends(StatusCode::OK);
    deletion.written().await.unwrap();
    drop(deletion);
    audit.close().await.unwrap();
    let all = lines(&path);
    assert_eq!(all.len(), 2);
    let expected = serde_json::json!({
        "request_id": "r1", "key": "web", "address": "127.0.0.1", "action": "delete_person",
        "collections": ["faces"], "faces": {"ids": ["f1", "f2"], "total": 2}, "persons": {"ids": ["adèle"], "total": 1},
        "outcome": "success", "status": 200, "@timestamp": all[1]["@timestamp"],
    });
    assert_eq!(all[1], expected);
    all[1]["@timestamp"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
}

#[tokio::test]
async fn a_search_is_written_when_its_last_copy_is_gone() {
    let (_folder, path, audit) = log();
    let search = entry(&audit, Method::POST, "/es/faces/_search");
    let streamed = search.clone();
    search.ends(StatusCode::OK);
    drop(search);
    audit.close().await.unwrap();
    assert!(lines(&path).is_empty());
    streamed.face("f1");
    drop(streamed);
    audit.close().await.unwrap();
    let all = lines(&path);
    assert_eq!(all[0]["collections"], serde_json::json!(["faces"]));
    assert_eq!(
        (&all[0]["faces"]["ids"][0], &all[0]["outcome"]),
        (&"f1".into(), &"success".into())
    );
    // Whoever leaves before the answer is in it too.
    drop(entry(&audit, Method::POST, "/v1/identify"));
    // And nobody is for what is not written down.
    drop(entry(&audit, Method::GET, "/v1/stats?collection=faces"));
    audit.close().await.unwrap();
    let all = lines(&path);
    assert_eq!((all.len(), &all[1]["outcome"]), (2, &"unknown".into()));
}

#[tokio::test]
async fn many_at_once_are_all_written_and_in_their_order() {
    let (_folder, path, audit) = log();
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let audit = audit.clone();
            tokio::spawn(async move {
                for number in 0..20 {
                    let entry = entry(&audit, Method::DELETE, &format!("/v1/faces/{task}-{number:02}"));
                    entry.started().await.unwrap();
                    entry.ends(StatusCode::NOT_FOUND);
                    entry.written().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let all = lines(&path);
    assert_eq!(all.len(), 2000);
    let of_task = |line: &&Value| line["faces"]["ids"][0].as_str().unwrap().starts_with("7-");
    let order: Vec<String> = all
        .iter()
        .filter(of_task)
        .map(|line| {
            format!(
                "{} {}",
                line["faces"]["ids"][0].as_str().unwrap(),
                line["outcome"].as_str().unwrap()
            )
        })
        .collect();
    let expected: Vec<String> = (0..20)
        .flat_map(|number| ["started", "failure"].map(|outcome| format!("7-{number:02} {outcome}")))
        .collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let (folder, path, audit) = log();
    drop(entry(&audit, Method::POST, "/v1/identify"));
    audit.close().await.unwrap();
    let old = folder.path().join("audit.1");
    std::fs::rename(&path, &old).unwrap();
    drop(entry(&audit, Method::POST, "/v1/search"));
    audit.close().await.unwrap();
    assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn what_a_full_disk_refuses_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    // Writing to this device fails as a full disk does.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let audit = Audit::open(Some(&path)).unwrap();
    let search = entry(&audit, Method::POST, "/v1/search");
    search.ends(StatusCode::OK);
    drop(search);
    let deletion = entry(&audit, Method::DELETE, "/v1/faces/f1");
    let error = deletion.started().await.unwrap_err().to_string();
    assert!(
        error.contains("No space left") && error.contains("audit.ndjson"),
        "{error}"
    );
    assert!(audit.failing().is_some());
    deletion.ends(StatusCode::SERVICE_UNAVAILABLE);
    assert!(deletion.written().await.is_err());
    assert!(audit.close().await.is_err());
    std::fs::remove_file(&path).unwrap();
    audit.close().await.unwrap();
    assert_eq!(audit.failing(), None);
    let actions: Vec<_> = lines(&path).iter().map(|line| line["action"].clone()).collect();
    // The deletion that never began has no beginning, and its failure is told.
    assert_eq!(actions, ["search", "delete_face"]);
}

#[tokio::test]
async fn a_torn_line_is_ended_and_two_processes_do_not_share() {
    let (_folder, path, audit) = log();
    let taken = Audit::open(Some(&path)).unwrap_err().to_string();
    assert!(taken.contains("another facedex"), "{taken}");
    drop(audit);
    std::fs::write(&path, "{\"torn").unwrap();
    let audit = loop {
        // The thread ends after its last sender.
        match Audit::open(Some(&path)) {
            Ok(audit) => break audit,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    drop(entry(&audit, Method::POST, "/v1/identify"));
    audit.close().await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"torn\n{\"@timestamp\""), "{text}");
}

#[tokio::test]
async fn a_line_has_a_largest_size() {
    let (_folder, path, audit) = log();
    let search = entry(&audit, Method::POST, "/v1/search");
    (0..5000).for_each(|number| search.face(&number.to_string()));
    search.person(&"x".repeat(100_000));
    drop(search);
    audit.close().await.unwrap();
    let line = &lines(&path)[0];
    assert_eq!(line["faces"]["total"], 5000);
    assert_eq!(line["faces"]["ids"].as_array().unwrap().len(), 1000);
    assert_eq!(line["persons"]["ids"][0].as_str().unwrap().len(), 512);
}

#[test]
fn actions_are_told_by_method_and_path() {
    let of = |method: Method, path: &str| Action::of(&method, path);
    assert_eq!(of(Method::POST, "/v1/faces"), Some(Action::Enrol));
    assert_eq!(of(Method::GET, "/es/faces/_search"), Some(Action::EsSearch));
    assert_eq!(of(Method::POST, "/es/_msearch"), Some(Action::EsSearch));
    assert_eq!(of(Method::POST, "/es/faces/_count"), Some(Action::EsSearch));
    assert_eq!(of(Method::GET, "/v1/faces/x"), None);
    assert_eq!(of(Method::PATCH, "/v1/persons/x"), Some(Action::ChangePerson));
}
