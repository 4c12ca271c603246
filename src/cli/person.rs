//! `facedex person`: what people may ask of whoever keeps their faces.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{NEGATIVE, SUCCESS, client, print, show};
use crate::api::audit::{Action, Audit, Entry};
use crate::config::GlobalArgs;
use crate::elastic::destination::{Destination, Pulse};
use crate::elastic::persons::{self, Change, Changed, Erased, Export, Faces};
use crate::elastic::purge::{self, Purged};
use crate::elastic::retry::RetryPolicy;
use crate::elastic::{Client, collection};
use crate::error::Error;
use crate::models::catalog;

#[derive(Debug, Subcommand)]
pub(super) enum PersonCommand {
    /// Delete every face of a person, or all faces older than some time
    ///
    /// Deletes from every index behind the collections, older versions included, and searches all of them again until
    /// nothing is found. Photos that are ingested again do not bring the faces back. Exit code 0 if faces were deleted,
    /// or a purge that was asked for is complete; 1 if there were none, or the purge is not complete.
    Delete(DeleteArgs),
    /// Give a person another name, or another id
    Rename(RenameArgs),
    /// Make two people one
    Merge(MergeArgs),
    /// Write out everything that is stored of a person, vectors and pictures included, one JSON object a face
    Export(ExportArgs),
}

/// Where, and on whose record.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// The collection; may be repeated
    #[arg(
        long,
        short,
        env = "FACEDEX_COLLECTION",
        value_name = "NAME",
        default_value = "faces"
    )]
    collection: Vec<String>,

    /// All collections that there are
    #[arg(long)]
    all_collections: bool,

    /// Append to this file what was done, when and by whom; give each server and each concurrent command its own
    /// [default: ~/.local/state/facedex/audit.ndjson]
    #[arg(long, env = "FACEDEX_PERSON_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,

    /// End when elasticsearch has accepted nothing for so long; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2m")]
    retry_for: Duration,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// The person's id
    #[arg(value_name = "ID", required_unless_present = "older_than")]
    person: Option<String>,

    /// Only faces that were stored longer ago than this (90d, 1y); without a person those of everybody, also without a name
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// Say how many faces there are, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove what was deleted from the segments' files too, vectors included; takes a minute or more
    #[arg(long)]
    purge: bool,

    /// The longest that the purge of one index may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    purge_timeout: Duration,

    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// The person's id
    #[arg(value_name = "ID")]
    person: String,

    /// The name for people to read
    #[arg(long, value_name = "NAME", required_unless_present = "id")]
    name: Option<String>,

    /// Another id, which nobody has yet
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The id that goes
    #[arg(value_name = "ID")]
    person: String,

    /// The id that stays; its name stays as well
    #[arg(value_name = "INTO")]
    into: String,

    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The person's id
    #[arg(value_name = "ID")]
    person: String,

    /// Write to this file, which must not be there yet [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(command: &PersonCommand, global: &GlobalArgs) -> Result<u8, Error> {
    match command {
        PersonCommand::Delete(args) => delete(args, global).await,
        PersonCommand::Rename(args) => {
            let change = Change {
                id: args.id.clone(),
                name: args.name.clone().map(Some),
                ..Change::default()
            };
            let places = Places::open(&args.place, global).await?;
            if let Some(id) = &args.id
                && places.has(id).await?
            {
                return Err(Error::PersonExists(id.clone()));
            }
            change_all(&places, Action::ChangePerson, &args.person, &change, global).await
        }
        PersonCommand::Merge(args) => {
            let places = Places::open(&args.place, global).await?;
            let name = places.name_of(&args.into).await?;
            let change = Change {
                id: Some(args.into.clone()),
                name: Some(name),
                ..Change::default()
            };
            change_all(&places, Action::MergePersons, &args.person, &change, global).await
        }
        PersonCommand::Export(args) => export(args, global).await,
    }
}

/// The collections that a command is about, and its audit log.
struct Places {
    all: Vec<Destination>,
    audit: Audit,
}

impl Places {
    async fn open(args: &PlaceArgs, global: &GlobalArgs) -> Result<Self, Error> {
        let client: Arc<Client> = Arc::new(client(global)?);
        let names = match args.all_collections {
            true => collection::list(&client)
                .await?
                .into_iter()
                .map(|found| found.name)
                .collect(),
            false => args.collection.clone(),
        };
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            // One that is mistyped stops the command before anything is done.
            collection::open(&client, &name).await?;
            all.push(Destination {
                client: Arc::clone(&client),
                collection: name,
                policy: RetryPolicy {
                    give_up_after: Some(args.retry_for),
                    ..RetryPolicy::default()
                },
                pulse: Arc::new(Pulse::default()),
            });
        }
        let path = match &args.audit_log {
            Some(path) => path.clone(),
            None => {
                let folder = catalog::state_dir()?;
                std::fs::create_dir_all(&folder)?;
                folder.join("audit.ndjson")
            }
        };
        Ok(Self {
            all,
            audit: Audit::open(Some(&path))?,
        })
    }

    /// A line of the audit log, on disk before anything is done.
    async fn begin(&self, action: Action, persons: &[&str]) -> Result<Entry, Error> {
        let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
        let entry = Entry::of_command(&self.audit, action, &user);
        self.all.iter().for_each(|to| entry.collection(&to.collection));
        persons.iter().for_each(|person| entry.person(person));
        entry.started().await?;
        Ok(entry)
    }

    /// The line's end, on disk before the result is shown.
    async fn end<T>(&self, entry: &Entry, result: Result<T, Error>) -> Result<T, Error> {
        entry.ends(match &result {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        });
        let written = entry.written().await;
        let result = result?;
        written?;
        Ok(result)
    }

    async fn has(&self, person: &str) -> Result<bool, Error> {
        for to in &self.all {
            if persons::page(&to.client, &to.collection, person, 0, 1).await?.total > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name of a person who must be there.
    async fn name_of(&self, person: &str) -> Result<Option<String>, Error> {
        let mut found = None;
        for to in &self.all {
            let page = persons::page(&to.client, &to.collection, person, 0, 1).await?;
            let face = page.faces.into_iter().next().and_then(|face| face.person);
            found = found.or(face);
        }
        found.map(|person| person.name).ok_or_else(|| self.nobody(person))
    }

    fn nobody(&self, person: &str) -> Error {
        let names: Vec<&str> = self.all.iter().map(|to| to.collection.as_str()).collect();
        Error::NoPerson {
            id: person.to_owned(),
            collections: names.join(", "),
        }
    }
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

async fn delete(args: &DeleteArgs, global: &GlobalArgs) -> Result<u8, Error> {
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
    if args.dry_run {
        for to in &places.all {
            let indices = persons::count(to, &faces).await?;
            let erased = Erased {
                faces: indices.values().copied().max().unwrap_or_default(),
                indices,
                ..Erased::default()
            };
            deletion.collections.insert(to.collection.clone(), erased);
        }
    } else {
        let entry = places.begin(action, faces.person().as_slice()).await?;
        let done = erase_all(args, &places, &faces, &entry, &mut deletion).await;
        places.end(&entry, done).await?;
    }
    deletion.deleted = deletion.collections.values().map(|erased| erased.faces).sum();
    show(global, &deletion, || text(&deletion))?;
    let complete = deletion
        .purged
        .as_ref()
        .map_or(deletion.deleted > 0, |purged| purged.complete);
    Ok(if complete { SUCCESS } else { NEGATIVE })
}

async fn erase_all(
    args: &DeleteArgs,
    places: &Places,
    faces: &Faces,
    entry: &Entry,
    deletion: &mut Deletion,
) -> Result<(), Error> {
    for to in &places.all {
        let erased = persons::erase(to, faces).await?;
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

fn text(deletion: &Deletion) -> String {
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

/// What was changed, by collection.
#[derive(Serialize)]
struct Changes {
    updated: u64,
    collections: BTreeMap<String, Changed>,
}

async fn change_all(
    places: &Places,
    action: Action,
    person: &str,
    change: &Change,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let mut persons = vec![person];
    persons.extend(change.id.as_deref());
    let entry = places.begin(action, &persons).await?;
    let mut changes = Changes {
        updated: 0,
        collections: BTreeMap::new(),
    };
    let done = async {
        for to in &places.all {
            let changed = persons::change(to, person, change).await?;
            changed.ids.iter().for_each(|id| entry.face(id));
            changes.collections.insert(to.collection.clone(), changed);
        }
        Ok(())
    };
    let done = done.await;
    places.end(&entry, done).await?;
    changes.updated = changes.collections.values().map(|changed| changed.updated).sum();
    if changes
        .collections
        .values()
        .all(|changed| changed.faces == 0 && changed.updated == 0)
    {
        return Err(places.nobody(person));
    }
    show(global, &changes, || {
        let lines = changes.collections.iter();
        let line = |(name, changed): (&String, &Changed)| format!("{name}: changed {} faces\n", changed.updated);
        lines.map(line).collect()
    })?;
    Ok(SUCCESS)
}

/// How much was written out.
#[derive(Serialize)]
struct Exported {
    exported: u64,
}

async fn export(args: &ExportArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let places = Places::open(&args.place, global).await?;
    let entry = places.begin(Action::ExportPerson, &[&args.person]).await?;
    let done = write_out(args, &places, &entry).await;
    let exported = places.end(&entry, done).await?;
    if exported == 0 {
        return Err(places.nobody(&args.person));
    }
    if args.output.is_some() || global.json {
        show(global, &Exported { exported }, || {
            format!("exported {exported} faces\n")
        })?;
    }
    Ok(SUCCESS)
}

async fn write_out(args: &ExportArgs, places: &Places, entry: &Entry) -> Result<u64, Error> {
    let mut file = match &args.output {
        Some(path) => Some(BufWriter::new(std::fs::File::create_new(path)?)),
        None => None,
    };
    let mut count = 0;
    for to in &places.all {
        let mut export = Export::begin(to, &args.person).await?;
        while let Some(faces) = export.next().await? {
            for face in faces {
                entry.face(face["id"].as_str().unwrap_or_default());
                let line = format!("{face}\n");
                match &mut file {
                    Some(file) => file.write_all(line.as_bytes())?,
                    None => print(line.as_bytes())?,
                }
                count += 1;
            }
        }
    }
    if let Some(file) = file {
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .sync_all()?;
    }
    Ok(count)
}
