//! Elasticsearch's official clients, unchanged, with the proxy's URL as their host.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Proxied, proxy};
use crate::harness::{Space, full, photo, root};

/// The version of the node that the tests run against.
pub fn version(space: &Space) -> String {
    let (_, info) = space.elastic("GET", "/", None);
    info["version"]["number"].as_str().unwrap().to_owned()
}

/// The folder of the clients for nodes of this version.
pub fn clients(version: &str) -> PathBuf {
    fetched(&["prepare", version])
}

fn fetched(arguments: &[&str]) -> PathBuf {
    let prepared = Command::new(root().join("dev/clients")).args(arguments).output();
    let prepared = prepared.unwrap_or_else(|error| panic!("dev/clients does not run, python3 is needed: {error}"));
    assert!(
        prepared.status.success(),
        "{}",
        String::from_utf8_lossy(&prepared.stderr)
    );
    String::from_utf8(prepared.stdout).unwrap().trim().into()
}

/// Runs a client's script with the proxy's URL, the collection and the photo, and gives what it found.
fn run(proxy: &Proxied, mut command: Command) -> Value {
    let image = STANDARD.encode(std::fs::read(photo("query/obama-3.jpg")).unwrap());
    let file = proxy.space.put("photo.base64", image.as_bytes());
    command.args([&format!("{}/es", proxy.serve.url), &proxy.space.name, &file]);
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn check(found: &Value, version: &str, names: [&str; 3]) {
    // Clients are released apart from the server, along the same lines.
    let line = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(line(found["client"].as_str().unwrap()), line(version));
    assert_eq!(found["server"], version);
    for way in ["search", "typed", "query", "retriever"] {
        let persons = found[way].as_array().unwrap();
        assert_eq!(persons.len(), 3, "{found}");
        assert_eq!(persons[..2], [json!("Barack_Obama"), json!("Barack_Obama")], "{found}");
    }
    assert!(found["count"].as_u64().unwrap() >= 5, "{found}");
    assert_eq!(
        found["msearch"],
        json!([found["search"], "invalid_index_name_exception", 200])
    );
    let [bad_request, not_found, forbidden] = names;
    assert_eq!(
        found["refused"],
        json!([
            [bad_request, 400, "invalid_index_name_exception"],
            [not_found, 404, "index_not_found_exception"],
            [bad_request, 400, "illegal_argument_exception"],
            [forbidden, 403, "security_exception"],
        ])
    );
}

#[test]
fn elasticsearch_py_works_unchanged() {
    let proxy = proxy();
    let version = version(&proxy.space);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", clients(&version).join("python"));
    python.arg(root().join("tests/it/api/es_proxy/client.py"));
    check(
        &run(&proxy, python),
        &version,
        ["BadRequestError", "NotFoundError", "AuthorizationException"],
    );
}

#[test]
fn the_client_for_node_works_unchanged() {
    let proxy = proxy();
    let version = version(&proxy.space);
    let mut node = Command::new("node");
    node.env("NODE_PATH", clients(&version).join("node/node_modules"));
    node.arg(root().join("tests/it/api/es_proxy/client.cjs"));
    check(
        &run(&proxy, node),
        &version,
        ["ResponseError", "ResponseError", "ResponseError"],
    );
}

/// Clients that refuse a builder that they do not know, before they send it: they have types for another form of it. Fetched by
/// the long suite alone.
#[test]
fn clients_with_types_of_their_own_send_a_photo_too() {
    let proxy = proxy();
    let version = version(&proxy.space);
    if !full() || version.starts_with("8.") {
        eprintln!("elasticsearch-java and go-elasticsearch are tried by the long suite, on 9: they refuse 8");
        return;
    }
    let home = fetched(&["typed"]);
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{0}/java/*:{0}/java", home.display()))
        .arg("Client");
    for client in [java, Command::new(home.join("go-client"))] {
        let found = run(&proxy, client);
        assert_eq!(found["server"], version, "{found}");
        assert_eq!(found["search"][0], "Barack_Obama", "{found}");
        assert_eq!(found["search"].as_array().map(Vec::len), Some(3), "{found}");
        assert!(found["count"].as_u64() >= Some(5), "{found}");
        assert_eq!(found["refused"], "404 index_not_found_exception", "{found}");
        assert_eq!(found["exists"], true, "{found}");
        let undone = found["undone"].as_object().unwrap();
        assert!(undone.len() >= 12, "{found}");
        for (call, refusal) in undone {
            let refusal = refusal.as_str().unwrap();
            let is_error = !refusal.starts_with("done") && !refusal.contains("404") && !refusal.contains("not_found");
            assert!(is_error, "{call}: {refusal}");
        }
    }
}
