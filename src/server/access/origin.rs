//! Who a browser says is asking: Host, Origin and Sec-Fetch-Site.
//!
//! A web page anywhere can make a browser send requests to this machine, and a name can be made to point to 127.0.0.1
//! (DNS rebinding). No key stops that where there are no keys; these headers, which pages cannot forge, do.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The host that a request is for, of the target where that has one (HTTP/2, proxies) and of the header. `None` where
/// they disagree, where there are several, or none.
pub fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let mut given = headers.get_all(HOST).iter();
    let header = given.next().map(|value| value.to_str().ok());
    if given.next().is_some() {
        return None;
    }
    let target = uri.authority().map(Authority::as_str);
    match (target, header) {
        (None, header) => header?,
        (Some(target), None) => Some(target),
        (Some(target), Some(header)) => header.filter(|header| header.eq_ignore_ascii_case(target)),
    }
}

/// Whether a host names this machine itself and can name no other, with any port.
pub fn is_loopback(host: &str) -> bool {
    let Some((name, _)) = split(host) else { return false };
    let v6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Host and port of `host[:port]`; nothing else may be there.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match text.rfind(':') {
        // The last colon of an address in brackets is part of it.
        Some(at) if !text.ends_with(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = match inner {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    is_name.then_some((name, port))
}

/// Whether an origin is where the request went: same host and same port. The scheme need not be compared, since one port
/// speaks one of them.
fn is_same(origin: &str, host: &str) -> bool {
    let (rest, default) = match origin.split_once("://") {
        Some(("http", rest)) => (rest, 80),
        Some(("https", rest)) => (rest, 443),
        _ => return false,
    };
    let (Some((origin, from)), Some((host, to))) = (split(rest), split(host)) else {
        return false;
    };
    origin.eq_ignore_ascii_case(host) && from.unwrap_or(default) == to.unwrap_or(default)
}

/// Whether there is an Origin header that is not where the request went; `null` is foreign too.
pub fn has_foreign_origin(host: Option<&str>, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.any(|origin| match (origin.to_str(), host) {
        (Ok(origin), Some(host)) => !is_same(origin, host),
        _ => true,
    })
}

/// Whether the request says that it comes from one of these origins.
pub fn is_one_of(headers: &HeaderMap, origins: &[String]) -> bool {
    let mut given = headers.get_all(ORIGIN).iter();
    match (given.next(), given.next()) {
        (Some(origin), None) => origins.iter().any(|allowed| origin == allowed.as_str()),
        _ => false,
    }
}

/// An origin as browsers say it: scheme, host, and the port where it is not the scheme's own.
pub fn parse(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text)
        .map_err(|error| format!("{error}; expected an origin, such as https://photos.example.org"))?;
    let origin = url.origin().ascii_serialization();
    let is_plain =
        matches!(url.scheme(), "http" | "https") && [format!("{origin}/"), origin.clone()].contains(&url.to_string());
    match is_plain {
        true => Ok(origin),
        false => Err("expected an origin, such as https://photos.example.org: no path, no login, no *".to_owned()),
    }
}

/// Where a browser says that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// It says nothing: an old browser, or none.
    Unsaid,
    /// This very origin, or the user himself.
    Own,
    /// A page of another origin; other ports of this machine are other origins.
    Other,
}

/// What the request's Sec-Fetch-Site says.
pub fn site(headers: &HeaderMap) -> Site {
    let mut values = headers.get_all(FETCH_SITE).iter();
    match (values.next().map(|value| value.as_bytes()), values.next()) {
        (None, _) => Site::Unsaid,
        (Some(b"same-origin" | b"none"), None) => Site::Own,
        _ => Site::Other,
    }
}

/// Whether the user follows a link to a page: the page that has the link sees nothing of what comes back.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, value: &str| headers.get(name).is_some_and(|given| given == value);
    method == Method::GET && is(FETCH_MODE, "navigate") && is(FETCH_DEST, "document")
}

/// Whether a page elsewhere can post this without asking first (a "simple request"), as a form can.
pub fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    let types = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    let is_simple = |value: &str| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.is_empty() || types.iter().any(|form| essence.eq_ignore_ascii_case(form))
    };
    let mut given = headers.get_all(CONTENT_TYPE).iter().peekable();
    *method == Method::POST
        // A body without a type can be sent too.
        && (given.peek().is_none() || given.any(|value| value.to_str().map_or(true, is_simple)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn loopback_has_few_names() {
        for good in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.255.255.254:65535",
            "[::1]",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]",
        ] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            ":8080",
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0:8080",
            "128.0.0.1",
            "::1",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::1",
            "[::1]x:80",
            "localhost:",
            "localhost:+80",
            "localhost:99999",
            "localhost:80:80",
            "user@localhost",
            "localhost/x",
            "localhost ",
            "localhost,evil.example",
        ] {
            assert!(!is_loopback(bad), "{bad:?}");
        }
    }

    #[test]
    fn there_is_one_host_or_none() {
        let get = |uri: &str, pairs: &[(&'static str, &str)]| {
            let (uri, headers) = (uri.parse().unwrap(), headers(pairs));
            host(&uri, &headers).map(str::to_owned)
        };
        assert_eq!(get("/x", &[("host", "a:1")]).as_deref(), Some("a:1"));
        assert_eq!(get("http://a:1/x", &[("host", "A:1")]).as_deref(), Some("A:1"));
        assert_eq!(get("http://a:1/x", &[]).as_deref(), Some("a:1"));
        assert_eq!(get("http://evil/x", &[("host", "localhost")]), None);
        assert_eq!(get("http://localhost/x", &[("host", "evil")]), None);
        assert_eq!(get("/x", &[("host", "localhost"), ("host", "evil")]), None);
        assert_eq!(get("/x", &[]), None);
    }

    #[test]
    fn an_origin_is_foreign_unless_it_is_this_one() {
        let foreign = |origin: &str, host: &str| has_foreign_origin(Some(host), &headers(&[("origin", origin)]));
        for (origin, host) in [
            ("http://localhost:8080", "localhost:8080"),
            ("http://LOCALHOST", "localhost"),
            ("http://a", "a:80"),
            ("https://a", "a:443"),
            ("https://a:8443", "A:8443"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(!foreign(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "localhost"),
            ("", "localhost"),
            ("http://evil.example", "localhost"),
            ("http://localhost:3000", "localhost:8080"),
            ("http://localhost", "127.0.0.1"),
            ("file://localhost", "localhost"),
            ("http://localhost@evil.example", "localhost"),
            ("http://evil.example#localhost", "localhost"),
            ("http://localhost:8080/", "localhost:8080"),
            ("http://localhost:8080 http://evil.example", "localhost:8080"),
        ] {
            assert!(foreign(origin, host), "{origin} {host}");
        }
        assert!(!has_foreign_origin(None, &headers(&[])), "no origin is no foreign one");
        let two = headers(&[("origin", "http://a"), ("origin", "http://evil.example")]);
        assert!(has_foreign_origin(Some("a"), &two));
    }

    #[test]
    fn what_browsers_say_of_the_site() {
        for (value, expected) in [
            ("same-origin", Site::Own),
            ("none", Site::Own),
            ("same-site", Site::Other),
            ("cross-site", Site::Other),
            ("something-new", Site::Other),
        ] {
            assert_eq!(site(&headers(&[("sec-fetch-site", value)])), expected, "{value}");
        }
        assert_eq!(site(&headers(&[])), Site::Unsaid);
        let link = headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]);
        assert!(is_navigation(&Method::GET, &link) && !is_navigation(&Method::POST, &link));
        let frame = headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]);
        assert!(!is_navigation(&Method::GET, &frame));
    }

    #[test]
    fn forms_can_send_three_types_and_none() {
        let simple = |value: &str| is_form(&Method::POST, &headers(&[("content-type", value)]));
        for form in [
            "text/plain",
            "Text/Plain; charset=utf-8",
            "multipart/form-data; boundary=x",
            "",
        ] {
            assert!(simple(form), "{form:?}");
        }
        for other in ["application/json", "image/jpeg", "application/x-ndjson"] {
            assert!(!simple(other), "{other}");
        }
        assert!(is_form(&Method::POST, &headers(&[])), "a body without a type");
        assert!(!is_form(&Method::GET, &headers(&[])));
    }
}
