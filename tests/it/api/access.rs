//! Who may do what, tried on the real server, also with what browsers and attackers send. docs/security.md has the table.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::{Answer, Site, key, keyed, nap};
use crate::harness::Space;
use crate::harness::api::Api;

/// Every route, what it takes, and the scope that it needs.
fn routes(collection: &str) -> Vec<(&'static str, String, Value, &'static str)> {
    let embedding: Vec<f64> = (0..128).map(|n| if n == 0 { 1.0 } else { 0.0 }).collect();
    let question = json!({"collection": collection, "embedding": embedding});
    let at = |path: &str| format!("{path}?collection={collection}");
    vec![
        ("POST", "/v1/search".to_owned(), question.clone(), "read"),
        ("POST", "/v1/identify".to_owned(), question, "read"),
        ("GET", at("/v1/faces/0123-0"), Value::Null, "read"),
        ("GET", at("/v1/faces/0123-0/thumbnail"), Value::Null, "read"),
        ("GET", at("/v1/persons/ada"), Value::Null, "read"),
        ("GET", at("/v1/stats"), Value::Null, "read"),
        (
            "POST",
            "/v1/faces".to_owned(),
            json!({"collection": collection, "person_id": "ada", "photo": "AAAA"}),
            "write",
        ),
        ("DELETE", at("/v1/faces/0123-0"), Value::Null, "write"),
        ("PATCH", at("/v1/persons/ada"), json!({"name": "Ada"}), "write"),
        ("DELETE", at("/v1/persons/ada"), Value::Null, "admin"),
    ]
}

#[test]
fn without_a_key_nothing_is_told() {
    let (site, _) = keyed(&[]);
    let name = site.space.name.clone();
    let more = [
        "/v1/collections",
        "/v1/verify",
        "/v1/represent",
        "/v1",
        "/v1/nothing",
        "/metrics",
    ];
    let all = routes(&name)
        .into_iter()
        .map(|(method, target, body, _)| (method, target, body));
    for (method, target, body) in all.chain(more.map(|path| ("GET", path.to_owned(), Value::Null))) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = site.ask(method, &target, &[("content-type", "application/json")], &body);
        assert_eq!(
            (answer.status, answer.code()),
            (401, "unauthorized".to_owned()),
            "{method} {target}"
        );
        assert!(
            answer.header("www-authenticate").unwrap().contains("X-API-Key"),
            "{answer:?}"
        );
    }
    for target in ["/es/", "/es", &format!("/es/{name}/_search"), "/es/_cat/indices"] {
        let answer = site.ask("GET", target, &[("authorization", "ApiKey x")], "");
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (401, &401.into()),
            "{target}"
        );
        assert_eq!(answer.json()["error"]["type"], "security_exception", "{answer:?}");
    }
    assert_eq!(site.ask("GET", "/healthz", &[], "").status, 200);
}

#[test]
fn a_key_opens_what_its_scope_and_its_collections_say() {
    let space = Space::new();
    space.run(&["collection", "create", &space.name]).expect(0);
    let keys: Vec<(&str, String)> = ["read", "write", "admin"]
        .map(|scope| (scope, key(&space, scope, scope, &space.name, &[])))
        .into();
    let elsewhere = key(&space, "elsewhere", "admin", "elsewhere", &[]);
    let name = space.name.clone();
    let file = space.path("keys.json");
    let site = Site::start(space, &["--keys", &file]);
    let rank = |scope: &str| {
        ["read", "write", "admin"]
            .iter()
            .position(|known| *known == scope)
            .unwrap()
    };
    for (method, target, body, needed) in routes(&name) {
        for (scope, secret) in &keys {
            let answer = site.with(secret, method, &target, &body);
            let what = format!("{method} {target} with {scope}: {answer:?}");
            if rank(scope) < rank(needed) {
                assert_eq!((answer.status, answer.code()), (403, "forbidden".to_owned()), "{what}");
                assert_eq!(answer.json()["error"]["details"]["scope"], needed, "{what}");
            } else {
                assert!(![401, 403, 405, 500].contains(&answer.status), "{what}");
            }
        }
        let answer = site.with(&elsewhere, method, &target, &body);
        assert_eq!(
            (answer.status, answer.code()),
            (403, "forbidden".to_owned()),
            "{method} {target}: {answer:?}"
        );
        assert_eq!(answer.json()["error"]["details"]["collection"], name, "{answer:?}");
    }
    let listed = site.with(&elsewhere, "GET", "/v1/collections", &Value::Null);
    assert_eq!(listed.status, 200);
    assert!(
        !listed.body.contains(&name),
        "a collection of others is not even named: {listed:?}"
    );
    assert_eq!(site.with(&elsewhere, "GET", "/metrics", &Value::Null).status, 200);
}

#[test]
fn keys_are_taken_up_and_given_up_while_the_server_runs() {
    let (site, admin) = keyed(&[]);
    let status = |secret: &str| site.with(secret, "GET", "/v1/collections", &Value::Null).status;
    let until = |secret: &str, expected: u16| {
        let start = Instant::now();
        while status(secret) != expected {
            assert!(start.elapsed() < Duration::from_secs(5), "{}", site.serve.said());
            nap(300);
        }
    };
    assert_eq!(status(&admin), 200);
    let brief = key(&site.space, "brief", "read", "*", &["--expires", "8s"]);
    until(&brief, 200);
    let file = site.space.path("keys.json");
    // A torn or missing file locks nobody out and lets nobody in.
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    nap(2500);
    assert_eq!(status(&admin), 200);
    std::fs::remove_file(&file).unwrap();
    nap(2500);
    assert_eq!(status(&admin), 200);
    assert_eq!(site.ask("GET", "/v1/collections", &[], "").status, 401);
    let log = site.serve.said();
    assert!(log.contains("is broken") && log.contains("stay in force"), "{log}");
    std::fs::write(&file, &good).unwrap();
    until(&brief, 401);
    let answer = site.with(&brief, "GET", "/v1/collections", &Value::Null);
    assert!(answer.status == 401 && answer.body.contains("expired"), "{answer:?}");
    site.space.run(&["keys", "revoke", "admin", "--keys", &file]).expect(0);
    until(&admin, 401);
    assert!(
        site.with(&admin, "GET", "/v1/collections", &Value::Null)
            .body
            .contains("revoked")
    );
    for secret in [&admin, &brief] {
        assert!(!site.serve.said().contains(&secret[4..]), "a key is in the log");
    }
}

#[test]
fn pages_of_the_origins_that_are_named_may_ask_with_a_key() {
    let friend = "https://photos.example.org";
    let (site, admin) = keyed(&["--allow-origin", friend]);
    let ask = |origin: &str, method: &str, more: &[(&str, &str)]| {
        let headers = [&[("origin", origin), ("sec-fetch-site", "cross-site")], more].concat();
        site.ask(method, "/v1/collections", &headers, "")
    };
    let preflight = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-api-key"),
    ];
    let asked = ask(friend, "OPTIONS", &preflight);
    assert_eq!(
        (asked.status, asked.header("access-control-allow-origin")),
        (200, Some(friend))
    );
    assert!(
        asked
            .header("access-control-allow-headers")
            .unwrap()
            .contains("x-api-key"),
        "{asked:?}"
    );
    assert!(
        asked.header("access-control-allow-methods").unwrap().contains("DELETE"),
        "{asked:?}"
    );
    let key = ("x-api-key", admin.as_str());
    let answered = ask(friend, "GET", &[key]);
    assert_eq!(
        (answered.status, answered.header("access-control-allow-origin")),
        (200, Some(friend))
    );
    assert_eq!(ask(friend, "GET", &[]).status, 401, "an origin is no key");
    for stranger in [
        "https://evil.example",
        "http://photos.example.org",
        "https://photos.example.org:444",
        "null",
    ] {
        let refused = ask(stranger, "OPTIONS", &preflight);
        assert_eq!(refused.header("access-control-allow-origin"), None, "{stranger}");
        // A program may say what it likes; a browser does not show this to the page.
        assert_eq!(
            ask(stranger, "GET", &[key]).header("access-control-allow-origin"),
            None,
            "{stranger}"
        );
    }
    for (origin, word) in [("*", "expected an origin"), ("https://a.example/path", "no path")] {
        let ran = site.space.run(&["serve", "--allow-origin", origin]).expect(2);
        assert!(ran.stderr.contains(word), "{ran:?}");
    }
    let ran = Space::new()
        .run(&["serve", "--listen", "127.0.0.1:0", "--allow-origin", friend])
        .expect(2);
    assert!(ran.stderr.contains("facedex keys create"), "{ran:?}");
}

#[test]
fn without_keys_other_machines_and_other_sites_are_refused() {
    let site = Site::start(Space::new(), &[]);
    let host = site.host().to_owned();
    let port = host.rsplit(':').next().unwrap();
    let ask = |headers: &[(&str, &str)]| site.ask("GET", "/v1/collections", headers, "").status;
    assert_eq!(ask(&[]), 200);
    assert_eq!(ask(&[("host", &format!("localhost:{port}"))]), 200);
    assert_eq!(ask(&[("host", "[::1]")]), 200);
    assert_eq!(
        ask(&[("origin", &format!("http://{host}")), ("sec-fetch-site", "same-origin")]),
        200
    );
    let other_port = "http://127.0.0.1:3000";
    for (expected, tricks) in [
        // DNS rebinding: a name of the attacker's leads here.
        (403, vec![("host", "evil.example")]),
        (403, vec![("host", "127.0.0.1.evil.example")]),
        (403, vec![("host", "localhost.evil.example:80")]),
        (403, vec![("host", "0.0.0.0")]),
        (403, vec![("host", "127.0.0.1@evil.example")]),
        (403, vec![("host", "")]),
        // Another page of the user's browser.
        (403, vec![("origin", "null")]),
        (403, vec![("origin", "https://evil.example")]),
        (403, vec![("origin", other_port)]),
        (403, vec![("sec-fetch-site", "cross-site")]),
        (403, vec![("sec-fetch-site", "same-site")]),
        // Two hosts, of which the first is good.
        (400, vec![("no-host", "")]),
        (403, vec![("host", &host), ("host", "evil.example")]),
    ] {
        let status = ask(&tricks);
        assert!(
            status == expected || status == 400 || status == 403,
            "{tricks:?}: {status}"
        );
        assert_ne!(status, 200, "{tricks:?}");
    }
    let target = "http://evil.example/v1/collections";
    assert_eq!(
        site.ask("GET", target, &[], "").status,
        403,
        "the target names another host"
    );
    // A form of another site that would enrol a face.
    let form = [
        ("content-type", "multipart/form-data; boundary=x"),
        ("origin", "https://evil.example"),
    ];
    let answer = site.ask("POST", "/v1/faces", &form, "--x--");
    assert_eq!((answer.status, answer.code()), (403, "foreign_origin".to_owned()));
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "DELETE"),
    ];
    let answer = site.ask("OPTIONS", "/v1/faces/x", &preflight, "");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (403, None)
    );
    assert_eq!(site.ask("GET", "/healthz", &[("host", "evil.example")], "").status, 403);
}

#[test]
fn without_keys_an_address_that_others_reach_is_refused() {
    let space = Space::new();
    let refused = space.run(&["serve", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(
        refused.stderr.contains("keys create") && refused.stderr.contains("--insecure"),
        "{refused:?}"
    );
    let file = space.path("absent.json");
    let missing = space
        .run(&["serve", "--listen", "127.0.0.1:0", "--keys", &file])
        .expect(2);
    assert!(missing.stderr.contains("absent.json"), "{missing:?}");
    space.put("broken.json", b"{}");
    let broken = space.run(&["serve", "--keys", &space.path("broken.json")]).expect(2);
    assert!(broken.stderr.contains("is broken"), "{broken:?}");
    let rate = space
        .run(&["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"])
        .expect(2);
    assert!(rate.stderr.contains("--rate-limit"), "{rate:?}");
    let log = space
        .run(&["serve", "--listen", "127.0.0.1:0", "--audit-log", "/nowhere/audit"])
        .expect(2);
    assert!(log.stderr.contains("/nowhere/audit"), "{log:?}");
    let open = Api::run(space.command(&["serve", "--listen", "0.0.0.0:0", "--insecure"]));
    assert!(open.said().contains("without keys"), "{}", open.said());
}

#[test]
fn guessing_keys_costs_time() {
    let (site, admin) = keyed(&[]);
    assert_eq!(site.with(&admin, "GET", "/v1/collections", &Value::Null).status, 200);
    let answers: Vec<Answer> = (0..20)
        .map(|number| site.with(&format!("fdx_{number:043}"), "GET", "/v1/collections", &Value::Null))
        .collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..10], [401; 10]);
    // One more in six seconds, which a slow machine may need.
    let refused = statuses[10..].iter().filter(|status| **status == 429).count();
    assert!(refused >= 7 && statuses[19] == 429, "{statuses:?}");
    let wait: u64 = answers[19].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{:?}", answers[19]);
    assert_eq!(
        site.with(&admin, "GET", "/v1/collections", &Value::Null).status,
        200,
        "others go on"
    );
    let log = site.serve.said();
    assert!(log.contains("wrong API key") && !log.contains("fdx_"), "{log}");
}

#[test]
fn a_key_has_its_rate() {
    let (site, admin) = keyed(&["--rate-limit", "0.1", "--rate-burst", "2"]);
    let statuses = [(); 4].map(|()| site.with(&admin, "GET", "/v1/collections", &Value::Null));
    assert_eq!(statuses.each_ref().map(|answer| answer.status), [200, 200, 429, 429]);
    assert_eq!(statuses[3].code(), "rate_limited");
    assert!(
        statuses[3]
            .header("retry-after")
            .is_some_and(|wait| wait.parse::<u64>().unwrap() <= 10)
    );
    assert_eq!(site.ask("GET", "/healthz", &[], "").status, 200);
}

#[test]
fn oversized_and_slow_requests_end() {
    let (site, admin) = keyed(&["--max-body", "20000", "--timeout", "2s"]);
    let big = site.ask("GET", "/healthz", &[("x-bomb", &"x".repeat(2 << 20))], "");
    assert!([0, 431].contains(&big.status), "a header of 2 MiB: {big:?}");
    let many: Vec<(String, String)> = (0..5000)
        .map(|number| (format!("x-{number}"), "y".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    let many = site.ask("GET", "/healthz", &many, "");
    assert!([0, 431].contains(&many.status), "5000 headers: {many:?}");
    let long_key = site.with(
        &format!("fdx_{}", "x".repeat(50_000)),
        "GET",
        "/v1/collections",
        &Value::Null,
    );
    assert_eq!(long_key.status, 401);
    let image = [("x-api-key", admin.as_str()), ("content-type", "image/jpeg")];
    let large = site.ask("POST", "/v1/represent", &image, &"x".repeat(30_000));
    assert_eq!((large.status, large.code()), (413, "too_large".to_owned()));
    // Nothing of the body is read before the key is known.
    let start = Instant::now();
    let head = format!(
        "POST /v1/represent HTTP/1.1\r\nhost: {}\r\ncontent-type: image/jpeg\r\ncontent-length: 10000\r\n",
        site.host()
    );
    let mut unknown = connect(&site);
    unknown.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    assert!(first_line(&mut unknown).contains("401"));
    assert!(start.elapsed() < Duration::from_secs(2));
    // A body that does not come.
    let mut slow = connect(&site);
    slow.write_all(format!("{head}x-api-key: {admin}\r\n\r\nabc").as_bytes())
        .unwrap();
    assert!(first_line(&mut slow).contains("408"), "a slow body");
    // A head that comes byte by byte.
    let mut drip = connect(&site);
    let start = Instant::now();
    let _ = drip.write_all(b"GET /healthz HTTP/1.1\r\n");
    while start.elapsed() < Duration::from_secs(30) && drip.write_all(b"x").is_ok() {
        nap(250);
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "a slow head holds its connection"
    );
    assert_eq!(site.ask("GET", "/healthz", &[], "").status, 200);
}

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.host()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn first_line(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 64];
    let length = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
