//! Every way in which a request can fail, between facedex and a real node: nothing is lost, nothing is there twice, and
//! every failure is named.
//!
//! `cargo test --test it faults -- --nocapture` prints the fault table of the documentation.

mod ends;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::harness::node::{request, shared};
use crate::harness::proxy::{BLOCKED, Fault, HTML, Kind, Proxy, REJECTED, Seen};
use crate::harness::{Ran, Space, full, images, photo, run};

/// Photos that can be used, and two that cannot.
const PHOTOS: u64 = 60;
const UNUSABLE: u64 = 2;

/// A folder with photos of one face, of four, of 29 and of none.
fn fill(space: &Space) -> String {
    let mut number = 0;
    let mut put = |bytes: &[u8]| {
        number += 1;
        space.put(&format!("many/{number:03}.png"), bytes);
    };
    for bytes in images::variants("query/biden.jpg", 38) {
        put(&bytes);
    }
    for bytes in images::variants("gallery-unlabelled/four-people.jpg", 17) {
        put(&bytes);
    }
    put(&std::fs::read(photo("crowd/solvay-1927.png")).unwrap());
    for bytes in images::variants("formats/no-face.jpg", 2) {
        put(&bytes);
    }
    put(b"a letter, not a photo");
    put(&images::png_header(30_000, 30_000));
    assert_eq!(number, PHOTOS);
    space.path("many")
}

fn faulty(space: &Space, proxy: &Proxy, arguments: &[&str]) -> Command {
    let all: Vec<&str> = ["ingest", "--json"].iter().chain(arguments).copied().collect();
    let mut command = space.command(&all);
    command.env("ELASTICSEARCH_URL", &proxy.url);
    command
}

/// What was to be, and what the node has.
#[derive(Debug, Default, PartialEq)]
struct Count {
    found: usize,
    duplicates: usize,
    lost: usize,
}

fn count(space: &Space, expected: &BTreeSet<String>) -> Count {
    let documents = space.documents();
    let places: BTreeSet<String> = documents
        .values()
        .map(|document| format!("{} {}", document["image"]["hash"], document["face"]["box"]))
        .collect();
    let unexpected = documents.keys().filter(|id| !expected.contains(*id)).count();
    Count {
        found: documents.len(),
        duplicates: (documents.len() - places.len()).max(unexpected),
        lost: expected.iter().filter(|id| !documents.contains_key(*id)).count(),
    }
}

fn figure(summary: &Value, name: &str) -> u64 {
    summary[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {summary}"))
}

/// A fault, and which requests it meets: every `every`th bulk request, and every second look-up and refresh.
struct Case {
    name: &'static str,
    every: usize,
    bulk: Option<Fault>,
    look_up: Option<Fault>,
    refresh: Option<Fault>,
    most_bytes: Option<usize>,
}

impl Case {
    /// The fault wherever it can be.
    fn new(name: &'static str, fault: Fault) -> Self {
        Self {
            name,
            every: 3,
            bulk: Some(fault.clone()),
            look_up: Some(fault.clone()),
            refresh: Some(fault),
            most_bytes: None,
        }
    }

    /// A fault of bulk requests.
    fn bulk(name: &'static str, fault: Fault) -> Self {
        Self {
            look_up: None,
            refresh: None,
            ..Self::new(name, fault)
        }
    }

    /// Answers to bulk requests are lost, so that ids are looked up, and that fails too.
    fn look_up(name: &'static str, fault: Fault) -> Self {
        Self {
            bulk: Some(Fault::ResetAfter),
            look_up: Some(fault),
            refresh: None,
            ..Self::new(name, Fault::ResetAfter)
        }
    }

    fn plan(&self) -> impl FnMut(&Seen) -> Option<Fault> + Send + 'static {
        let (every, bulk, look_up, refresh) = (
            self.every,
            self.bulk.clone(),
            self.look_up.clone(),
            self.refresh.clone(),
        );
        move |seen| match seen.kind {
            Kind::Bulk if seen.number % every == 0 => bulk.clone(),
            Kind::Mget if seen.number % 2 == 0 => look_up.clone(),
            Kind::Refresh if seen.number % 2 == 0 => refresh.clone(),
            _ => None,
        }
    }
}

fn items(code: u16, kind: &'static str, reason: &'static str) -> Fault {
    Fault::Items {
        every: 3,
        code,
        kind,
        reason,
    }
}

const MAPPING_REASON: &str = "[1:2211] failed to parse field [face.embedding] of type [dense_vector] in document with id 'x'. Preview of field's value: '...': the vector's magnitude is zero, and cosine needs one that is not; this sentence goes on for long enough that whoever cuts reasons at a round number of characters would cut it, and so it must be there to its very end";

fn cases() -> Vec<Case> {
    let throttled = Fault::Status {
        code: 429,
        retry_after: Some(1),
        body: REJECTED,
    };
    let gateway = Fault::StatusAfter { code: 502, body: HTML };
    vec![
        Case::new("429", Fault::status(429, REJECTED)),
        Case::new("429 with Retry-After: 1", throttled.clone()),
        Case::new("503", Fault::status(503, "{}")),
        Case::new("HTML 502", Fault::status(502, HTML)),
        Case::new("HTML 502 though done", gateway.clone()),
        Case::new("reset before the node", Fault::ResetBefore),
        Case::new("reset after the node", Fault::ResetAfter),
        Case {
            every: 6,
            ..Case::new("hang, not done", Fault::HangBefore)
        },
        Case {
            every: 6,
            ..Case::new("hang, though done", Fault::HangAfter)
        },
        Case::new("answer cut off", Fault::TruncatedBody),
        Case::new("answer's JSON cut off", Fault::TruncatedJson),
        Case::new("slow answer", Fault::Slow(300)),
        Case::new("403 block", Fault::status(403, BLOCKED)),
        Case::bulk(
            "items: 429",
            items(429, "es_rejected_execution_exception", "queue full"),
        ),
        Case::bulk(
            "items: 503",
            items(503, "unavailable_shards_exception", "primary shard"),
        ),
        Case::bulk(
            "items: 403 block",
            items(403, "cluster_block_exception", "blocked by: flood"),
        ),
        Case::bulk("items: one missing", Fault::MissingItem),
        Case {
            most_bytes: Some(9000),
            ..Case::bulk("413 before the body", Fault::Slow(10))
        },
        Case::look_up("look-up: 503", Fault::status(503, "{}")),
        Case::look_up("look-up: 429 with Retry-After", throttled),
        Case::look_up("look-up: HTML 502", gateway),
        Case::look_up("look-up: reset", Fault::ResetBefore),
        Case::look_up("look-up: JSON cut off", Fault::TruncatedJson),
        Case::look_up("look-up: shards missing", Fault::ShardFailure),
    ]
}

/// What every change is tested with; `FACEDEX_TEST_FULL=1` tries all.
const QUICK: [&str; 9] = [
    "429 with Retry-After: 1",
    "reset after the node",
    "hang, though done",
    "answer's JSON cut off",
    "items: 429",
    "items: 403 block",
    "items: one missing",
    "413 before the body",
    "look-up: shards missing",
];

struct Table {
    space: Space,
    folder: String,
    /// The ids of all faces.
    expected: BTreeSet<String>,
}

impl Table {
    /// Runs with the proxy, compares the node with the truth, prints the row, runs again.
    fn row(&self, name: &str, proxy: &Proxy) {
        let space = Space::new();
        let arguments = [
            self.folder.as_str(),
            "--bulk-faces",
            "8",
            "--elasticsearch-timeout",
            "3s",
        ];
        let first = run(faulty(&space, proxy, &arguments));
        let summary = first.expect(1).json();
        let rejected = rejected(proxy);
        let expected: BTreeSet<String> = self.expected.difference(&rejected).cloned().collect();
        let counted = count(&space, &expected);
        let injected: usize = proxy.injected().values().sum();
        println!(
            "| {name} | {} | {} | {} | {} | {} | {injected} |",
            figure(&summary, "images"),
            expected.len(),
            counted.found,
            counted.duplicates,
            counted.lost
        );
        assert!(injected > 0, "{name}: nothing was injected");
        assert_eq!(
            counted,
            Count {
                found: expected.len(),
                ..Count::default()
            },
            "{name}"
        );
        let photos_rejected = rejected
            .iter()
            .map(|id| id.split('-').next())
            .collect::<BTreeSet<_>>()
            .len() as u64;
        let figures = ["images", "faces", "indexed", "existing", "failed", "no_face"];
        assert_eq!(
            figures.map(|figure_name| figure(&summary, figure_name)),
            [
                PHOTOS,
                self.expected.len() as u64,
                expected.len() as u64,
                0,
                UNUSABLE + photos_rejected,
                2
            ],
            "{name}: {figures:?} of {summary}"
        );
        let letters = space.dead_letters();
        assert_eq!(letters.len() as u64, UNUSABLE + photos_rejected, "{name}: {letters:?}");
        let refused: Vec<&Value> = letters.iter().filter(|letter| letter["stage"] == "index").collect();
        assert_eq!(refused.len() as u64, photos_rejected);
        for letter in refused {
            let reason = letter["reason"].as_str().unwrap();
            assert!(
                reason.contains("mapper_parsing_exception") && reason.contains(MAPPING_REASON),
                "{reason}"
            );
        }
        // Again: only what failed is looked at, and only what was refused is written.
        let again = space.ingest(1, &[&self.folder]);
        assert_eq!(figure(&again, "indexed"), rejected.len() as u64, "{name}: {again}");
        assert_eq!(
            figure(&again, "done_before"),
            PHOTOS - UNUSABLE - photos_rejected,
            "{name}: {again}"
        );
        assert_eq!(count(&space, &self.expected).lost, 0, "{name}");
    }
}

/// Items that were refused for good.
fn rejected(proxy: &Proxy) -> BTreeSet<String> {
    proxy
        .seen()
        .iter()
        .filter(|seen| seen.fault == Some("items 400"))
        .flat_map(|seen| seen.ids.iter().step_by(3).cloned())
        .collect()
}

#[test]
fn every_fault_costs_no_face_and_no_face_twice() {
    let space = Space::new();
    let folder = fill(&space);
    let clean = space.ingest(1, &[&folder, "--no-journal"]);
    let expected: BTreeSet<String> = space.documents().into_keys().collect();
    assert_eq!(expected.len(), 38 + 17 * 4 + 29, "{clean}");
    println!("| fault | photos in | documents expected | found | duplicates | lost | injected |");
    println!("|---|---|---|---|---|---|---|");
    let table = Table {
        space,
        folder,
        expected,
    };
    let wanted = |name: &str| full() || QUICK.contains(&name);
    for case in cases().iter().filter(|case| wanted(case.name)) {
        let proxy = Proxy::start(&table.space.url, case.plan());
        if let Some(limit) = case.most_bytes {
            proxy.most_bytes(limit);
        }
        table.row(case.name, &proxy);
    }
    let too_large = Proxy::start(&table.space.url, |seen| {
        (seen.kind == Kind::Bulk && seen.bytes > 9000).then(|| Fault::status(413, ""))
    });
    table.row("413 above 9000 bytes", &too_large);
    let refused = Case {
        every: 1,
        ..Case::bulk("", items(400, "mapper_parsing_exception", MAPPING_REASON))
    };
    let refused = Proxy::start(&table.space.url, refused.plan());
    table.row("items: 400", &refused);
    for seed in if full() { 1..7 } else { 1..2 } {
        table.row(&format!("mix, seed {seed}"), &Proxy::start(&table.space.url, mix(seed)));
    }
}

/// Half of all requests fail, each in a way of its own.
fn mix(seed: u64) -> impl FnMut(&Seen) -> Option<Fault> + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    let cases = cases();
    move |seen| {
        if seen.kind == Kind::Other || random.random_bool(0.5) {
            return None;
        }
        let case = &cases[random.random_range(0..cases.len())];
        match seen.kind {
            Kind::Bulk => case.bulk.clone(),
            Kind::Mget => case.look_up.clone(),
            _ => case.refresh.clone(),
        }
    }
}
