//! Where photos come from: archives, patterns, lists, manifests, shards.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::node::{pause, wait_until};
use crate::harness::{Space, photo};

/// Photos with one face each, by their paths within an archive.
const PEOPLE: [(&str, &str); 3] = [
    ("people/Joe_Biden/1.jpg", "query/biden.jpg"),
    (
        "people/Eileen_Collins/astronaut.png",
        "gallery/Eileen_Collins/astronaut.png",
    ),
    ("people/Barack_Obama/2.jpg", "gallery/Barack_Obama/obama-1.jpg"),
];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(photo(name)).unwrap()
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, photo) in PEOPLE {
        let content = bytes(photo);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, photo) in PEOPLE {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes(photo)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[track_caller]
fn assert_counts(summary: &Value, counts: &[(&str, u64)]) {
    for (name, count) in counts {
        assert_eq!(summary[name], json!(count), "{name} of {summary}");
    }
}

#[test]
fn archives_are_read_without_unpacking_and_not_twice() {
    for (name, content) in [("a.tar", tar()), ("a.tgz", gzip(&tar())), ("a.zip", zip())] {
        let space = Space::new();
        let archive = space.put(name, &content);
        let summary = space.ingest(0, &[&archive, "--person-from-dir"]);
        assert_counts(&summary, &[("images", 3), ("indexed", 3), ("failed", 0)]);
        let documents = space.documents();
        let biden = documents
            .values()
            .find(|found| found["person"]["id"] == "Joe_Biden")
            .unwrap();
        let uri = format!("file://{archive}#people/Joe_Biden/1.jpg");
        assert_eq!(
            (&biden["image"]["uri"], &biden["person"]["name"]),
            (&json!(uri), &json!("Joe Biden"))
        );
        let again = space.ingest(0, &[&archive, "--person-from-dir"]);
        assert_counts(&again, &[("done_before", 3), ("faces", 0)]);
    }
}

#[test]
fn a_truncated_archive_keeps_what_was_read_and_fails_by_name() {
    let space = Space::new();
    let tar = tar();
    let whole = gzip(&tar[..tar.len() - 1024 - 5000]);
    let archive = space.put("a.tar.gz", &whole[..whole.len() - 20]);
    let good = space.put_photo("gallery/Barack_Obama/obama-2.jpg", "good.jpg");
    let summary = space.ingest(1, &[&archive, &good]);
    assert_counts(&summary, &[("indexed", 3), ("failed", 1)]);
    let letter = &space.dead_letters()[0];
    assert_eq!(letter["uri"], format!("file://{archive}"));
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.contains("cannot be read any further"), "{reason}");
}

#[test]
fn patterns_that_the_shell_left_are_expanded() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "all/b/1.jpg");
    space.put("all/b/2.png", b"not asked for");
    let pattern = space.path("all/**/*.jpg");
    assert_counts(&space.ingest(0, &[&pattern]), &[("images", 1), ("indexed", 1)]);
    let none = space.run(&["ingest", &space.path("all/*.webp")]).expect(2);
    assert!(none.stderr.contains("no file or folder matches"), "{none:?}");
}

#[test]
fn shards_take_everything_once_between_them() {
    let space = Space::new();
    for (number, bytes) in crate::harness::images::variants("query/biden.jpg", 12).enumerate() {
        space.put(&format!("all/{number}.png"), &bytes);
    }
    let mut images = 0;
    for shard in ["0/3", "1/3", "2/3"] {
        let summary = space.ingest(0, &[&space.path("all"), "--shard", shard, "--no-journal"]);
        assert_eq!(summary["existing"], 0, "another shard took it too");
        images += summary["images"].as_u64().unwrap();
    }
    assert_eq!((images, space.count()), (12, 12));
}

#[test]
fn a_list_is_read_from_standard_input() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "a b.jpg");
    let mut command = space.command(&["ingest", "--json", "--files-from", "-", "-0"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"a b.jpg\0missing.jpg\0")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(space.count(), 1);
    assert!(
        space.dead_letters()[0]["uri"]
            .as_str()
            .unwrap()
            .ends_with("/missing.jpg")
    );
}

#[test]
fn a_list_that_does_not_end_can_be_stopped() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "1.jpg");
    let mut command = space.command(&["ingest", "--json", "--files-from", "-"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut names = child.stdin.take().unwrap();
    names.write_all(b"1.jpg\n").unwrap();
    wait_until("the first photo is there", || space.exists() && space.count() == 1);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    drop(names);
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_counts(&summary, &[("images", 1), ("indexed", 1)]);
    assert_eq!(summary["interrupted"], true);
}

#[test]
fn files_and_members_do_not_wait_for_each_others_memory() {
    let space = Space::new();
    for (number, bytes) in crate::harness::images::variants("query/biden.jpg", 12).enumerate() {
        space.put(&format!("all/{number}.png"), &bytes);
    }
    let archive = space.put("a.tar", &tar());
    // Each photo takes all of the budget.
    let tight = ["--read-ahead", "1", "--readers", "2"];
    let summary = space.ingest(0, &[&[space.path("all").as_str(), &archive][..], &tight].concat());
    assert_counts(&summary, &[("images", 15), ("indexed", 15)]);
}

#[test]
fn a_manifest_names_people_and_labels() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "photos/1.jpg");
    let archive = space.put("a.tar", &tar());
    let manifest = format!(
        "path,person.id,person.name,labels.album,year\n\
         1.jpg,biden,Joe Biden,press,2020\n\
         file://{archive}#people/Eileen_Collins/astronaut.png,collins,,,1999\n\
         1.jpg,too,few\n"
    );
    let manifest = space.put("photos/all.csv", manifest.as_bytes());
    let summary = space.ingest(1, &["--manifest", &manifest, "--label", "from=here"]);
    assert_counts(&summary, &[("images", 3), ("indexed", 2), ("failed", 1)]);
    let reason = space.dead_letters()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("line 4: "), "{reason}");
    let documents = space.documents();
    let person = |id: &str| documents.values().find(|found| found["person"]["id"] == id).unwrap();
    assert_eq!(person("biden")["person"]["name"], "Joe Biden");
    let labels = json!({"album": "press", "year": "2020", "from": "here"});
    assert_eq!(person("biden")["labels"], labels);
    assert_eq!(person("collins")["labels"], json!({"year": "1999", "from": "here"}));
}

#[test]
fn dead_letters_are_taken_again_with_their_people() {
    let space = Space::new();
    let archive = space.put("Ada/a.tar", &tar());
    let broken = space.put("Ada/broken.jpg", b"no photo yet");
    let tight = ["--max-image-bytes", "1000", "--person-from-dir"];
    let summary = space.ingest(1, &[&[archive.as_str(), &broken][..], &tight].concat());
    assert_counts(&summary, &[("failed", 4), ("indexed", 0)]);
    let letters = space.path("facedex.dead-letter.ndjson");
    // Retried into the same file, which must neither be read for ever nor count anything twice.
    let still = space.ingest(1, &["--retry-dead", &letters, "--max-image-bytes", "1000"]);
    assert_counts(&still, &[("images", 4), ("failed", 4)]);
    space.put_photo("gallery/Barack_Obama/obama-2.jpg", "Ada/broken.jpg");
    let good = space.ingest(0, &["--retry-dead", &letters]);
    assert_counts(&good, &[("images", 4), ("indexed", 4)]);
    let people: std::collections::BTreeSet<_> = space
        .documents()
        .values()
        .map(|found| found["person"]["id"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["Ada", "Barack_Obama", "Eileen_Collins", "Joe_Biden"];
    assert_eq!(people, expected.map(str::to_owned).into());
    let both = space.run(&["ingest", "--retry-dead", &letters, &archive]).expect(2);
    assert!(both.stderr.contains("cannot be used with"), "{both:?}");
}

#[test]
fn a_watched_folder_is_taken_file_by_file_once_complete() {
    let space = Space::new();
    space.put_photo("query/biden.jpg", "in/first.jpg");
    let arguments = ["ingest", "--json", "--watch", &space.path("in")];
    let child = space.command(&arguments).spawn().unwrap();
    wait_until("the first walk is over", || space.exists() && space.count() == 1);
    // Written in pieces: a photo that is taken before its end fails.
    let content = bytes("gallery/Barack_Obama/obama-1.jpg");
    let (head, tail) = content.split_at(content.len() / 2);
    let mut file = std::fs::File::create(space.path("in/slow.jpg")).unwrap();
    file.write_all(head).unwrap();
    pause(1000);
    // A new folder, with a photo that may be in it before it is watched; and one moved into place.
    space.put_photo("gallery/Eileen_Collins/astronaut.png", "in/new/deep/astronaut.png");
    space.put_photo("gallery/Barack_Obama/obama-2.jpg", "outside.jpg");
    std::fs::rename(space.path("outside.jpg"), space.path("in/moved.jpg")).unwrap();
    space.put("in/.hidden.jpg", b"x");
    space.put("in/notes.txt", b"x");
    file.write_all(tail).unwrap();
    drop(file);
    wait_until("all photos are there", || space.count() == 4);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_counts(&summary, &[("indexed", 4), ("failed", 0)]);
}

fn interrupt(child: &std::process::Child) {
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-INT", &child.id().to_string()]).status().unwrap().success());
}
