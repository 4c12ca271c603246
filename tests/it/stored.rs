//! What earlier releases stored stays readable: node data folders and the files beside them (`tests/stored`, made by
//! `dev/release-data`), opened by the binary under test on every version of Elasticsearch that can read the folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, send};
use crate::harness::node::{self, Node};
use crate::harness::{Ran, facedex_at, full, photo, root, run};

/// An archive, unpacked, and a node on its data.
struct Stored {
    _folder: tempfile::TempDir,
    files: PathBuf,
    node: Node,
    manifest: Value,
    _photos: Photos,
}

/// The photos that the journal knows, at the place where they were read. One test at a time has them.
struct Photos {
    place: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Photos {
    fn put(manifest: &Value) -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = PathBuf::from(manifest["photos"].as_str().unwrap());
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(manifest["modified"].as_u64().unwrap());
        for (name, source) in manifest["files"].as_object().unwrap() {
            let path = place.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(photo(source.as_str().unwrap()), &path).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        }
        Self { place, _one: one }
    }
}

impl Drop for Photos {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

/// The version of the node that all tests share, such as [9, 5, 3].
fn running() -> Vec<u64> {
    let (_, info) = node::request(node::shared(), "GET", "/", None);
    numbers(info["version"]["number"].as_str().unwrap())
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap()).collect()
}

impl Stored {
    /// `None` where the node is older than the one that wrote the folder: Elasticsearch reads no newer ones.
    fn open(release: &str, elasticsearch: &str) -> Option<Self> {
        if running() < numbers(elasticsearch) {
            eprintln!("the folder of {elasticsearch} is not opened: the node under test is older");
            return None;
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let archive = root().join(format!("tests/stored/{release}-es-{elasticsearch}.tar.gz"));
        let unzipped = flate2::read::GzDecoder::new(std::fs::File::open(&archive).unwrap());
        tar::Archive::new(unzipped).unpack(folder.path()).unwrap();
        let (node, files) = (folder.path().join("node"), folder.path().join("files"));
        std::fs::write(node.join(".facedex-node"), "").unwrap();
        let manifest: Value = serde_json::from_slice(&std::fs::read(files.join("manifest.json")).unwrap()).unwrap();
        Some(Self {
            node: Node::start(&node, 0),
            _photos: Photos::put(&manifest),
            files,
            manifest,
            _folder: folder,
        })
    }

    #[track_caller]
    fn run(&self, code: i32, arguments: &[&str]) -> Ran {
        run(facedex_at(&self.node.url, &self.files, arguments)).expect(code)
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        self.run(code, &[arguments, &["--json"]].concat()).json()
    }

    #[track_caller]
    fn expect_faces(&self, collection: &str, faces: u64, index_type: &str) {
        node::request(&self.node.url, "POST", &format!("/{collection}/_refresh"), None);
        let status = self.json(0, &["collection", "status", collection]);
        assert_eq!(
            (&status["faces"], &status["index_type"]),
            (&json!(faces), &json!(index_type)),
            "{status}"
        );
    }

    /// The faces of a collection, as they are exported.
    fn faces(&self, collection: &str) -> Vec<Value> {
        let exported = self.run(0, &["collection", "export", collection]).stdout;
        let lines = exported.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["_id"].is_string()).collect()
    }
}

/// Every collection is there, is exported, and each face finds itself first.
fn search(stored: &Stored, api: &Api) {
    for (name, of) in stored.manifest["collections"].as_object().unwrap() {
        let (faces, index_type) = (of["faces"].as_u64().unwrap(), of["index_type"].as_str().unwrap());
        stored.expect_faces(name, faces, index_type);
        let all = stored.faces(name);
        assert_eq!(all.len() as u64, faces, "{name}");
        if name == "deepface" {
            continue; // Vectors of a space for which there is no model here.
        }
        for face in all.iter().step_by(7) {
            let question = json!({"collection": name, "embedding": face["_source"]["face"]["embedding"], "k": 3});
            let found = api.post_json("/v1/search", &question).expect(200);
            let first = &found["faces"][0]["hits"][0];
            assert_eq!(first["id"], face["_id"], "{name}: {found}");
            assert!(first["similarity"].as_f64() > Some(0.999), "{name}: {found}");
        }
    }
}

/// What an older facedex or another Elasticsearch made is as it should be, once `repair` has set the settings right.
fn check(stored: &Stored) {
    for name in stored.manifest["collections"].as_object().unwrap().keys() {
        stored.run(0, &["collection", "repair", name]);
        let report = stored.json(0, &["collection", "check", name]);
        assert_eq!(report["drift"]["count"], 0, "{name}: {report}");
    }
}

/// The journal knows the photos: none is read again.
fn resume(stored: &Stored) {
    let photos = stored.manifest["photos"].as_str().unwrap();
    let options = [
        "--collection",
        "people",
        "--person-from-dir",
        "--label",
        "album=first",
        "--events",
    ];
    let report = stored.json(0, &[&["ingest", photos], &options[..]].concat());
    assert_eq!(
        (&report["images"], &report["done_before"]),
        (&json!(3), &json!(3)),
        "{report}"
    );
    stored.expect_faces("people", 3, "int8_hnsw");
    // Without it, the index knows them.
    let report = stored.json(0, &[&["ingest", photos, "--no-journal"], &options[..]].concat());
    assert_eq!(
        (&report["indexed"], &report["existing"]),
        (&json!(0), &json!(3)),
        "{report}"
    );
}

fn delete_and_forget(stored: &Stored) {
    // Who was deleted then does not come back now.
    let before = stored.json(0, &["collection", "import", "forgotten", "--from", "forgotten.ndjson"]);
    assert_eq!(
        (&before["deleted"], &before["existing"]),
        (&json!(4), &json!(36)),
        "{before}"
    );
    stored.expect_faces("forgotten", 36, "int8_hnsw");
    let tombstones = node::request(&stored.node.url, "GET", "/facedex-tombstones*/_count", None).1;
    assert_eq!(tombstones["count"], 4, "{tombstones}");
    // Who is deleted now is gone, from the index that a migration left behind too.
    for collection in ["moved", "plain-int8_hnsw"] {
        let mut command = vec!["person", "delete", "person-1", "--yes", "--collection", collection];
        // Half a minute each: Elasticsearch keeps files for so long.
        command.extend(full().then_some("--purge"));
        let deleted = stored.json(0, &command);
        assert_eq!(deleted["deleted"], 4, "{deleted}");
        assert!(
            stored
                .faces(collection)
                .iter()
                .all(|face| face["_source"]["person"]["id"] != "person-1")
        );
    }
}

fn migrate(stored: &Stored) {
    let moved = stored.json(0, &["collection", "migrate", "midway", "--index-type", "hnsw"]);
    assert_eq!(
        (&moved["to"], &moved["faces"]),
        (&json!("facedex-faces-midway-000002"), &json!(800)),
        "{moved}"
    );
    stored.expect_faces("midway", 800, "hnsw");
    stored.run(0, &["collection", "retire", "moved"]);
}

fn label(stored: &Stored) {
    let again = stored.json(0, &["cluster", "--collection", "grouped"]);
    assert_eq!(again["written"], json!({"changed": 0, "passed_over": 0}), "{again}");
    let group = again["largest"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["mostly"].is_null())
        .unwrap();
    let id = group["id"].as_str().unwrap();
    stored.run(0, &["label", id, "--person", "bob", "--collection", "grouped"]);
    let named = |person: &str| {
        stored
            .faces("grouped")
            .iter()
            .filter(|face| face["_source"]["person"]["id"] == person)
            .count()
    };
    let ada = stored.manifest["collections"]["grouped"]["ada"].as_u64().unwrap();
    assert_eq!(
        (named("ada") as u64, named("bob") as u64),
        (ada, group["faces"].as_u64().unwrap())
    );
}

fn transfer(stored: &Stored) {
    let size = |name: &str| std::fs::metadata(stored.files.join(name)).unwrap().len();
    let before = size("people.ndjson");
    let whole = stored.json(0, &["collection", "export", "people", "--to", "people.ndjson"]);
    assert_eq!((&whole["faces"], size("people.ndjson")), (&json!(3), before), "{whole}");
    let imported = stored.json(0, &["collection", "import", "copy", "--from", "grouped.ndjson"]);
    assert_eq!(imported["imported"], 18, "{imported}");
    let options = ["--space", "facenet512@deepface", "--person-from-dir"];
    let command = ["collection", "import", "deepface", "--from", "ds_model_facenet512.pkl"];
    let imported = stored.json(0, &[&command[..], &options].concat());
    assert_eq!(
        (&imported["imported"], &imported["existing"]),
        (&json!(0), &json!(6)),
        "{imported}"
    );
    let dead = stored.json(
        1,
        &["ingest", "--retry-dead", "dead-letter.ndjson", "--collection", "people"],
    );
    assert_eq!(dead["failed"], 1, "{dead}");
}

fn settings(stored: &Stored) {
    let query = photo("query/obama-3.jpg");
    let query = query.to_str().unwrap();
    // facedex.toml lies in the working directory: collection, k and the rate are its.
    let found = stored.json(0, &["search", query]);
    let face = &found["faces"][0];
    assert_eq!(
        (&found["collection"], face["hits"].as_array().unwrap().len()),
        (&json!("people"), 2),
        "{found}"
    );
    assert_eq!(face["threshold"]["fpir"], 0.001, "{found}");
    // What today's flags say otherwise is refused with them.
    std::fs::rename(
        stored.files.join("facedex-effort.toml"),
        stored.files.join("facedex.toml"),
    )
    .unwrap();
    let refused = stored.run(2, &["search", query]);
    assert!(
        refused.stderr.contains("--candidates 2000 --rescored 2000"),
        "{refused:?}"
    );
    std::fs::remove_file(stored.files.join("facedex.toml")).unwrap();
    let calibrated = stored.json(
        1,
        &[
            "--catalog",
            "catalog.toml",
            "verify",
            query,
            photo("query/biden.jpg").to_str().unwrap(),
        ],
    );
    assert!(
        (calibrated["threshold"]["similarity"].as_f64().unwrap() - 0.4688).abs() < 1e-3,
        "{calibrated}"
    );
}

fn serve(stored: &Stored) {
    let keyed = |key: &str| -> (Api, Answer) {
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--keys",
            "keys.json",
            "--audit-log",
            "audit.log",
            "--events",
        ];
        let api = Api::run(facedex_at(&stored.node.url, &stored.files, &arguments));
        let vector = &stored.faces("people")[0]["_source"]["face"]["embedding"];
        let question = json!({"collection": "people", "embedding": vector});
        let answer = send(
            api.request("POST", "/v1/identify")
                .header("x-api-key", key)
                .json(&question),
        );
        (api, answer)
    };
    let lines = || {
        std::fs::read_to_string(stored.files.join("audit.log"))
            .unwrap()
            .lines()
            .count()
    };
    let before = lines();
    let (api, answer) = keyed(stored.manifest["key"].as_str().unwrap());
    answer.expect(200);
    send(api.request("GET", "/v1/stats?collection=people")).refused(401, "unauthorized");
    node::wait_until("the question is in the audit log", || lines() > before);
    let listed = stored.json(0, &["keys", "list", "--keys", "keys.json"]);
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2), "{listed}");
    drop(api);
    let actions = |name: &str| {
        node::request(&stored.node.url, "POST", "/facedex-events-*/_refresh", None);
        let body = json!({"query": {"term": {"event.action": name}}});
        node::request(&stored.node.url, "POST", "/facedex-events-*/_count", Some(body)).1["count"]
            .as_u64()
            .unwrap()
    };
    // One run of the release, two of today's.
    node::wait_until("the events are there", || actions("ingest-end") == 3);
}

fn use_all(stored: &Stored) {
    let api = Api::run(facedex_at(
        &stored.node.url,
        &stored.files,
        &["serve", "--listen", "127.0.0.1:0"],
    ));
    search(stored, &api);
    drop(api);
    check(stored);
    transfer(stored);
    resume(stored);
    delete_and_forget(stored);
    migrate(stored);
    label(stored);
    settings(stored);
    serve(stored);
}

#[test]
fn what_0_1_0_stored_on_8_19_0_is_used() {
    if let Some(stored) = Stored::open("0.1.0", "8.19.0") {
        use_all(&stored);
    }
}

#[test]
fn what_0_1_0_stored_on_9_2_0_is_used() {
    if let Some(stored) = Stored::open("0.1.0", "9.2.0") {
        use_all(&stored);
    }
}

/// Every archive has its test.
#[test]
fn all_that_is_kept_is_tested() {
    let mut kept: Vec<String> = std::fs::read_dir(root().join(Path::new("tests/stored")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["0.1.0-es-8.19.0.tar.gz", "0.1.0-es-9.2.0.tar.gz"]);
}
