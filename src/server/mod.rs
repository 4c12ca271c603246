//! `facedex serve`: a photo goes in, one embedding is made, Elasticsearch answers.

pub mod access;
pub mod arrival;
pub mod audit;
pub mod base64;
pub mod decoding;
pub mod docs;
pub mod drain;
pub mod error;
pub mod es_proxy;
pub mod events;
pub mod form;
pub mod health;
pub mod inference;
pub mod memory;
pub mod openapi;
pub mod page;
pub mod photo;
pub mod routes;
mod schemas;
pub mod state;
pub mod telemetry;
pub mod v1;

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use facedex_elastic::Client;
use facedex_elastic::events::writer::Events;
use facedex_face::FaceEngine;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

use self::access::Access;
use self::audit::Audit;
use self::error::{ApiError, Code};
use self::es_proxy::EsProxy;
use self::inference::Inference;
use self::memory::Memory;
pub use self::state::{App, Settings};
use crate::terminal;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {reason}; choose another --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot use --tls-cert {certificate} with --tls-key {key}: {reason}; both must be PEM files")]
    Tls {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// Why.
        reason: std::io::Error,
    },
    /// Metrics cannot be collected.
    #[error("cannot collect metrics: {0}")]
    Metrics(String),
    /// Memory for less than one body.
    #[error(
        "--memory {memory} is too little for bodies of --max-body {max_body}: give {least} or more, or lower the other"
    )]
    TooLittleMemory {
        /// What was given, in bytes.
        memory: u64,
        /// The largest body, in bytes.
        max_body: usize,
        /// What is needed, in bytes.
        least: u64,
    },
    /// A pool without an engine.
    #[error("no inference thread; --threads must be at least 1")]
    NoEngine,
    /// The keys, or the lack of them.
    #[error(transparent)]
    Keys(#[from] access::KeysError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::AuditError),
    /// The server ended by itself.
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// How long a client may take for the head of a connection's first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for further ones, the pause before them included: clients keep connections for the next request, and one
/// that is closed just as it is used again looks like a failure.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Says in the log which versions of Elasticsearch answer. One that cannot be searched is no reason to end: it may be back.
async fn name_versions(client: Arc<Client>) {
    if let Err(error) = client.versions().await {
        tracing::warn!(reason = error.to_string(), "no searches yet");
    }
}

/// For how long a browser may remember which pages may ask.
const PREFLIGHT: Duration = Duration::from_secs(3600);

/// How often the certificate's files are looked at.
const RENEWAL: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM, then finishes what is under way; a second signal ends at once.
pub async fn serve(settings: Settings, client: Client, engines: Vec<FaceEngine>) -> Result<(), ServeError> {
    let (memory, max_body) = (settings.memory, settings.max_body);
    let least = memory::least(max_body);
    if memory < least {
        return Err(ServeError::TooLittleMemory {
            memory,
            max_body,
            least,
        });
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| ServeError::Metrics(error.to_string()))?;
    let (address, timeout) = (settings.listen, settings.timeout);
    let tls = match &settings.tls {
        Some((certificate, key)) => {
            let config = tls(certificate, key).await?;
            tokio::spawn(renew(config.clone(), certificate.clone(), key.clone()));
            Some(config)
        }
        None => None,
    };
    let access = Arc::new(Access::open(&settings.access, address)?);
    Access::start(&access);
    let client = Arc::new(client);
    let events = Events::open(&client, settings.events);
    let app = Arc::new(App {
        events: events.clone(),
        audit: Audit::open(settings.audit_log.as_deref())?,
        access,
        elastic: client,
        memory: Memory::new(settings.memory, engines.len()),
        inference: Inference::start(engines, settings.queue)?.ok_or(ServeError::NoEngine)?,
        places: Arc::new(Semaphore::new(settings.concurrency)),
        changes: TaskTracker::new(),
        persons: Arc::default(),
        prepared: std::sync::Mutex::default(),
        es_proxy: EsProxy::default(),
        metrics: recorder,
        run: uuid::Uuid::new_v4().to_string(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        settings,
    });
    tokio::spawn(upkeep(app.clone()));
    tokio::spawn(name_versions(Arc::clone(&app.elastic)));
    let (audit, changes) = (app.audit.clone(), app.changes.clone());
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let unusable = |reason| ServeError::Listen { address, reason };
    let listener = TcpListener::bind(address).map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    let handle = Handle::new();
    let stopping = Arc::new(Stopping::default());
    tokio::spawn(stop(handle.clone(), timeout, Arc::clone(&stopping))?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    terminal::note(&format!("listening on {scheme}://{bound}"));
    // A streamed answer is several small writes; without NODELAY the last of them waits 40 ms for the client's delayed
    // acknowledgement of the first.
    match tls {
        Some(config) => {
            let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle);
            let mut server = server.map(|tls| tls.acceptor(NoDelayAcceptor::new()));
            server.http_builder().http1().header_read_timeout(IDLE_TIMEOUT);
            server.first_request_timeout(HEAD_TIMEOUT).serve(service).await?;
        }
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            let mut server = server.acceptor(NoDelayAcceptor::new());
            server.http_builder().http1().header_read_timeout(IDLE_TIMEOUT);
            server.first_request_timeout(HEAD_TIMEOUT).serve(service).await?;
        }
    }
    changes.close();
    let since = stopping.since.get().copied().unwrap_or_else(Instant::now);
    tokio::select! {
        () = changes.wait() => {}
        () = stopping.at_once.cancelled() => cut_off(),
        () = tokio::time::sleep_until((since + timeout).into()) => cut_off(),
    }
    events.close().await;
    audit.close().await?;
    Ok(())
}

/// Every route of the table, behind what every request goes through.
pub fn router(app: Arc<App>) -> Router {
    let origins = app.settings.access.origins.iter();
    let origins: Vec<HeaderValue> = origins.filter_map(|origin| origin.parse().ok()).collect();
    let limited = routes::api()
        // What is no route takes room like one until it is refused.
        .nest("/v1", Router::new().fallback(async || ApiError::plain(Code::NotFound)))
        .layer(from_fn_with_state(app.clone(), arrival::limits));
    let cors = (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(routes::methods())
            .allow_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE, access::guard::API_KEY])
            .expose_headers([
                RETRY_AFTER,
                HeaderName::from_static("deprecation"),
                telemetry::REQUEST_ID,
            ])
            .max_age(PREFLIGHT)
    });
    Router::new()
        .merge(limited)
        .merge(routes::others())
        .fallback(async || ApiError::plain(Code::NotFound))
        .method_not_allowed_fallback(async || ApiError::plain(Code::MethodNotAllowed))
        // Bodies are counted as they come in, for all routes that read any.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), access::guard))
        .layer(option_layer(cors))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(es_proxy::shape))
        .layer(from_fn(drain::drain))
        .layer(from_fn_with_state(app.clone(), telemetry::observe))
        .with_state(app)
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let reason = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(reason, "a route panicked");
    ApiError::plain(Code::Internal).into_response()
}

async fn tls(certificate: &std::path::Path, key: &std::path::Path) -> Result<RustlsConfig, ServeError> {
    RustlsConfig::from_pem_file(certificate, key)
        .await
        .map_err(|reason| ServeError::Tls {
            certificate: certificate.display().to_string(),
            key: key.display().to_string(),
            reason,
        })
}

/// Takes up a certificate that was renewed. One that cannot be used leaves the one that is in use.
async fn renew(config: RustlsConfig, certificate: PathBuf, key: PathBuf) {
    let changed = || [&certificate, &key].map(|file| std::fs::metadata(file).and_then(|of| of.modified()).ok());
    let mut used = changed();
    let mut refused = None;
    loop {
        tokio::time::sleep(RENEWAL).await;
        let now = changed();
        if now == used {
            continue;
        }
        match config.reload_from_pem_file(&certificate, &key).await {
            Ok(()) => {
                tracing::info!(certificate = %certificate.display(), "took up a renewed certificate");
                used = now;
            }
            // It is tried again: it may be half written, or not be ours to read yet.
            Err(reason) if refused != Some(now) => {
                tracing::error!(%reason, "the renewed certificate cannot be used: the old one stays");
                refused = Some(now);
            }
            Err(_) => {}
        }
    }
}

/// That the server was told to end.
#[derive(Default)]
struct Stopping {
    /// By a first signal.
    since: OnceLock<Instant>,
    /// By a second one.
    at_once: CancellationToken,
}

fn cut_off() {
    terminal::note("warning: ended in the middle of a change; send it again");
}

/// Waits for the signals. What is under way has the time of one request to end.
fn stop(
    handle: Handle<SocketAddr>,
    grace: Duration,
    stopping: Arc<Stopping>,
) -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                terminal::note("stopping: requests under way are finished; again to stop at once");
                let _ = stopping.since.set(Instant::now());
                handle.graceful_shutdown(Some(grace));
            } else {
                stopping.at_once.cancel();
                handle.shutdown();
            }
        }
    })
}

/// The exporter's histograms grow until somebody drains them, whether or not anybody reads the metrics.
async fn upkeep(app: Arc<App>) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        app.metrics.run_upkeep();
    }
}

/// Seconds; those that OpenTelemetry gives for `http.server.request.duration`.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_without_its_words() {
        let response = panicked(Box::new("secret".to_owned()));
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "internal");
        assert!(!body.to_string().contains("secret"));
    }
}
