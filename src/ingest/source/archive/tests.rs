use std::io::Write;

use ::zip::write::{SimpleFileOptions, ZipWriter};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::ingest::source::Offer;
use crate::ingest::source::testing::{outline, walk};

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn walk_bytes(bytes: &[u8], members: Members) -> Vec<Offer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos");
    std::fs::write(&path, bytes).unwrap();
    let kind = kind(&path).unwrap();
    walk(&mut Archive::new(path, kind, 40, members))
}

fn all() -> Members {
    Members::All(Given::default())
}

const MEMBERS: [(&str, &[u8]); 7] = [
    ("people/Ada/1 #%.jpg", b"one"),
    ("people/Ada/notes.txt", b"text"),
    ("people/Ada/unnamed", b"\x89PNG\r\n\x1a\n rest of a picture, 32+"),
    ("people/.hidden/2.jpg", b"x"),
    ("__MACOSX/3.jpg", b"x"),
    ("people/Bob/big.jpg", &[0; 41]),
    ("people/Bob/4.jpg", b"four"),
];

#[test]
fn every_kind_offers_the_same_photos() {
    let tar = tar_of(&MEMBERS);
    for bytes in [&tar, &gzip(&tar), &zip_of(&MEMBERS)] {
        let offers = walk_bytes(bytes, all());
        let (photos, failures, skipped) = outline(&offers);
        assert_eq!(
            photos,
            ["people/Ada/1 #%.jpg", "people/Ada/unnamed", "people/Bob/4.jpg"]
        );
        assert_eq!((failures.len(), skipped), (1, 1));
        assert!(failures[0].contains("more than 40 bytes"), "{failures:?}");
        let Offer::Photo(first) = &offers[0] else {
            panic!("{offers:?}")
        };
        assert!(first.entry.uri.starts_with("file:///"));
        assert!(first.entry.uri.ends_with("/photos#people/Ada/1%20%23%25.jpg"));
        assert_eq!(first.entry.folder.as_deref(), Some("Ada"));
        assert_eq!(first.entry.size, Some(3));
        assert!(first.entry.modified.is_some());
        let Content::Bytes(held) = &first.content else {
            panic!("{first:?}")
        };
        assert_eq!(&held.bytes[..], b"one");
    }
}

#[test]
fn a_name_that_is_there_twice_is_two_photos_that_can_be_told_apart() {
    let twice = tar_of(&[("a.jpg", b"one"), ("a.jpg", b"two")]);
    let offers = walk_bytes(&twice, all());
    assert_eq!(outline(&offers).0, ["a.jpg", "a.jpg (2)"]);
    let Offer::Photo(second) = &offers[1] else { panic!() };
    let fragment = second.entry.uri.split_once('#').unwrap().1;
    let only = [member_of(fragment), "b.jpg".to_owned()].map(|name| (name, Given::default()));
    let offers = walk_bytes(&twice, Members::Only(only.into()));
    let (photos, failures, _) = outline(&offers);
    assert_eq!(photos, ["a.jpg (2)"]);
    assert_eq!(failures, ["the archive has no such member"]);
}

#[test]
fn a_broken_archive_keeps_what_was_read_and_is_one_failure() {
    let tar = tar_of(&MEMBERS);
    let mut damaged = gzip(&tar);
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let mut bad_header = tar.clone();
    bad_header[1024 + 3] ^= 1;
    for (bytes, photos, reason) in [
        (&tar[..tar.len() - 1024 - 510], 2, "people/Bob/4.jpg: it ends after"),
        (&tar[..tar.len() - 1024], 3, "no end marker"),
        (&damaged, 3, "corrupt"),
        (&bad_header, 1, "checksum"),
    ] {
        let offers = walk_bytes(bytes, all());
        let (read, failures, _) = outline(&offers);
        assert_eq!(read.len(), photos, "{reason}");
        assert!(failures.last().unwrap().contains(reason), "{reason}: {failures:?}");
    }
    let zip = zip_of(&MEMBERS);
    let offers = walk_bytes(&zip[..zip.len() - 30], all());
    assert_eq!(outline(&offers).1.len(), 1, "a zip without its directory");
}

#[test]
fn members_of_a_zip_fail_alone() {
    let mut zip = zip_of(&[("a.jpg", &[7; 40]), ("b.jpg", b"good")]);
    // The declared size, in the directory: one less than there is.
    let directory = zip.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    zip[directory + 24] -= 1;
    let offers = walk_bytes(&zip, all());
    let (photos, failures, _) = outline(&offers);
    assert_eq!((photos, failures.len()), (vec!["b.jpg"], 1));
    zip[directory + 24] += 1;
    zip[directory + 8] |= 1;
    let offers = walk_bytes(&zip, all());
    let (photos, failures, _) = outline(&offers);
    assert_eq!(photos, ["b.jpg"]);
    assert!(failures[0].contains("encrypted"), "{failures:?}");
}

#[test]
fn headers_without_end_are_refused() {
    let mut tar = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    tar.append(&header, std::io::repeat(b'a').take(64 << 20)).unwrap();
    let offers = walk_bytes(&gzip(&tar.into_inner().unwrap()), all());
    assert!(outline(&offers).1[0].contains("4 MiB"), "{offers:?}");
}

#[test]
fn members_are_counted_for_the_progress_bar() {
    for bytes in [tar_of(&MEMBERS), zip_of(&MEMBERS)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let kind = kind(file.path()).unwrap();
        let archive = Archive::new(file.path().to_owned(), kind, 40, all());
        assert_eq!(archive.counter().unwrap()(), 5, "by their names alone");
    }
}
