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

/// The text on one line and without control characters: what comes out of files and their names is not for the terminal
/// to obey.
pub fn tame(text: &str) -> String {
    let space = |symbol: char| if symbol.is_control() { ' ' } else { symbol };
    text.trim_end().chars().map(space).collect()
}

/// A file's URI as the path that people type.
pub fn plain(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if url.fragment().is_none() => url.to_file_path().ok(),
        _ => None,
    }
    .map_or_else(|| uri.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_say_stays_on_one_line_and_changes_no_colour() {
        assert_eq!(tame("chunk I\u{1b}[31mT\nof 10\n"), "chunk I [31mT of 10");
    }
}
