//! `facedex collection import`

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use facedex_elastic::lifecycle::imports::{self, TakenBack};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::layout::Layout;
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::transfer::deepface::{Common, Store};
use facedex_elastic::transfer::export::{Header, Line, check_space};
use facedex_elastic::transfer::import::{Import, Imported, Record};
use facedex_elastic::write::alive::Alive;
use facedex_elastic::write::load;
use facedex_elastic::{Client, Destination};
use facedex_face::models::catalog::{Metric, Space};
use serde::Serialize;

use super::export::unusable;
use super::{NameArg, PatienceArgs};
use crate::cli::{NEGATIVE, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::terminal;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// An export, or a store of deepface's (ds_model_*.pkl); - is standard input. It is tried at as a whole before the
    /// first face is written; one that was cut off in the middle is gone on with by the same command
    #[arg(long, value_name = "FILE", required_unless_present = "take_back")]
    from: Option<PathBuf>,

    /// Import the good faces of a file that has bad ones as well, or that was cut off
    #[arg(long)]
    skip_bad: bool,

    /// Delete the faces that the import of this id has written, and that were not written anew since; the import says its
    /// id at the end, and `facedex collection status` that of one that did not end
    #[arg(long, value_name = "RUN", conflicts_with_all = ["from", "skip_bad", "space", "person_from_dir"])]
    take_back: Option<String>,

    /// The embedding space of a store of deepface's, such as facenet512@deepface: its embedder and how faces were aligned.
    /// Only vectors of the same space are ever compared
    #[arg(long, value_name = "NAME", value_parser = parse_space)]
    space: Option<String>,

    /// Name the person in a photo of deepface's after the folder that holds it
    #[arg(long)]
    person_from_dir: bool,

    /// Only look at the faces and count them
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

fn parse_space(text: &str) -> Result<String, String> {
    check_space(text).map(|()| text.to_owned())
}

#[derive(Debug, Serialize)]
struct Report {
    collection: String,
    space: String,
    /// The import's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(flatten)]
    counts: Imported,
    /// Photos in which deepface found no face.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_face: Option<u64>,
    dry_run: bool,
}

/// What of a file that cannot be imported is shown.
const SHOWN: u64 = 20;

pub(super) async fn import(args: &ImportArgs, client: &Arc<Client>, global: &GlobalArgs) -> Result<u8, Error> {
    let Some(from) = &args.from else {
        return take_back(args, client, global).await;
    };
    let mut file = BufReader::new(open_file(from).map_err(|error| unusable(from, error))?);
    let first = file.fill_buf().map_err(|error| unusable(from, error))?.first().copied();
    // Every pickle of protocol 2 or later begins with this byte, and no line of JSON does.
    let report = match first {
        Some(0x80) => import_deepface(args, from, client, file).await?,
        _ => import_lines(args, from, client, file).await?,
    };
    show(global, &report, || text(&report))?;
    Ok(if report.counts.failed == 0 { SUCCESS } else { NEGATIVE })
}

fn text(report: &Report) -> String {
    let Report {
        counts, without_face, ..
    } = report;
    let photos = without_face.map_or(String::new(), |count| format!(", {count} photos without a face"));
    let verb = if report.dry_run {
        "would be imported or are there"
    } else {
        "imported"
    };
    let mut text = format!(
        "{} faces {verb}, {} there before, {} deleted on request, {} failed{photos}\n",
        counts.imported, counts.existing, counts.deleted, counts.failed
    );
    if counts.noted > 0 {
        text.push_str(&format!(
            "faces of {} photos were deleted where the file comes from; they are kept out here too\n",
            counts.noted
        ));
    }
    if let Some(run) = report.run.as_ref().filter(|_| counts.imported > 0) {
        let name = &report.collection;
        text.push_str(&format!(
            "`facedex collection import {name} --take-back {run}` takes them back\n"
        ));
    }
    text
}

/// A file that can be read twice: what cannot is copied to one that ends with us.
fn open_file(path: &Path) -> std::io::Result<File> {
    let mut from: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => {
            let file = File::open(path)?;
            let kind = file.metadata()?;
            if kind.is_dir() {
                return Err(std::io::ErrorKind::IsADirectory.into());
            }
            if kind.is_file() {
                return Ok(file);
            }
            Box::new(file)
        }
    };
    let mut copy = tempfile::tempfile()?;
    std::io::copy(&mut from, &mut copy)?;
    copy.rewind()?;
    Ok(copy)
}

/// Where faces go, and as which import.
struct Target {
    to: Destination,
    collection: Collection,
    run: String,
    alive: Alive,
}

impl Target {
    /// All faces are there.
    async fn end(self) -> Result<String, Error> {
        self.alive.stop().await;
        imports::end(&self.to, &self.collection, &self.run).await?;
        Ok(self.run)
    }
}

/// Makes sure that the collection is there and of this space, and that the import is known to have begun. `of` stands for
/// what is imported.
async fn open(args: &ImportArgs, from: &Path, client: &Arc<Client>, space: &Space, of: &str) -> Result<Target, Error> {
    let name = &args.collection.name;
    if let Ok(found) = resolve::open(client, name).await
        && found.space != space.name
    {
        let reason = format!(
            "its vectors are of the space {}, those of the collection {name:?} of {}; they cannot be compared: import it into \
             another collection",
            space.name, found.space
        );
        return Err(unusable(from, reason).into());
    }
    let found = make::open_or_create(client, name, space, &Layout::default()).await?;
    let to = Destination::new(Arc::clone(client), &found, args.patience.policy());
    make::prepare(&to, &found).await?;
    let begun = imports::begin(&to, &found, of).await?;
    load::end_left_behind(&to, &found, &begun.run).await?;
    Ok(Target {
        alive: imports::keep_alive(&to, &found, &begun),
        run: begun.run,
        to,
        collection: found,
    })
}

/// Shows the first of the things that cannot be imported.
#[derive(Default)]
struct Complaints(std::cell::Cell<u64>);

impl Complaints {
    fn tell(&self, reason: &str) {
        let shown = self.0.replace(self.0.get() + 1);
        if shown < SHOWN {
            terminal::note(&format!("not imported: {}", terminal::clean(reason)));
        } else if shown == SHOWN {
            terminal::note("not imported: more, which are not shown");
        }
    }
}

/// Ends an import before the first write where the file is not as it should be.
fn expect_good(args: &ImportArgs, from: &Path, tried: &Imported) -> Result<(), Error> {
    if tried.failed == 0 || args.skip_bad {
        return Ok(());
    }
    let reason = format!(
        "{} things in it cannot be imported, the first are named above; nothing was imported: --skip-bad imports the others",
        tried.failed
    );
    Err(unusable(from, reason).into())
}

async fn import_lines(
    args: &ImportArgs,
    from: &Path,
    client: &Arc<Client>,
    mut file: BufReader<File>,
) -> Result<Report, Error> {
    if args.space.is_some() || args.person_from_dir {
        let reason = "--space and --person-from-dir are for stores of deepface's; an export names its own";
        return Err(unusable(from, reason).into());
    }
    let mut line = String::new();
    file.read_line(&mut line).map_err(|error| unusable(from, error))?;
    let header = Header::parse(&line).map_err(|reason| unusable(from, reason))?;
    let space = Space {
        name: header.space.clone(),
        dims: header.dims as usize,
        metric: header.metric,
    };
    let report = |counts: Imported, run: Option<String>| Report {
        collection: args.collection.name.clone(),
        space: header.space.clone(),
        run,
        counts,
        without_face: None,
        dry_run: args.dry_run,
    };
    if !args.skip_bad || args.dry_run {
        let complaints = Complaints::default();
        let tell = |reason: &str| complaints.tell(reason);
        let mut trial = Import::new(None, "", space.clone(), &tell);
        take_lines(from, &mut file, &mut trial).await?;
        let tried = trial.finish().await?;
        if args.dry_run {
            return Ok(report(tried, None));
        }
        expect_good(args, from, &tried)?;
        file.rewind().map_err(|error| unusable(from, error))?;
        line.clear();
        file.read_line(&mut line).map_err(|error| unusable(from, error))?;
    }
    let target = open(args, from, client, &space, &header.collection_id).await?;
    let complaints = Complaints::default();
    let tell = |reason: &str| complaints.tell(reason);
    let import = Import::new(Some(&target.to), &target.run, space, &tell);
    let mut import = import.exported_from(&header.collection_id, &header.collection);
    take_lines(from, &mut file, &mut import).await?;
    let counts = import.finish().await?;
    Ok(report(counts, Some(target.end().await?)))
}

/// Gives all lines behind the header to an import.
async fn take_lines(from: &Path, file: &mut impl BufRead, import: &mut Import<'_>) -> Result<(), Error> {
    let (mut faces, mut ended) = (0, false);
    for (number, line) in file.lines().enumerate() {
        let line = line.map_err(|error| unusable(from, error))?;
        match serde_json::from_str(&line) {
            Ok(Line::Face { id, source }) => {
                faces += 1;
                import.take(Record { id, source }).await?;
            }
            Ok(Line::Deleted { deleted }) => import.note(deleted).await?,
            Ok(Line::End { faces: all }) => ended = all == faces,
            Err(error) => import.fail(&format!("line {}: {error}", number + 2)),
        }
    }
    if !ended {
        import.fail("the end of the export is missing: it was cut off; export again into the same file");
    }
    Ok(())
}

async fn import_deepface(
    args: &ImportArgs,
    from: &Path,
    client: &Arc<Client>,
    mut file: BufReader<File>,
) -> Result<Report, Error> {
    let Some(space) = &args.space else {
        let reason = "a store of deepface's does not say what its vectors are; name their embedder with --space";
        return Err(unusable(from, reason).into());
    };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher).map_err(|error| unusable(from, error))?;
    let of = hasher.finalize().to_hex().to_string();
    file.rewind().map_err(|error| unusable(from, error))?;
    let store = Store::read(file).map_err(|reason| unusable(from, reason))?;
    let dims = store.dims().ok_or_else(|| unusable(from, "it has no face"))?;
    let common = Common {
        space: space.clone(),
        timestamp: crate::ingest::now(),
        run: uuid::Uuid::new_v4().to_string(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        person_from_dir: args.person_from_dir,
    };
    let into = Space {
        name: space.clone(),
        dims,
        // Its vectors are given unit length.
        metric: Metric::Cosine,
    };
    let without_face = Some(store.without_face());
    let report = |counts: Imported, run: Option<String>| Report {
        collection: args.collection.name.clone(),
        space: common.space.clone(),
        run,
        counts,
        without_face,
        dry_run: args.dry_run,
    };
    let complaints = Complaints::default();
    let tell = |reason: &str| complaints.tell(reason);
    let mut trial = Import::new(None, "", into.clone(), &tell);
    for record in store.clone().records(&common) {
        trial.take(record).await?;
    }
    let tried = trial.finish().await?;
    if args.dry_run {
        return Ok(report(tried, None));
    }
    expect_good(args, from, &tried)?;
    let target = open(args, from, client, &into, &of).await?;
    // What is bad was named when it was tried at.
    let mut import = Import::new(Some(&target.to), &target.run, into, &|_| {});
    for record in store.records(&common) {
        import.take(record).await?;
    }
    let counts = import.finish().await?;
    Ok(report(counts, Some(target.end().await?)))
}

#[derive(Debug, Serialize)]
struct Reverted {
    collection: String,
    run: String,
    #[serde(flatten)]
    taken: TakenBack,
    dry_run: bool,
}

async fn take_back(args: &ImportArgs, client: &Arc<Client>, global: &GlobalArgs) -> Result<u8, Error> {
    let run = args.take_back.clone().unwrap_or_default();
    let (to, found) = Destination::open(Arc::clone(client), &args.collection.name, args.patience.policy()).await?;
    let taken = match args.dry_run {
        true => TakenBack {
            faces: imports::count(&to, &run).await?,
            ..TakenBack::default()
        },
        false => imports::take_back(&to, &found, &run).await?,
    };
    let report = Reverted {
        collection: found.name,
        run,
        taken,
        dry_run: args.dry_run,
    };
    show(global, &report, || {
        let (faces, name) = (report.taken.faces, &report.collection);
        match (faces, report.dry_run) {
            (0, _) => format!("{name} has no face of the import {}\n", report.run),
            (_, true) => format!("{faces} faces of the import would be deleted from {name}\n"),
            (_, false) => format!("{faces} faces of the import are deleted from {name}\n"),
        }
    })?;
    report.taken.reach.expect_all(false)?;
    Ok(if report.taken.faces == 0 { NEGATIVE } else { SUCCESS })
}
