//! What ends a run, and what makes it wait.

use super::*;

/// Variants of one photo, small enough to be quick.
fn fill_quickly(space: &Space, photos: u32) -> String {
    for (number, bytes) in images::variants_of_size("query/biden.jpg", 160, photos).enumerate() {
        space.put(&format!("many/{number:04}.png"), &bytes);
    }
    space.path("many")
}

/// The run ended with 2 and took no photo for bad; the same command finishes the work.
#[track_caller]
fn stopped_and_resumable(space: &Space, ran: &Ran, photos: u64, words: &str) {
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains(words), "{ran:?}");
    assert_eq!(space.dead_letters(), [] as [Value; 0]);
    let again = space.ingest(0, &[&space.path("many")]);
    assert_eq!((figure(&again, "images"), space.count()), (photos, photos), "{again}");
}

#[test]
fn credentials_that_end_in_the_middle_end_the_run() {
    const EXPIRED: &str = r#"{"error":{"type":"security_exception","reason":"api key is expired"},"status":401}"#;
    const FORBIDDEN: &str = r#"{"error":{"type":"security_exception","reason":"action [indices:data/write/bulk] is unauthorized"},"status":403}"#;
    let faults = [
        (Fault::status(401, EXPIRED), "api key is expired"),
        (Fault::status(403, FORBIDDEN), "is unauthorized"),
        (
            items(403, "security_exception", "item is unauthorized"),
            "item is unauthorized",
        ),
    ];
    for (fault, words) in faults {
        let space = Space::new();
        let folder = fill_quickly(&space, 30);
        let proxy = Proxy::start(&space.url, move |seen| {
            (seen.kind == Kind::Bulk && seen.number >= 4).then(|| fault.clone())
        });
        let ran = run(faulty(&space, &proxy, &[&folder, "--bulk-faces", "2"]));
        assert!((2..30).contains(&space.count()), "not in the middle");
        stopped_and_resumable(&space, &ran, 30, words);
    }
}

#[test]
fn a_collection_deleted_in_the_middle_ends_the_run_and_makes_no_index() {
    for kind in [Kind::Bulk, Kind::Mget, Kind::Refresh] {
        let space = Space::new();
        let folder = fill_quickly(&space, 30);
        let index = format!("/{}", space.index());
        let node = space.url.clone();
        let proxy = Proxy::start(&space.url, move |seen| {
            let first = if kind == Kind::Bulk { 4 } else { 0 };
            if seen.kind == kind && seen.number == first {
                request(&node, "DELETE", &index, None);
            }
            (kind == Kind::Mget && seen.kind == Kind::Bulk)
                .then_some(Fault::ResetAfter)
                .filter(|_| seen.number == 4)
        });
        let ran = run(faulty(&space, &proxy, &[&folder, "--bulk-faces", "2"]));
        let (status, reply) = space.elastic("GET", &format!("/{}", space.name), None);
        assert_eq!(status, 404, "{kind:?}: {reply}");
        stopped_and_resumable(&space, &ran, 30, &space.name);
    }
}

#[test]
fn retries_end_when_the_user_says_so_and_not_before() {
    let faults = [
        Fault::status(503, "{}"),
        // Longer than anybody wants to wait here.
        Fault::Status {
            code: 429,
            retry_after: Some(3600),
            body: REJECTED,
        },
    ];
    for fault in faults {
        let space = Space::new();
        let folder = fill_quickly(&space, 30);
        let proxy = Proxy::start(&space.url, move |seen| {
            (seen.kind == Kind::Bulk && seen.number >= 4).then(|| fault.clone())
        });
        let ran = run(faulty(
            &space,
            &proxy,
            &[&folder, "--bulk-faces", "2", "--retry-for", "2s"],
        ));
        stopped_and_resumable(&space, &ran, 30, "did not accept it for 2 s");
    }
}

#[test]
fn a_pause_that_the_server_asks_for_is_kept() {
    let space = Space::new();
    let folder = fill_quickly(&space, 12);
    let proxy = Proxy::start(&space.url, |seen| match (seen.kind, seen.number) {
        (Kind::Bulk, 1) => Some(Fault::ResetAfter),
        (Kind::Bulk, 0) | (Kind::Mget | Kind::Refresh, 0) => Some(Fault::Status {
            code: 429,
            retry_after: Some(1),
            body: REJECTED,
        }),
        _ => None,
    });
    let ran = run(faulty(&space, &proxy, &[&folder, "--bulk-in-flight", "1"])).expect(0);
    assert_eq!(figure(&ran.json(), "indexed"), 12);
    for kind in [Kind::Bulk, Kind::Mget, Kind::Refresh] {
        let seen: Vec<Seen> = proxy.seen().into_iter().filter(|seen| seen.kind == kind).collect();
        assert!(seen[1].at - seen[0].at >= std::time::Duration::from_secs(1), "{kind:?}");
    }
}

#[test]
fn requests_shrink_while_the_node_has_too_much_to_do_and_grow_again() {
    let space = Space::new();
    let folder = fill_quickly(&space, 300);
    let proxy = Proxy::start(&space.url, |seen| {
        (seen.kind == Kind::Bulk && (2..5).contains(&seen.number)).then(|| Fault::status(429, REJECTED))
    });
    let arguments = [&folder, "--bulk-faces", "16", "--bulk-in-flight", "1", "--workers", "1"];
    let ran = run(faulty(&space, &proxy, &arguments)).expect(0);
    assert_eq!((figure(&ran.json(), "indexed"), space.count()), (300, 300));
    let seen = proxy.seen();
    let sizes: Vec<usize> = seen
        .iter()
        .filter(|seen| seen.kind == Kind::Bulk)
        .map(|seen| seen.ids.len())
        .collect();
    // One batch may have been filled before the answer came.
    let after = &sizes[5..];
    let least = after.iter().take(4).min().copied();
    assert!(sizes[..2].iter().all(|&size| size == 16), "{sizes:?}");
    assert_eq!(least, Some(8), "{sizes:?}");
    assert_eq!(after[4..].iter().max().copied(), Some(16), "{sizes:?}");
}

/// The faults are really there: the proxy's own test.
#[test]
fn the_proxy_counts_what_it_breaks() {
    let proxy = Proxy::start(shared(), |seen| (seen.number == 0).then(|| Fault::status(503, "{}")));
    let codes: Vec<u16> = (0..2).map(|_| request(&proxy.url, "GET", "/", None).0).collect();
    assert_eq!(codes, [503, 200]);
    assert_eq!(proxy.injected(), BTreeMap::from([("503", 1)]));
    assert_eq!(proxy.count(Kind::Other), 2);
}
