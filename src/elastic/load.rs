//! Load mode: an index that is filled once is filled faster without refreshes and without copies.
//!
//! What the settings were is noted in the index's own mapping before they are changed, so that a run that died in between can
//! be repaired by any later one, from any machine. The note is the `meta` of the field `ingest.run`: Elasticsearch replaces an
//! index's `_meta` as a whole, so that of two who change it at once one would undo the other, and a field's `meta` alone.

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Payload;
use super::collection::Collection;
use super::{Client, ElasticError, search};

/// Settings as they were before the load; `None` is Elasticsearch's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_of_replicas: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_expand_replicas: Option<String>,
    /// The run that changed them.
    run: String,
}

/// An index's mapping and settings.
struct Read {
    mapping: Value,
    settings: Value,
}

impl Read {
    fn note(&self) -> Option<Saved> {
        let meta = &self.mapping["properties"]["ingest"]["properties"]["run"]["meta"];
        // Earlier releases noted it in `_meta`.
        let notes = [meta, &self.mapping["_meta"][FORMER_NOTE]];
        notes.into_iter().find_map(|note| Saved::deserialize(note).ok())
    }
}

const FORMER_NOTE: &str = "bulk_load";

/// The load that an index is in, if it is in one: this run's, another's, or one that died.
pub async fn in_progress(client: &Client, collection: &Collection) -> Result<Option<Saved>, ElasticError> {
    Ok(read(client, collection).await?.note())
}

/// Turns refreshes and copies off. A collection that holds faces already, and is not in a load, is live: it is refused,
/// since searches would no longer see new faces and a lost node would lose old ones.
pub async fn begin(client: &Client, collection: &Collection, run: &str) -> Result<(), ElasticError> {
    let found = read(client, collection).await?;
    if found.note().is_none() {
        if search::count(client, &collection.name, &[]).await? > 0 {
            return Err(ElasticError::NotLoadable {
                name: collection.name.clone(),
            });
        }
        let setting = |name: &str| found.settings[name].as_str().map(str::to_owned);
        let saved = Saved {
            refresh_interval: setting("refresh_interval"),
            number_of_replicas: setting("number_of_replicas"),
            auto_expand_replicas: setting("auto_expand_replicas"),
            run: run.to_owned(),
        };
        write_note(client, collection, &json!(saved)).await?;
    }
    let off = json!({"index": {"refresh_interval": "-1", "auto_expand_replicas": false, "number_of_replicas": 0}});
    write_settings(client, collection, &off).await
}

/// Gives the index its settings back, if it is in a load.
pub async fn end(client: &Client, collection: &Collection) -> Result<bool, ElasticError> {
    let mut found = read(client, collection).await?;
    let Some(saved) = found.note() else {
        return Ok(false);
    };
    let expands = saved
        .auto_expand_replicas
        .as_deref()
        .is_some_and(|range| range != "false");
    let replicas = if expands { None } else { saved.number_of_replicas };
    let mut index = json!({
        "refresh_interval": saved.refresh_interval,
        "auto_expand_replicas": saved.auto_expand_replicas,
    });
    if let Some(replicas) = replicas {
        index["number_of_replicas"] = json!(replicas);
    }
    write_settings(client, collection, &json!({"index": index})).await?;
    // Last, so that a crash before it leaves the note for the next run.
    write_note(client, collection, &json!({})).await?;
    if let Some(meta) = found.mapping["_meta"].as_object_mut()
        && meta.remove(FORMER_NOTE).is_some()
    {
        put_mapping(client, collection, &json!({"_meta": meta})).await?;
    }
    Ok(true)
}

/// Begins to merge each shard into one segment, which makes searches faster, and gives the task that does it. For an index
/// that is no longer written to.
pub async fn force_merge(client: &Client, collection: &Collection) -> Result<String, ElasticError> {
    const OPERATION: &str = "merge the segments";
    let query = [("max_num_segments", "1"), ("wait_for_completion", "false")];
    let path = format!("/{}/_forcemerge", collection.index);
    let begun: Value = client
        .json(OPERATION, Method::Post, &path, &query, Payload::None)
        .await?;
    begun["task"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| ElasticError::unexpected(OPERATION, "no task in the answer"))
}

async fn read(client: &Client, collection: &Collection) -> Result<Read, ElasticError> {
    let path = format!("/{}", collection.index);
    let mut reply: Value = client
        .json("read the collection's settings", Method::Get, &path, &[], Payload::None)
        .await?;
    let index = &mut reply[&collection.index];
    Ok(Read {
        mapping: index["mappings"].take(),
        settings: index["settings"]["index"].take(),
    })
}

async fn write_note(client: &Client, collection: &Collection, note: &Value) -> Result<(), ElasticError> {
    let run = json!({"type": "keyword", "meta": note});
    let mapping = json!({"properties": {"ingest": {"properties": {"run": run}}}});
    put_mapping(client, collection, &mapping).await
}

async fn put_mapping(client: &Client, collection: &Collection, mapping: &Value) -> Result<(), ElasticError> {
    let path = format!("/{}/_mapping", collection.index);
    let _: Value = client
        .json(
            "note the load in the collection",
            Method::Put,
            &path,
            &[],
            Payload::Json(mapping),
        )
        .await?;
    Ok(())
}

async fn write_settings(client: &Client, collection: &Collection, settings: &Value) -> Result<(), ElasticError> {
    let path = format!("/{}/_settings", collection.index);
    let _: Value = client
        .json(
            "change the collection's settings",
            Method::Put,
            &path,
            &[],
            Payload::Json(settings),
        )
        .await?;
    Ok(())
}
