//! What people do to an index by hand, times everything that facedex does with it: each is the right answer, or an error that
//! names the cause. The table stands in `docs/hands.md`; FACEDEX_UPDATE=1 writes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::images::variants;
use crate::harness::{Ran, Space, full, photo, root};

/// A hand: what it is called, what it does to a collection (and the name to go on with), and what errors about it name.
struct Hand {
    title: &'static str,
    lay: fn(&Space) -> String,
    causes: &'static [&'static str],
}

const HANDS: [Hand; 10] = [
    Hand {
        title: "cloned, the clone kept",
        lay: |space| {
            clone(space, &space.index(), &copy(space));
            space.name.clone()
        },
        causes: &["collection adopt"],
    },
    Hand {
        title: "moved to an index of another name",
        lay: |space| {
            clone(space, &space.index(), &copy(space));
            move_aliases(space, &space.index(), &copy(space));
            remove(space, &space.index());
            space.name.clone()
        },
        causes: &[],
    },
    Hand {
        title: "shrunk from two shards to one",
        lay: |space| {
            resize(
                space,
                "_shrink",
                &space.index(),
                &copy(space),
                json!({"index.number_of_shards": 1}),
            );
            move_aliases(space, &space.index(), &copy(space));
            remove(space, &space.index());
            space.name.clone()
        },
        causes: &[],
    },
    Hand {
        title: "alias renamed",
        lay: |space| {
            let name = other_name(space);
            alias(
                space,
                json!([
                    {"remove": {"index": space.index(), "alias": space.name}},
                    {"add": {"index": space.index(), "alias": name, "is_write_index": true}},
                ]),
            );
            name
        },
        causes: &[],
    },
    Hand {
        title: "a second alias",
        lay: |space| {
            let name = other_name(space);
            alias(space, json!([{"add": {"index": space.index(), "alias": name}}]));
            name
        },
        causes: &[],
    },
    Hand {
        title: "alias with a filter",
        lay: |space| {
            let filter = json!({"bool": {"must_not": {"term": {"person.id": "biden"}}}});
            alias(
                space,
                json!([{"add": {"index": space.index(), "alias": space.name, "filter": filter}}]),
            );
            space.name.clone()
        },
        causes: &["has a filter"],
    },
    Hand {
        title: "alias with a routing",
        lay: |space| {
            alias(
                space,
                json!([{"add": {"index": space.index(), "alias": space.name, "routing": "x"}}]),
            );
            space.name.clone()
        },
        causes: &["has a routing"],
    },
    Hand {
        title: "one of the two aliases moved",
        lay: |space| {
            clone(space, &space.index(), &copy(space));
            alias(
                space,
                json!([
                    {"remove": {"index": space.index(), "alias": space.name}},
                    {"add": {"index": copy(space), "alias": space.name, "is_write_index": true}},
                ]),
            );
            space.name.clone()
        },
        causes: &["collection adopt"],
    },
    Hand {
        title: "closed",
        lay: |space| {
            ok(space, "POST", &format!("/{}/_close", space.index()), None);
            space.name.clone()
        },
        causes: &["closed"],
    },
    Hand {
        title: "writes blocked",
        lay: |space| {
            ok(space, "PUT", &format!("/{}/_block/write", space.index()), None);
            space.name.clone()
        },
        causes: &["block", "takes no requests for now"],
    },
];

/// A collection after a hand was laid on it.
struct Stage<'s> {
    space: &'s Space,
    api: &'s Api,
    /// The name to go by.
    name: String,
    /// The only face of the photo that is stored of another person.
    biden: String,
}

/// Something that facedex does, with a look at whether it did it; or the error.
type Operation = (&'static str, fn(&Stage) -> Result<(), String>);

const OPERATIONS: [Operation; 19] = [
    ("search", |stage| {
        let found = stage.run(&["search", &query()])?;
        stage.says(found["faces"][0]["hits"][0]["person"]["id"] == "obama", &found)
    }),
    ("search --exact", |stage| {
        let found = stage.run(&["search", &query(), "--exact"])?;
        stage.says(found["faces"][0]["hits"].as_array().unwrap().len() >= 2, &found)
    }),
    ("identify", |stage| {
        let found = stage.run(&["identify", &query()])?;
        stage.says(found["faces"][0]["decision"] == "match", &found)
    }),
    ("collection status", |stage| {
        let found = stage.run(&["collection", "status", &stage.name])?;
        stage.says(found["faces"] == 3, &found)
    }),
    ("GET /v1/persons", |stage| {
        let found = stage.answer(stage.api.get(&format!("/v1/persons/obama?collection={}", stage.name)))?;
        stage.says(found["total"] == 2, &found)
    }),
    ("/es/", |stage| {
        let found = stage.answer(stage.api.post_json(&format!("/es/{}/_search", stage.name), &json!({})))?;
        stage.says(found["hits"]["total"]["value"] == 3, &found)
    }),
    ("person export", |stage| {
        let found = stage.run(&[
            "person",
            "export",
            "obama",
            "--output",
            &stage.space.path("obama.ndjson"),
        ])?;
        stage.says(found["exported"] == 2, &found)
    }),
    ("collection export", |stage| {
        let found = stage.run(&[
            "collection",
            "export",
            &stage.name,
            "--to",
            &stage.space.path("all.ndjson"),
        ])?;
        stage.says(found["faces"] == 3, &found)
    }),
    ("cluster", |stage| {
        let found = stage.run(&["cluster", "--dry-run"])?;
        stage.says(found["faces"] == 3, &found)
    }),
    ("collection check", |stage| {
        let found = stage.run(&["collection", "check", &stage.name])?;
        stage.says(found["faces"] == 3 && found["photos"] == 3, &found)
    }),
    ("ingest", |stage| {
        let found = stage.run(&["ingest", &stage.space.path("more"), "--person-from-dir", "--no-journal"])?;
        stage.says(found["indexed"] == 1 && stage.stored("guido") == 1, &found)
    }),
    ("enrol", |stage| {
        let options = [("collection", stage.name.as_str()), ("person_id", "katherine")];
        let portrait = std::fs::read(photo("gallery/Katherine_Maher/katherine-maher.jpg")).unwrap();
        let found = stage.answer(stage.api.post_form("/v1/faces", &options, &[("photo", portrait)]))?;
        stage.says(found["indexed"] == 1 && stage.stored("katherine") == 1, &found)
    }),
    ("collection import", |stage| {
        let found = stage.run(&[
            "collection",
            "import",
            &stage.name,
            "--from",
            &stage.space.path("one.ndjson"),
            "--retry-for",
            "1s",
        ])?;
        stage.says(found["imported"] == 1 && stage.stored("imported") == 1, &found)
    }),
    ("label", |stage| {
        let found = stage.run(&[
            "label",
            &stage.biden,
            "--person",
            "joe",
            "--overwrite",
            "--retry-for",
            "1s",
        ])?;
        stage.says(found["changed"] == 1 && stage.stored("joe") == 1, &found)
    }),
    ("person rename", |stage| {
        let found = stage.run(&["person", "rename", "obama", "--name", "Barack", "--retry-for", "1s"])?;
        let again = stage.answer(stage.api.get(&format!("/v1/persons/obama?collection={}", stage.name)))?;
        stage.says(found["updated"] == 2 && again["person"]["name"] == "Barack", &found)
    }),
    ("DELETE /v1/faces", |stage| {
        let path = format!("/v1/faces/{}?collection={}", stage.biden, stage.name);
        let found = stage.answer(stage.api.delete(&path))?;
        stage.says(found["deleted"] == 1 && stage.stored("joe") == 0, &found)
    }),
    ("person delete", |stage| {
        let mut command = vec!["person", "delete", "obama", "--yes", "--retry-for", "1s"];
        command.extend(full().then_some("--purge"));
        let found = stage.run(&command)?;
        let again = stage.run(&["identify", &query()])?;
        stage.says(
            found["deleted"] == 2
                && stage.left_anywhere("obama").is_empty()
                && again["faces"][0]["decision"] != "match",
            &json!([found, again]),
        )
    }),
    ("collection retire", |stage| {
        let found = stage.run(&["collection", "retire", &stage.name])?;
        // What the migration before it has left, where there was one.
        stage.says(found["removed"].as_array().unwrap().len() <= 1, &found)
    }),
    ("collection migrate", |stage| {
        let before = stage.space.elastic("GET", &format!("/{}/_count", stage.name), None).1["count"].clone();
        let found = stage.run(&[
            "collection",
            "migrate",
            &stage.name,
            "--m",
            "33",
            "--min-agreement",
            "0",
            "--retry-for",
            "1s",
        ])?;
        stage.says(found["faces"] == before, &found)
    }),
];

pub fn query() -> String {
    photo("query/obama-3.jpg").to_str().unwrap().to_owned()
}

impl Stage<'_> {
    /// Runs a command with `--json`: exit codes 0 and 1 are answers.
    fn run(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut all = [arguments, &["--json"]].concat();
        if arguments[0] != "collection" {
            all.extend(["-c", &self.name]);
        }
        if arguments[0] == "ingest" {
            all.extend(["--retry-for", "1s"]);
        }
        let ran: Ran = self.space.run(&all);
        match ran.code {
            0 | 1 => Ok(ran.json()),
            _ => Err(ran.stderr),
        }
    }

    fn answer(&self, answer: Answer) -> Result<Value, String> {
        match answer.status {
            200 | 201 => Ok(answer.json()),
            _ => Err(answer.text()),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a sentence where it is used")]
    fn says(&self, is_right: bool, found: &Value) -> Result<(), String> {
        assert!(is_right, "a wrong answer: {found}");
        Ok(())
    }

    /// Faces of a person that searches of the collection find.
    fn stored(&self, person: &str) -> u64 {
        self.space.elastic("POST", &format!("/{}/_refresh", self.name), None);
        let query = json!({"query": {"term": {"person.id": person}}});
        let (_, found) = self
            .space
            .elastic("POST", &format!("/{}/_count", self.name), Some(query));
        found["count"].as_u64().unwrap()
    }

    /// Indices of the test that hold faces of a person.
    fn left_anywhere(&self, person: &str) -> BTreeSet<String> {
        let all = format!("facedex-faces-{0}*,hand-{0}*", self.space.name);
        self.space.elastic("POST", &format!("/{all}/_refresh"), None);
        let query = json!({"query": {"term": {"person.id": person}}, "size": 100});
        let (_, found) = self.space.elastic("POST", &format!("/{all}/_search"), Some(query));
        let hits = found["hits"]["hits"].as_array().unwrap().iter();
        hits.map(|hit| hit["_index"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn ok(space: &Space, method: &str, path: &str, body: Option<Value>) {
    let (status, answer) = space.elastic(method, path, body);
    assert_eq!(status, 200, "{method} {path}: {answer}");
}

pub fn copy(space: &Space) -> String {
    format!("hand-{}", space.name)
}

fn other_name(space: &Space) -> String {
    format!("{}-other", space.name)
}

pub fn alias(space: &Space, actions: Value) {
    ok(space, "POST", "/_aliases", Some(json!({"actions": actions})));
}

pub fn remove(space: &Space, index: &str) {
    ok(space, "DELETE", &format!("/{index}"), None);
}

pub fn clone(space: &Space, index: &str, to: &str) {
    resize(space, "_clone", index, to, json!({}));
}

/// Makes a copy of an index with Elasticsearch's own means.
fn resize(space: &Space, how: &str, index: &str, to: &str, mut settings: Value) {
    ok(space, "PUT", &format!("/{index}/_block/write"), None);
    settings["index.blocks.write"] = Value::Null;
    settings["index.number_of_replicas"] = json!(0);
    ok(
        space,
        "PUT",
        &format!("/{index}/{how}/{to}"),
        Some(json!({"settings": settings})),
    );
    ok(
        space,
        "PUT",
        &format!("/{index}/_settings"),
        Some(json!({"index.blocks.write": null})),
    );
    ok(
        space,
        "GET",
        &format!("/_cluster/health/{to}?wait_for_status=yellow&timeout=60s"),
        None,
    );
}

pub fn move_aliases(space: &Space, from: &str, to: &str) {
    let (_, found) = space.elastic("GET", &format!("/{from}/_alias"), None);
    let aliases = found[from]["aliases"].as_object().unwrap().keys();
    let actions: Vec<Value> = aliases
        .flat_map(|alias| {
            [
                json!({"remove": {"index": from, "alias": alias}}),
                json!({"add": {"index": to, "alias": alias}}),
            ]
        })
        .collect();
    alias(space, json!(actions));
}

/// Two faces of one person, one of another, and what is to come.
pub fn family() -> Space {
    family_at(Space::new())
}

pub fn family_at(space: Space) -> Space {
    space
        .run(&["collection", "create", &space.name, "--shards", "2"])
        .expect(0);
    for (number, bytes) in variants("query/obama-3.jpg", 2).enumerate() {
        space.put(&format!("photos/obama/{number}.png"), &bytes);
    }
    space.put_photo("query/biden.jpg", "photos/biden/1.jpg");
    space.put_photo("gallery/Guido_van_Rossum/guido-van-rossum.jpg", "more/guido/1.jpg");
    let photos = space.path("photos");
    space.ingest(0, &[&photos, "--person-from-dir", "--no-journal"]);
    // One more face, as another collection exported it.
    let file = space.path("source.ndjson");
    space
        .run(&["collection", "export", &space.name, "--to", &file])
        .expect(0);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let biden = lines.iter().find(|line| line.contains("\"id\":\"biden\"")).unwrap();
    let mut face: Value = serde_json::from_str(biden).unwrap();
    let hash = "0123456789abcdef0123456789abcdef";
    face["_id"] = json!(format!("{hash}-0"));
    face["_source"]["image"]["hash"] = json!(hash);
    face["_source"]["person"] = json!({"id": "imported", "name": null});
    space.put(
        "one.ndjson",
        format!("{}\n{face}\n{}\n", lines[0], json!({"faces": 1})).as_bytes(),
    );
    space
}

/// One column: what each operation does after the hand was laid on, each on a collection as the ones before it left it.
fn column(hand: &Hand) -> Vec<(&'static str, String)> {
    let space = family();
    let biden = space
        .documents()
        .into_iter()
        .find(|(_, face)| face["person"]["id"] == "biden")
        .unwrap()
        .0;
    let name = (hand.lay)(&space);
    let api = Api::start(&space, &["--timeout", "4s"]);
    let stage = Stage {
        space: &space,
        api: &api,
        name,
        biden,
    };
    let cell = |&(operation, run): &Operation| match run(&stage) {
        Ok(()) => (operation, "yes".to_owned()),
        Err(error) => {
            let cause = hand.causes.iter().find(|cause| error.contains(*cause));
            let cause = cause.unwrap_or_else(|| panic!("{}, {operation}: {error}", hand.title));
            (operation, format!("refused: {}", cause.trim_start_matches("has ")))
        }
    };
    OPERATIONS.iter().map(cell).collect()
}

#[test]
fn every_hand_on_an_index_is_borne_or_named() {
    let columns: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = HANDS.iter().map(|hand| scope.spawn(move || column(hand))).collect();
        running.into_iter().map(|column| column.join().unwrap()).collect()
    });
    let titles: Vec<&str> = HANDS.iter().map(|hand| hand.title).collect();
    let mut table = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---|".repeat(HANDS.len()));
    for (row, (operation, _)) in OPERATIONS.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| column[row].1.as_str()).collect();
        table.push_str(&format!("| {operation} | {} |\n", cells.join(" | ")));
    }
    let path = root().join("docs/hands.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (stands, after) = rest.split_once("<!-- end -->\n").unwrap();
    if std::env::var("FACEDEX_UPDATE").is_ok_and(|value| value == "1") {
        let text = format!("{before}<!-- table -->\n{table}<!-- end -->\n{after}");
        std::fs::write(&path, text).unwrap();
    } else {
        assert_eq!(
            stands, table,
            "docs/hands.md says otherwise; FACEDEX_UPDATE=1 writes it"
        );
    }
}
