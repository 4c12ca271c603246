//! Settings and logs through the real binary.

use crate::harness::{Space, photo, run};

#[test]
fn the_file_sets_defaults_and_flags_override_them() {
    let space = Space::new();
    let file = photo("query/biden.jpg");
    let config = format!(
        "json = true\nelasticsearch-url = \"http://127.0.0.1:9\"\n[collection]\n[ingest]\ncollection = {:?}\n",
        space.name
    );
    space.put("facedex.toml", config.as_bytes());
    let mut from_file = space.command(&["collection", "list"]);
    from_file.env_remove("ELASTICSEARCH_URL");
    let failed = run(from_file).expect(2);
    assert!(failed.stderr.contains("http://127.0.0.1:9/"), "{failed:?}");
    // The environment goes before the file, a flag before both.
    space.run(&["collection", "list"]).expect(0);
    let flag = space
        .run(&["collection", "list", "--elasticsearch-url", "http://127.0.0.1:8"])
        .expect(2);
    assert!(flag.stderr.contains(":8/"), "{flag:?}");
    let mut ingest = space.command(&["ingest", file.to_str().unwrap()]);
    ingest.env_remove("FACEDEX_COLLECTION");
    assert_eq!(run(ingest).expect(0).json()["indexed"], 1);
    assert_eq!(space.count(), 1);
}

#[test]
fn mistakes_in_the_file_are_named() {
    let space = Space::new();
    for (text, expected) in [
        ("colection = \"x\"", "\"colection\" is no setting"),
        ("[ingest]\nk = 3", "\"k\" is no setting"),
        ("json = ", "cannot read the configuration file"),
    ] {
        let path = space.put("mine.toml", text.as_bytes());
        let failed = space.run(&["collection", "list", "--config", &path]).expect(2);
        assert!(failed.stderr.contains(expected), "{text}: {failed:?}");
    }
    let missing = space.run(&["collection", "list", "--config", "absent.toml"]).expect(2);
    assert!(missing.stderr.contains("absent.toml"), "{missing:?}");
}

#[test]
fn missing_models_name_the_command_that_fetches_them() {
    let space = Space::new();
    let file = photo("query/biden.jpg");
    let empty = space.path("");
    let failed = space
        .run(&["represent", file.to_str().unwrap(), "--models-dir", &empty])
        .expect(2);
    assert!(failed.stderr.contains("facedex models fetch"), "{failed:?}");
    let mut no_library = space.command(&["represent", file.to_str().unwrap()]);
    no_library.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    let failed = run(no_library).expect(2);
    assert!(
        failed.stderr.contains("/nowhere/libonnxruntime.so") && failed.stderr.contains("facedex models fetch"),
        "{failed:?}"
    );
    let library = space.put("libonnxruntime.so", b"no library");
    let mut bad_library = space.command(&["represent", file.to_str().unwrap()]);
    bad_library.env("ORT_DYLIB_PATH", library);
    let failed = run(bad_library).expect(2);
    assert!(
        failed.stderr.contains("cannot use the ONNX Runtime library"),
        "{failed:?}"
    );
}

#[test]
fn secrets_are_not_printed() {
    let space = Space::new();
    let mut command = space.command(&["collection", "list", "--log", "trace"]);
    command.env("ELASTICSEARCH_API_KEY", "c2VjcmV0LXNlY3JldA==");
    let shown = run(command);
    assert!(!shown.stderr.contains("c2VjcmV0"), "{shown:?}");
    let mut help = space.command(&["ingest", "--help"]);
    help.env("ELASTICSEARCH_API_KEY", "c2VjcmV0LXNlY3JldA==");
    assert!(!run(help).expect(0).stdout.contains("c2VjcmV0"));
    let both = space
        .run(&[
            "collection",
            "list",
            "--elasticsearch-api-key",
            "x",
            "--elasticsearch-username",
            "y",
        ])
        .expect(2);
    assert!(both.stderr.contains("not both"), "{both:?}");
}

#[test]
fn logs_can_be_json() {
    let space = Space::new();
    let file = photo("query/biden.jpg");
    let shown = space
        .run(&[
            "represent",
            file.to_str().unwrap(),
            "--log",
            "debug",
            "--log-format",
            "json",
        ])
        .expect(0);
    for line in shown.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
