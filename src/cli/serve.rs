//! `facedex serve`

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::events::EventsArgs;
use super::keys::KeysFileArg;
use super::{Models, SUCCESS, client, cores};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::error::Error;
use crate::server::access::AccessSettings;
use crate::server::access::origin::parse as parse_origin;
use crate::server::{self, Settings};

/// An address, or the first one of a name.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; expected HOST:PORT, such as 127.0.0.1:8080 or localhost:8080"))?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 is any free one, which is printed
    #[arg(
        long,
        env = "FACEDEX_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080",
        value_parser = parse_listen
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

    /// Memory that bodies and decoded photos may take at a time, whatever the clients and cores; what comes beyond is refused
    #[arg(long, env = "FACEDEX_MEMORY", value_name = "BYTES", default_value_t = 2 << 30)]
    memory: u64,

    /// Photos in one request under /es/
    #[arg(long, env = "FACEDEX_MAX_PHOTOS", value_name = "N", default_value_t = 4)]
    max_photos: usize,

    /// The longest that a request may take
    #[arg(long, env = "FACEDEX_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    timeout: Duration,

    #[command(flatten)]
    keys: KeysFileArg,

    /// Without keys, serve also an address that others can reach: everybody may do everything
    #[arg(long, env = "FACEDEX_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,

    /// Let pages of this origin ask, with a key (CORS), such as https://photos.example.org; may be repeated. Without it no page
    /// but facedex's own is answered
    #[arg(long = "allow-origin", env = "FACEDEX_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = parse_origin)]
    origins: Vec<String>,

    /// Requests a second that each key has, or without keys each address; more get 429 [default: no limit]
    #[arg(long, env = "FACEDEX_RATE_LIMIT", value_name = "N")]
    rate_limit: Option<f64>,

    /// Requests that a key may make at once [default: those of one second]
    #[arg(long, env = "FACEDEX_RATE_BURST", value_name = "N", requires = "rate_limit")]
    rate_burst: Option<NonZeroU32>,

    /// Append to this file who enrolled, deleted, searched and identified what (NDJSON, no pictures, no embeddings)
    #[arg(long, env = "FACEDEX_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,

    /// Take a deletion for complete although the account at elasticsearch may not see every index
    #[arg(long, env = "FACEDEX_VISIBLE_ONLY", value_parser = BoolishValueParser::new())]
    visible_only: bool,

    #[command(flatten)]
    events: EventsArgs,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

pub(super) async fn run(args: &ServeArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let threads = args.threads.map_or_else(cores, usize::from);
    let models = Models::open(global)?;
    let engines = (0..threads).map(|_| models.engine(1)).collect::<Result<Vec<_>, _>>()?;
    let (keys, keys_required) = args.keys.file()?;
    let access = AccessSettings {
        keys,
        keys_required,
        insecure: args.insecure,
        origins: args.origins.clone(),
        rate_limit: args.rate_limit,
        rate_burst: args.rate_burst,
    };
    let settings = Settings {
        access,
        audit_log: args.audit_log.clone().filter(|path| !path.as_os_str().is_empty()),
        events: args.events.are_wanted(),
        visible_only: args.visible_only,
        listen: args.listen,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        collection: args.collection.clone().filter(|name| !name.is_empty()),
        queue: args.queue.map_or(8 * threads, usize::from),
        concurrency: args.concurrency.into(),
        max_body: args.max_body,
        memory: args.memory,
        limits: (&args.limits).into(),
        max_photos: args.max_photos,
        timeout: args.timeout,
    };
    server::serve(settings, client(global)?, engines).await?;
    Ok(SUCCESS)
}
