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

/// Writes a line to standard error. It may be closed or full: what cannot be said there must not end the work.
pub fn note(line: &str) {
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// The text without characters that would move a terminal's cursor, change its colours or turn its direction: names come
/// from files and from other people's data.
pub fn clean(text: &str) -> String {
    let is_safe = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_safe(&c) { c } else { '\u{fffd}' }).collect()
}

/// A file's URI as the path that people type.
pub fn plain(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if url.fragment().is_none() => url.to_file_path().ok(),
        _ => None,
    }
    .map_or_else(|| clean(uri), |path| clean(&path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(plain("file:///a/b%1B%5B31m%0Ac.jpg"), "/a/b\u{fffd}[31m\u{fffd}c.jpg");
        assert_eq!(clean("Jos\u{e9} \u{202e}gpj"), "Jos\u{e9} \u{fffd}gpj");
        assert_eq!(plain("file:///a/x.tar#m/1.jpg"), "file:///a/x.tar#m/1.jpg");
    }
}
