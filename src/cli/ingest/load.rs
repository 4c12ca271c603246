//! `facedex ingest --bulk-load`: how a load begins and ends.

use facedex_elastic::Destination;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::write::alive::Alive;
use facedex_elastic::write::load::{self, Ended};

use super::IngestArgs;
use crate::error::Error;
use crate::ingest::Summary;
use crate::terminal;

/// Begins load mode, or repairs what a load that died left behind.
pub(super) async fn prepare(
    args: &IngestArgs,
    to: &Destination,
    collection: &Collection,
    run: &str,
) -> Result<Option<Alive>, Error> {
    if !args.speed.bulk_load {
        load::end_left_behind(to, collection, run).await?;
        return Ok(None);
    }
    to.patiently(|| load::begin(&to.client, collection, run)).await?;
    Ok(Some(load::keep_alive(&to.client, collection, run)))
}

/// Ends load mode. After an interrupt the index stays in it, for the run that goes on.
pub(super) async fn finish(
    args: &IngestArgs,
    to: &Destination,
    collection: &Collection,
    alive: Option<Alive>,
    summary: &Summary,
) -> Result<(), Error> {
    let Some(alive) = alive else { return Ok(()) };
    alive.stop().await;
    if summary.interrupted {
        goes_on(args, collection);
        return Ok(());
    }
    if let Ended::GoesOn(load) = to.patiently(|| load::end(&to.client, collection, &summary.run)).await? {
        terminal::note(&load.meaning(&collection.name));
        return Ok(());
    }
    to.refresh().await?;
    if args.speed.force_merge {
        load::force_merge(&to.client, collection).await?;
    }
    Ok(())
}

/// Says what a load that did not end means.
pub(super) fn goes_on(args: &IngestArgs, collection: &Collection) {
    if args.speed.bulk_load {
        terminal::note(&format!(
            "the --bulk-load has not ended: searches do not see its faces, and there are no replicas; the same command goes on \
             with it, `facedex collection repair {}` ends it",
            collection.name
        ));
    }
}
