//! `facedex kibana`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use facedex_elastic::transport::connection::{Connection, Trust};
use secrecy::SecretString;

use super::{NEGATIVE, SUCCESS, print, print_text, show};
use crate::config::{GlobalArgs, parse_url};
use crate::error::Error;
use crate::kibana::{Address, Imported, Kibana, KibanaError, OBJECTS};

#[derive(Debug, Subcommand)]
pub(super) enum KibanaCommand {
    /// Import the data views and dashboards
    ///
    /// Objects that are there already stay as they are, unless --overwrite. Exit code 1 if that left some out.
    Import(ImportArgs),
    /// Print the data views and dashboards as they are in Kibana now, for `import --file`
    Export(KibanaArgs),
    /// Print the data views and dashboards that came with facedex, for Kibana's own import page
    Print,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Import this file (NDJSON) [default: what came with facedex]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Write over objects that are there, also if somebody changed them
    #[arg(long = "overwrite", id = "overwrite_objects")]
    overwrite: bool,

    #[command(flatten)]
    kibana: KibanaArgs,
}

/// How to reach Kibana, besides what it shares with Elasticsearch: the credentials and the timeout.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kibana")]
pub(super) struct KibanaArgs {
    /// Kibana's address; the credentials are those for Elasticsearch
    #[arg(
        long,
        env = "KIBANA_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:5601"
    )]
    kibana_url: SecretString,

    /// The space [default: Kibana's default space]
    #[arg(long, env = "KIBANA_SPACE", value_name = "NAME")]
    kibana_space: Option<String>,

    /// PEM file of the authorities that signed Kibana's certificate [default: that for Elasticsearch]
    #[arg(long, env = "KIBANA_CA_FILE", value_name = "FILE")]
    kibana_ca_file: Option<PathBuf>,
}

impl KibanaArgs {
    fn open(&self, global: &GlobalArgs) -> Result<Kibana, Error> {
        let elasticsearch = global.elasticsearch.connection()?;
        Ok(Kibana::new(Address {
            url: parse_url("--kibana-url (KIBANA_URL)", &self.kibana_url)?,
            space: self.kibana_space.clone().filter(|name| !name.is_empty()),
            connection: Connection {
                trust: self
                    .kibana_ca_file
                    .clone()
                    .map_or(elasticsearch.trust, Trust::Authorities),
                proxy: None,
                ..elasticsearch
            },
        })?)
    }
}

pub(super) async fn run(command: &KibanaCommand, global: &GlobalArgs) -> Result<u8, Error> {
    match command {
        KibanaCommand::Import(args) => {
            let objects = match &args.file {
                Some(path) => std::fs::read(path).map_err(|reason| KibanaError::Unreadable {
                    path: path.clone(),
                    reason,
                })?,
                None => OBJECTS.as_bytes().to_vec(),
            };
            let imported = args.kibana.open(global)?.import(objects, args.overwrite).await?;
            show(global, &imported, || text(&imported))?;
            return Ok(if imported.success { SUCCESS } else { NEGATIVE });
        }
        KibanaCommand::Export(args) => print(&args.open(global)?.export().await?)?,
        KibanaCommand::Print => print_text(OBJECTS)?,
    }
    Ok(SUCCESS)
}

fn text(imported: &Imported) -> String {
    let mut text = format!("imported {} objects\n", imported.success_count);
    for left in &imported.errors {
        text.push_str(&format!(
            "not imported: {} {} ({})",
            left.kind, left.id, left.error.kind
        ));
        text.push_str(match left.error.kind.as_str() {
            "conflict" => ": it is there already; --overwrite writes over it\n",
            _ => "\n",
        });
    }
    text
}
