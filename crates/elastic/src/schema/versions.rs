//! The indices that belong to a collection: the one behind its alias, older ones that a migration left, one that is being
//! built. They are told by the collection's id in `_meta`, whatever they are called; a copy that somebody made is none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::schema::collection::{Collection, Described, INDEX_PREFIX};
use crate::schema::origin::Origin;
use crate::schema::resolve::{self, Indices, is_closed, survey, unseen};
use crate::transport::client::Payload;
use crate::{Client, Destination, ElasticError};

/// An index of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The index.
    pub index: String,
    /// What it is for.
    pub state: State,
    /// Whether it takes no writes.
    pub blocked: bool,
    /// Whether it takes no reads either.
    pub closed: bool,
    /// The alias by which an unfinished index is written to.
    #[serde(skip)]
    pub(crate) building_alias: Option<String>,
}

/// What an index of a collection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The collection's name stands for it.
    Live,
    /// A migration is filling it, or was cut off while it did.
    Building,
    /// A migration left it behind; nothing searches it.
    Kept,
}

/// Every index of a collection, the one that is searched first.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The indices.
    pub versions: Vec<Version>,
    /// The next index that a migration may make; its name is free.
    pub next: String,
    /// What stands before the number in that name.
    pub stem: String,
    /// Whether every index of the cluster was looked at. An account that may not see some is not told that they are there.
    pub sees_all: bool,
    /// Indices that tell nothing of themselves: they may be the collection's.
    pub hidden: Vec<String>,
}

/// How much of a collection something reached that is about all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reach {
    /// Indices that could not be looked at, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unreached: BTreeMap<String, String>,
    /// Whether this account sees every index of the cluster. Where it does not, there may be others of the collection.
    pub sees_all: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self::ALL
    }
}

impl Reach {
    /// All of it.
    pub const ALL: Self = Self {
        unreached: BTreeMap::new(),
        sees_all: true,
    };

    /// All that was found.
    pub fn of(whole: &Whole) -> Self {
        let mut reach = Self {
            sees_all: whole.sees_all,
            ..Self::ALL
        };
        for index in &whole.hidden {
            reach.miss(index, &unseen(index));
        }
        reach
    }

    /// An index could not be looked at.
    pub fn miss(&mut self, index: &str, error: &ElasticError) {
        self.unreached.insert(index.to_owned(), error.to_string());
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.unreached.extend(other.unreached);
        self.sees_all &= other.sees_all;
        self
    }

    /// Refuses less than all; less than what may be seen, if that is enough.
    ///
    /// # Errors
    ///
    /// Names the indices that were not reached, and what was done in the others.
    pub fn expect_all(&self, visible_only: bool) -> Result<(), ElasticError> {
        if !self.unreached.is_empty() {
            let unreached = self.unreached.iter();
            let unreached: Vec<String> = unreached.map(|(index, reason)| format!("{index} ({reason})")).collect();
            return Err(ElasticError::Unreached {
                indices: unreached.join(", "),
            });
        }
        match self.sees_all || visible_only {
            true => Ok(()),
            false => Err(ElasticError::PartlyVisible),
        }
    }
}

/// The index of this number.
fn index_name(stem: &str, number: u32) -> String {
    format!("{INDEX_PREFIX}{stem}-{number:06}")
}

/// The alias by which an unfinished index is written to: bulk requests name aliases only. No collection can have this
/// name, since it begins as the indices do.
pub(crate) fn building_alias(stem: &str) -> String {
    format!("{INDEX_PREFIX}{stem}{BUILDING}")
}

const BUILDING: &str = "-building";

/// The stem and the number of an index that facedex named.
fn parts(index: &str) -> Option<(&str, u32)> {
    let (stem, digits) = index.strip_prefix(INDEX_PREFIX)?.rsplit_once('-')?;
    let number = (digits.len() >= 6).then(|| digits.parse().ok()).flatten()?;
    Some((stem, number))
}

/// Every index of a collection. Refuses one of which there is a copy: what is changed in the one would stay in the other.
///
/// # Errors
///
/// [`ElasticError::Copies`] where there is a copy; also where Elasticsearch cannot be reached.
pub async fn list(client: &Client, collection: &Collection) -> Result<Whole, ElasticError> {
    let (indices, sees_all) = tokio::try_join!(survey(client), client.sees_all_indices())?;
    whole(collection, &indices, sees_all)
}

/// The same by the collection's name, looked up anew.
pub(crate) async fn of(to: &Destination) -> Result<Whole, ElasticError> {
    to.patiently(async || {
        let all = resolve::open_among_all(&to.client, &to.collection);
        let ((collection, indices), sees_all) = tokio::try_join!(all, to.client.sees_all_indices())?;
        whole(&collection, &indices, sees_all)
    })
    .await
}

fn whole(collection: &Collection, indices: &Indices, sees_all: bool) -> Result<Whole, ElasticError> {
    let versions = among(collection, indices)?;
    let stem = parts(&collection.index).map_or(collection.name.as_str(), |(stem, _)| stem);
    let numbers = indices
        .keys()
        .filter_map(|index| parts(index).filter(|(other, _)| *other == stem));
    let last = numbers.map(|(_, number)| number).max().unwrap_or(0);
    Ok(Whole {
        versions,
        next: index_name(stem, last + 1),
        stem: stem.to_owned(),
        sees_all,
        hidden: indices
            .iter()
            .filter(|(_, described)| described.is_hidden)
            .map(|(index, _)| index.clone())
            .collect(),
    })
}

/// What is done in every index of a collection.
pub(crate) trait Work: Send {
    /// Does it in one index, and says whether there was nothing to do from the start.
    fn within(&mut self, version: &Version) -> impl Future<Output = Result<bool, ElasticError>> + Send;
}

/// Does `work` in every index of a collection until a whole round finds nothing to do. A write block of an older index is
/// lifted for it. An index that cannot be looked at does not keep the others from being worked on.
pub(crate) async fn everywhere(to: &Destination, operation: &str, work: &mut impl Work) -> Result<Reach, ElasticError> {
    let mut reach = Reach::ALL;
    for round in 0..ROUNDS {
        // Looked up anew each time: a move to another index may begin or end meanwhile.
        let whole = match of(to).await {
            Ok(whole) => whole,
            Err(error) if round == 0 => return Err(error),
            Err(error) => {
                reach.miss(&to.collection, &error);
                return Ok(reach);
            }
        };
        reach = reach.and(Reach::of(&whole));
        let mut clean = true;
        for version in whole.versions {
            if reach.unreached.contains_key(&version.index) {
                continue;
            }
            let done = async {
                version.expect_open()?;
                let lifted = version.lift_block(to).await?;
                let was_clean = work.within(&version).await;
                version.restore_block(to, lifted).await?;
                was_clean
            };
            match done.await {
                Ok(was_clean) => clean &= was_clean,
                Err(error) => reach.miss(&version.index, &error),
            }
        }
        if clean {
            return Ok(reach);
        }
        // Whoever finds something a second time is not alone.
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    reach.miss(&to.collection, &busy(operation));
    Ok(reach)
}

/// Faces that others change under our hands this often are left to them.
pub(crate) const ROUNDS: usize = 50;
/// Between further looks at all indices: somebody else is writing the same faces.
const PAUSE: Duration = Duration::from_millis(100);

/// Others do not let us come to an end.
pub(crate) fn busy(operation: &str) -> ElasticError {
    ElasticError::Refused {
        operation: operation.to_owned(),
        status: 409,
        kind: "version_conflict_engine_exception".to_owned(),
        reason: "somebody else changes the same faces all the time".to_owned(),
    }
}

/// The collection's indices among all.
pub(crate) fn among(collection: &Collection, indices: &Indices) -> Result<Vec<Version>, ElasticError> {
    let (mut versions, copies) = sorted(collection, indices);
    if !copies.is_empty() {
        return Err(ElasticError::Copies {
            name: collection.name.clone(),
            index: collection.index.clone(),
            copies: copies.join(", "),
        });
    }
    versions.sort_by_key(|version| (version.state, version.index.clone()));
    Ok(versions)
}

/// The collection's indices, and those that have its id and are no part of it.
pub(crate) fn sorted(collection: &Collection, indices: &Indices) -> (Vec<Version>, Vec<String>) {
    let before = predecessors(collection, indices);
    let (mut versions, mut copies) = (Vec::new(), Vec::new());
    for (index, described) in indices {
        if described.mappings["_meta"]["collection_id"] != collection.collection_id.as_str() {
            continue;
        }
        let building_alias = described
            .aliases
            .keys()
            .find(|alias| alias.starts_with(INDEX_PREFIX) && alias.ends_with(BUILDING));
        let state = if *index == collection.index {
            State::Live
        } else if building_alias.is_some() {
            State::Building
        } else if is_left_by_migration(collection, index, described, &before) {
            State::Kept
        } else {
            copies.push(index.clone());
            continue;
        };
        versions.push(Version {
            index: index.clone(),
            state,
            blocked: described.settings["index"]["blocks"]["write"] == "true",
            closed: is_closed(described),
            building_alias: building_alias.cloned(),
        });
    }
    (versions, copies)
}

/// The indices from which migrations came to the present one.
fn predecessors(collection: &Collection, indices: &Indices) -> BTreeSet<String> {
    let mut before = BTreeSet::new();
    let mut index = &collection.index;
    while let Some(from) = indices
        .get(index)
        .and_then(|described| described.mappings["_meta"]["migrated_from"].as_str())
    {
        // By hand anything could be written there.
        if !before.insert(from.to_owned()) {
            break;
        }
        let Some((found, _)) = indices.get_key_value(from) else {
            break;
        };
        index = found;
    }
    before
}

/// Whether a migration left this index, of the collection's id, behind. Somebody's copy of it is not that: it is told by the
/// mark, or by nothing where an earlier release made both.
fn is_left_by_migration(
    collection: &Collection,
    index: &str,
    described: &Described,
    before: &BTreeSet<String>,
) -> bool {
    let has_a_name = described.aliases.keys().any(|alias| !alias.starts_with(INDEX_PREFIX));
    let origin = Origin::of(&described.mappings["_meta"], &described.settings);
    // What the present index was not made from, and is itself a copy: which of the two it is cannot be told.
    let is_ours = origin == Origin::Own && collection.origin == Origin::Own;
    !has_a_name && (is_ours || (before.contains(index) && origin != Origin::Copy))
}

impl Version {
    /// Where writes to it go: by the alias where that names it, so that a move to another index is noticed.
    pub fn destination(&self, to: &Destination) -> Destination {
        match self.state {
            State::Live => to.clone(),
            State::Building | State::Kept => to.at(&self.index),
        }
    }

    /// Refuses an index that takes no reads.
    pub(crate) fn expect_open(&self) -> Result<(), ElasticError> {
        match self.closed {
            false => Ok(()),
            true => Err(ElasticError::Closed {
                index: self.index.clone(),
            }),
        }
    }

    /// Lets writes into an older index that takes none; says whether it did. A block on the current one is somebody's move
    /// to another index, and is waited for.
    async fn lift_block(&self, to: &Destination) -> Result<bool, ElasticError> {
        let lifts = self.blocked && self.state == State::Kept;
        if lifts {
            self.set_block(to, false).await?;
        }
        Ok(lifts)
    }

    /// Closes it again.
    async fn restore_block(&self, to: &Destination, lifted: bool) -> Result<(), ElasticError> {
        if lifted {
            self.set_block(to, true).await?;
        }
        Ok(())
    }

    async fn set_block(&self, to: &Destination, blocked: bool) -> Result<(), ElasticError> {
        let settings = json!({"index": {"blocks": {"write": blocked}}});
        to.put_settings("change the write block of an older index", &self.index, &settings)
            .await
    }
}

impl Client {
    /// Whether this account sees every index. Elasticsearch leaves the others out of an answer about all without a word.
    pub(crate) async fn sees_all_indices(&self) -> Result<bool, ElasticError> {
        let body = json!({"index": [{"names": ["*"], "privileges": ["view_index_metadata"]}]});
        let reply: Result<Value, _> = self
            .read(
                "tell which indices this account sees",
                Method::Post,
                "/_security/user/_has_privileges",
                &[],
                Payload::Json(&body),
            )
            .await;
        match reply {
            Ok(reply) => Ok(reply["has_all_requested"] == true),
            // A cluster without security shows everything to everybody.
            Err(ElasticError::Refused {
                status: 400 | 404 | 405,
                ..
            }) => Ok(true),
            Err(ElasticError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indices_are_read_back() {
        assert_eq!(index_name("a", 7), "facedex-faces-a-000007");
        assert_eq!(parts("facedex-faces-a-000007"), Some(("a", 7)));
        assert_eq!(parts("facedex-faces-a-b-1000000"), Some(("a-b", 1_000_000)));
        assert_eq!(parts("facedex-faces-a-7"), None);
        assert_eq!(parts("restored-a"), None);
    }

    /// What each index of the collection `c` is for, seen from `live`.
    fn states(live: &str, indices: &Value) -> Vec<(String, &'static str)> {
        let mut described = Indices::new();
        for (name, index) in indices.as_object().unwrap() {
            let mut meta = json!({"space": "s", "collection_id": "c"});
            for (key, value) in index["meta"].as_object().into_iter().flatten() {
                meta[key] = value.clone();
            }
            let embedding = json!({"dims": 4, "index_options": {"type": "flat"}});
            let whole = json!({
                "aliases": index["aliases"],
                "mappings": {"_meta": meta, "properties": {"face": {"properties": {"embedding": embedding}}}},
                "settings": {"index": {"uuid": name, "number_of_shards": "1", "number_of_replicas": "0"}},
            });
            described.insert(name.clone(), serde_json::from_value(whole).unwrap());
        }
        let collection = crate::schema::collection::describe("c", live, &described[live]).unwrap();
        let (versions, copies) = sorted(&collection, &described);
        let mut all: Vec<_> = versions
            .into_iter()
            .map(|version| {
                let state = match version.state {
                    State::Live => "live",
                    State::Building => "building",
                    State::Kept => "kept",
                };
                (version.index, state)
            })
            .chain(copies.into_iter().map(|copy| (copy, "copy")))
            .collect();
        all.sort();
        all
    }

    fn is(state: &'static str) -> impl Fn(&str) -> (String, &'static str) {
        move |index| (index.to_owned(), state)
    }

    #[test]
    fn what_migrations_left_is_told_from_copies() {
        let marked = |uuid: &str| json!({"index": {"uuid": uuid}});
        let live = json!({"aliases": {"c": {}}, "meta": marked("b")});
        let cluster = json!({
            "a": {"aliases": {}, "meta": marked("a")},
            "b": live,
            "clone": {"aliases": {}, "meta": marked("b")},
            "named": {"aliases": {"other": {}}, "meta": marked("named")},
            "next": {"aliases": {"facedex-faces-c-building": {}}, "meta": {}},
        });
        assert_eq!(
            states("b", &cluster),
            [
                is("kept")("a"),
                is("live")("b"),
                is("copy")("clone"),
                is("copy")("named"),
                is("building")("next")
            ]
        );
        // From a copy nothing else is a part of it.
        let moved = json!({
            "a": {"aliases": {}, "meta": marked("a")},
            "clone": {"aliases": {"c": {}}, "meta": marked("a")},
        });
        assert_eq!(states("clone", &moved), [is("copy")("a"), is("live")("clone")]);
    }

    #[test]
    fn before_there_were_marks_the_chain_of_migrations_tells() {
        let cluster = json!({
            "a": {"aliases": {}, "meta": {}},
            "b": {"aliases": {}, "meta": {"migrated_from": "a"}},
            "c": {"aliases": {"c": {}}, "meta": {"migrated_from": "b"}},
            "copy": {"aliases": {}, "meta": {"migrated_from": "b"}},
        });
        assert_eq!(
            states("c", &cluster),
            [is("kept")("a"), is("kept")("b"), is("live")("c"), is("copy")("copy")]
        );
    }
}
