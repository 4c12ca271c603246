//! `facedex bench`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use super::{SUCCESS, client, cores, print_json, show, tables};
use crate::bench::ingest::{self, Plan};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Ingest photos with facedex and with a Python script on opencv and elasticsearch-py, in turns
    ///
    /// Each run writes into an index of its own, which is removed afterwards. Of each: faces a second, processor time,
    /// memory, and the nodes' processor time meanwhile. Also how near facedex comes to inference alone, which it measures
    /// by --dry-run.
    Ingest(BenchIngestArgs),
}

#[derive(Debug, Args)]
pub(super) struct BenchIngestArgs {
    /// A folder or a tar file of photos
    source: PathBuf,

    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// The peer's script
    #[arg(long, value_name = "FILE", default_value = "benches/peers/opencv_elasticsearch.py")]
    peer: PathBuf,

    /// Without the peer
    #[arg(long, conflicts_with = "peer")]
    no_peer: bool,

    /// Workers of facedex, processes of the peer [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

pub(super) async fn run(command: &BenchCommand, global: &GlobalArgs) -> Result<u8, Error> {
    let BenchCommand::Ingest(args) = command;
    let plan = Plan {
        source: args.source.clone(),
        rounds: args.rounds,
        peer: (!args.no_peer).then(|| args.peer.clone()),
        cores: args.workers.map_or_else(cores, usize::from),
        environment: environment(global),
    };
    let client = client(global)?;
    client.info().await?;
    let report = ingest::run(&plan, &client, |run| {
        if global.json {
            // A reader that has gone does not end the benchmark; the report says it again.
            let _ = print_json(run);
        } else {
            terminal::note(&format!(
                "round {}: {}: {:.1} s, {:.1} faces/s",
                run.round, run.who, run.seconds, run.faces_per_second
            ));
        }
    })
    .await?;
    show(global, &report, || tables::bench_ingest(&report))?;
    Ok(SUCCESS)
}

/// How the programs reach the cluster, without showing it in the list of processes.
fn environment(global: &GlobalArgs) -> Vec<(&'static str, String)> {
    let given = &global.elasticsearch;
    let urls: Vec<&str> = given.elasticsearch_url.iter().map(|url| url.expose_secret()).collect();
    let mut environment = vec![("ELASTICSEARCH_URL", urls.join(","))];
    let secrets = [
        ("ELASTICSEARCH_API_KEY", &given.elasticsearch_api_key),
        ("ELASTICSEARCH_PASSWORD", &given.elasticsearch_password),
    ];
    environment.extend(
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?.expose_secret().to_owned()))),
    );
    environment.extend(
        given
            .elasticsearch_username
            .clone()
            .map(|user| ("ELASTICSEARCH_USERNAME", user)),
    );
    let paths = [
        ("ELASTICSEARCH_CA_FILE", &given.elasticsearch_ca_file),
        ("FACEDEX_MODELS_DIR", &global.models_dir),
    ];
    environment.extend(
        paths
            .into_iter()
            .filter_map(|(name, path)| Some((name, path.as_ref()?.display().to_string()))),
    );
    environment
}
