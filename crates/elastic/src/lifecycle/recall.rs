//! Whether searches of a collection find as much as the documentation says, and the setting on which that rests.
//!
//! From 9.3 on Elasticsearch may end the search of a graph early, when its candidates seem to get no better. At equal work that
//! finds no more, and how far a search looks is then no longer what was asked for (docs/benchmarks.md): new indices are made
//! without it.

use elasticsearch::http::Method;
use serde_json::{Value, json};

use crate::lifecycle::imports;
use crate::people::purge;
use crate::read::effort;
use crate::schema::collection::Collection;
use crate::schema::layout::IndexType;
use crate::schema::template::{self, EARLY_TERMINATION};
use crate::schema::versions;
use crate::transport::client::Payload;
use crate::write::load::{self, Ended};
use crate::{Client, Destination, ElasticError};

/// Whether searches of the collection's graphs may end early; never where there is no graph, or Elasticsearch does not know that.
async fn ends_early(client: &Client, collection: &Collection) -> Result<bool, ElasticError> {
    if collection.index_type == IndexType::Flat {
        return Ok(false);
    }
    let path = format!("/{}/_settings/index.{EARLY_TERMINATION}", collection.index);
    let query = [("include_defaults", "true"), ("flat_settings", "true")];
    let reply: Value = client
        .read(
            "read the collection's settings",
            Method::Get,
            &path,
            &query,
            Payload::None,
        )
        .await?;
    let of = &reply[&collection.index];
    let name = format!("index.{EARLY_TERMINATION}");
    let value = of["settings"].get(&name).or_else(|| of["defaults"].get(&name));
    Ok(value.is_some_and(|value| value == "true" || *value == json!(true)))
}

/// Why searches may find less than they should, and lost nodes lose more; `stored` faces are in the collection.
pub(crate) async fn warnings(
    client: &Client,
    collection: &Collection,
    stored: u64,
) -> Result<Vec<String>, ElasticError> {
    let mut warnings = Vec::new();
    let (load, import, early) = tokio::try_join!(
        load::in_progress(client, collection),
        imports::unfinished(client, collection),
        early_termination(client, collection),
    )?;
    warnings.extend(load.map(|load| load.meaning(&collection.name)));
    warnings.extend(import.map(|import| import.meaning(&collection.name)));
    warnings.extend(early);
    let in_a_shard = stored / u64::from(collection.shards.max(1));
    if let Some(most) = effort::most_in_a_shard(collection.index_type, collection.m)
        && in_a_shard > most
    {
        warnings.push(format!(
            "each shard holds {in_a_shard} faces: from {most} on {} candidates, the most that elasticsearch takes, find fewer than 99 % of the ten nearest; `facedex collection migrate {} --shards {}` spreads them",
            effort::MAX_CANDIDATES,
            collection.name,
            stored.div_ceil(most)
        ));
    }
    Ok(warnings)
}

/// Says so where searches may end early, with the command that sets it right.
pub(crate) async fn early_termination(
    client: &Client,
    collection: &Collection,
) -> Result<Option<String>, ElasticError> {
    Ok(ends_early(client, collection).await?.then(|| {
        format!(
            "index.{EARLY_TERMINATION} is true: searches end before they have looked as far as they should; `facedex collection repair {}` sets it to false",
            collection.name
        )
    }))
}

/// Sets the settings of the collection's index as new ones have them, and says which were changed.
///
/// # Errors
///
/// Fails where Elasticsearch refuses the settings, or a load that was cut off cannot be ended.
pub async fn repair(to: &Destination, collection: &Collection) -> Result<Vec<String>, ElasticError> {
    let mut changed = Vec::new();
    match load::end(&to.client, collection, "").await? {
        Ended::None => {}
        Ended::Done => changed.push("refresh and replicas, which a --bulk-load had turned off".to_owned()),
        Ended::GoesOn(load) => tracing::warn!("left as it is: {}", load.meaning(&collection.name)),
    }
    if ends_early(&to.client, collection).await? {
        let settings = json!({"index": {EARLY_TERMINATION: false}});
        to.put_settings("set the collection's settings right", &collection.index, &settings)
            .await?;
        changed.push(format!("index.{EARLY_TERMINATION} to false"));
    }
    if template::is_older(&to.client).await? {
        template::install_faces_template(&to.client).await?;
        changed.push("the index template".to_owned());
    }
    for version in versions::of(to).await?.versions {
        if !version.closed && purge::repair(to, &version.index).await? {
            changed.push(format!(
                "the merge policy that a purge had changed in {}",
                version.index
            ));
        }
    }
    Ok(changed)
}
