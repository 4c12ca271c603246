//! Where `facedex ingest` takes photos from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::ingest::IngestError;
use crate::ingest::fetch::Fetcher;
use crate::ingest::source::Source;
use crate::ingest::source::input::Input;
use crate::ingest::source::names::{Form, Names};
use crate::ingest::source::paths::{self, Several};
use crate::ingest::source::watch::Watch;

/// What is ingested.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Photos; folders, which are walked recursively; archives (tar, tar.gz, zip), which are read without unpacking
    /// them; patterns such as 'photos/**/*.jpg', if the shell did not expand them; http(s):// and s3:// URLs, a bucket's
    /// prefix if it ends with /
    #[arg(required_unless_present_any = ["files_from", "manifest", "retry_dead"], value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Take the photos that a file names, one path or URL a line; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Lists of photos")]
    files_from: Option<PathBuf>,

    /// In --files-from, names end with a NUL and not with the line
    #[arg(long, short = '0', requires = "files_from", help_heading = "Lists of photos")]
    null: bool,

    /// Take the photos of a manifest, CSV with a header or a JSON object a line, with the columns uri (or path),
    /// person.id, person.name, and any others as labels; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Lists of photos")]
    manifest: Option<PathBuf>,

    /// Take the photos of a dead-letter file again, with their people and labels
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "files_from", "manifest"], help_heading = "Lists of photos")]
    retry_dead: Option<PathBuf>,

    /// Go on after the first walk, and take photos that appear in the folders once they are complete, until Ctrl-C
    #[arg(long, conflicts_with_all = ["files_from", "manifest", "retry_dead", "bulk_load"])]
    pub(super) watch: bool,

    /// Fetch photos also from addresses of this machine and of private networks, and through the proxy that the
    /// environment names
    #[arg(long, help_heading = "Photos from URLs")]
    allow_private_addresses: bool,

    /// How long the answer to a fetch may take to begin, and again to end
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s", help_heading = "Photos from URLs")]
    fetch_timeout: Duration,
}

impl SourceArgs {
    /// What fetches photos from URLs.
    pub(super) fn fetcher(&self) -> Result<Arc<Fetcher>, IngestError> {
        let fetcher = Fetcher::new(self.allow_private_addresses, self.fetch_timeout);
        fetcher.map(Arc::new).map_err(IngestError::Fetch)
    }

    /// Opens them all; archives' members of more than `limit` bytes are refused.
    pub(super) fn open(&self, limit: u64, fetch: &Arc<Fetcher>) -> Result<Box<dyn Source>, IngestError> {
        if self.watch {
            return Ok(Box::new(Watch::new(&self.paths)?));
        }
        let mut sources = paths::open(&self.paths, limit, fetch)?;
        for (path, form) in self.lists() {
            sources.push(Box::new(Names::new(Input::open(path)?, form, limit)));
        }
        Ok(Box::new(Several(sources)))
    }

    /// The sources by name, for messages.
    pub(super) fn names(&self) -> String {
        let lists = self.lists().map(|(path, _)| path);
        let names: Vec<_> = self
            .paths
            .iter()
            .chain(lists)
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    }

    fn lists(&self) -> impl Iterator<Item = (&PathBuf, Form)> {
        let lines = if self.null { Form::Null } else { Form::Lines };
        [
            (self.files_from.as_ref(), lines),
            (self.manifest.as_ref(), Form::Manifest),
            (self.retry_dead.as_ref(), Form::DeadLetter),
        ]
        .into_iter()
        .filter_map(|(path, form)| Some((path?, form)))
    }
}
