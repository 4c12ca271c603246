//! The page at `/`: the files of `web/` as they lie there, inside the binary.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

/// Only what this server itself sends may run, style or be asked; pictures may also come out of the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// What the browser lends the page: the camera, to photograph a face.
const PERMISSIONS: &str = "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the page.
struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $type:expr) => {
        File {
            path: concat!("/assets/", $name),
            content_type: $type,
            bytes: include_bytes!(concat!("../../web/", $name)),
        }
    };
}

static FILES: &[File] = &[
    File {
        path: "/",
        content_type: HTML,
        bytes: include_bytes!("../../web/index.html"),
    },
    asset!("adapt.css", CSS),
    asset!("answers.css", CSS),
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("ask.js", SCRIPT),
    asset!("base.css", CSS),
    asset!("dom.js", SCRIPT),
    asset!("enrol.js", SCRIPT),
    asset!("frame.css", CSS),
    asset!("gallery.js", SCRIPT),
    asset!("icon.svg", SVG),
    asset!("intake.js", SCRIPT),
    asset!("person.js", SCRIPT),
    asset!("photo.css", CSS),
    asset!("stage.js", SCRIPT),
    asset!("state.js", SCRIPT),
    asset!("threshold.js", SCRIPT),
    asset!("thumbnails.js", SCRIPT),
    asset!("trouble.js", SCRIPT),
    asset!("verify.js", SCRIPT),
    asset!("words.js", SCRIPT),
];

/// The path of each file, and what answers there.
pub fn files<S: Clone + Send + Sync + 'static>() -> impl Iterator<Item = (&'static str, MethodRouter<S>)> {
    FILES.iter().map(|file| {
        let tag = tag(file.bytes);
        let handler = move |headers: HeaderMap| std::future::ready(answer(file, &tag, &headers));
        (file.path, get(handler))
    })
}

/// An entity tag that changes with the file.
fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &blake3::hash(bytes).to_hex()[..16])
}

fn answer(file: &File, tag: &str, request: &HeaderMap) -> Response {
    let headers = [
        (ETAG, tag),
        // Asked for anew each time, answered by 304: a new version of facedex shows at once.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    if is_known(request, tag) {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, file.bytes).into_response()
    }
}

/// Whether the client has this version. Several headers and lists are allowed, and tags that a proxy has weakened.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn ask(path: &str, known: Option<&str>) -> Response {
        let file = FILES.iter().find(|file| file.path == path).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(known) = known {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(known).unwrap());
        }
        answer(file, &tag(file.bytes), &headers)
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| match name.as_str() {
                "index.html" => "/".to_owned(),
                name => format!("/assets/{name}"),
            })
            .collect();
        there.sort();
        let served: Vec<&str> = FILES.iter().map(|file| file.path).collect();
        assert_eq!(served, there);
    }

    #[test]
    fn nothing_in_the_page_needs_what_its_policy_forbids() {
        let page = std::str::from_utf8(FILES[0].bytes).unwrap();
        for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
            assert!(!page.contains(inline), "index.html has {inline}");
        }
        for file in FILES {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !outside.contains("http://") && !outside.contains("https://"),
                "{}",
                file.path
            );
        }
    }

    #[test]
    fn a_client_that_has_the_file_gets_none() {
        let whole = ask("/", None);
        assert_eq!(whole.status(), StatusCode::OK);
        assert_eq!(whole.headers()[CONTENT_TYPE], HTML);
        assert!(
            whole.headers()[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none';")
        );
        let etag = whole.headers()[ETAG].to_str().unwrap();
        for known in [
            etag.to_owned(),
            format!("W/{etag}"),
            format!("\"other\", {etag}"),
            "*".to_owned(),
        ] {
            let again = ask("/", Some(&known));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[ETAG], etag);
        }
        assert_eq!(ask("/", Some("\"other\"")).status(), StatusCode::OK);
        assert_eq!(ask("/assets/base.css", Some(etag)).status(), StatusCode::OK);
    }
}
