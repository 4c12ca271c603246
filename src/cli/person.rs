//! `facedex person`: what people may ask of whoever keeps their faces.

mod delete;
mod list;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use facedex_elastic::Client;
use facedex_elastic::people::{self, Change, Changed, Export};
use facedex_elastic::schema::document::{parse_person_id, parse_person_name};
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::schema::resolve::Unusable;
use facedex_elastic::schema::versions::Reach;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::wire::destination::Destination;
use serde::Serialize;

use super::audit::{AuditArgs, CommandLog};
use super::{SUCCESS, client, print, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::server::audit::{Action, Entry};

#[derive(Debug, Subcommand)]
pub(super) enum PersonCommand {
    /// Delete every face of a person, or all faces older than some time
    ///
    /// Deletes from every index behind the collections, older versions included, and searches all of them again until
    /// nothing is found. Photos that are ingested again do not bring the faces back. Exit code 0 if faces were deleted,
    /// or a purge that was asked for is complete; 1 if there were none, or the purge is not complete.
    Delete(delete::DeleteArgs),
    /// Tell who is stored, with the numbers of their faces
    List(list::ListArgs),
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

    #[command(flatten)]
    audit: AuditArgs,

    /// Be content with the indices that this account may see; otherwise that they are not all is an error
    #[arg(long)]
    visible_only: bool,

    /// End when elasticsearch has accepted nothing for so long; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2m")]
    retry_for: Duration,
}

#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// The person's id
    #[arg(value_name = "ID")]
    person: String,

    /// The name for people to read
    #[arg(long, value_name = "NAME", required_unless_present = "id", value_parser = parse_person_name)]
    name: Option<String>,

    /// Another id, which nobody has yet
    #[arg(long, value_name = "ID", value_parser = parse_person_id)]
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
        PersonCommand::Delete(args) => delete::delete(args, global).await,
        PersonCommand::List(args) => list::list(args, global).await,
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
            if args.person == args.into {
                return Err(Error::SamePerson(args.into.clone()));
            }
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
    /// Collections that cannot be opened, of all that there are.
    unusable: Vec<Unusable>,
    visible_only: bool,
    log: CommandLog,
}

impl Places {
    async fn open(args: &PlaceArgs, global: &GlobalArgs) -> Result<Self, Error> {
        let client: Arc<Client> = Arc::new(client(global)?);
        let (mut found, mut unusable) = (Vec::new(), Vec::new());
        if args.all_collections {
            let listed = resolve::list(&client).await?;
            unusable = listed.unusable;
            for listed in listed.collections {
                // Looked at more closely than a list does.
                match resolve::open(&client, &listed.name).await {
                    Ok(collection) => found.push(collection),
                    Err(error) => unusable.push(Unusable {
                        reason: error.to_string(),
                        name: listed.name,
                        index: listed.index,
                    }),
                }
            }
            // A name that shows a part of an index is no loss where another name shows all of it.
            unusable.retain(|name| found.iter().all(|collection| collection.index != name.index));
        } else {
            for name in &args.collection {
                // One that is mistyped stops the command before anything is done.
                found.push(resolve::open(&client, name).await?);
            }
        }
        let policy = RetryPolicy {
            give_up_after: Some(args.retry_for),
            ..RetryPolicy::default()
        };
        let mut all: Vec<Destination> = Vec::with_capacity(found.len());
        for collection in found {
            // Two names of one collection are one.
            if all.iter().all(|to| to.id != collection.collection_id) {
                let to = Destination::new(Arc::clone(&client), &collection, policy);
                make::prepare(&to, &collection).await?;
                all.push(to);
            }
        }
        Ok(Self {
            all,
            unusable,
            visible_only: args.visible_only,
            log: args.audit.open()?,
        })
    }

    async fn begin(&self, action: Action, persons: &[&str]) -> Result<Entry, Error> {
        self.log.begin(action, &self.all, persons).await
    }

    /// Refuses what is about everything and reached less.
    fn expect_all<'r>(&self, reached: impl Iterator<Item = &'r Reach>) -> Result<(), Error> {
        let mut all = reached.cloned().fold(Reach::ALL, Reach::and);
        let unusable = self.unusable.iter();
        all.unreached
            .extend(unusable.map(|name| (format!("collection {}", name.name), name.reason.clone())));
        Ok(all.expect_all(self.visible_only)?)
    }

    async fn has(&self, person: &str) -> Result<bool, Error> {
        for to in &self.all {
            if people::page(&to.client, &to.collection, person, 0, 1).await?.total > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name of a person who must be there.
    async fn name_of(&self, person: &str) -> Result<Option<String>, Error> {
        let mut found = None;
        for to in &self.all {
            let page = people::page(&to.client, &to.collection, person, 0, 1).await?;
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
            let changed = people::change(to, person, change).await?;
            changed.ids.iter().for_each(|id| entry.face(id));
            changes.collections.insert(to.collection.clone(), changed);
        }
        Ok(())
    };
    let done: Result<(), Error> = done.await;
    let reached = || changes.collections.values().map(|changed| &changed.reach);
    let done = done.and_then(|()| places.expect_all(reached()));
    let ended = places.log.end(&entry, done).await;
    changes.updated = changes.collections.values().map(|changed| changed.updated).sum();
    let is_nobody = |changed: &Changed| changed.faces == 0 && changed.updated == 0;
    if changes.collections.values().all(is_nobody) {
        ended?;
        return Err(places.nobody(person));
    }
    // What was done before an error was done.
    show(global, &changes, || {
        let lines = changes.collections.iter();
        let line = |(name, changed): (&String, &Changed)| format!("{name}: changed {} faces\n", changed.updated);
        lines.map(line).collect()
    })?;
    ended?;
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
    let exported = places.log.end(&entry, done).await?;
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
    let (mut count, mut reach) = (0, Reach::ALL);
    for to in &places.all {
        let mut export = Export::begin(to, &args.person).await?;
        reach.sees_all &= export.sees_all;
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
    places.expect_all(std::iter::once(&reach))?;
    Ok(count)
}
