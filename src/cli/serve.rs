//! `facedex serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Models, SUCCESS, client, cores};
use crate::api::{self, Settings};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::error::Error;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 is any free one, which is printed
    #[arg(
        long,
        env = "FACEDEX_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,

    /// PEM file of the server's certificate, with those that lead to its authority: serves HTTPS
    #[arg(long, env = "FACEDEX_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's private key
    #[arg(long, env = "FACEDEX_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// A collection without which the server does not count as ready; requests name their own
    #[arg(long, short, env = "FACEDEX_COLLECTION", value_name = "NAME")]
    collection: Option<String>,

    /// Photos that are worked on at a time, one core each [default: the number of cores]
    #[arg(long, env = "FACEDEX_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Photos that may wait; more are refused with 429 [default: 8 for each thread]
    #[arg(long, env = "FACEDEX_QUEUE", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    queue: Option<u16>,

    /// Requests that may be under way; more are refused with 429
    #[arg(long, env = "FACEDEX_CONCURRENCY", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// Largest body of a request, in bytes
    #[arg(long, env = "FACEDEX_MAX_BODY", value_name = "BYTES", default_value_t = 20 << 20)]
    max_body: usize,

    /// The longest that a request may take
    #[arg(long, env = "FACEDEX_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    timeout: Duration,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

pub(super) async fn run(args: &ServeArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let threads = args.threads.map_or_else(cores, usize::from);
    let models = Models::open(global)?;
    let engines = (0..threads).map(|_| models.engine(1)).collect::<Result<Vec<_>, _>>()?;
    let settings = Settings {
        listen: args.listen,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        collection: args.collection.clone().filter(|name| !name.is_empty()),
        queue: args.queue.map_or(8 * threads, usize::from),
        concurrency: args.concurrency.into(),
        max_body: args.max_body,
        limits: (&args.limits).into(),
        timeout: args.timeout,
    };
    api::serve(settings, client(global)?, engines).await?;
    Ok(SUCCESS)
}
