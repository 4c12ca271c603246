//! Load mode: an index that is filled once is filled faster without refreshes and without copies.
//!
//! What the settings were is noted in the index's own mapping before they are changed, so that a run that died in between can
//! be repaired by any later one, from any machine. A run that is alive says so in the note every few seconds, so that nobody else
//! ends it (see `alive`).

use std::sync::Arc;

use elasticsearch::http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::read::search;
use crate::schema::collection::Collection;
use crate::transport::client::Payload;
use crate::write::alive::{self, Alive};
use crate::{Client, Destination, ElasticError};

/// The field below `ingest` whose `meta` has the note.
const FIELD: &str = "run";

/// The settings as they were before the load, and whose load it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    /// `None` is Elasticsearch's default, as below.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_of_replicas: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_expand_replicas: Option<String>,
    /// The run that changed them.
    run: String,
    /// When it last said that it is alive, and where it runs. Earlier releases did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    alive: Option<String>,
}

/// A load that an index is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Load {
    /// The run that began it, or went on with it.
    pub run: String,
    /// Whether that run is under way. Otherwise it was cut off, and `facedex collection repair` ends the load.
    pub is_alive: bool,
}

impl Load {
    /// What it means for the collection's users, and what to do.
    pub fn meaning(&self, collection: &str) -> String {
        const OFF: &str = "searches do not see its new faces, and there are no replicas";
        match self.is_alive {
            true => format!("a --bulk-load goes on (run {}): until it ends {OFF}", self.run),
            false => format!(
                "a --bulk-load was cut off (run {}): {OFF}; the same ingest goes on with it, `facedex collection repair {collection}` ends it",
                self.run
            ),
        }
    }
}

/// What became of the end of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// There was none.
    None,
    /// The index has its settings back.
    Done,
    /// Another run goes on with it.
    GoesOn(Load),
}

impl Saved {
    fn load(&self) -> Load {
        Load {
            run: self.run.clone(),
            is_alive: alive::is_recent(self.alive.as_deref().unwrap_or_default(), Timestamp::now()),
        }
    }
}

/// An index's mapping and settings.
struct Read {
    mapping: Value,
    settings: Value,
}

impl Read {
    fn note(&self) -> Option<Saved> {
        // Earlier releases noted it in `_meta`.
        let notes = [alive::note(&self.mapping, FIELD), &self.mapping["_meta"][FORMER_NOTE]];
        notes.into_iter().find_map(|note| Saved::deserialize(note).ok())
    }
}

const FORMER_NOTE: &str = "bulk_load";

/// The load that an index is in, if it is in one: this run's, another's, or one that died.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub(crate) async fn in_progress(client: &Client, collection: &Collection) -> Result<Option<Load>, ElasticError> {
    Ok(read(client, collection).await?.note().map(|saved| saved.load()))
}

/// Turns refreshes and copies off. A collection that holds faces already, and is not in a load, is live: it is refused,
/// since searches would no longer see new faces and a lost node would lose old ones. A load that was cut off is gone on with;
/// one that goes on is joined, and whoever began it ends it.
///
/// # Errors
///
/// Refuses a collection that is searched already; fails where Elasticsearch refuses the settings.
pub async fn begin(client: &Client, collection: &Collection, run: &str) -> Result<(), ElasticError> {
    let found = read(client, collection).await?;
    let setting = |name: &str| found.settings[name].as_str().map(str::to_owned);
    let mut saved = match found.note() {
        // Whoever began it has turned them off, and turns them on again.
        Some(note) if note.run != run && note.load().is_alive => return Ok(()),
        Some(note) => note,
        None if search::count(client, &collection.name, &[]).await? > 0 => {
            return Err(ElasticError::NotLoadable {
                name: collection.name.clone(),
            });
        }
        None => Saved {
            refresh_interval: setting("refresh_interval"),
            number_of_replicas: setting("number_of_replicas"),
            auto_expand_replicas: setting("auto_expand_replicas"),
            run: String::new(),
            alive: None,
        },
    };
    run.clone_into(&mut saved.run);
    saved.alive = Some(alive::sign());
    write_note(client, collection, &json!(saved)).await?;
    let off = json!({"index": {"refresh_interval": "-1", "auto_expand_replicas": false, "number_of_replicas": 0}});
    write_settings(client, collection, &off).await
}

/// Says every few seconds that this run's load goes on.
pub fn keep_alive(client: &Arc<Client>, collection: &Collection, run: &str) -> Alive {
    let (client, collection, run) = (Arc::clone(client), collection.clone(), run.to_owned());
    Alive::keep(move || {
        let (client, collection, run) = (Arc::clone(&client), collection.clone(), run.clone());
        async move { beat(&client, &collection, &run).await }
    })
}

async fn beat(client: &Client, collection: &Collection, run: &str) -> Result<(), ElasticError> {
    match read(client, collection).await?.note() {
        Some(mut note) if note.run == run => {
            note.alive = Some(alive::sign());
            write_note(client, collection, &json!(note)).await
        }
        _ => Ok(()),
    }
}

/// Gives the index its settings back, if it is in a load of this run's or in one that was cut off.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request for longer than the policy says.
pub async fn end(client: &Client, collection: &Collection, run: &str) -> Result<Ended, ElasticError> {
    let mut found = read(client, collection).await?;
    let Some(saved) = found.note() else {
        return Ok(Ended::None);
    };
    let load = saved.load();
    if saved.run != run && load.is_alive {
        return Ok(Ended::GoesOn(load));
    }
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
        alive::put_mapping(client, &collection.index, &json!({"_meta": meta})).await?;
    }
    Ok(Ended::Done)
}

/// Ends what a load that was cut off has left, before somebody else writes, and says so.
///
/// # Errors
///
/// As for [`end`].
pub async fn end_left_behind(to: &Destination, collection: &Collection, run: &str) -> Result<(), ElasticError> {
    let ended = match to.patiently(|| end(&to.client, collection, run)).await {
        // An account that may only write documents does so.
        Err(ElasticError::Forbidden { reason }) => {
            tracing::warn!(
                collection = collection.name,
                reason,
                "a --bulk-load that did not end is left as it is"
            );
            return Ok(());
        }
        ended => ended?,
    };
    match ended {
        Ended::None => {}
        Ended::Done => tracing::warn!(
            collection = collection.name,
            "an earlier --bulk-load did not end: restored the collection's refresh and replicas"
        ),
        Ended::GoesOn(load) => tracing::warn!(collection = collection.name, "{}", load.meaning(&collection.name)),
    }
    Ok(())
}

/// Begins to merge each shard into one segment, which makes searches faster, and gives the task that does it. For an index
/// that is no longer written to.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
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
    alive::write_note(client, &collection.index, FIELD, note).await
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
