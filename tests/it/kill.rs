//! facedex ends in the middle: killed, interrupted, out of disk. The same command finishes the work, and no face is
//! lost or there twice. Five moments are tried, twenty with `FACEDEX_TEST_FULL=1`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::node::{Node, pause, wait_until};
use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Ran, Space, full, images, run};

/// Photos of one face each.
fn fill(space: &Space, photos: u32) -> String {
    for (number, bytes) in images::variants_of_size("query/biden.jpg", 160, photos).enumerate() {
        space.put(&format!("many/{number:04}.png"), &bytes);
    }
    space.path("many")
}

fn through(space: &Space, proxy: &Proxy, arguments: &[&str]) -> Command {
    let many = space.path("many");
    let all: Vec<&str> = ["ingest", "--json", &many, "--bulk-faces", "3"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let mut command = space.command(&all);
    command.env("ELASTICSEARCH_URL", &proxy.url);
    command
}

fn honest(space: &Space) -> Proxy {
    Proxy::start(&space.url, |_| None)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "the process had ended");
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn figures<const N: usize>(summary: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| {
        summary[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {summary}"))
    })
}

/// Every photo is done, by whichever run, and those of the journal were not looked at.
#[track_caller]
fn complete(space: &Space, summary: &Value, photos: u64) -> u64 {
    let [images, faces, indexed, existing, done_before, failed] = figures(
        summary,
        ["images", "faces", "indexed", "existing", "done_before", "failed"],
    );
    assert_eq!((images, failed), (photos, 0), "{summary}");
    assert_eq!(indexed + existing + done_before, photos, "{summary}");
    assert_eq!(faces, photos - done_before, "looked again at what was done: {summary}");
    assert_eq!(space.count(), photos);
    done_before
}

#[test]
fn killed_at_any_moment_it_goes_on_where_it_was() {
    let (moments, photos) = if full() { (20, 400) } else { (5, 120) };
    let space = Space::new();
    fill(&space, photos);
    let mut random = StdRng::seed_from_u64(4);
    let proxy = honest(&space);
    let mut looked_at = 0;
    for moment in 0..moments {
        // Up to four bulk requests further, and then some: in the request, before or after its answer, in the journal.
        let until = proxy.count(Kind::Bulk) + random.random_range(0..4);
        let mut ingest = through(&space, &proxy, &[]).spawn().unwrap();
        wait_until("requests go out", || proxy.count(Kind::Bulk) > until);
        pause(random.random_range(0..60));
        ingest.kill().unwrap();
        let ran = ended(ingest);
        assert_eq!(ran.code, -1, "moment {moment} came too late: {ran:?}");
        looked_at = proxy.count(Kind::Bulk);
    }
    assert!(looked_at >= moments);
    let last = run(through(&space, &proxy, &[])).expect(0).json();
    let done_before = complete(&space, &last, u64::from(photos));
    assert!(done_before > 0, "the journal knew nothing: {last}");
    let again = run(through(&space, &proxy, &[])).expect(0).json();
    assert_eq!(complete(&space, &again, u64::from(photos)), u64::from(photos));
}

#[test]
fn interrupted_once_it_finishes_what_is_in_flight_and_says_what_it_did() {
    let space = Space::new();
    fill(&space, 150);
    let proxy = honest(&space);
    for name in ["-INT", "-TERM"] {
        let before = space.count_or_none();
        let sent = proxy.count(Kind::Bulk);
        let ingest = through(&space, &proxy, &[]).spawn().unwrap();
        wait_until("requests go out", || proxy.count(Kind::Bulk) > sent + 1);
        signal(&ingest, name);
        let ran = ended(ingest).expect(1);
        let summary = ran.json();
        let [images, indexed, done_before] = figures(&summary, ["images", "indexed", "done_before"]);
        assert_eq!(summary["interrupted"], true, "{summary}");
        assert!(images < 150 && indexed > 0, "{summary}");
        assert_eq!(space.count(), before + indexed, "{summary}");
        assert_eq!(images, indexed + done_before, "{summary}");
        assert!(ran.stderr.contains("once more stops at once"), "{ran:?}");
    }
    let last = run(through(&space, &proxy, &[])).expect(0).json();
    assert_eq!(last["interrupted"], false);
    assert_eq!(
        figures(&last, ["existing"]),
        [0],
        "what was acknowledged is in the journal"
    );
    assert!(complete(&space, &last, 150) > 0);
}

#[test]
fn interrupted_twice_it_ends_at_once() {
    let space = Space::new();
    fill(&space, 60);
    // From the fourth on no request is answered: what is in flight stays there.
    let proxy = Proxy::start(&space.url, |seen| {
        (seen.kind == Kind::Bulk && seen.number >= 3).then_some(Fault::HangAfter)
    });
    let mut ingest = through(&space, &proxy, &[]).spawn().unwrap();
    wait_until("a request hangs", || proxy.count(Kind::Bulk) > 3);
    let words = Arc::new(Mutex::new(String::new()));
    let (heard, stderr) = (Arc::clone(&words), ingest.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            heard.lock().unwrap().push_str(&line);
        }
    });
    signal(&ingest, "-INT");
    wait_until("it says so", || {
        words.lock().unwrap().contains("once more stops at once")
    });
    assert!(
        ingest.try_wait().unwrap().is_none(),
        "it did not wait for what is in flight"
    );
    signal(&ingest, "-INT");
    let mut code = None;
    wait_until("it ends", || {
        code = ingest.try_wait().unwrap();
        code.is_some()
    });
    reader.join().unwrap();
    assert_eq!(code.unwrap().code(), Some(130), "{words:?}");
    assert!(words.lock().unwrap().contains("goes on from there"), "{words:?}");
    let last = run(through(&space, &honest(&space), &[])).expect(0).json();
    assert!(complete(&space, &last, 60) > 0);
}

#[test]
fn a_load_that_died_is_repaired_by_the_next_run() {
    let space = Space::new();
    fill(&space, 60);
    let proxy = honest(&space);
    let settings = || {
        let (_, reply) = space.elastic("GET", &format!("/{}", space.index()), None);
        let index = &reply[space.index()];
        let setting = |name: &str| index["settings"]["index"][name].clone();
        (
            setting("refresh_interval"),
            setting("number_of_replicas"),
            setting("auto_expand_replicas"),
            index["mappings"]["properties"]["ingest"]["properties"]["run"]["meta"].is_null(),
        )
    };
    space.run(&["collection", "create", &space.name]).expect(0);
    let (status, reply) = space.elastic(
        "PUT",
        &format!("/{}/_settings", space.index()),
        Some(json!({"index": {"refresh_interval": "7s", "auto_expand_replicas": false, "number_of_replicas": 2}})),
    );
    assert_eq!(status, 200, "{reply}");
    let before = settings();
    assert_eq!((&before.0, &before.1, before.3), (&json!("7s"), &json!("2"), true));
    let mut ingest = through(&space, &proxy, &["--bulk-load"]).spawn().unwrap();
    wait_until("requests go out", || proxy.count(Kind::Bulk) > 2);
    ingest.kill().unwrap();
    assert_eq!(ended(ingest).code, -1);
    let off = settings();
    assert_eq!((&off.0, &off.1, off.3), (&json!("-1"), &json!("0"), false));
    let ran = run(through(&space, &proxy, &[])).expect(0);
    assert!(ran.stderr.contains("--bulk-load did not end"), "{ran:?}");
    assert!(complete(&space, &ran.json(), 60) > 0);
    assert_eq!(settings(), before);
    let quiet = run(through(&space, &proxy, &[])).expect(0);
    assert_eq!(quiet.stderr, "");
    // Live by now.
    let refused = run(through(&space, &proxy, &["--bulk-load"])).expect(2);
    assert!(refused.stderr.contains("holds faces already"), "{refused:?}");
    assert_eq!(settings(), before);
}

#[test]
fn a_load_that_ends_restores_and_one_that_died_can_go_on() {
    for die in [false, true] {
        let space = Space::new();
        fill(&space, 30);
        let proxy = honest(&space);
        space.run(&["collection", "create", &space.name]).expect(0);
        let read = || space.elastic("GET", &format!("/{}", space.index()), None).1[space.index()].clone();
        let before = read();
        if die {
            let mut ingest = through(&space, &proxy, &["--bulk-load"]).spawn().unwrap();
            wait_until("requests go out", || proxy.count(Kind::Bulk) > 2);
            ingest.kill().unwrap();
            assert_eq!(ended(ingest).code, -1);
            assert_ne!(read()["settings"], before["settings"]);
        }
        let ran = run(through(&space, &proxy, &["--bulk-load", "--force-merge"])).expect(0);
        // Searchable without anybody's refresh.
        let (_, found) = space.elastic("GET", &format!("/{}/_count", space.name), None);
        assert_eq!(found["count"], 30);
        complete(&space, &ran.json(), 30);
        let after = read();
        for name in ["refresh_interval", "number_of_replicas", "auto_expand_replicas"] {
            let of = |index: &Value| index["settings"]["index"][name].clone();
            assert_eq!(of(&after), of(&before), "{name}");
        }
        assert_eq!(after["mappings"]["_meta"], before["mappings"]["_meta"]);
    }
}

#[test]
fn a_load_that_goes_on_is_left_alone_and_one_that_died_is_told_and_ended() {
    let space = Space::new();
    fill(&space, 12);
    // The first run's load never ends.
    let hanging = Proxy::start(&space.url, |seen| {
        (seen.kind == Kind::Bulk).then_some(Fault::HangBefore)
    });
    let mut first = through(&space, &hanging, &["--bulk-load"]).spawn().unwrap();
    wait_until("it writes", || hanging.count(Kind::Bulk) > 0);
    let refresh = || {
        let (_, reply) = space.elastic("GET", &format!("/{}/_settings", space.index()), None);
        reply[space.index()]["settings"]["index"]["refresh_interval"].clone()
    };
    assert_eq!(refresh(), "-1");
    let second = run(through(&space, &honest(&space), &[])).expect(0);
    assert!(second.stderr.contains("a --bulk-load goes on"), "{second:?}");
    assert_eq!(refresh(), "-1");
    let status = || space.run(&["collection", "status", &space.name]).expect(0).stdout;
    assert!(status().contains("a --bulk-load goes on"), "{}", status());
    let repair = || space.run(&["collection", "repair", &space.name]).expect(0);
    repair();
    assert_eq!(refresh(), "-1");
    let check = || space.run(&["collection", "check", &space.name]).stdout;
    let left = |count: u64| format!("settings that a command left behind: {count}");
    assert!(check().contains(&left(0)), "{}", check());

    first.kill().unwrap();
    first.wait().unwrap();
    assert!(status().contains("a --bulk-load was cut off"), "{}", status());
    assert!(check().contains(&left(1)) && check().contains("a --bulk-load was cut off"));
    let repaired = repair();
    assert!(repaired.stdout.contains("refresh and replicas"), "{repaired:?}");
    assert_eq!(refresh(), Value::Null);
    assert!(check().contains(&left(0)), "{}", check());
    assert!(!status().contains("bulk-load"));
}

#[test]
fn a_load_that_is_interrupted_says_what_that_means() {
    let space = Space::new();
    fill(&space, 60);
    let slow = Proxy::start(&space.url, |seen| (seen.kind == Kind::Bulk).then_some(Fault::Slow(300)));
    let ingest = through(&space, &slow, &["--bulk-load"]).spawn().unwrap();
    wait_until("it writes", || slow.count(Kind::Bulk) > 2);
    signal(&ingest, "-TERM");
    let ended = ended(ingest).expect(1);
    assert!(ended.stderr.contains("the --bulk-load has not ended"), "{ended:?}");
}

/// A disk of a few kilobytes at a folder.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where the right to mount is missing.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=1m"])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// The command with files limited to so many kilobytes; writing more fails instead of killing it.
fn with_small_files(command: &Command, kilobytes: u32) -> Command {
    let mut limited = Command::new("bash");
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$@\"");
    limited.args(["-c", &script, "bash"]).arg(command.get_program());
    limited.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(command.get_current_dir().unwrap());
    limited
}

#[test]
fn a_full_disk_under_the_journal_stops_the_run_and_loses_nothing() {
    let space = Space::new();
    fill(&space, 150);
    let proxy = honest(&space);
    let disk = space.folder.path().join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let journal = disk.to_str().unwrap().to_owned();
    let command = through(&space, &proxy, &["--journal-dir", &journal]);
    // Without the right to mount, a limit on the size of files comes closest.
    let small = SmallDisk::mount(&disk, "4k");
    let ran = match small {
        Some(_) => run(command),
        None => run(with_small_files(&command, 2)),
    };
    assert_eq!(ran.code, 2, "{ran:?}");
    for words in ["cannot write the journal", &journal, "free space", "--no-journal"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    assert_eq!(space.dead_letters(), [] as [Value; 0]);
    let between = space.count();
    assert!((1..150).contains(&between), "{between} of 150: not in the middle");
    if let Some(small) = &small {
        small.grow();
    }
    let again = run(through(&space, &proxy, &["--journal-dir", &journal]))
        .expect(0)
        .json();
    assert!(complete(&space, &again, 150) > 0);
}

#[test]
fn a_dead_letter_file_that_fills_up_stops_the_run_and_stays_readable() {
    let space = Space::new();
    for number in 0..40 {
        space.put(
            &format!("many/{number}.jpg"),
            format!("letter {number}, no photo").as_bytes(),
        );
    }
    fill(&space, 3);
    let proxy = honest(&space);
    let ran = run(with_small_files(&through(&space, &proxy, &[]), 2));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("cannot write the dead-letter file"), "{ran:?}");
    // The line that did not fit must not spoil the first one of the next run.
    let again = run(through(&space, &proxy, &[])).expect(1).json();
    assert_eq!(figures(&again, ["images", "failed"]), [43, 40], "{again}");
    assert_eq!(space.count(), 3);
    let text = std::fs::read_to_string(space.path("facedex.dead-letter.ndjson")).unwrap();
    let of_this_run = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|letter| letter["run"] == again["run"])
        .count();
    assert_eq!(of_this_run, 40, "{text}");
}

#[test]
fn a_journal_is_of_one_collection_and_of_its_options() {
    let space = Space::new();
    let many = fill(&space, 6);
    let first = space.ingest(0, &[&many]);
    assert_eq!(complete(&space, &first, 6), 0);
    let second = space.ingest(0, &[&many]);
    assert_eq!(complete(&space, &second, 6), 6);
    // Made anew under the same name.
    space.elastic("DELETE", &format!("/{}", space.index()), None);
    let anew = space.ingest(0, &[&many]);
    assert_eq!((figures(&anew, ["indexed"]), complete(&space, &anew, 6)), ([6], 0));
    // Other options.
    let ran = space
        .run(&["ingest", "--json", &many, "--subject", "largest"])
        .expect(0);
    assert!(
        ran.stderr.contains("the options changed") && ran.stderr.contains("every photo is looked at again"),
        "{ran:?}"
    );
    assert_eq!(
        (figures(&ran.json(), ["existing"]), complete(&space, &ran.json(), 6)),
        ([6], 0)
    );
}

#[test]
fn a_wiped_cluster_is_no_finished_work() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), 0);
    let port = node.port();
    let space = Space::at(&node.url.clone());
    let many = fill(&space, 4);
    space.ingest(0, &[&many]);
    let again = space.ingest(0, &[&many]);
    assert_eq!(complete(&space, &again, 4), 4);
    node.kill();
    std::fs::remove_dir_all(data.path()).unwrap();
    std::fs::create_dir_all(data.path()).unwrap();
    let _node = Node::start(data.path(), port);
    let wiped = space.ingest(0, &[&many]);
    assert_eq!((figures(&wiped, ["indexed"]), complete(&space, &wiped, 4)), ([4], 0));
}
