//! Versions of Elasticsearch that are too old, hidden, or not told in time: each is said, and nothing is searched on a guess.

use serde_json::json;

use crate::harness::proxy::{Fault, Kind, Proxy};
use crate::harness::{Space, photo};

/// A search through a proxy that answers the question for the nodes' versions so; what it says, with its exit code.
fn search(answer: impl Fn(usize) -> Option<Fault> + Send + 'static) -> (i32, String, usize) {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let mut asked = 0;
    let proxy = Proxy::start(&space.url, move |seen| {
        if seen.kind != Kind::Nodes {
            return None;
        }
        asked += 1;
        answer(asked)
    });
    let query = photo("query/obama-3.jpg");
    let url = proxy.url.clone();
    let arguments = [
        "search",
        query.to_str().unwrap(),
        "--elasticsearch-url",
        &url,
        "--elasticsearch-timeout",
        "3s",
    ];
    let ran = space.run(&arguments);
    (ran.code, ran.stderr, proxy.count(Kind::Search))
}

fn nodes(versions: &[&str], failed: u32) -> Fault {
    let nodes: serde_json::Map<_, _> = versions
        .iter()
        .enumerate()
        .map(|(at, version)| {
            (
                format!("id{at}"),
                json!({"name": format!("node-{at}"), "version": version}),
            )
        })
        .collect();
    let body = json!({"_nodes": {"failed": failed}, "nodes": nodes});
    Fault::status(200, Box::leak(body.to_string().into_boxed_str()))
}

#[test]
fn versions_of_which_nothing_is_known_are_not_searched() {
    for (versions, said) in [
        (
            &["8.17.1"][..],
            "8.17.1 (node node-0) is not supported, 8.19.0 to 9.x are: upgrade elasticsearch",
        ),
        (
            &["9.5.3", "10.1.0"],
            "10.1.0 (node node-1) is not supported, 8.19.0 to 9.x are: install a newer facedex",
        ),
    ] {
        let (code, stderr, searches) = search(|_| Some(nodes(versions, 0)));
        assert_eq!((code, searches), (2, 0), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_cluster_that_is_upgraded_is_searched_and_named() {
    let (code, stderr, searches) = search(|_| Some(nodes(&["8.19.21", "9.5.3", "8.19.21"], 0)));
    assert_eq!((code, searches), (1, 1), "{stderr}");
    assert!(stderr.contains("8.19.21 (node-0, node-2), 9.5.3 (node-1)"), "{stderr}");
    let (code, stderr, searches) = search(|_| Some(nodes(&["9.99.0"], 0)));
    assert_eq!((code, searches), (1, 1), "{stderr}");
    assert!(stderr.contains("newer than the versions"), "{stderr}");
}

#[test]
fn a_proxy_that_hides_the_version_is_named() {
    for hides in [
        Fault::status(404, "<html>no such page</html>"),
        Fault::status(200, "<html>welcome</html>"),
        Fault::status(200, r#"{"_nodes": {"failed": 0}, "nodes": {}}"#),
        Fault::status(
            200,
            r#"{"_nodes": {"failed": 0}, "nodes": {"x": {"name": "n", "version": "serverless"}}}"#,
        ),
        Fault::status(
            403,
            r#"{"error": {"type": "security_exception", "reason": "no"}, "status": 403}"#,
        ),
    ] {
        let said = format!("{hides:?}");
        let (code, stderr, searches) = search(move |_| Some(hides.clone()));
        assert_eq!((code, searches), (2, 0), "{said}: {stderr}");
        assert!(
            stderr.contains("cannot tell which elasticsearch answers") && stderr.contains("`monitor`"),
            "{said}: {stderr}"
        );
    }
}

#[test]
fn a_node_that_goes_away_while_it_is_asked_is_asked_for_again() {
    let (code, stderr, searches) = search(|asked| (asked == 1).then(|| nodes(&["9.5.3"], 1)));
    assert_eq!((code, searches), (1, 1), "{stderr}");
    let (code, stderr, searches) = search(|_| Some(nodes(&["9.5.3"], 1)));
    assert_eq!((code, searches), (2, 0), "{stderr}");
    assert!(stderr.contains("1 of the nodes did not answer"), "{stderr}");
}
