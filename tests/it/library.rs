//! The two libraries in a program of somebody else: `tests/outside`.

use std::process::Command;

use crate::harness::{Space, fetch_models, root, run};

#[test]
fn a_program_outside_the_workspace_embeds_two_photos_and_finds_one() {
    fetch_models();
    let space = Space::new();
    let stored = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "stored.jpg");
    let asked = space.put_photo("query/obama-3.jpg", "asked.jpg");
    let outside = root().join("tests/outside");
    let manifest = std::fs::read_to_string(outside.join("Cargo.toml")).unwrap();
    let crates = format!("{}/crates/", root().display());
    let manifest = space.put(
        "program/Cargo.toml",
        manifest.replace("../../crates/", &crates).as_bytes(),
    );
    let main = std::fs::read(outside.join("src/main.rs")).unwrap();
    space.put("program/src/main.rs", &main);
    // The same versions as everywhere: cargo leaves out what the program does not need.
    space.put("program/Cargo.lock", &std::fs::read(root().join("Cargo.lock")).unwrap());
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().nth(3).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--offline",
        "--quiet",
        "--manifest-path",
        &manifest,
        "--target-dir",
    ]);
    cargo.arg(target);
    run(cargo).expect(0);
    let mut program = Command::new(target.join("debug/outside"));
    program.args([space.url.as_str(), &space.name, &stored, &asked]);
    let found = run(program).expect(0).stdout;
    let (similarity, uri) = found.trim().split_once(' ').unwrap();
    assert!(similarity.parse::<f64>().unwrap() > 0.5 && uri == stored, "{found}");
    // What it stored is a collection like any other.
    let checked = space
        .run(&["collection", "check", &space.name, "--json"])
        .expect(0)
        .json();
    assert_eq!(checked["faces"], 1);
}
