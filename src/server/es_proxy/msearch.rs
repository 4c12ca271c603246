//! `_msearch`: each search is let through or refused by itself, and the answers come in the order of the searches.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use facedex_elastic::schema::collection::Collection;
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{ProxyError, local};
use super::ids::Named;
use super::path::collection;
use super::request::{Incoming, answer, answer_with, off_thread};
use super::search::{check, text, vectors};
use super::splice::{Entries, Found, Refusal, scan, splice};
use super::{Asker, EsProxy, Scope};
use crate::server::state::Place;

/// Searches in one request.
const MAX_SEARCHES: usize = 500;
/// The largest answer that ours are put into, within the server's memory; one that needs no such thing is streamed, however
/// large.
const MAX_ANSWER: usize = 64 << 20;

/// Collections that are looked up at a time.
const LOOK_UPS: usize = 8;

/// What a search's first line may say besides `index`.
const HEADER_KEYS: [&str; 10] = [
    "allow_no_indices",
    "allow_partial_search_results",
    "ccs_minimize_roundtrips",
    "expand_wildcards",
    "ignore_throttled",
    "ignore_unavailable",
    "preference",
    "request_cache",
    "routing",
    "search_type",
];

/// One search of the request.
struct Search {
    header: Range<usize>,
    body: Range<usize>,
    /// What it is: the collection, and what of the body concerns us.
    content: Result<(String, Found), ProxyError>,
}

/// Answers all searches.
pub(super) async fn run(
    proxy: &EsProxy,
    asker: &Asker<'_>,
    default: Option<&str>,
    incoming: &Incoming,
) -> Result<Response, ProxyError> {
    let searches = {
        let (body, default, max) = (
            incoming.read.body.clone(),
            default.map(str::to_owned),
            asker.app.settings.max_photos,
        );
        off_thread(move || read(&body, default.as_deref(), max)).await??
    };
    let whole = text(&incoming.read.body)?;
    let collections = proxy.look_up(asker, &searches).await;
    let prepared = join_all(searches.into_iter().map(async |search| {
        let (name, found) = search.content?;
        asker.caller.may(Scope::Read, &name)?;
        // All were looked up; the fallback keeps this free of panics.
        let collection = collections.get(&name).cloned();
        let collection = collection.unwrap_or_else(|| Err(ProxyError::illegal("the collection was not looked up")))?;
        let clauses = check(asker, &collection, found, None).await?;
        let vectors = vectors(asker, &collection, clauses).await?;
        let body = splice(&whole[search.body], &vectors)?;
        Ok::<_, ProxyError>((name, vectors.len(), &whole[search.header], body))
    }))
    .await;

    let mut lines = Vec::with_capacity(whole.len().min(1 << 20));
    for (_, _, header, body) in prepared.iter().flatten() {
        // An empty line would do, but not as the first one for every version.
        lines.extend_from_slice(if header.trim().is_empty() { "{}" } else { header }.as_bytes());
        lines.push(b'\n');
        lines.extend_from_slice(body);
        lines.push(b'\n');
    }
    let names: BTreeSet<String> = prepared.iter().flatten().map(|(name, ..)| name.clone()).collect();
    let photos = prepared.iter().flatten().map(|(_, photos, ..)| photos).sum();
    let refusals: Vec<Option<ProxyError>> = prepared.into_iter().map(Result::err).collect();

    let Some(first) = refusals.iter().flatten().next() else {
        let reply = asker
            .app
            .elastic
            .pass_on(&incoming.with_body(lines.into()).await?)
            .await?;
        asker.record_all(&names, photos, reply.status());
        return Ok(answer(reply, &asker.caller.entry));
    };
    if incoming.params.filters_answer {
        // Whether the refusals would be in the parts that are asked for cannot be told here.
        return Err(first.clone());
    }
    if lines.is_empty() {
        let items: Vec<String> = refusals
            .iter()
            .flatten()
            .map(|refusal| refusal.json().to_string())
            .collect();
        let took = incoming.since.elapsed().as_millis();
        let body = format!("{{\"took\":{took},\"responses\":[{}]}}", items.join(","));
        return Ok(local(&incoming.headers, StatusCode::OK, body));
    }
    let reply = ask_for_json(asker, incoming, lines.into()).await?;
    asker.record_all(&names, photos, reply.status());
    if reply.status() != StatusCode::OK {
        return Ok(answer(reply, &asker.caller.entry));
    }
    let (status, headers) = (reply.status(), reply.headers().clone());
    let reply = whole_answer(reply, &incoming.read.place).await?;
    Named::for_log(&asker.caller.entry).read(&reply);
    Ok(answer_with(status, headers, merge(&reply, &refusals)?))
}

impl EsProxy {
    /// Looks the collections of the searches up, each once.
    async fn look_up(
        &self,
        asker: &Asker<'_>,
        searches: &[Search],
    ) -> HashMap<String, Result<Arc<Collection>, ProxyError>> {
        let found = searches.iter().filter_map(|search| search.content.as_ref().ok());
        let names: BTreeSet<String> = found
            .filter(|(name, _)| asker.caller.sees(name))
            .map(|(name, _)| name.clone())
            .collect();
        let look_ups = names.into_iter().map(async |name| {
            let found = self.collections.get(&asker.app.elastic, &name).await;
            (name, found.map_err(ProxyError::from))
        });
        futures_util::stream::iter(look_ups)
            .buffer_unordered(LOOK_UPS)
            .collect()
            .await
    }
}

/// Reads the request: pairs of lines, each ended by a line feed.
fn read(body: &[u8], default: Option<&str>, max_photos: usize) -> Result<Vec<Search>, ProxyError> {
    let whole = text(body)?;
    if !whole.ends_with('\n') {
        return Err(ProxyError::illegal(
            "The msearch request must be terminated by a newline [\\n]",
        ));
    }
    let mut at = 0;
    let mut lines = whole.split_terminator('\n').map(|line| {
        let span = at..at + line.len();
        at = span.end + 1;
        span
    });
    let mut searches: Vec<Search> = Vec::new();
    let mut photos = 0;
    while let Some(header) = lines.next() {
        let Some(body) = lines.next() else {
            // Elasticsearch takes blank lines at the end.
            if whole[header].trim().is_empty() && !searches.is_empty() {
                break;
            }
            return Err(ProxyError::illegal(
                "the last search has a first line and no body; each search takes two lines",
            ));
        };
        if searches.len() == MAX_SEARCHES {
            return Err(ProxyError::illegal(format!(
                "more than {MAX_SEARCHES} searches in one request; send fewer at a time"
            )));
        }
        let content = target(&whole[header.clone()], default)
            .and_then(|name| Ok((name, scan(&whole[body.clone()], max_photos - photos)?)));
        photos += content.as_ref().map_or(0, |(_, found)| found.photos.len());
        searches.push(Search { header, body, content });
    }
    if searches.is_empty() {
        return Err(ProxyError::illegal("no requests added"));
    }
    Ok(searches)
}

/// The collection that a search's first line names.
fn target(header: &str, default: Option<&str>) -> Result<String, ProxyError> {
    let mut named = None;
    if !header.trim().is_empty() {
        let Entries(entries) = serde_json::from_str(header)
            .map_err(|error| Refusal::parsing(format!("the search's first line is no JSON object: {error}")))?;
        let mut seen = BTreeSet::new();
        for (key, value) in &entries {
            if !seen.insert(key.as_ref()) {
                return Err(Refusal::parsing(format!("[{key}] stands twice in a search's first line")).into());
            }
            match key.as_ref() {
                "index" => named = Some(one_name(value)?),
                known if HEADER_KEYS.contains(&known) => {}
                other => {
                    let shown: String = other.chars().take(60).collect();
                    return Err(ProxyError::illegal(format!(
                        "[{shown}] is not accepted in a search's first line"
                    )));
                }
            }
        }
    }
    match (named, default) {
        (Some(name), _) => collection(&name),
        (None, Some(name)) => Ok(name.to_owned()),
        (None, None) => Err(ProxyError::illegal(
            "the search names no collection: give [index] in its first line, or the collection in the path",
        )),
    }
}

/// An index that is given as a string or as an array of one.
fn one_name(value: &RawValue) -> Result<String, ProxyError> {
    if let Ok(name) = serde_json::from_str::<String>(value.get()) {
        return Ok(name);
    }
    if let Ok([name]) = serde_json::from_str::<[String; 1]>(value.get()) {
        return Ok(name);
    }
    Err(ProxyError::illegal(
        "[index] takes one collection, as a string or as an array of one",
    ))
}

/// Asks for an answer that ours can be put into.
async fn ask_for_json(asker: &Asker<'_>, incoming: &Incoming, lines: Bytes) -> Result<reqwest::Response, ProxyError> {
    let mut request = incoming.with_body(lines).await?;
    request.headers.remove(ACCEPT_ENCODING);
    let is_json = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| text.contains("json") && !text.contains(','))
    };
    if !request.headers.get(ACCEPT).is_some_and(is_json) {
        request
            .headers
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
    }
    Ok(asker.app.elastic.pass_on(&request).await?)
}

async fn whole_answer(reply: reqwest::Response, place: &Place) -> Result<Vec<u8>, ProxyError> {
    let failed = |reason: String| ProxyError::new(StatusCode::BAD_GATEWAY, "exception", reason);
    let mut whole = Vec::new();
    let mut chunks = Body::from_stream(reply.bytes_stream()).into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| failed(format!("elasticsearch's answer ended early: {error}")))?;
        if whole.len() + chunk.len() > MAX_ANSWER {
            return Err(failed(format!(
                "elasticsearch's answer has more than {MAX_ANSWER} bytes; ask for fewer hits"
            )));
        }
        place.grow(chunk.len())?;
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Puts refusals at their places among the node's answers, whose bytes stay as they are.
fn merge(reply: &[u8], refusals: &[Option<ProxyError>]) -> Result<Vec<u8>, ProxyError> {
    #[derive(Deserialize)]
    struct Reply<'b> {
        #[serde(borrow)]
        responses: &'b RawValue,
    }
    let unexpected = |reason: String| {
        tracing::error!(reason, "elasticsearch answered _msearch with something unexpected");
        ProxyError::new(
            StatusCode::BAD_GATEWAY,
            "exception",
            "elasticsearch's answer to the other searches cannot be read; the server's log has the reason",
        )
    };
    let whole = std::str::from_utf8(reply).map_err(|error| unexpected(error.to_string()))?;
    let Reply { responses } = serde_json::from_str(whole).map_err(|error| unexpected(error.to_string()))?;
    let answers: Vec<&RawValue> =
        serde_json::from_str(responses.get()).map_err(|error| unexpected(error.to_string()))?;
    if answers.len() != refusals.iter().filter(|refusal| refusal.is_none()).count() {
        return Err(unexpected(format!("{} answers", answers.len())));
    }
    let start = responses.get().as_ptr() as usize - whole.as_ptr() as usize;
    let mut answers = answers.into_iter();
    let mut merged = Vec::with_capacity(whole.len() + (refusals.len() << 9));
    merged.extend_from_slice(&whole.as_bytes()[..start]);
    merged.push(b'[');
    for (at, refusal) in refusals.iter().enumerate() {
        if at > 0 {
            merged.push(b',');
        }
        match refusal {
            Some(refusal) => merged.extend_from_slice(refusal.json().to_string().as_bytes()),
            None => merged.extend_from_slice(answers.next().map_or("", RawValue::get).as_bytes()),
        }
    }
    merged.push(b']');
    merged.extend_from_slice(&whole.as_bytes()[start + responses.get().len()..]);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_names_one_collection() {
        for (header, name) in [
            ("", "faces"),
            ("{}", "faces"),
            (" \r", "faces"),
            (r#"{"index": "other"}"#, "other"),
            (r#"{"index": ["other"], "preference": "_local"}"#, "other"),
        ] {
            assert_eq!(target(header, Some("faces")).unwrap(), name, "{header}");
        }
        for header in [
            r#"{"index": []}"#,
            r#"{"index": null}"#,
            r#"{"index": ["a", "b"]}"#,
            r#"{"index": "a,b"}"#,
            r#"{"index": "*"}"#,
            r#"{"index": "_all"}"#,
            r#"{"index": ""}"#,
            r#"{"index": "r:faces"}"#,
            r#"{"index": "<faces-{now/d}>"}"#,
            r#"{"index": "faces", "index": "other"}"#,
            r#"{"indices": ["other"]}"#,
            r#"{"in\u0064ices": ["other"]}"#,
            r#"{"project_routing": "x"}"#,
            r#"["faces"]"#,
            "{} {}",
        ] {
            assert!(target(header, Some("faces")).is_err(), "{header}");
        }
        assert!(target("{}", None).is_err());
    }

    #[test]
    fn refusals_stand_where_their_searches_did() {
        let refused = || Some(ProxyError::illegal("no"));
        let no = ProxyError::illegal("no").json().to_string();
        let reply = r#"{ "took":1.0, "responses" : [{"a":1e2}, {"b":"]"}] ,"x":0}"#;
        let merged = merge(reply.as_bytes(), &[refused(), None, refused(), None]).unwrap();
        assert_eq!(
            String::from_utf8(merged).unwrap(),
            format!(r#"{{ "took":1.0, "responses" : [{no},{{"a":1e2}},{no},{{"b":"]"}}] ,"x":0}}"#)
        );
        assert!(merge(reply.as_bytes(), &[refused(), None]).is_err());
        assert!(merge(b"<html>", &[refused(), None]).is_err());
    }

    #[test]
    fn lines_are_pairs_and_end() {
        assert_eq!(read(b"{}\n{}\n\n{}\n", Some("faces"), 1).unwrap().len(), 2);
        for body in ["", "{}\n{}", "{}\n", "\n", "{}\n{}\n{}\n"] {
            assert!(read(body.as_bytes(), Some("faces"), 1).is_err(), "{body:?}");
        }
        let many = "\n{}\n".repeat(MAX_SEARCHES + 1);
        assert!(read(many.as_bytes(), Some("faces"), 1).is_err());
    }
}
