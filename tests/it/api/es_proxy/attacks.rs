//! Attempts to reach more of Elasticsearch than the proxy is for, over raw connections. docs/security.md has the table.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Proxied, proxy};

/// Sends a request of this first line and these headers; gives the status and the whole answer.
fn ask(proxy: &Proxied, line: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut request = format!("{line}\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", host(proxy)).into_bytes();
    request.extend_from_slice(body);
    let reply = proxy.serve.raw(&request);
    (status(&reply), reply)
}

fn host(proxy: &Proxied) -> &str {
    proxy.serve.url.trim_start_matches("http://")
}

fn status(reply: &str) -> u16 {
    reply
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default()
}

/// Every request that the node has seen is one of those the proxy and the server are for.
#[track_caller]
fn nothing_else_was_asked(proxy: &Proxied) {
    for head in proxy.tee.heads() {
        let line = head.lines().next().unwrap_or_default();
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target
            .trim_end_matches(" HTTP/1.1")
            .split_once('?')
            .unwrap_or((target, ""));
        let path = path.trim_end_matches(" HTTP/1.1");
        let allowed = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            [""] | ["_msearch"] => true,
            // The versions of the nodes.
            ["_nodes", "http"] => method == "GET",
            // Whose indices there are, where one has no mark of facedex's.
            ["*"] => method == "GET" && query.contains("filter_path=*.aliases"),
            ["_security", "user", "_has_privileges"] => method == "POST",
            // The look-up of a collection.
            [names] => {
                let (name, alias) = names.split_once(',').unwrap_or((names, ""));
                let is_own = alias == format!("facedex-faces-{name}@*");
                method == "GET" && is_own && facedex_elastic::schema::collection::check_name(name).is_ok()
            }
            [name, "_search" | "_count" | "_msearch"] => facedex_elastic::schema::collection::check_name(name).is_ok(),
            _ => false,
        };
        assert!(allowed && ["GET", "HEAD", "POST"].contains(&method), "{head}");
    }
}

#[test]
fn no_spelling_of_a_path_reaches_anything_else() {
    let proxy = proxy();
    let name = &proxy.space.name;
    let paths = [
        "/es/_cat/indices".to_owned(),
        "/es/_cluster/settings".to_owned(),
        "/es/_search".to_owned(),
        "/es/_all/_search".to_owned(),
        "/es/*/_search".to_owned(),
        "/es/%2A/_search".to_owned(),
        "/es/_search/scroll".to_owned(),
        "/es/_mget".to_owned(),
        "/es/_msearch/template".to_owned(),
        "/es/_security/user".to_owned(),
        format!("/es/{name}/../_cat/indices"),
        format!("/es/{name}/../../_cat/indices"),
        format!("/es/{name}/_search/../_doc/1"),
        format!("/es/{name}/./_search"),
        format!("/es/{name}/%2e%2e/_cat/indices"),
        format!("/es/{name}/..%2f_cat%2findices"),
        format!("/es/{name}%2F_search"),
        format!("/es/{name}%2F..%2F_all/_search"),
        format!("/es/{name}/%5Fsearch"),
        format!("/es/{name}%00/_search"),
        format!("/es/{name}%0d%0aX:%20y/_search"),
        format!("/es/{name}%252F/_search"),
        format!("/es//{name}/_search"),
        format!("/es/{name}//_search"),
        format!("/es/{name}/_search/"),
        format!("/es/{name};x=y/_search"),
        format!("/es/{name}/_search;x=y"),
        format!("/es/{name},{name}/_search"),
        format!("/es/{name}*/_search"),
        format!("/es/-{name}/_search"),
        format!("/es/remote:{name}/_search"),
        format!("/es/%3C{name}%3E/_search"),
        format!("/es/{name}::failures/_search"),
        format!("/es/{}/_search", proxy.space.index()),
        format!("/es/{name}/_search/template"),
        format!("/es/{name}/_async_search"),
        format!("/es/{name}/_mapping"),
        format!("/es/{name}/_bulk"),
        format!("/es/{name}/_delete_by_query"),
        format!("/es/{name}"),
        format!("/es\\{name}\\_search"),
        format!("/es/{name}\\..\\_cat"),
        format!("//es/{name}/_search"),
        format!("/ES/{name}/_search"),
        format!("/es/../es/{name}/_search"),
        format!("/v1/../es/{name}/_doc"),
        "http://127.0.0.1:9200/_cat/indices".to_owned(),
        "*".to_owned(),
    ];
    for path in &paths {
        for method in ["GET", "POST"] {
            let (status, reply) = ask(
                &proxy,
                &format!("{method} {path} HTTP/1.1"),
                "content-length: 0\r\n",
                b"",
            );
            assert!((400..500).contains(&status), "{method} {path}: {reply}");
        }
    }
    nothing_else_was_asked(&proxy);
}

#[test]
fn no_method_but_those_that_read_is_taken() {
    let proxy = proxy();
    let search = format!("/es{}", proxy.search());
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "get"] {
        let (status, reply) = ask(
            &proxy,
            &format!("{method} {search} HTTP/1.1"),
            "content-length: 0\r\n",
            b"",
        );
        assert_eq!(status, 405, "{method}: {reply}");
        assert!(reply.to_lowercase().contains("allow: get, post"), "{reply}");
    }
    let (status, _) = ask(&proxy, "CONNECT 127.0.0.1:9200 HTTP/1.1", "", b"");
    assert!((400..500).contains(&status), "{status}");
    for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let headers = format!("{header}: DELETE\r\ncontent-length: 0\r\n");
        assert_eq!(ask(&proxy, &format!("GET {search} HTTP/1.1"), &headers, b"").0, 200);
        assert!(
            proxy
                .tee
                .heads()
                .iter()
                .all(|head| !head.to_lowercase().contains("override"))
        );
    }
    for header in [
        "X-Original-URL: /_cat/indices",
        "X-Rewrite-URL: /_cat/indices",
        "Forwarded: host=x",
    ] {
        let headers = format!("{header}\r\ncontent-length: 0\r\n");
        assert_eq!(ask(&proxy, &format!("GET {search} HTTP/1.1"), &headers, b"").0, 200);
    }
    nothing_else_was_asked(&proxy);
}

#[test]
fn no_second_request_hides_in_a_first() {
    let proxy = proxy();
    let line = format!("POST /es{} HTTP/1.1", proxy.search());
    let json = "content-type: application/json\r\n";
    let hidden = "GET /es/_cat/indices HTTP/1.1\r\nhost: x\r\n\r\n";
    let chunked = format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}");
    for (headers, body) in [
        (
            "content-length: 2\r\ncontent-length: 50\r\n".to_owned(),
            format!("{{}}{hidden}"),
        ),
        ("content-length: 2, 50\r\n".to_owned(), format!("{{}}{hidden}")),
        ("content-length: +2\r\n".to_owned(), "{}".to_owned()),
        ("content-length: -1\r\n".to_owned(), "{}".to_owned()),
        ("content-length: 0x2\r\n".to_owned(), "{}".to_owned()),
        ("transfer-encoding : chunked\r\n".to_owned(), chunked.clone()),
        ("transfer-encoding: xchunked\r\n".to_owned(), chunked.clone()),
        ("transfer-encoding: chunked, identity\r\n".to_owned(), chunked.clone()),
        (
            "transfer-encoding: chunked\r\n".to_owned(),
            "zz\r\n{}\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "transfer-encoding: chunked\r\n".to_owned(),
            "fffffffffffffffff\r\n{}\r\n0\r\n\r\n".to_owned(),
        ),
        (" folded: x\r\ncontent-length: 2\r\n".to_owned(), "{}".to_owned()),
        ("x-opaque-id: a\rb\r\ncontent-length: 2\r\n".to_owned(), "{}".to_owned()),
        ("x-opaque-id: a\0b\r\ncontent-length: 2\r\n".to_owned(), "{}".to_owned()),
        (
            "content-type: application/yaml\r\ncontent-length: 2\r\n".to_owned(),
            "{}".to_owned(),
        ),
    ] {
        let (status, reply) = ask(&proxy, &line, &format!("{json}{headers}"), body.as_bytes());
        assert!((400..500).contains(&status), "{headers}: {reply}");
    }
    // Both lengths at once: chunks count, the other is not passed on, and what comes after is a request of its own.
    let both = format!("{json}content-length: 5\r\ntransfer-encoding: chunked\r\n");
    let (status, reply) = ask(&proxy, &line, &both, chunked.as_bytes());
    assert!(status == 200 || (400..500).contains(&status), "{reply}");
    assert!(
        !reply.contains("facedex-faces-\n") && reply.matches("HTTP/1.1 200").count() <= 1,
        "{reply}"
    );
    // A body behind a ping goes nowhere.
    let length = format!("content-length: {}\r\n", hidden.len());
    let (status, reply) = ask(&proxy, "GET /es/ HTTP/1.1", &length, hidden.as_bytes());
    assert!(status == 200 || (400..500).contains(&status), "{reply}");
    nothing_else_was_asked(&proxy);
}

#[test]
fn bodies_that_are_too_much_are_cut_off() {
    let proxy = proxy();
    let line = format!("POST /es{} HTTP/1.1", proxy.search());
    let json = "content-type: application/json\r\n";
    let post = |headers: &str, body: &[u8]| {
        let headers = format!("{json}{headers}content-length: {}\r\n", body.len());
        ask(&proxy, &line, &headers, body)
    };
    // Announced, and never sent.
    let (status, reply) = ask(&proxy, &line, &format!("{json}content-length: 99999999999\r\n"), b"{}");
    assert!(status == 413 && reply.contains("content_too_long_exception"), "{reply}");
    // Not announced.
    let mut chunks = Vec::new();
    for _ in 0..25 {
        chunks.extend_from_slice(b"100000\r\n");
        chunks.resize(chunks.len() + (1 << 20), b' ');
        chunks.extend_from_slice(b"\r\n");
    }
    let (status, reply) = ask(&proxy, &line, &format!("{json}transfer-encoding: chunked\r\n"), &chunks);
    // The connection may be closed while the rest is still on its way, so that nobody reads the answer.
    assert!(status == 413 || reply.is_empty(), "{reply}");
    // A few kilobytes that become 2 GiB.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..2048 {
        bomb.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let (status, reply) = post("content-encoding: gzip\r\n", &bomb);
    assert!(status == 413 && reply.contains("decompressed"), "{reply}");
    for broken in [&bomb[..1000], b"no gzip"] {
        assert_eq!(post("content-encoding: gzip\r\n", broken).0, 400);
    }
    assert_eq!(post("content-encoding: gzip, gzip\r\n", b"x").0, 415);
    let deep = |depth: usize, open: &str, close: &str| {
        let body = format!("{{\"query\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        post("", body.as_bytes())
    };
    for (status, reply) in [
        deep(1_000_000, "[", "]"),
        deep(100_000, "{\"bool\":{\"must\":[", "]}}"),
        deep(200, "{\"a\":", "}"),
    ] {
        assert!(status == 400 && reply.contains("parsing_exception"), "{reply}");
    }
    // It still serves.
    assert_eq!(post("", b"{}").0, 200);
    nothing_else_was_asked(&proxy);
}

#[test]
fn nothing_is_found_out_about_other_indices() {
    let proxy = proxy();
    let outside = format!("outside-{}", proxy.space.name);
    proxy.space.elastic(
        "PUT",
        &format!("/{outside}/_doc/1?refresh=true"),
        Some(serde_json::json!({"secret": 1})),
    );
    let missing = proxy.post(&format!("/{outside}-not/_search"), "{}").expect(404);
    let there = proxy.post(&format!("/{outside}/_search"), "{}").expect(404);
    proxy.space.elastic("DELETE", &format!("/{outside}"), None);
    let same = |got: &super::Got, name: &str| got.text().replace(name, "NAME");
    assert_eq!(same(&there, &outside), same(&missing, &format!("{outside}-not")));
    let lines = format!(
        "{{\"index\":\"{outside}\"}}\n{{}}\n{{\"indices\":[\"{outside}\"]}}\n{{}}\n\n{{\"index\":\"{outside}\"}}\n"
    );
    let answer = proxy
        .post(&format!("/{}/_msearch", proxy.space.name), lines)
        .expect(200)
        .text()
        .to_owned();
    assert!(
        !answer.contains("secret") && answer.matches("\"error\"").count() == 3,
        "{answer}"
    );
}
