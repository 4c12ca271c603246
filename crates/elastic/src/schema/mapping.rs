//! The shape of each kind of index that facedex keeps, and how an index of an earlier release comes up to it.
//!
//! Mappings are strict, so that a document with a field that its index lacks is refused. Every index says in its `_meta` which
//! version of the mapping it has; one list a kind says what each version added; and [`bring_up`] puts what is missing before the
//! first write. Fields are only ever added: who reads takes a field that is missing as empty.

use elasticsearch::http::Method;
use serde_json::{Map, Value, json};

use crate::schema::origin::{Mark, Origin};
use crate::transport::client::Payload;
use crate::{Client, ElasticError};

/// The mapping's version in `_meta`. An index without one was made before there were any.
pub(crate) const VERSION_FIELD: &str = "mapping_version";

/// A kind of index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// Its file in `mappings/`: an index template or the body that makes the index, as it was first.
    definition: &'static str,
    /// The version that this is.
    first: u32,
    /// Its name in `mappings/additions.json`.
    name: &'static str,
}

/// Indices of faces.
pub(crate) const FACES: Schema = Schema {
    definition: include_str!("../../mappings/faces.json"),
    first: 3,
    name: "faces",
};
/// The index of deleted faces.
pub(crate) const TOMBSTONES: Schema = Schema {
    definition: include_str!("../../mappings/tombstones.json"),
    first: 1,
    name: "tombstones",
};
/// Indices of events.
pub(crate) const EVENTS: Schema = Schema {
    definition: include_str!("../../mappings/events.json"),
    first: 1,
    name: "events",
};

/// What later versions added, in their order.
const ADDITIONS: &str = include_str!("../../mappings/additions.json");

impl Schema {
    /// What is sent to make the template, or the index, with everything that was added.
    pub(crate) fn definition(self) -> Result<Value, ElasticError> {
        let mut definition: Value = parsed(self.definition)?;
        let additions = self.additions()?;
        let version = additions.last().map_or(self.first, |(version, _)| *version);
        let is_template = definition.get("template").is_some();
        if is_template {
            definition["version"] = json!(version);
        }
        let mappings = match is_template {
            true => &mut definition["template"]["mappings"],
            false => &mut definition["mappings"],
        };
        for (_, properties) in additions {
            add(&mut mappings["properties"], &properties);
        }
        if !mappings["_meta"].is_object() {
            mappings["_meta"] = json!({});
        }
        mappings["_meta"][VERSION_FIELD] = json!(version);
        Ok(definition)
    }

    /// The newest version of the mapping.
    fn version(self) -> Result<u32, ElasticError> {
        Ok(self.additions()?.last().map_or(self.first, |(version, _)| *version))
    }

    /// The fields of the newest version.
    fn properties(self) -> Result<Value, ElasticError> {
        let mut definition = self.definition()?;
        let mappings = match definition.get("template") {
            Some(_) => &mut definition["template"]["mappings"],
            None => &mut definition["mappings"],
        };
        Ok(mappings["properties"].take())
    }

    fn additions(self) -> Result<Vec<(u32, Value)>, ElasticError> {
        let mut all = parsed(ADDITIONS)?;
        let own = all[self.name].take();
        let additions = own.as_array().into_iter().flatten().map(|addition| {
            let version = addition["version"].as_u64().and_then(|version| version.try_into().ok());
            version.map(|version| (version, addition["properties"].clone()))
        });
        additions
            .collect::<Option<_>>()
            .ok_or_else(|| ElasticError::unexpected("mappings/additions.json", "an addition without a version"))
    }
}

fn parsed(text: &str) -> Result<Value, ElasticError> {
    serde_json::from_str(text).map_err(|error| ElasticError::unexpected("mappings", error))
}

/// Adds fields to others, level by level.
fn add(to: &mut Value, more: &Value) {
    let (Some(to), Some(more)) = (to.as_object_mut(), more.as_object()) else {
        return;
    };
    for (name, field) in more {
        match to.get_mut(name) {
            Some(known) if known["properties"].is_object() => add(&mut known["properties"], &field["properties"]),
            Some(_) => {}
            None => {
                to.insert(name.clone(), field.clone());
            }
        }
    }
}

/// The fields of `wanted` that `found` lacks. Those that are there are left as they are, whatever their parameters.
fn missing(wanted: &Value, found: &Value) -> Map<String, Value> {
    let mut lacking = Map::new();
    for (name, field) in wanted.as_object().into_iter().flatten() {
        match found.get(name) {
            None => {
                lacking.insert(name.clone(), field.clone());
            }
            Some(known) if field["properties"].is_object() => {
                let below = missing(&field["properties"], &known["properties"]);
                if !below.is_empty() {
                    lacking.insert(name.clone(), json!({"properties": below}));
                }
            }
            Some(_) => {}
        }
    }
    lacking
}

/// Whether this is the newest version of the mapping. Refuses nothing: see [`bring_up`].
pub(crate) fn is_newest(schema: Schema, version: Option<u64>) -> Result<bool, ElasticError> {
    Ok(version == Some(u64::from(schema.version()?)))
}

/// Brings an index up that may not be there yet.
pub(crate) async fn bring_up_if_there(client: &Client, schema: Schema, index: &str) -> Result<bool, ElasticError> {
    let described: Result<Value, _> = client
        .read(
            "read the index's mapping",
            Method::Get,
            &format!("/{index}"),
            &[],
            Payload::None,
        )
        .await;
    match described {
        Err(error) if error.is_not_found() => Ok(false),
        described => {
            bring_up(client, schema, index, &described?[index]).await?;
            Ok(true)
        }
    }
}

/// Replaces an index's `_meta`.
pub(crate) async fn put_meta(client: &Client, index: &str, meta: &Value) -> Result<(), ElasticError> {
    let path = format!("/{index}/_mapping");
    let body = json!({"_meta": meta});
    // Safe to repeat, as a read is.
    let _: Value = client
        .read(
            "change what an index says of itself",
            Method::Put,
            &path,
            &[],
            Payload::Json(&body),
        )
        .await?;
    Ok(())
}

/// Brings an index up to the newest mapping, if it has an older one, and marks it as ours. `described` is what Elasticsearch
/// says of it: `mappings` and `settings`. Refuses an index that a newer facedex has brought up: what that one writes is unknown.
///
/// Whoever does this at the same time writes the same, and nothing else is kept in `_meta` that changes.
pub(crate) async fn bring_up(
    client: &Client,
    schema: Schema,
    index: &str,
    described: &Value,
) -> Result<(), ElasticError> {
    let (found, settings) = (&described["mappings"], &described["settings"]);
    let (version, ours) = (found["_meta"][VERSION_FIELD].as_u64(), u64::from(schema.version()?));
    if let Some(version) = version.filter(|version| *version > ours) {
        return Err(ElasticError::NewerIndex {
            index: index.to_owned(),
            found: version,
            ours,
        });
    }
    if version == Some(ours) && Origin::of(&found["_meta"], settings) == Origin::Own {
        return Ok(());
    }
    let properties = missing(&schema.properties()?, &found["properties"]);
    let needs_fields = !properties.is_empty();
    let mut meta = match found["_meta"].is_object() {
        true => found["_meta"].clone(),
        false => json!({}),
    };
    meta[VERSION_FIELD] = json!(ours);
    if let Some(mark) = Mark::of(settings) {
        mark.put(&mut meta);
    }
    let body = json!({"_meta": meta, "properties": properties});
    // Safe to repeat, as a read is.
    let put: Result<Value, _> = client
        .read(
            "bring the index's mapping up",
            Method::Put,
            &format!("/{index}/_mapping"),
            &[],
            Payload::Json(&body),
        )
        .await;
    match put {
        // An account that may only write documents does so, as long as their fields are there.
        Err(ElasticError::Forbidden { reason }) if !needs_fields => {
            tracing::debug!(index, reason, "the index is not marked");
            Ok(())
        }
        put => put.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_definition_with_its_additions_in_order() {
        for schema in [FACES, TOMBSTONES, EVENTS] {
            let versions: Vec<u32> = schema
                .additions()
                .unwrap()
                .iter()
                .map(|(version, _)| *version)
                .collect();
            let expected: Vec<u32> = (schema.first + 1..).take(versions.len()).collect();
            assert_eq!(versions, expected, "{}", schema.name);
            let definition = schema.definition().unwrap();
            let mappings = definition
                .pointer("/template/mappings")
                .unwrap_or(&definition["mappings"]);
            assert_eq!(mappings["_meta"][VERSION_FIELD], schema.version().unwrap());
            assert_eq!(mappings["dynamic"], "strict");
            for (_, properties) in schema.additions().unwrap() {
                assert!(missing(&properties, &mappings["properties"]).is_empty());
            }
        }
    }

    #[test]
    fn only_what_is_missing_is_put() {
        let wanted =
            json!({"a": {"type": "keyword"}, "b": {"properties": {"c": {"type": "date"}, "d": {"type": "long"}}}});
        let found = json!({"a": {"type": "keyword", "meta": {"x": "y"}}, "b": {"properties": {"c": {"type": "date"}}}, "e": {"type": "ip"}});
        let lacking = missing(&wanted, &found);
        assert_eq!(
            Value::from(lacking),
            json!({"b": {"properties": {"d": {"type": "long"}}}})
        );
        assert!(missing(&wanted, &wanted).is_empty());
    }
}
