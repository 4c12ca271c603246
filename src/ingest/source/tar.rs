//! The members of a tar archive, in the order in which they come.

use std::cell::Cell;
use std::fs::File;
use std::io::{Error, Read, Result as IoResult};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use tar::EntryType;

use super::Sink;
use super::archive::{Archive, End, Member};

/// Bytes that may lie between two members' contents: headers, long names and extended attributes. The crate holds them
/// in memory.
const HEADERS: u64 = 4 << 20;

/// Bytes after the archive's end that are read for the sake of gzip's checksum.
const TRAILER: u64 = 64 << 20;

/// Whether these 512 bytes are a member's header: the checksum is right.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(field) = block.get(148..156).filter(|_| block.len() >= 512) else {
        return false;
    };
    let digits = String::from_utf8_lossy(field);
    let stored = u32::from_str_radix(digits.trim_matches(['\0', ' ']), 8);
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    let field: u32 = field.iter().map(|&byte| u32::from(byte)).sum();
    stored == Ok(sum - field + 8 * u32::from(b' '))
}

/// Offers every photo of the archive.
pub(super) fn walk(archive: &mut Archive, reader: impl Read, sink: &mut Sink) -> Result<(), End> {
    let watched = Rc::new(Watched::default());
    let reader = Watch {
        inner: reader,
        watched: Rc::clone(&watched),
    };
    let archived = archive.modified();
    let mut tar = tar::Archive::new(reader);
    let mut members = tar.entries()?;
    loop {
        watched.allowance.set(Some(HEADERS));
        let Some(found) = members.next() else { break };
        watched.allowance.set(None);
        let mut content = found?;
        let kind = content.header().entry_type();
        if matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) {
            // Archives that are made to be the same each time have no times.
            let seconds = content.header().mtime().unwrap_or(0);
            let time = (seconds > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
            let member = Member {
                path: content.path_bytes().into_owned(),
                size: content.size(),
                modified: time.flatten().or(archived),
            };
            archive.offer(sink, &member, Ok(&mut content))?;
        }
        if archive.is_done() {
            return Ok(());
        }
        // Read here and not by the crate, so that what it reads itself is bounded, and a stop is not waited for.
        skip(&mut content, sink)?;
        // The crate takes an end within a member for the member's.
        if watched.ended.get() {
            return Err(End::Broken("it is truncated".to_owned()));
        }
    }
    if watched.ended.get() {
        let reason = "it has no end marker, so it may be truncated";
        return Err(End::Broken(reason.to_owned()));
    }
    // Whatever is left holds gzip's checksum.
    watched.allowance.set(None);
    skip(&mut tar.into_inner().take(TRAILER), sink)
}

/// Counts the members that are wanted, by their headers alone; their names are cut off where they are long.
pub(super) fn count(path: &Path, wanted: fn(&Path) -> bool) -> Option<usize> {
    let mut tar = tar::Archive::new(File::open(path).ok()?);
    // Raw: the crate holds no long names in memory.
    let members = tar.entries_with_seek().ok()?.raw(true).map_while(Result::ok);
    let files = members.filter(|member| member.header().entry_type() == EntryType::Regular);
    Some(
        files
            .filter(|member| member.path().is_ok_and(|path| wanted(&path)))
            .count(),
    )
}

fn skip(reader: &mut impl Read, sink: &Sink) -> Result<(), End> {
    let mut buffer = vec![0; 1 << 16];
    while reader.read(&mut buffer)? > 0 {
        sink.check()?;
    }
    Ok(())
}

/// What is known of a reader while the tar crate has it.
#[derive(Default)]
struct Watched {
    /// Bytes that may still be read; `None` is any number.
    allowance: Cell<Option<u64>>,
    /// Whether there was nothing left to read.
    ended: Cell<bool>,
}

struct Watch<R> {
    inner: R,
    watched: Rc<Watched>,
}

impl<R: Read> Read for Watch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.watched.ended.set(true);
        }
        if let Some(allowance) = self.watched.allowance.get() {
            let left = allowance.checked_sub(read as u64);
            self.watched.allowance.set(Some(
                left.ok_or_else(|| Error::other("a member's header takes more than 4 MiB"))?,
            ));
        }
        Ok(read)
    }
}
