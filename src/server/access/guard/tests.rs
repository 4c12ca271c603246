//! Decisions on requests as browsers, programs and attackers send them.

use std::net::Ipv4Addr;

use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::server::access::file::KeyFile;
use crate::server::access::keys::{Collections, Key};
use crate::server::access::{AccessSettings, KeysError};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

struct Entrance {
    folder: tempfile::TempDir,
    access: Access,
}

impl Entrance {
    fn new(listen: SocketAddr, insecure: bool, rate_limit: Option<f64>) -> Result<Self, KeysError> {
        let folder = tempfile::tempdir().unwrap();
        let settings = AccessSettings {
            keys: KeyFile::new(folder.path().join("keys.json")),
            keys_required: false,
            insecure,
            origins: Vec::new(),
            rate_limit,
            rate_burst: None,
        };
        let access = Access::open(&settings, listen)?;
        Ok(Self { folder, access })
    }

    fn local() -> Self {
        Self::new(LISTEN, false, None).unwrap()
    }

    fn key(&self, name: &str, scope: Scope, change: impl FnOnce(&mut Key)) -> SecretString {
        let (mut key, secret) = Key::create(name, scope, Collections::All, None).unwrap();
        change(&mut key);
        let file = KeyFile::new(self.folder.path().join("keys.json"));
        file.edit(|keys| {
            keys.push(key);
            Ok(())
        })
        .unwrap();
        self.access.keys.refresh();
        secret
    }

    fn ask(&self, method: Method, target: &str, headers: &[(HeaderName, &str)]) -> Result<String, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let asked = Asked {
            method: &method,
            uri: &target.parse().unwrap(),
            headers: &map,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        self.access
            .decide(&asked)
            .map(|caller| caller.name)
            .map_err(|denied| denied.error)
    }

    fn code(&self, method: Method, target: &str, headers: &[(HeaderName, &str)]) -> Option<Code> {
        self.ask(method, target, headers).err().map(|error| error.code)
    }
}

#[test]
fn what_each_route_needs() {
    use Need::{AnyKey, Nothing, Scope as Of};
    for (method, path, expected) in [
        (Method::GET, "/", Nothing),
        (Method::GET, "/healthz", Nothing),
        (Method::HEAD, "/readyz", Nothing),
        (Method::GET, "/openapi.json", Nothing),
        (Method::POST, "/", AnyKey),
        (Method::GET, "/metrics", AnyKey),
        (Method::GET, "/es", Of(Scope::Read)),
        (Method::GET, "/es/", Of(Scope::Read)),
        (Method::POST, "/es/faces/_search", Of(Scope::Read)),
        (Method::POST, "/v1/search", Of(Scope::Read)),
        (Method::POST, "/v1/represent", Of(Scope::Read)),
        (Method::GET, "/v1/stats", Of(Scope::Read)),
        (Method::GET, "/v1", Of(Scope::Read)),
        (Method::POST, "/v1/faces", Of(Scope::Write)),
        (Method::DELETE, "/v1/faces/a-0", Of(Scope::Write)),
        (Method::PATCH, "/v1/persons/a", Of(Scope::Write)),
        (Method::DELETE, "/v1/persons/a", Of(Scope::Admin)),
        // No such routes: 404 and 405 say so.
        (Method::POST, "/v1/serach", AnyKey),
        (Method::POST, "/v1/search/", AnyKey),
        (Method::PUT, "/v1/search", AnyKey),
        (Method::OPTIONS, "/v1/search", AnyKey),
        (Method::POST, "/metrics", AnyKey),
        (Method::GET, "/metrics/x", AnyKey),
    ] {
        assert_eq!(need(&method, path), expected, "{method} {path}");
    }
}

#[test]
fn without_keys_only_this_machine_and_its_own_pages_are_answered() {
    let proxy = Entrance::local();
    let ask = |headers: &[(HeaderName, &str)]| proxy.code(Method::POST, "/v1/search", headers);
    let site = HeaderName::from_static("sec-fetch-site");
    assert_eq!(ask(&[(HOST, "localhost:8080")]), None);
    assert_eq!(
        ask(&[
            (HOST, "127.0.0.1:8080"),
            (ORIGIN, "http://127.0.0.1:8080"),
            (site.clone(), "same-origin")
        ]),
        None
    );
    for tricks in [
        vec![],
        vec![(HOST, "evil.example")],
        vec![(HOST, "localhost"), (HOST, "evil.example")],
        vec![(HOST, "localhost"), (ORIGIN, "null")],
        vec![(HOST, "localhost"), (ORIGIN, "http://evil.example")],
        vec![(HOST, "localhost:8080"), (ORIGIN, "http://localhost:3000")],
        vec![(HOST, "localhost"), (site.clone(), "cross-site")],
        vec![(HOST, "localhost"), (site.clone(), "same-site")],
        vec![(HOST, "localhost"), (ORIGIN, "null"), (site.clone(), "same-origin")],
    ] {
        assert_eq!(ask(&tricks), Some(Code::ForeignOrigin), "{tricks:?}");
    }
    let link = [
        (HOST, "localhost"),
        (site, "cross-site"),
        (HeaderName::from_static("sec-fetch-mode"), "navigate"),
        (HeaderName::from_static("sec-fetch-dest"), "document"),
    ];
    assert_eq!(proxy.code(Method::GET, "/", &link), None, "a link to the page");
    assert_eq!(proxy.code(Method::GET, "/v1/stats", &link), Some(Code::ForeignOrigin));
}

#[test]
fn without_keys_other_addresses_need_to_be_asked_for() {
    let open = "0.0.0.0:8080".parse().unwrap();
    assert!(matches!(Entrance::new(open, false, None), Err(KeysError::NoKeys(_))));
    let proxy = Entrance::new(open, true, None).unwrap();
    assert_eq!(proxy.code(Method::POST, "/v1/search", &[(HOST, "faces.example")]), None);
    let foreign = [(HOST, "faces.example"), (ORIGIN, "http://evil.example")];
    assert_eq!(
        proxy.code(Method::POST, "/v1/search", &foreign),
        Some(Code::ForeignOrigin)
    );
}

#[test]
fn a_key_is_asked_for_as_soon_as_there_is_one() {
    let proxy = Entrance::local();
    assert_eq!(proxy.code(Method::GET, "/v1/stats", &[(HOST, "localhost")]), None);
    let read = proxy.key("web", Scope::Read, |_| {});
    assert_eq!(
        proxy.code(Method::GET, "/v1/stats", &[(HOST, "localhost")]),
        Some(Code::Unauthorised)
    );
    let with = [(API_KEY, read.expose_secret())];
    assert_eq!(proxy.ask(Method::GET, "/v1/stats", &with).unwrap(), "web");
    assert_eq!(proxy.ask(Method::GET, "/metrics", &with).unwrap(), "web");
    assert_eq!(proxy.code(Method::GET, "/healthz", &[]), None, "probes have no key");
    assert_eq!(proxy.code(Method::POST, "/v1/faces", &with), Some(Code::Forbidden));
    let twice = [(API_KEY, read.expose_secret()), (API_KEY, read.expose_secret())];
    assert_eq!(proxy.code(Method::GET, "/v1/stats", &twice), Some(Code::Unauthorised));
}

#[test]
fn what_is_over_is_said_to_its_holder() {
    let proxy = Entrance::local();
    let now = Timestamp::now();
    let revoked = proxy.key("revoked", Scope::Read, |key| key.revoked = Some(now));
    let expired = proxy.key("expired", Scope::Read, |key| key.expires = Some(now));
    for (secret, word) in [(revoked, "revoked"), (expired, "expired")] {
        let error = proxy
            .ask(Method::GET, "/v1/stats", &[(API_KEY, secret.expose_secret())])
            .unwrap_err();
        assert_eq!(
            (error.code, error.message.contains(word)),
            (Code::Unauthorised, true),
            "{error:?}"
        );
    }
}

#[test]
fn forms_of_other_sites_are_refused_also_where_a_proxy_adds_the_key() {
    let proxy = Entrance::local();
    let secret = proxy.key("web", Scope::Admin, |_| {});
    let base = [(HOST, "faces.example"), (API_KEY, secret.expose_secret())];
    let with = |more: &[(HeaderName, &'static str)]| {
        let all: Vec<(HeaderName, &str)> = base.iter().cloned().chain(more.iter().cloned()).collect();
        proxy.code(Method::POST, "/v1/faces", &all)
    };
    let site = HeaderName::from_static("sec-fetch-site");
    let form = (CONTENT_TYPE, "multipart/form-data; boundary=x");
    assert_eq!(with(&[form.clone(), (ORIGIN, "null")]), Some(Code::ForeignOrigin));
    assert_eq!(
        with(&[form.clone(), (ORIGIN, "https://evil.example")]),
        Some(Code::ForeignOrigin)
    );
    assert_eq!(
        with(&[form.clone(), (site.clone(), "cross-site")]),
        Some(Code::ForeignOrigin)
    );
    assert_eq!(
        with(&[(ORIGIN, "null")]),
        Some(Code::ForeignOrigin),
        "a body without a type"
    );
    assert_eq!(with(std::slice::from_ref(&form)), None, "a program");
    assert_eq!(with(&[form.clone(), (ORIGIN, "https://faces.example")]), None);
    // A proxy that changes Host does not make the page foreign.
    assert_eq!(
        with(&[form, (ORIGIN, "https://outside.example"), (site, "same-origin")]),
        None
    );
    let foreign = [(HOST, "faces.example"), (ORIGIN, "https://evil.example")];
    assert_eq!(
        proxy.code(Method::GET, "/v1/stats", &foreign),
        Some(Code::ForeignOrigin),
        "and without a key"
    );
}

#[test]
fn wrong_keys_run_out_and_good_ones_do_not() {
    let proxy = Entrance::local();
    let secret = proxy.key("web", Scope::Read, |_| {});
    let good = [(API_KEY, secret.expose_secret())];
    assert_eq!(proxy.code(Method::GET, "/v1/stats", &good), None);
    let fresh = proxy.key("fresh", Scope::Read, |_| {});
    let codes: Vec<_> = (0..20)
        .map(|number| {
            let guess = match number % 2 {
                0 => format!("fdx_{number:043}"),
                _ => "not a key".to_owned(),
            };
            proxy.code(Method::GET, "/v1/stats", &[(API_KEY, &guess)]).unwrap()
        })
        .collect();
    assert_eq!(codes[..10], [Code::Unauthorised; 10]);
    assert_eq!(codes[10..], [Code::RateLimited; 10]);
    assert_eq!(
        proxy.code(Method::GET, "/v1/stats", &good),
        None,
        "a key that was good here"
    );
    let error = proxy
        .ask(Method::GET, "/v1/stats", &[(API_KEY, fresh.expose_secret())])
        .unwrap_err();
    assert_eq!(error.code, Code::RateLimited, "one that was not waits");
    assert!(error.retry_after.is_some());
}

#[test]
fn a_key_has_its_rate() {
    let proxy = Entrance::new(LISTEN, false, Some(2.0)).unwrap();
    let (one, other) = (
        proxy.key("one", Scope::Read, |_| {}),
        proxy.key("other", Scope::Read, |_| {}),
    );
    let ask = |secret: &SecretString| proxy.ask(Method::GET, "/v1/stats", &[(API_KEY, secret.expose_secret())]);
    assert!(ask(&one).is_ok() && ask(&one).is_ok());
    let error = ask(&one).unwrap_err();
    assert_eq!((error.code, error.retry_after.is_some()), (Code::RateLimited, true));
    assert!(ask(&other).is_ok());
    assert_eq!(proxy.code(Method::GET, "/healthz", &[]), None);
}
