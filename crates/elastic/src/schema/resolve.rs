//! What a name stands for. Every operation goes by this one answer: the index that is searched, the alias that is written by,
//! and the collection's id. What cannot be honoured is refused with the reason, never answered in part.

use std::collections::{BTreeMap, BTreeSet};

use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::block;
use crate::schema::collection::{Alias, Collection, Described, INDEX_PREFIX, check_name, describe, write_alias};
use crate::schema::origin::Origin;
use crate::schema::tombstones;
use crate::schema::versions;
use crate::transport::client::Payload;
use crate::{Client, ElasticError};

/// Indices with what is said of them, by name.
pub(crate) type Indices = BTreeMap<String, Described>;

/// Looks a collection up.
///
/// # Errors
///
/// [`ElasticError::NoCollection`] where there is nothing of this name, and another error for each reason for which the name has no
/// single meaning: a filter, a routing, several indices, a copy, a closed index.
pub async fn open(client: &Client, name: &str) -> Result<Collection, ElasticError> {
    let collection = judge_open(name, &indices_of(client, name).await?)?;
    // A search pays for no wider look, as long as facedex's own mark is on the index.
    if collection.origin != Origin::Own {
        expect_certain(client, &collection, &survey(client).await?).await?;
    }
    Ok(collection)
}

/// The same, with every index of the cluster. What a mapping has besides its vectors is not told.
pub(crate) async fn open_among_all(client: &Client, name: &str) -> Result<(Collection, Indices), ElasticError> {
    check_name(name)?;
    let indices = survey(client).await?;
    let is_there = |(index, described): (&String, &Described)| index == name || described.aliases.contains_key(name);
    if !indices.iter().any(is_there) {
        // It may be that one.
        if let Some((index, _)) = indices.iter().find(|(_, described)| described.is_hidden) {
            return Err(unseen(index));
        }
        return Err(ElasticError::NoCollection { name: name.to_owned() });
    }
    let collection = judge_open(name, &indices)?;
    if collection.origin != Origin::Own {
        expect_certain(client, &collection, &indices).await?;
    }
    Ok((collection, indices))
}

/// Refuses an index of which there is a copy, or in which are faces that were deleted: it may be of an earlier time.
async fn expect_certain(client: &Client, collection: &Collection, indices: &Indices) -> Result<(), ElasticError> {
    if let Some((index, _)) = indices.iter().find(|(_, described)| described.is_hidden) {
        return Err(unseen(index));
    }
    versions::among(collection, indices)?;
    match tombstones::brought_back(client, collection).await? {
        0 => Ok(()),
        faces => Err(ElasticError::Restored {
            name: collection.name.clone(),
            index: collection.index.clone(),
            faces,
        }),
    }
}

/// The indices that the collection's aliases stand for.
async fn indices_of(client: &Client, name: &str) -> Result<Indices, ElasticError> {
    check_name(name)?;
    let path = format!("/{name},{INDEX_PREFIX}{name}@*");
    let query = [("expand_wildcards", "all")];
    let found = client
        .read("look up the collection", Method::Get, &path, &query, Payload::None)
        .await
        .map_err(|error| {
            if error.is_not_found() {
                ElasticError::NoCollection { name: name.to_owned() }
            } else {
                error
            }
        })?;
    Ok(found)
}

/// What the name stands for, also where its index is closed, is a copy of another one or is not the one that is written, with
/// the aliases by which it is.
pub(crate) async fn found(client: &Client, name: &str) -> Result<(Collection, Vec<Stray>), ElasticError> {
    sort_out(name, &indices_of(client, name).await?)
}

/// What the name stands for where that is doubtful: for those who settle it.
///
/// # Errors
///
/// Fails where there is nothing of this name.
pub async fn in_doubt(client: &Client, name: &str) -> Result<Collection, ElasticError> {
    Ok(found(client, name).await?.0)
}

/// An alias by which a collection is written, and that stands for another index than the collection's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    /// That index.
    pub index: String,
    /// The alias.
    pub alias: String,
}

/// The collection of this name among these indices: all that its aliases stand for are there.
fn judge(name: &str, indices: &Indices) -> Result<Collection, ElasticError> {
    let (collection, strays) = sort_out(name, indices)?;
    match strays.into_iter().next() {
        None => Ok(collection),
        Some(Stray { index, alias }) => Err(ElasticError::Split {
            name: name.to_owned(),
            read: collection.index,
            alias,
            written: index,
        }),
    }
}

/// The same, if its index is open.
fn judge_open(name: &str, indices: &Indices) -> Result<Collection, ElasticError> {
    let collection = judge(name, indices)?;
    match indices.get(&collection.index).is_some_and(is_closed) {
        false => Ok(collection),
        true => Err(ElasticError::Closed {
            index: collection.index,
        }),
    }
}

fn sort_out(name: &str, indices: &Indices) -> Result<(Collection, Vec<Stray>), ElasticError> {
    let refused = |reason: &str| ElasticError::NotACollection {
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    if indices.contains_key(name) {
        return Err(refused("it is an index, not an alias"));
    }
    let mut readers = indices.iter().filter_map(|(index, described)| {
        let alias = described.aliases.get(name)?;
        Some((index, described, alias))
    });
    let (index, described, alias) = readers.next().ok_or_else(|| refused("it names no index"))?;
    if readers.next().is_some() {
        return Err(refused("the alias stands for several indices"));
    }
    let collection = describe(name, index, described).ok_or_else(|| refused("its index has no facedex metadata"))?;
    let in_part = |reason: &str| ElasticError::PartOfCollection {
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    if let Some(reason) = alias.refusal() {
        return Err(in_part(reason));
    }
    let prefix = write_alias(name, "");
    let mut strays = Vec::new();
    for (other, described) in indices {
        for (alias, properties) in described.aliases.range(prefix.clone()..) {
            if !alias.starts_with(&prefix) {
                break;
            }
            if other != index {
                strays.push(Stray {
                    index: other.clone(),
                    alias: alias.clone(),
                });
                continue;
            }
            if properties.refusal().is_some() {
                return Err(in_part(&format!(
                    "the alias {alias}, by which it is written, has a filter or a routing or takes no writes; make it anew without"
                )));
            }
        }
    }
    Ok((collection, strays))
}

impl Alias {
    /// Why no collection can have such an alias.
    fn refusal(&self) -> Option<&'static str> {
        if self.filter.is_some() {
            return Some(
                "the alias has a filter, and what it hides could still be read, changed and deleted face by face; take the filter from the alias, or keep those faces in a collection of their own",
            );
        }
        if self.index_routing.is_some() || self.search_routing.is_some() {
            return Some(
                "the alias has a routing, so that searches would look at some shards only and deletions miss the others; take the routing from the alias",
            );
        }
        (self.is_write_index == Some(false)).then_some(
            "the alias takes no writes (is_write_index is false), so that nothing could be deleted by it; set that to true",
        )
    }
}

/// Looks at an index of a collection that its alias may not stand for.
pub(crate) async fn describe_index(client: &Client, name: &str, index: &str) -> Result<Collection, ElasticError> {
    const OPERATION: &str = "look at the collection's index";
    let found: Indices = client
        .json(OPERATION, Method::Get, &format!("/{index}"), &[], Payload::None)
        .await?;
    found
        .get(index)
        .and_then(|described| describe(name, index, described))
        .ok_or_else(|| ElasticError::unexpected(OPERATION, format!("{index} has no facedex metadata")))
}

/// Every index of the cluster, closed and hidden ones too, with what tells whose it is: an index of ours may have any name.
pub(crate) async fn survey(client: &Client) -> Result<Indices, ElasticError> {
    const SETTINGS: [&str; 7] = [
        "uuid",
        "history",
        "blocks",
        "verified_before_close",
        "number_of_shards",
        "number_of_replicas",
        "auto_expand_replicas",
    ];
    let settings: Vec<String> = SETTINGS
        .iter()
        .map(|setting| format!("*.settings.index.{setting}"))
        .collect();
    let paths = format!(
        "*.aliases,*.mappings._meta,*.mappings.properties.face.properties.embedding,{}",
        settings.join(",")
    );
    const OPERATION: &str = "look at all indices";
    let query = [("expand_wildcards", "all"), ("filter_path", paths.as_str())];
    let found = client.read(OPERATION, Method::Get, "/*", &query, Payload::None).await;
    match found {
        // One that is blocked for looks takes all others along.
        Err(ElasticError::Refused { reason, .. }) if block(&reason).is_some() => {}
        found => return found,
    }
    let hidden = hidden(client).await?;
    let others: Vec<String> = hidden.iter().map(|index| format!("-{index}")).collect();
    let path = format!("/*,{}", others.join(","));
    let mut found: Indices = client
        .read(OPERATION, Method::Get, &path, &query, Payload::None)
        .await?;
    found.extend(hidden.into_iter().map(|index| {
        let described = Described {
            is_hidden: true,
            ..Described::default()
        };
        (index, described)
    }));
    Ok(found)
}

/// The indices that a block keeps from being looked at.
async fn hidden(client: &Client) -> Result<Vec<String>, ElasticError> {
    let path = "/_cluster/state/blocks";
    let state: Value = client
        .read("look for blocks", Method::Get, path, &[], Payload::None)
        .await?;
    let blocks = state["blocks"]["indices"].as_object().into_iter().flatten();
    let is_hiding = |block: &Value| {
        let mut levels = block["levels"].as_array().into_iter().flatten();
        levels.any(|level| level == "metadata_read")
    };
    let hidden = blocks.filter(|(_, of)| of.as_object().into_iter().flatten().any(|(_, block)| is_hiding(block)));
    Ok(hidden.map(|(index, _)| index.clone()).collect())
}

/// The error of an index that tells nothing of itself.
pub(crate) fn unseen(index: &str) -> ElasticError {
    ElasticError::Hidden {
        index: index.to_owned(),
    }
}

/// Whether an index takes neither reads nor writes, since it is closed.
pub(crate) fn is_closed(described: &Described) -> bool {
    let closed = &described.settings["index"]["verified_before_close"];
    *closed == "true" || *closed == json!(true)
}

/// The collections of the cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Those that can be used, by name.
    pub collections: Vec<Collection>,
    /// Names that stand for an index of faces and cannot be used.
    pub unusable: Vec<Unusable>,
}

/// A name that stands for an index of faces and cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct Unusable {
    /// The name.
    pub name: String,
    /// The index, or one of them.
    pub index: String,
    /// Why, and what to do.
    pub reason: String,
}

/// All collections of the cluster, whatever their indices are called.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn list(client: &Client) -> Result<Listed, ElasticError> {
    let indices = survey(client).await?;
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut nameless: BTreeMap<&str, &str> = BTreeMap::new();
    let mut named_ids: BTreeSet<&str> = BTreeSet::new();
    for (index, described) in &indices {
        if let Some(id) = described.mappings["_meta"]["collection_id"].as_str() {
            // An index that is being built has an alias that is no collection.
            let aliases = described.aliases.keys().filter(|alias| check_name(alias).is_ok());
            let aliases: Vec<&str> = aliases.map(String::as_str).collect();
            if aliases.is_empty() {
                nameless.insert(index, id);
            } else {
                named_ids.insert(id);
            }
            names.extend(aliases.into_iter().map(|alias| (alias, index.as_str())));
        }
    }
    let mut listed = Listed {
        collections: Vec::new(),
        unusable: Vec::new(),
    };
    for (name, index) in names {
        let found = judge_open(name, &indices).and_then(|collection| {
            versions::among(&collection, &indices)?;
            Ok(collection)
        });
        match found {
            Ok(collection) => listed.collections.push(collection),
            Err(error) => listed.unusable.push(Unusable {
                name: name.to_owned(),
                index: index.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
    let hidden = indices.iter().filter(|(_, described)| described.is_hidden);
    listed.unusable.extend(hidden.map(|(index, _)| Unusable {
        name: index.to_owned(),
        index: index.to_owned(),
        reason: unseen(index).to_string(),
    }));
    // Of a collection that has a name they are a part: see [`versions::among`].
    let strays = nameless.into_iter().filter(|(_, id)| !named_ids.contains(id));
    listed.unusable.extend(strays.map(|(index, _)| Unusable {
        name: index.to_owned(),
        index: index.to_owned(),
        reason: "no alias stands for it, so that no collection's name finds or deletes its faces; give it an alias, or remove the index".to_owned(),
    }));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(aliases: &Value) -> Described {
        let described = json!({
            "aliases": aliases,
            "mappings": {
                "_meta": {"space": "s", "collection_id": "c"},
                "properties": {"face": {"properties": {"embedding": {
                    "type": "dense_vector", "dims": 4, "index_options": {"type": "int8_hnsw"}}}}},
            },
            "settings": {"index": {"uuid": "u", "number_of_shards": "1", "number_of_replicas": "0"}},
        });
        serde_json::from_value(described).unwrap()
    }

    fn of(name: &str, indices: &[(&str, Value)]) -> Result<String, String> {
        let indices = indices
            .iter()
            .map(|(name, aliases)| ((*name).to_owned(), index(aliases)));
        let found = judge(name, &indices.collect());
        found
            .map(|collection| collection.index)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_stands_for_one_index_read_and_written() {
        let both = json!({"a": {"is_write_index": true}, "facedex-faces-a@s": {}});
        assert_eq!(of("a", &[("i", both)]), Ok("i".to_owned()));
        // An index of a foreign name, whose alias was renamed.
        let renamed = json!({"a": {}, "facedex-faces-b@s": {}});
        assert_eq!(of("a", &[("restored", renamed)]), Ok("restored".to_owned()));
        let split = of("a", &[("i", json!({"a": {}})), ("j", json!({"facedex-faces-a@s": {}}))]).unwrap_err();
        for part in ["\"a\"", "i", "j", "facedex-faces-a@s", "collection adopt a"] {
            assert!(split.contains(part), "{split}");
        }
    }

    #[test]
    fn aliases_that_show_a_part_are_refused() {
        for (properties, reason) in [
            (json!({"filter": {"term": {"x": 1}}}), "filter"),
            (json!({"index_routing": "x"}), "routing"),
            (json!({"search_routing": "x"}), "routing"),
            (json!({"is_write_index": false}), "is_write_index"),
        ] {
            let refused = of("a", &[("i", json!({"a": properties}))]).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(
            of("a", &[("a", json!({}))])
                .unwrap_err()
                .contains("an index, not an alias")
        );
        assert!(
            of("a", &[("i", json!({"a": {}})), ("j", json!({"a": {}}))])
                .unwrap_err()
                .contains("several")
        );
    }
}
