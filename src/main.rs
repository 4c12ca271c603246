//! Parses the command line, initialises logging, dispatches.

use std::process::ExitCode;

/// Gives what a burst of requests took back to the system; glibc's keeps most of it for as long as the process runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    facedex::cli::main()
}
