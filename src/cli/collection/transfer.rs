//! `facedex collection export` and `import`

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{NameArg, PatienceArgs};
use crate::cli::{NEGATIVE, SUCCESS, show};
use crate::config::GlobalArgs;
use crate::elastic::collection::{self, Collection, Layout};
use crate::elastic::lifecycle::LifecycleError;
use crate::elastic::lifecycle::deepface::{Common, Store};
use crate::elastic::lifecycle::export::{self, Header, Line, Progress, check_space};
use crate::elastic::lifecycle::import::{Import, Imported, Record};
use crate::elastic::{Client, Destination, search};
use crate::error::Error;
use crate::models::catalog::{Metric, Space};
use crate::terminal;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// The file to write; - is standard output. A file that an export was cut off in is gone on with
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: PathBuf,

    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

#[derive(Debug, Serialize)]
struct Exported {
    collection: String,
    index: String,
    file: PathBuf,
    faces: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_at: Option<u64>,
    dry_run: bool,
}

pub(super) async fn export(
    args: &ExportArgs,
    at: &Destination,
    found: Collection,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let header = Header::of(&found);
    let is_stdout = args.to == Path::new("-");
    let so_far = if is_stdout {
        Progress::default()
    } else {
        look(&args.to, &header)?
    };
    let resumed_at = (so_far.bytes > 0).then_some(so_far.faces);
    let faces = if args.dry_run {
        search::count(&at.client, &at.collection, &[]).await?
    } else if so_far.complete {
        so_far.faces
    } else if is_stdout {
        let mut out = BufWriter::new(std::io::stdout().lock());
        export::export(at, &header, so_far, &mut out).await?
    } else {
        let mut out = BufWriter::new(continued(&args.to, so_far.bytes)?);
        export::export(at, &header, so_far, &mut out).await?
    };
    let report = Exported {
        collection: found.name,
        index: found.index,
        file: args.to.clone(),
        faces,
        resumed_at,
        dry_run: args.dry_run,
    };
    if is_stdout && !args.dry_run {
        terminal::note(&format!("{faces} faces"));
        return Ok(SUCCESS);
    }
    show(global, &report, || {
        let verb = if report.dry_run { "would write" } else { "has" };
        format!("{} {verb} {faces} faces\n", report.file.display())
    })?;
    Ok(SUCCESS)
}

/// How far an export into this file has come.
fn look(path: &Path, header: &Header) -> Result<Progress, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Progress::default()),
        Err(error) => return Err(unusable(path, error).into()),
    };
    Ok(export::progress(BufReader::new(file), header).map_err(|reason| unusable(path, reason))?)
}

/// The file without what is to be written anew.
fn continued(path: &Path, bytes: u64) -> Result<File, Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| unusable(path, error))?;
    file.set_len(bytes)
        .and_then(|()| file.seek(SeekFrom::End(0)))
        .map_err(|error| unusable(path, error))?;
    Ok(file)
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> LifecycleError {
    LifecycleError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    pub(super) collection: NameArg,

    /// An export, or a store of deepface's (ds_model_*.pkl); - is standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

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
    #[serde(flatten)]
    counts: Imported,
    /// Photos in which deepface found no face.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_face: Option<u64>,
    dry_run: bool,
}

pub(super) async fn import(args: &ImportArgs, client: &Arc<Client>, global: &GlobalArgs) -> Result<u8, Error> {
    let file: Box<dyn Read> = if args.from == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&args.from).map_err(|error| unusable(&args.from, error))?)
    };
    let mut file = BufReader::new(file);
    let first = file
        .fill_buf()
        .map_err(|error| unusable(&args.from, error))?
        .first()
        .copied();
    // Every pickle of protocol 2 or later begins with this byte, and no line of JSON does.
    let report = match first {
        Some(0x80) => import_deepface(args, client, file).await?,
        _ => import_lines(args, client, file).await?,
    };
    show(global, &report, || {
        let Report {
            counts, without_face, ..
        } = &report;
        let photos = without_face.map_or(String::new(), |count| format!(", {count} photos without a face"));
        let verb = if report.dry_run {
            "would be imported or are there"
        } else {
            "imported"
        };
        format!(
            "{} faces {verb}, {} there before, {} deleted on request, {} failed{photos}\n",
            counts.imported, counts.existing, counts.deleted, counts.failed
        ) + &match counts.noted {
            0 => String::new(),
            noted => {
                format!("faces of {noted} photos were deleted where the file comes from; they are kept out here too\n")
            }
        }
    })?;
    Ok(if report.counts.failed == 0 { SUCCESS } else { NEGATIVE })
}

/// Makes sure that the collection is there and of this space, unless nothing is to be written.
async fn open(args: &ImportArgs, client: &Arc<Client>, space: &Space) -> Result<Option<Destination>, Error> {
    if args.dry_run {
        return Ok(None);
    }
    let name = &args.collection.name;
    let found = collection::open_or_create(client, name, space, &Layout::default()).await?;
    let to = Destination::new(Arc::clone(client), &found, args.patience.policy());
    collection::prepare(&to, &found).await?;
    Ok(Some(to))
}

fn tell(reason: &str) {
    terminal::note(&format!("not imported: {}", terminal::clean(reason)));
}

async fn import_lines(args: &ImportArgs, client: &Arc<Client>, mut file: impl BufRead) -> Result<Report, Error> {
    if args.space.is_some() || args.person_from_dir {
        let reason = "--space and --person-from-dir are for stores of deepface's; an export names its own";
        return Err(unusable(&args.from, reason).into());
    }
    let mut line = String::new();
    file.read_line(&mut line).map_err(|error| unusable(&args.from, error))?;
    let header = Header::parse(&line).map_err(|reason| unusable(&args.from, reason))?;
    let space = Space {
        name: header.space.clone(),
        dims: header.dims as usize,
        metric: header.metric,
    };
    let to = open(args, client, &space).await?;
    let mut import = Import::new(to.as_ref(), space, &tell).exported_from(&header.collection_id, &header.collection);
    let (mut faces, mut ended) = (0, false);
    for (number, line) in file.lines().enumerate() {
        let line = line.map_err(|error| unusable(&args.from, error))?;
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
    Ok(Report {
        collection: args.collection.name.clone(),
        space: header.space,
        counts: import.finish().await?,
        without_face: None,
        dry_run: args.dry_run,
    })
}

async fn import_deepface(args: &ImportArgs, client: &Arc<Client>, file: impl Read) -> Result<Report, Error> {
    let Some(space) = &args.space else {
        let reason = "a store of deepface's does not say what its vectors are; name their embedder with --space";
        return Err(unusable(&args.from, reason).into());
    };
    let store = Store::read(file).map_err(|reason| unusable(&args.from, reason))?;
    let dims = store.dims().ok_or_else(|| unusable(&args.from, "it has no face"))?;
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
    let to = open(args, client, &into).await?;
    let mut import = Import::new(to.as_ref(), into, &tell);
    let without_face = Some(store.without_face());
    for record in store.records(&common) {
        import.take(record).await?;
    }
    Ok(Report {
        collection: args.collection.name.clone(),
        space: common.space.clone(),
        counts: import.finish().await?,
        without_face,
        dry_run: args.dry_run,
    })
}
