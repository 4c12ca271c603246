//! How to reach Elasticsearch: addresses, credentials, certificates, a proxy, timeouts, and the HTTP client made of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use secrecy::SecretString;
use url::Url;

use super::ElasticError;
use super::fingerprint::Fingerprint;
use crate::error::chain;

/// How to reach Elasticsearch.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The nodes' addresses; one that does not answer is passed over.
    pub urls: Vec<Url>,
    /// Who asks; without it the credentials in each address.
    pub credentials: Option<Login>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// What all requests go through; without it what the environment names (`HTTPS_PROXY` and so on), but for loopback.
    pub proxy: Option<Url>,
    /// Compress bodies with gzip, both ways.
    pub compress: bool,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// The longest that a node may take to accept a connection.
    pub connect_timeout: Duration,
}

/// Credentials.
#[derive(Debug, Clone)]
pub enum Login {
    /// An API key as Elasticsearch shows it once: base64 of id:key.
    ApiKey(SecretString),
    /// User and password.
    Basic(String, SecretString),
    /// A token of a service account or of the token service.
    Bearer(SecretString),
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those of the public authorities.
    #[default]
    Public,
    /// Those of the authorities in this PEM file, and no others.
    Authorities(PathBuf),
    /// Those of the one authority with this fingerprint.
    Fingerprint(Fingerprint),
}

impl Connection {
    /// A client for requests to this address.
    pub(super) fn http(&self, url: &Url, compress: bool) -> Result<reqwest::Client, ElasticError> {
        let setup = |error: reqwest::Error| ElasticError::Setup(chain(&error.without_url()));
        let mut builder = reqwest::Client::builder()
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout.min(self.timeout))
            // To wherever a redirect points, the credentials would go along.
            .redirect(Policy::none())
            .gzip(compress);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // A machine that vanishes closes no connection: one whose bytes nobody acknowledges is dead.
            builder = builder.tcp_user_timeout(2 * self.connect_timeout);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(setup)?);
        } else if is_loopback(url) {
            // The environment's proxy could not reach it, and would see what goes there.
            builder = builder.no_proxy();
        }
        builder = match &self.trust {
            Trust::Public => builder,
            Trust::Authorities(path) => authorities(path)?
                .into_iter()
                .fold(builder.tls_built_in_root_certs(false), |builder, authority| {
                    builder.add_root_certificate(authority)
                }),
            Trust::Fingerprint(fingerprint) => builder.use_preconfigured_tls(fingerprint.tls()?),
        };
        builder.build().map_err(setup)
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ElasticError> {
    let failed = |reason: String| ElasticError::Setup(format!("CA file {}: {reason}", path.display()));
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(chain(&error)))?;
    if found.is_empty() {
        return Err(failed("there is no certificate in it; expected PEM".to_owned()));
    }
    Ok(found)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
