//! Standard error, shared between progress bars, logs and messages without one tearing the other.

use std::io::Write;
use std::sync::LazyLock;

use indicatif::MultiProgress;
use url::Url;

/// All progress bars of the process.
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error; what is written appears above the progress bars.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A file's URI as the path that people type.
pub fn plain(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if url.fragment().is_none() => url.to_file_path().ok(),
        _ => None,
    }
    .map_or_else(|| uri.to_owned(), |path| path.display().to_string())
}
