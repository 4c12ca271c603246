//! Which kind of archive a file is, and about how many photos it has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::ingest::source::folder::claims_to_be_an_image;
use crate::ingest::source::{tar, zip};

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `tar`
    Tar,
    /// `tar.gz`
    TarGz,
    /// `zip`
    Zip,
}

/// The kind of archive that a file is, by its content; `None` where it is none.
pub fn kind(path: &Path) -> Option<Kind> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(512).read_to_end(&mut head).ok()?;
    if [b"PK\x03\x04", b"PK\x05\x06"]
        .iter()
        .any(|magic| head.starts_with(*magic))
    {
        return Some(Kind::Zip);
    }
    if tar::is_header(&head) {
        return Some(Kind::Tar);
    }
    if head.starts_with(b"\x1f\x8b") {
        let mut inner = Vec::new();
        // What comes before an error is enough to tell.
        let _ = MultiGzDecoder::new(File::open(path).ok()?)
            .take(512)
            .read_to_end(&mut inner);
        return tar::is_header(&inner).then_some(Kind::TarGz);
    }
    None
}

impl Kind {
    /// Whether members can be counted without reading all of the archive.
    pub(super) fn has_quick_count(self) -> bool {
        self != Self::TarGz
    }

    /// The members whose names claim to be images; none where it cannot be told.
    pub(super) fn count(self, path: &Path) -> u64 {
        let count = match self {
            Self::Tar => tar::count(path, claims_to_be_an_image),
            Self::Zip => zip::count(path, claims_to_be_an_image),
            Self::TarGz => None,
        };
        count.unwrap_or(0) as u64
    }
}
