//! An event: what was done and how it went, with the fields of `mappings/events.json`. Names are those of the Elastic Common
//! Schema (ECS), and what it has no name for is in `facedex.*`.
//!
//! The types are closed, so that no picture, vector, person or photo's name can get in.

use std::time::Duration;

use serde::Serialize;

/// The schema's version that the names are from.
const ECS: &str = "8.11.0";

/// Something that was done.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When, RFC 3339, UTC.
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    ecs: Ecs,
    service: Service,
    /// What.
    pub event: What,
    /// Why not, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// Which machine.
    pub host: Host,
    /// The request, where one was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// What ECS has no names for.
    pub facedex: Facedex,
}

/// `event.*`
#[derive(Debug, Clone, Serialize)]
pub struct What {
    kind: &'static str,
    category: &'static str,
    #[serde(rename = "type")]
    sort: &'static str,
    module: &'static str,
    dataset: &'static str,
    action: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
}

/// `error.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The code of an answer, or the stage of an ingest.
    pub code: &'static str,
    /// The reason in words that name nobody.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Ecs {
    version: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct Service {
    name: &'static str,
    version: &'static str,
}

/// `host.*`
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The machine's name.
    pub name: String,
}

/// `http.*`
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// What was asked.
    pub request: HttpRequest,
    /// What was answered.
    pub response: HttpResponse,
}

/// `http.request.*`
#[derive(Debug, Clone, Serialize)]
pub struct HttpRequest {
    /// The id that logs and answers have as well.
    pub id: String,
    /// GET, POST and so on.
    pub method: &'static str,
}

/// `http.response.*`
#[derive(Debug, Clone, Serialize)]
pub struct HttpResponse {
    /// HTTP status.
    pub status_code: u16,
}

/// `facedex.*`
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facedex {
    /// The collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// UUID of the ingest run or of the serving process, as in the faces' `ingest.run`.
    pub run: String,
    /// The route's pattern, without what stands in its places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Counts of an ingest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest: Option<IngestCounts>,
    /// Figures of a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryFigures>,
}

/// `facedex.ingest.*`: what a run's summary counts, of a whole run or since the event before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the summary's count of the same name")]
pub struct IngestCounts {
    pub images: u64,
    pub faces: u64,
    pub indexed: u64,
    pub existing: u64,
    pub conflicts: u64,
    pub no_face: u64,
    pub failed: u64,
    pub done_before: u64,
}

/// `facedex.query.*`
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QueryFigures {
    /// Faces that were asked about.
    pub faces: u32,
    /// Of these, faces that matched.
    pub matched: u32,
    /// The others.
    pub unknown: u32,
    /// The best similarity of each face, to two digits: enough for a histogram, and too coarse to search for a face by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub similarity: Vec<f64>,
    /// What a match had to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Until the photo was embedded, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photo_ms: Option<f64>,
    /// Elasticsearch's part, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_ms: Option<f64>,
}

impl What {
    /// A success of an area (ECS's `event.category`, such as `api`), of a sort (`event.type`, such as `access`); `action` says
    /// what was done.
    pub fn new(dataset: &'static str, category: &'static str, sort: &'static str, action: &'static str) -> Self {
        Self {
            kind: "event",
            category,
            sort,
            module: "facedex",
            dataset,
            action,
            outcome: "success",
            duration: None,
        }
    }

    /// With how long it took.
    pub fn taking(mut self, time: Duration) -> Self {
        self.duration = u64::try_from(time.as_nanos()).ok();
        self
    }

    /// With another outcome: `failure` or `unknown`.
    pub fn ending(mut self, outcome: &'static str) -> Self {
        self.outcome = outcome;
        self
    }

    /// As counts of a stretch of time.
    pub fn metric(mut self) -> Self {
        self.kind = "metric";
        self
    }
}

impl Event {
    /// Something that happens now.
    pub fn now(event: What, host: &str, facedex: Facedex) -> Self {
        Self {
            timestamp: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            ecs: Ecs { version: ECS },
            service: Service {
                name: "facedex",
                version: env!("CARGO_PKG_VERSION"),
            },
            event,
            error: None,
            host: Host { name: host.to_owned() },
            http: None,
            facedex,
        }
    }
}
