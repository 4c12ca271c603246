//! Settings and logs through the real binary.

use std::path::{Path, PathBuf};

use crate::harness::{Space, fetch_models, photo, run};

/// What is run is what was fetched.
#[test]
fn a_changed_library_in_the_cache_is_refused_and_one_s_own_is_loaded() {
    fetch_models();
    let space = Space::new();
    let path = |what: &str| space.run(&["models", "path", what]).expect(0).stdout.trim().to_owned();
    let (library, models) = (PathBuf::from(path("runtime")), path("models"));
    let cache = PathBuf::from(path("cache"));
    let copy = PathBuf::from(space.path("cache")).join(library.strip_prefix(&cache).unwrap());
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::copy(&library, &copy).unwrap();
    let photo = photo("query/obama-3.jpg");
    let represent = |given: Option<&Path>| {
        let mut command = space.command(&["represent", photo.to_str().unwrap()]);
        command
            .env("FACEDEX_CACHE_DIR", space.path("cache"))
            .env("FACEDEX_MODELS_DIR", &models);
        if let Some(given) = given {
            command.env("ORT_DYLIB_PATH", given).env("FACEDEX_LOG", "info");
        }
        run(command)
    };
    represent(None).expect(0);
    // Known by now, without being read again.
    represent(None).expect(0);
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes.push(0);
    std::fs::write(&copy, bytes).unwrap();
    let refused = represent(None).expect(2);
    assert!(refused.stderr.contains("is damaged, or is another one"), "{refused:?}");
    let own = represent(Some(&copy)).expect(0);
    assert!(own.stderr.contains("sha256"), "{own:?}");
}

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
    assert!(both.stderr.contains("one kind of credentials"), "{both:?}");
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

#[test]
fn secrets_of_the_file_and_the_address_are_not_printed() {
    let space = Space::new();
    space.put(
        "facedex.toml",
        b"elasticsearch-password = \"hunter2\"\nelasticsearch-username = \"me\"\n",
    );
    assert!(!space.run(&["ingest", "--help"]).expect(0).stdout.contains("hunter2"));
    for url in [
        "http://me:hunter2@127.0.0.1:9",
        "http://me:hunter2@127.0.0.1:99999",
        "hunter2",
    ] {
        for arguments in [
            ["collection", "list", "--log", "trace"].as_slice(),
            &["ingest", "--help"],
        ] {
            let mut command = space.command(arguments);
            command.env("ELASTICSEARCH_URL", url);
            let shown = run(command);
            assert!(
                !shown.stderr.contains("hunter2") && !shown.stdout.contains("hunter2"),
                "{url}: {shown:?}"
            );
        }
    }
}

#[test]
fn a_flag_beats_what_the_file_says_to_the_contrary() {
    let space = Space::new();
    let file = photo("query/biden.jpg");
    let file = file.to_str().unwrap();
    space.ingest(0, &[file]);
    space.put("facedex.toml", b"replace = true\nelasticsearch-username = \"me\"\n");
    let overwritten = space.ingest(0, &[file, "--overwrite"]);
    assert_eq!(overwritten["indexed"], 1);
    space
        .run(&["collection", "list", "--elasticsearch-api-key", "eA=="])
        .expect(0);
    let mut empty = space.command(&["collection", "status"]);
    empty.env("ELASTICSEARCH_API_KEY", "");
    run(empty).expect(0);
}

#[test]
fn a_damaged_model_is_refused() {
    let space = Space::new();
    let models = facedex_face::models::catalog::models_dir(None).unwrap();
    crate::harness::fetch_models();
    for file in ["yunet_2023mar.onnx", "mtcnn_onet.onnx", "sface_2021dec.onnx"] {
        let mut bytes = std::fs::read(models.join(file)).unwrap();
        if file.starts_with("sface") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        }
        space.put(&format!("models/{file}"), &bytes);
    }
    let refused = space
        .run(&[
            "represent",
            photo("query/biden.jpg").to_str().unwrap(),
            "--models-dir",
            &space.path("models"),
        ])
        .expect(2);
    assert!(refused.stderr.contains("sface_2021dec.onnx is damaged"), "{refused:?}");
}

#[test]
fn something_else_than_elasticsearch_is_told_apart() {
    let space = Space::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read, Write};
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>");
        }
    });
    let mut command = space.command(&["ingest", photo("query/biden.jpg").to_str().unwrap()]);
    command.env("ELASTICSEARCH_URL", url);
    let refused = run(command).expect(2);
    assert!(refused.stderr.contains("but not as elasticsearch does"), "{refused:?}");
}
