//! All faces of one person: shown, changed, deleted, exported. Changes reach every index behind the collection, and go on
//! until a refreshed search finds nothing left to do: searches see only what a refresh has made visible.

mod change;
pub mod clusters;
mod erase;
mod export;
pub mod faces;
mod list;
pub mod purge;
mod spelling;
mod view;

use std::collections::BTreeSet;

use elasticsearch::http::Method;
use serde_json::{Value, json};

pub use self::change::{Change, Changed, change};
pub(crate) use self::erase::count;
pub use self::erase::{Erased, erase, rehearse};
pub use self::export::Export;
use self::faces::{FaceRecord, LEFT_OUT, RawFace};
pub use self::list::{ListedPerson, People, list};
pub(crate) use self::view::View;
use crate::transport::client::Payload;
use crate::wire::reply::{Reply, STRICT};
use crate::{Client, Destination, ElasticError};

/// Faces that are changed in one go.
const PAGE: usize = 1000;

/// Which faces are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Faces {
    /// Those of the person with this id.
    Of(String),
    /// Those that were stored before this moment (RFC 3339).
    Before(String),
    /// Those of the person that were stored before the moment.
    OfBefore(String, String),
}

impl Faces {
    /// The person whose faces are meant.
    pub fn person(&self) -> Option<&str> {
        match self {
            Self::Of(person) | Self::OfBefore(person, _) => Some(person),
            Self::Before(_) => None,
        }
    }

    /// The query for them; the person's id has these spellings.
    fn query(&self, spellings: &BTreeSet<String>) -> Value {
        let of = || json!({"terms": {"person.id": spellings}});
        let before = |moment: &str| json!({"range": {"@timestamp": {"lt": moment}}});
        let conditions = match self {
            Self::Of(_) => vec![of()],
            Self::Before(moment) => vec![before(moment)],
            Self::OfBefore(_, moment) => vec![of(), before(moment)],
        };
        json!({"bool": {"filter": conditions}})
    }
}

/// The name for people to read that the person has, where one of their faces has one.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn name_of(to: &Destination, person: &str) -> Result<Option<String>, ElasticError> {
    let named = json!({"bool": {"filter": [of_person(person), {"exists": {"field": "person.name"}}]}});
    let body = json!({"query": named, "size": 1, "_source": ["person"], "sort": [{"@timestamp": "asc"}]});
    let path = format!("/{}/_search", to.collection);
    let reply: Reply<RawFace> = to
        .json(
            "find a person's name",
            Method::Post,
            &path,
            &STRICT,
            Payload::Json(&body),
        )
        .await?;
    let face = reply.hits.hits.into_iter().next().map(FaceRecord::from);
    Ok(face.and_then(|face| face.person).and_then(|person| person.name))
}

fn of_person(person: &str) -> Value {
    json!({"bool": {"filter": {"term": {"person.id": person}}}})
}

/// Some faces of a person.
#[derive(Debug, Clone)]
pub struct Page {
    /// How many faces the person has.
    pub total: u64,
    /// Those that were asked for, oldest first.
    pub faces: Vec<FaceRecord>,
}

/// The person's faces from `offset` on, at most `limit`.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn page(
    client: &Client,
    collection: &str,
    person: &str,
    offset: usize,
    limit: usize,
) -> Result<Page, ElasticError> {
    let left_out: Vec<&str> = LEFT_OUT.split(',').collect();
    let body = json!({
        "query": of_person(person),
        "from": offset,
        "size": limit,
        "track_total_hits": true,
        "sort": [{"@timestamp": "asc"}, {"image.hash": "asc"}],
        "_source": {"excludes": left_out},
    });
    let path = format!("/{collection}/_search");
    let reply: Reply<RawFace> = client
        .read(
            "find a person's faces",
            Method::Post,
            &path,
            &STRICT,
            Payload::Json(&body),
        )
        .await?;
    Ok(Page {
        total: reply.hits.total.value,
        faces: reply.hits.hits.into_iter().map(FaceRecord::from).collect(),
    })
}
