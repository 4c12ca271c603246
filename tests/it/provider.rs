//! `--provider openvino`: the same vectors by other kernels, and what happens where they are not there.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Ran, facedex_at, photo, run};

/// A command that needs no Elasticsearch.
fn facedex(arguments: &[&str], with: impl FnOnce(&mut Command)) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = facedex_at("http://127.0.0.1:9", folder.path(), arguments);
    with(&mut command);
    run(command)
}

fn faces(of: &Value) -> &[Value] {
    of["faces"].as_array().unwrap()
}

#[test]
fn where_openvino_is_missing_onnx_runtime_does_its_work_and_says_so() {
    let four = photo("gallery-unlabelled/four-people.jpg");
    let ask = ["represent", four.to_str().unwrap(), "--json"];
    let plain = facedex(&ask, |_| ()).expect(0);
    let library = facedex(&["models", "path", "runtime"], |_| ()).expect(0);
    let with = [&ask[..], &["--provider", "openvino"]].concat();

    // A library that was built without it.
    let other = facedex(&with, |command| {
        command.env("ORT_DYLIB_PATH", library.stdout.trim());
    });
    let other = other.expect(0);
    assert!(other.stderr.contains("OpenVINO cannot be used"), "{other:?}");
    assert_eq!(other.json(), plain.json());

    // Never fetched.
    let models = facedex(&["models", "path"], |_| ()).expect(0);
    let cache = tempfile::tempdir().unwrap();
    let library = Path::new(library.stdout.trim());
    let [version, name] = [library.parent().unwrap(), library].map(|path| path.file_name().unwrap());
    let own = cache.path().join("onnxruntime").join(version);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(library, own.join(name)).unwrap();
    let unfetched = facedex(&with, |command| {
        command
            .env("FACEDEX_CACHE_DIR", cache.path())
            .env("FACEDEX_MODELS_DIR", models.stdout.trim());
    });
    let unfetched = unfetched.expect(0);
    for text in ["OpenVINO cannot be used", "facedex models fetch --provider openvino"] {
        assert!(unfetched.stderr.contains(text), "{unfetched:?}");
    }
    assert_eq!(unfetched.json(), plain.json());
}

#[test]
fn openvino_gives_the_same_vectors() {
    let fetched = facedex(&["models", "fetch", "--provider", "openvino"], |_| ()).expect(0);
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert!(fetched.stderr.contains("no ONNX Runtime with OpenVINO"), "{fetched:?}");
        return;
    }
    let four = photo("gallery-unlabelled/four-people.jpg");
    let ask = ["represent", four.to_str().unwrap(), "--json", "--provider"];
    let [cpu, openvino] = ["cpu", "openvino"].map(|provider| {
        let ran = facedex(&[&ask[..], &[provider]].concat(), |_| ()).expect(0);
        assert_eq!(ran.stderr, "", "{ran:?}");
        ran.json()
    });
    assert_eq!(faces(&cpu).len(), faces(&openvino).len());
    for (ours, theirs) in faces(&cpu).iter().zip(faces(&openvino)) {
        let vector = |face: &Value| -> Vec<f64> { serde_json::from_value(face["embedding"].clone()).unwrap() };
        let (ours, theirs) = (vector(ours), vector(theirs));
        let cosine: f64 = ours.iter().zip(&theirs).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{cosine}");
        assert_ne!(ours, theirs, "other kernels were asked for");
    }
}
