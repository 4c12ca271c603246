//! The two libraries in a program of somebody else: `tests/outside`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Space, fetch_models, full, root, run};

#[test]
fn a_program_of_somebody_else_embeds_two_photos_and_finds_one() {
    fetch_models();
    let space = Space::new();
    let stored = space.put_photo("gallery/Barack_Obama/obama-1.jpg", "stored.jpg");
    let asked = space.put_photo("query/obama-3.jpg", "asked.jpg");
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    // Outside of the workspace its dependencies have other features, and are built once more: that takes minutes.
    let program = match full() {
        true => build_outside(&space, target),
        false => target.join("debug/examples/outside"),
    };
    let mut program = Command::new(program);
    program.args([space.url.as_str(), &space.name, &stored, &asked]);
    let found = run(program).expect(0).stdout;
    let (similarity, uri) = found.trim().split_once(' ').unwrap();
    assert!(similarity.parse::<f64>().unwrap() > 0.5 && uri == stored, "{found}");
    // What it stored is a collection like any other.
    let check = ["collection", "check", &space.name, "--json"];
    assert_eq!(space.run(&check).expect(0).json()["faces"], 1);
}

/// Builds the program in a folder of its own, into the workspace's target directory.
fn build_outside(space: &Space, target: &Path) -> PathBuf {
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
    let lock = std::fs::read(root().join("Cargo.lock")).unwrap();
    space.put("program/Cargo.lock", &lock);
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root());
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
    target.join("debug/outside")
}
