//! The program by itself. What it measures is tried with a real node in the root's tests/it, which need the program to be
//! built: it is, since this test is.

use std::process::Command;

#[test]
fn it_says_what_it_measures() {
    let output = Command::new(env!("CARGO_BIN_EXE_facedex-bench"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for command in ["ingest", "serve", "knn"] {
        assert!(help.contains(command), "{help}");
    }
}
