//! `facedex collection export`

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::Args;
use facedex_elastic::Destination;
use facedex_elastic::lifecycle::LifecycleError;
use facedex_elastic::read::search;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::transfer::export::{self, Header, Progress};
use serde::Serialize;

use super::{NameArg, PatienceArgs};
use crate::cli::{SUCCESS, show};
use crate::config::GlobalArgs;
use crate::error::Error;
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
        read_progress(&args.to, &header)?
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
fn read_progress(path: &Path, header: &Header) -> Result<Progress, Error> {
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

/// The error of a file that cannot be used.
pub(super) fn unusable(path: &Path, reason: impl std::fmt::Display) -> LifecycleError {
    LifecycleError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
