//! `facedex keys` through the real binary.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Ran, Space, run};

fn keys(space: &Space, arguments: &[&str]) -> Ran {
    let all: Vec<&str> = ["keys"].iter().chain(arguments).copied().collect();
    let mut command = space.command(&all);
    // The collection of the tests must not become a key's.
    command.env_remove("FACEDEX_COLLECTION");
    run(command)
}

#[test]
fn a_key_is_shown_once_and_only_its_hash_is_stored() {
    let space = Space::new();
    let file = space.path("keys.json");
    let made = keys(
        &space,
        &[
            "create",
            "web",
            "--collection",
            "faces",
            "--collection",
            "staff",
            "--keys",
            &file,
        ],
    )
    .expect(0);
    let secret = made.stdout.trim();
    assert!(secret.starts_with("fdx_") && secret.len() == 47, "{made:?}");
    assert!(made.stderr.contains("read on faces, staff"), "{made:?}");
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(!stored.contains(&secret[4..]), "{stored}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let hash = sha256(secret);
    assert!(stored.contains(&hash), "{stored}");
    let json = keys(
        &space,
        &[
            "create",
            "ops",
            "--scope",
            "admin",
            "-c",
            "*",
            "--expires",
            "90d",
            "--keys",
            &file,
            "--json",
        ],
    );
    let json = json.expect(0).json();
    assert_eq!(
        (&json["name"], &json["scope"], &json["state"]),
        (&"ops".into(), &"admin".into(), &"active".into())
    );
    assert!(
        json["key"].as_str().unwrap().starts_with("fdx_") && json["expires"].is_string(),
        "{json}"
    );
    let listed = keys(&space, &["list", "--keys", &file]).expect(0);
    for text in ["web", "read", "faces, staff", "never", "active", "ops", "admin", "*"] {
        assert!(listed.stdout.contains(text), "{text}: {listed:?}");
    }
    let json = keys(&space, &["list", "--keys", &file, "--json"]).expect(0);
    assert!(!json.stdout.contains(&hash) && !listed.stdout.contains(&hash));
    assert_eq!(json.json()["keys"][1]["collections"], serde_json::json!(["*"]));
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    format!("{:x}", sha2::Sha256::digest(text.as_bytes()))
}

#[test]
fn revoking_tells_what_it_found() {
    let space = Space::new();
    let file = space.path("keys.json");
    let missing = keys(&space, &["revoke", "web", "--keys", &file]).expect(2);
    assert!(missing.stderr.contains("facedex keys create"), "{missing:?}");
    keys(&space, &["create", "web", "-c", "faces", "--keys", &file]).expect(0);
    let unknown = keys(&space, &["revoke", "wbe", "--keys", &file]).expect(2);
    assert!(unknown.stderr.contains("facedex keys list"), "{unknown:?}");
    keys(&space, &["revoke", "web", "--keys", &file]).expect(0);
    let again = keys(&space, &["revoke", "web", "--keys", &file, "--json"])
        .expect(1)
        .json();
    assert_eq!((&again["before"], again["revoked"].is_string()), (&true.into(), true));
    let listed = keys(&space, &["list", "--keys", &file]).expect(0);
    assert!(listed.stdout.contains("revoked"), "{listed:?}");
    let taken = keys(&space, &["create", "web", "-c", "faces", "--keys", &file]).expect(2);
    assert!(taken.stderr.contains("choose another name"), "{taken:?}");
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let space = Space::new();
    let file = space.path("keys.json");
    for (arguments, expected) in [
        (vec!["create", "web"], "--collection '*'"),
        (vec!["create", "web", "-c", "fa*"], "fa*"),
        (vec!["create", "a b", "-c", "faces"], "cannot be a key's name"),
        (vec!["create", "web", "-c", "faces", "--expires", "0s"], "--expires"),
        (vec!["create", "web", "-c", "faces", "--expires", "soon"], "--expires"),
        (vec!["create", "web", "-c", "faces", "--scope", "root"], "--scope"),
        (vec!["list"], "there is no keys file"),
    ] {
        let all: Vec<&str> = arguments.iter().copied().chain(["--keys", &file]).collect();
        let failed = keys(&space, &all).expect(2);
        assert!(failed.stderr.contains(expected), "{arguments:?}: {failed:?}");
    }
    assert!(!std::path::Path::new(&file).exists());
    space.put("keys.json", b"{\"version\": 1, \"keys\": [");
    let broken = keys(&space, &["create", "web", "-c", "faces", "--keys", &file]).expect(2);
    assert!(broken.stderr.contains("is broken"), "{broken:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"{\"version\": 1, \"keys\": [");
}

#[test]
fn without_a_name_the_file_is_beside_the_journals() {
    let space = Space::new();
    let none = keys(&space, &["list"]).expect(0);
    assert!(none.stdout.contains("no keys"), "{none:?}");
    // A collection in the configuration file is one for every command.
    space.put("facedex.toml", b"collection = \"staff\"\n");
    keys(&space, &["create", "web"]).expect(0);
    let listed = keys(&space, &["list", "--json"]).expect(0).json();
    assert_eq!(listed["keys"][0]["collections"], serde_json::json!(["staff"]));
    let file = listed["file"].as_str().unwrap();
    assert_eq!(file, space.path("state/facedex/keys.json"));
    let mut by_variable = space.command(&["keys", "list", "--json"]);
    by_variable.env("FACEDEX_KEYS", space.path("other.json"));
    run(by_variable).expect(2);
}
