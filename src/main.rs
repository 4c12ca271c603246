//! Parses the command line, initialises logging, dispatches.

use std::process::ExitCode;

fn main() -> ExitCode {
    facedex::cli::main()
}
