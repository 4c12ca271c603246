//! The members of a zip archive, in the order of its directory. The directory is held in memory, a few hundred bytes a
//! member; the members are not.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zip::ZipArchive;
use zip::result::ZipError;

use super::Sink;
use super::archive::{Archive, End, Member};

/// Offers every photo of the archive.
pub(super) fn walk(archive: &mut Archive, sink: &mut Sink) -> Result<(), End> {
    let mut zip = ZipArchive::new(archive.open()?).map_err(broken)?;
    let archived = archive.modified();
    for at in 0..zip.len() {
        let (member, encrypted) = {
            let file = zip.by_index_raw(at).map_err(broken)?;
            if !file.is_file() || file.is_symlink() {
                continue;
            }
            let name = file
                .name()
                .map_or_else(|_| file.name_raw().to_vec(), |name| name.as_bytes().to_vec());
            let member = Member {
                path: name,
                size: file.size(),
                modified: file.last_modified().and_then(time).or(archived),
            };
            (member, file.encrypted())
        };
        if encrypted {
            let reason = "it is encrypted; unpack the archive with its password first";
            archive.offer(sink, &member, Err(reason.to_owned()))?;
            continue;
        }
        match zip.by_index(at) {
            Ok(mut content) => archive.offer(sink, &member, Ok(&mut content))?,
            Err(error) => archive.offer(sink, &member, Err(error.to_string()))?,
        }
    }
    Ok(())
}

/// Counts the members that are wanted.
pub(super) fn count(path: &Path, wanted: fn(&Path) -> bool) -> Option<usize> {
    let zip = ZipArchive::new(BufReader::new(File::open(path).ok()?)).ok()?;
    let names = zip.file_names().filter_map(Result::ok);
    Some(names.filter(|name| wanted(Path::new(name.as_ref()))).count())
}

fn broken(error: ZipError) -> End {
    End::Broken(error.to_string())
}

/// Zip's times have no zone: they are read as UTC, which is the same each time.
fn time(stamp: zip::DateTime) -> Option<SystemTime> {
    let year = i16::try_from(stamp.year()).ok()?;
    let part = |value: u8| i8::try_from(value).ok();
    let date = jiff::civil::DateTime::new(
        year,
        part(stamp.month())?,
        part(stamp.day())?,
        part(stamp.hour())?,
        part(stamp.minute())?,
        part(stamp.second())?,
        0,
    );
    let seconds = jiff::tz::TimeZone::UTC.to_timestamp(date.ok()?).ok()?.as_second();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}
