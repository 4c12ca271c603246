//! A request's event. It is made when the answer is known; routes add what only they know to their response.

use std::time::Duration;

use axum::response::Response;
use facedex_elastic::events::event::{Event, Facedex, Failed, Http, HttpRequest, HttpResponse, QueryFigures, What};

use super::error::Refused;
use super::routes;
use super::state::App;

/// What a route tells of a request, as an extension of its response.
#[derive(Debug, Clone, Default)]
pub struct EventFacts {
    /// The collection.
    pub collection: Option<String>,
    /// What was asked, and what came out.
    pub query: Option<QueryFigures>,
}

/// How a face of a question was decided.
#[derive(Debug, Clone, Copy)]
pub struct Decided {
    /// Whether something reached the threshold.
    pub is_match: bool,
    /// The best similarity, where one is known.
    pub similarity: Option<f64>,
}

impl EventFacts {
    /// Of a question, from the decisions on its faces.
    pub fn of(collection: Option<String>, threshold: f64, decisions: &[Decided]) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let matched = decisions.iter().filter(|decided| decided.is_match).count();
        let coarse = |similarity: f64| (similarity * 100.0).round() / 100.0;
        Self {
            collection,
            query: Some(QueryFigures {
                faces: count(decisions.len()),
                matched: count(matched),
                unknown: count(decisions.len() - matched),
                similarity: decisions
                    .iter()
                    .filter_map(|decided| decided.similarity.map(coarse))
                    .collect(),
                threshold: Some(threshold),
                photo_ms: None,
                search_ms: None,
            }),
        }
    }
}

/// The event of a request to the API; others (the page, its parts, metrics) have none.
pub fn of(
    app: &App,
    method: &'static str,
    route: &str,
    id: &str,
    response: &Response,
    took: Duration,
) -> Option<Event> {
    let action = action(method, route)?;
    let facts = response.extensions().get::<EventFacts>().cloned().unwrap_or_default();
    let status = response.status();
    let outcome = match status.is_client_error() || status.is_server_error() {
        true => "failure",
        false => "success",
    };
    let what = What::new("facedex.serve", "api", "access", action).ending(outcome);
    let facedex = Facedex {
        collection: facts.collection,
        run: app.run.clone(),
        route: Some(route.to_owned()),
        ingest: None,
        query: facts.query,
    };
    let mut event = Event::now(what.taking(took), &app.host, facedex);
    event.error = response.extensions().get::<Refused>().map(|Refused(code)| Failed {
        code: code.row().code,
        reason: None,
    });
    event.http = Some(Http {
        request: HttpRequest {
            id: id.to_owned(),
            method,
        },
        response: HttpResponse {
            status_code: status.as_u16(),
        },
    });
    Some(event)
}

/// What a request does, by its route's pattern.
fn action(method: &str, route: &str) -> Option<&'static str> {
    let same_path = || routes::rows().filter(move |row| row.path == route);
    match same_path().find(|row| row.takes(method)) {
        Some(row) => row.event,
        // It is refused with 405, and counted as what was tried.
        None if same_path().any(|row| row.event.is_some()) => Some(match method {
            "PATCH" => "change",
            "DELETE" => "delete",
            _ => "look-up",
        }),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_the_api_have_an_action_and_others_none() {
        for (method, route, expected) in [
            ("POST", "/v1/search", Some("search")),
            ("DELETE", "/v1/persons/{id}", Some("delete")),
            ("GET", "/v1/stats", Some("look-up")),
            ("POST", "/es/{*path}", Some("es-search")),
            ("GET", "/es", Some("es-search")),
            ("GET", "/metrics", None),
            ("GET", "/estimate", None),
            ("GET", "/", None),
        ] {
            assert_eq!(action(method, route), expected, "{method} {route}");
        }
    }

    #[test]
    fn similarities_are_coarse() {
        let decided = |is_match, similarity| Decided { is_match, similarity };
        let facts = EventFacts::of(None, 0.5, &[decided(true, Some(0.876_543)), decided(false, None)]);
        let query = facts.query.unwrap();
        assert_eq!((query.faces, query.matched, query.unknown), (2, 1, 1));
        assert_eq!(query.similarity, [0.88]);
    }
}
