//! The examples of docs/api.md, as they stand there.

use std::process::Command;

use super::bytes;
use super::es_proxy::clients::{clients, version};
use crate::harness::api::Api;
use crate::harness::{Space, photo, root, run};

/// What only examples have: an address of nobody's.
const NOWHERE: &str = "faces.example";

/// The fenced blocks of a text: language and content.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty()) {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language.to_owned(), content.join("\n")));
        }
    }
    blocks
}

#[test]
fn every_example_runs_as_it_stands_there() {
    let space = Space::new();
    let gallery = photo("gallery");
    let labelled = ["--person-from-dir", "--label", "album=2026"];
    space.ingest(0, &[&[gallery.to_str().unwrap()], labelled.as_slice()].concat());
    let api = Api::start(&space, &[]);
    let clients = clients(&version(&space));
    for name in ["photo.jpg", "a.jpg", "b.jpg", "ada.jpg"] {
        space.put(name, &bytes("query/obama-3.jpg"));
    }
    let text = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    let mut ran = Vec::new();
    for (language, example) in blocks(&text).into_iter().filter(|(_, text)| !text.contains(NOWHERE)) {
        let example = example
            .replace("http://127.0.0.1:8080", &api.url)
            // A page of the server's own needs no host.
            .replace("fetch(\"/", &format!("fetch(\"{}/", api.url))
            .replace("=family", &format!("={}", space.name))
            .replace("\"family\"", &format!("\"{}\"", space.name));
        let mut command = match language.as_str() {
            "python" => {
                let mut python = Command::new("python3");
                python.env("PYTHONPATH", clients.join("python"));
                python.args(["-c", &example]);
                python
            }
            "js" => {
                let script = match example.contains("file)") {
                    // In a page the user picks it.
                    true => format!(
                        "import {{ openAsBlob }} from \"node:fs\";\nconst file = await openAsBlob(\"photo.jpg\");\n{example}"
                    ),
                    false => example,
                };
                // Modules find their packages beside themselves.
                let packages = space.path("node_modules");
                let _ = std::os::unix::fs::symlink(clients.join("node/node_modules"), packages);
                let mut node = Command::new("node");
                node.arg(space.put("example.mjs", format!("{script}\nconsole.log(answer);").as_bytes()));
                node
            }
            "sh" => {
                let mut shell = Command::new("sh");
                shell.args(["-euc", &example.replace("curl ", "curl -sS --fail-with-body ")]);
                shell
            }
            other => panic!("an example in {other:?}, which this test cannot run"),
        };
        command.current_dir(space.path(""));
        let printed = run(command).expect(0);
        assert!(!printed.stdout.is_empty(), "{language}: {printed:?}");
        ran.push(language);
    }
    ran.sort();
    assert_eq!(ran, ["js", "js", "python", "python", "sh"]);
}
