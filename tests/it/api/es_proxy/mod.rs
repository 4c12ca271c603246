//! The Elasticsearch proxy.

mod attacks;
pub mod clients;
mod msearch;
mod passing;
mod refusals;
mod search;

use std::sync::{Arc, Mutex, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::harness::api::Api;
use crate::harness::tee::Tee;
use crate::harness::{Space, photo};

/// A collection with the gallery, a server with the proxy, and a record of all that the server asks the node.
pub struct Proxied {
    pub space: Space,
    pub serve: Api,
    pub tee: Tee,
    /// The photo that is searched for, as a builder.
    pub builder: String,
    /// Its vector, as `facedex represent` prints it.
    pub vector: String,
}

/// The audit log in the collection's folder.
const AUDIT: &str = "audit.ndjson";

/// The same for all tests that run at the same time.
pub fn proxy() -> Arc<Proxied> {
    static DOOR: Mutex<Weak<Proxied>> = Mutex::new(Weak::new());
    let mut shared = DOOR.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(proxy) = shared.upgrade() {
        return proxy;
    }
    let space = Space::new();
    space.ingest(0, &[photo("gallery").to_str().unwrap(), "--person-from-dir"]);
    let tee = Tee::start(&space.url);
    let audit = space.path(AUDIT);
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "2",
        "--audit-log",
        &audit,
    ];
    let mut command = space.command(&arguments);
    // Credentials of our own, which must not go along with requests of others; the node without security reads none.
    command.env(
        "ELASTICSEARCH_URL",
        format!("http://ours:secret@127.0.0.1:{}", tee.port),
    );
    // As much as an operator who looks for a fault would have logged.
    command.env("FACEDEX_LOG", "debug,ort=error");
    let proxy = Arc::new(Proxied {
        serve: Api::run(command),
        tee,
        builder: builder("query/obama-3.jpg", "\"largest\""),
        vector: vector(&space, "query/obama-3.jpg", "largest"),
        space,
    });
    *shared = Arc::downgrade(&proxy);
    proxy
}

/// `"query_vector_builder": {..}` for a photo.
pub fn builder(name: &str, face: &str) -> String {
    let image = STANDARD.encode(std::fs::read(photo(name)).unwrap());
    format!(r#""query_vector_builder": {{"face_embedding": {{"image": "{image}", "face": {face}}}}}"#)
}

/// `"query_vector": [..]` for a face of a photo, digit by digit as `represent` prints it.
pub fn vector(space: &Space, name: &str, face: &str) -> String {
    #[derive(Deserialize)]
    struct Line<'l> {
        #[serde(borrow)]
        faces: Vec<Face<'l>>,
    }
    #[derive(Deserialize)]
    struct Face<'l> {
        #[serde(borrow)]
        embedding: &'l RawValue,
    }
    let ran = space
        .run(&["represent", photo(name).to_str().unwrap(), "--face", face])
        .expect(0);
    let line: Line<'_> = serde_json::from_str(&ran.stdout).unwrap();
    format!(r#""query_vector": {}"#, line.faces[0].embedding.get())
}

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Got {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer without `took`, which comes first and is never the same.
    pub fn without_took(&self) -> String {
        let text = self.text();
        assert!(self.status == 200 && text.starts_with("{\"took\":"), "{text}");
        text[text.find(',').unwrap()..].to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The reason of an error, which must have Elasticsearch's shape, this status and this type.
    #[track_caller]
    pub fn refusal(self, status: u16, kind: &str) -> String {
        let got = self.expect(status);
        assert_eq!(got.headers["x-elastic-product"], "Elasticsearch");
        error(&got.json(), status, kind)
    }
}

/// The reason in an error of Elasticsearch's shape.
#[track_caller]
pub fn error(body: &Value, status: u16, kind: &str) -> String {
    assert_eq!(body["status"], status, "{body}");
    let error = &body["error"];
    assert_eq!(error["type"], kind, "{body}");
    assert_eq!(error["root_cause"][0]["type"], kind, "{body}");
    assert_eq!(error["root_cause"][0]["reason"], error["reason"], "{body}");
    error["reason"].as_str().unwrap().to_owned()
}

/// A client that shows bodies as they come.
pub fn http() -> Client {
    Client::builder().no_gzip().build().unwrap()
}

pub fn send(request: RequestBuilder) -> Got {
    let reply = request.send().unwrap();
    Got {
        status: reply.status().as_u16(),
        headers: reply.headers().clone(),
        body: reply.bytes().unwrap().to_vec(),
    }
}

/// Posts JSON; newline-delimited where the path is `_msearch`'s.
pub fn post(url: &str, path: &str, body: impl Into<Vec<u8>>) -> Got {
    let is_multi = path.split('?').next().unwrap().ends_with("_msearch");
    let kind = if is_multi {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let request = http().post(format!("{url}{path}")).header("content-type", kind);
    send(request.body(body.into()))
}

impl Proxied {
    /// Posts to the proxy.
    pub fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Got {
        post(&self.serve.url, &format!("/es{path}"), body)
    }

    /// The lines of the audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.space.path(AUDIT)).unwrap_or_default();
        // The last line may be half there.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Posts to the node itself.
    pub fn straight(&self, path: &str, body: impl Into<Vec<u8>>) -> Got {
        post(self.space.url.trim_end_matches('/'), path, body)
    }

    /// `/NAME/_search` of the collection.
    pub fn search(&self) -> String {
        format!("/{}/_search", self.space.name)
    }

    /// A body with the photo in place of `@`.
    pub fn with_photo(&self, body: &str) -> String {
        body.replace('@', &self.builder)
    }

    /// The same with its vector.
    pub fn with_vector(&self, body: &str) -> String {
        body.replace('@', &self.vector)
    }
}
