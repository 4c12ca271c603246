//! What all tests stand on: a node, photos, the binary, and collections that are gone afterwards.

pub mod api;
pub mod cluster;
pub mod front;
pub mod images;
pub mod node;
pub mod proxy;
pub mod server;
pub mod tee;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether all of the long suites are to be run, or the part of them that fits into every change's tests.
pub fn full() -> bool {
    std::env::var("FACEDEX_TEST_FULL").is_ok_and(|value| value == "1")
}

/// A photo of `dev/photos`, which is run if need be.
pub fn photo(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        must(Command::new(root().join("dev/photos")));
        facedex_face::models::catalog::cache_dir().unwrap().join("photos")
    });
    let path = folder.join(name);
    assert!(path.exists(), "dev/photos fetched no {name}");
    path
}

/// Makes sure that the models are there.
pub fn fetch_models() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let mut fetch = Command::new(env!("CARGO_BIN_EXE_facedex"));
        fetch.args(["models", "fetch"]);
        must(fetch);
    });
}

/// Runs a helper, which must succeed.
fn must(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}");
}

/// The binary, in a folder of its own and without anything of the caller's environment that could lead it elsewhere.
pub fn facedex_at(url: &str, folder: &Path, arguments: &[&str]) -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_facedex")), url, folder, arguments)
}

fn program_at(program: &Path, url: &str, folder: &Path, arguments: &[&str]) -> Command {
    fetch_models();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let keep = ["FACEDEX_CACHE_DIR", "FACEDEX_MODELS_DIR"].contains(&name.as_str());
        let others = ["ELASTICSEARCH_", "AWS_"];
        if (name.starts_with("FACEDEX_") && !keep) || others.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
        .args(arguments)
        .env("ELASTICSEARCH_URL", url)
        .env("FACEDEX_JOURNAL_DIR", folder.join("journal"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .current_dir(folder)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The last line of standard output, which `--json` promises to be the result.
    pub fn json(&self) -> Value {
        let line = self
            .stdout
            .lines()
            .last()
            .unwrap_or_else(|| panic!("no output: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

pub fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A collection of one test on the shared node, with a folder to work in; removed when it goes out of scope.
pub struct Space {
    pub url: String,
    pub name: String,
    pub folder: tempfile::TempDir,
}

impl Space {
    pub fn new() -> Self {
        Self::at(node::shared())
    }

    pub fn at(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            url: url.to_owned(),
            name: format!("test-{}-{number}", std::process::id()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = facedex_at(&self.url, self.folder.path(), arguments);
        command.env("FACEDEX_COLLECTION", &self.name);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// Runs `facedex-bench`, which the workspace's tests build beside the other.
    pub fn bench(&self, arguments: &[&str]) -> Ran {
        let program = Path::new(env!("CARGO_BIN_EXE_facedex")).with_file_name("facedex-bench");
        assert!(
            program.is_file(),
            "no {}: run `cargo test --workspace --test it`",
            program.display()
        );
        run(program_at(&program, &self.url, self.folder.path(), arguments))
    }

    /// Runs `ingest --json` and gives the summary.
    #[track_caller]
    pub fn ingest(&self, code: i32, arguments: &[&str]) -> Value {
        let all: Vec<&str> = ["ingest", "--json"].iter().chain(arguments).copied().collect();
        self.run(&all).expect(code).json()
    }

    /// The index behind the alias.
    pub fn index(&self) -> String {
        format!("facedex-faces-{}-000001", self.name)
    }

    /// A request to Elasticsearch itself.
    pub fn elastic(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        node::request(&self.url, method, path, body)
    }

    /// Lets an index that a test makes pass for one that facedex made: its mark names it.
    pub fn mark(&self, index: &str) {
        let (_, mut found) = self.elastic("GET", &format!("/{index}"), None);
        let mut meta = found[index]["mappings"]["_meta"].take();
        meta["index"] = serde_json::json!({"uuid": found[index]["settings"]["index"]["uuid"]});
        let put = self.elastic(
            "PUT",
            &format!("/{index}/_mapping"),
            Some(serde_json::json!({"_meta": meta})),
        );
        assert_eq!(put.0, 200, "{put:?}");
    }

    /// Whether the collection was made.
    pub fn exists(&self) -> bool {
        self.elastic("GET", &format!("/{}", self.index()), None).0 == 200
    }

    /// The number of faces that a search can find.
    pub fn count(&self) -> u64 {
        self.elastic("POST", &format!("/{}/_refresh", self.name), None);
        self.elastic("GET", &format!("/{}/_count", self.name), None).1["count"]
            .as_u64()
            .unwrap_or_else(|| panic!("{} cannot be counted", self.name))
    }

    /// The same, and 0 where there is no collection yet.
    pub fn count_or_none(&self) -> u64 {
        match self.elastic("GET", &format!("/{}", self.name), None).0 {
            404 => 0,
            _ => self.count(),
        }
    }

    /// Every stored document, by id.
    pub fn documents(&self) -> std::collections::BTreeMap<String, Value> {
        self.count();
        let body = serde_json::json!({"size": 10_000, "query": {"match_all": {}}});
        let (_, reply) = self.elastic("POST", &format!("/{}/_search", self.name), Some(body));
        reply["hits"]["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].clone()))
            .collect()
    }

    /// The lines of the dead-letter file.
    pub fn dead_letters(&self) -> Vec<Value> {
        let path = self.folder.path().join("facedex.dead-letter.ndjson");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A path in the test's folder, as text.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Copies a photo of `dev/photos` into the test's folder.
    pub fn put_photo(&self, photo_name: &str, name: &str) -> String {
        self.put(name, &std::fs::read(photo(photo_name)).unwrap())
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        self.path(name)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // All of its versions: a migration makes others, and a test's own hand copies.
        let all = format!("/facedex-faces-{0}-*,hand-{0}*", self.name);
        let found = node::try_request(&self.url, "GET", &all, None).map(|(_, indices)| indices);
        for index in found
            .iter()
            .flat_map(|indices| indices.as_object())
            .flat_map(|indices| indices.keys())
        {
            node::try_request(&self.url, "DELETE", &format!("/{index}"), None);
        }
    }
}
