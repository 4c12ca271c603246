//! `facedex person delete`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use facedex_elastic::people::purge::{self, Purged};
use facedex_elastic::people::{self, Erased, Faces};
use facedex_elastic::schema::versions::Reach;
use serde::Serialize;

use super::{PlaceArgs, Places};
use crate::cli::confirm::{ConfirmArgs, confirmed};
use crate::cli::{NEGATIVE, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::server::audit::{Action, Entry};

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    /// The person's id
    #[arg(value_name = "ID", required_unless_present = "older_than")]
    person: Option<String>,

    /// Only faces that were stored longer ago than this (90d, 1y); without a person those of everybody, also without a name
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// Say how many faces there are, and delete nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    confirm: ConfirmArgs,

    /// Remove what was deleted from the segments' files too, vectors included; takes a minute or more
    #[arg(long)]
    purge: bool,

    /// The longest that the purge of one index may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    purge_timeout: Duration,

    #[command(flatten)]
    place: PlaceArgs,
}

/// What was deleted, by collection.
#[derive(Serialize)]
struct Deletion {
    dry_run: bool,
    deleted: u64,
    collections: BTreeMap<String, Erased>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purged: Option<Purged>,
}

pub(super) async fn delete(args: &DeleteArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let places = Places::open(&args.place, global).await?;
    let before = args.older_than.map(|age| {
        let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
        jiff::Timestamp::now()
            .saturating_sub(age)
            .unwrap_or(jiff::Timestamp::MIN)
            .to_string()
    });
    let (action, faces) = match (args.person.clone(), before) {
        (Some(person), None) => (Action::DeletePerson, Faces::Of(person)),
        (Some(person), Some(before)) => (Action::DeletePerson, Faces::OfBefore(person, before)),
        (None, before) => (Action::DeleteOldFaces, Faces::Before(before.unwrap_or_default())),
    };
    let mut deletion = Deletion {
        dry_run: args.dry_run,
        deleted: 0,
        collections: BTreeMap::new(),
        purged: None,
    };
    let mut ended = Ok(());
    if args.dry_run {
        for to in &places.all {
            let erased = people::rehearse(to, &faces).await?;
            deletion.collections.insert(to.collection.clone(), erased);
        }
    } else {
        ask(args, &places, &faces).await?;
        let entry = places.begin(action, faces.person().as_slice()).await?;
        let done = erase_all(args, &places, &faces, &entry, &mut deletion).await;
        let done = done.and_then(|()| places.expect_all(deletion.reached()));
        ended = places.log.end(&entry, done).await;
    }
    deletion.deleted = deletion.collections.values().map(|erased| erased.faces).sum();
    // What was done before an error was done.
    let by_age = faces.person().is_none();
    show(global, &deletion, || text(&deletion, by_age))?;
    ended?;
    places.expect_all(deletion.reached())?;
    let complete = deletion
        .purged
        .as_ref()
        .map_or(deletion.deleted > 0, |purged| purged.complete);
    Ok(if complete { SUCCESS } else { NEGATIVE })
}

/// Asks with the counts, where that is wanted.
async fn ask(args: &DeleteArgs, places: &Places, faces: &Faces) -> Result<(), Error> {
    let whose = match faces {
        Faces::Of(person) => format!("of {person:?}"),
        Faces::Before(before) => format!(
            "of everybody that were stored before {before}, which keeps their photos from being ingested again,"
        ),
        Faces::OfBefore(person, before) => format!("of {person:?} that were stored before {before}"),
    };
    let mut counts = Vec::new();
    if !args.confirm.yes {
        for to in &places.all {
            counts.push(format!(
                "{} in {}",
                people::rehearse(to, faces).await?.faces,
                to.collection
            ));
        }
    }
    confirmed(
        &args.confirm,
        &format!("delete all faces {whose} for good: {}?", counts.join(", ")),
    )
}

impl Deletion {
    fn reached(&self) -> impl Iterator<Item = &Reach> {
        let erased = self.collections.values().map(|erased| &erased.reach);
        erased.chain(self.purged.as_ref().map(|purged| &purged.reach))
    }
}

async fn erase_all(
    args: &DeleteArgs,
    places: &Places,
    faces: &Faces,
    entry: &Entry,
    deletion: &mut Deletion,
) -> Result<(), Error> {
    for to in &places.all {
        let erased = people::erase(to, faces).await?;
        erased.ids.iter().for_each(|id| entry.face(id));
        deletion.collections.insert(to.collection.clone(), erased);
    }
    if args.purge {
        let mut all = Purged::NOTHING;
        for to in &places.all {
            all = all.and(purge::purge(to, args.purge_timeout).await?);
        }
        deletion.purged = Some(all);
    }
    Ok(())
}

fn text(deletion: &Deletion, by_age: bool) -> String {
    let verb = if deletion.dry_run { "would delete" } else { "deleted" };
    let mut lines = String::new();
    for (name, erased) in &deletion.collections {
        let indices: Vec<String> = erased
            .indices
            .iter()
            .map(|(index, count)| format!("{index}: {count}"))
            .collect();
        lines.push_str(&format!(
            "{name}: {verb} {} faces ({})\n",
            erased.faces,
            indices.join(", ")
        ));
    }
    if by_age && deletion.deleted > 0 {
        lines.push_str(
            "their photos are left out when they are ingested again; `facedex ingest --restore-deleted` takes them\n",
        );
    }
    match &deletion.purged {
        None => {}
        Some(purged) if purged.complete => lines.push_str("purged: no deleted face is left in any segment\n"),
        Some(purged) if purged.left == 0 && purged.missing_copies == 0 && purged.former_copies > 0 => {
            lines.push_str(&format!(
                "purge not complete: {} folders of copies that are elsewhere now still hold deleted faces; elasticsearch removes them when shards move next, run it again with --purge then\n",
                purged.former_copies
            ));
        }
        Some(purged) => lines.push_str(&format!(
            "purge not complete: {} deleted documents are left in segments, {} copies are not there; run it again with --purge when the cluster is green (elasticsearch merges nothing on a node with less than 5 % of its disk free)\n",
            purged.left, purged.missing_copies
        )),
    }
    lines
}
