//! How to reach Elasticsearch: addresses, credentials, certificates, a proxy, timeouts, and the HTTP clients made of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use facedex_base::address::is_loopback;
use facedex_base::errors::chain;
use reqwest::redirect::Policy;
use secrecy::SecretString;
use url::Url;

use crate::ElasticError;
use crate::transport::fingerprint::Fingerprint;

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
    /// Those of the authorities in this PEM file, and of the public ones.
    Authorities(PathBuf),
    /// Those of the one authority with this fingerprint.
    Fingerprint(Fingerprint),
}

impl Connection {
    /// To one node, without credentials but those in the address: a request may take a minute, and 10 s pass until a node
    /// counts as gone.
    pub fn to(url: Url) -> Self {
        Self {
            urls: vec![url],
            credentials: None,
            trust: Trust::default(),
            proxy: None,
            compress: false,
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// The official client for this address, if it can do what is asked for: it takes no rules of our own about
    /// certificates, so that an authority known by its fingerprint alone is beyond it.
    pub(crate) fn official(&self, url: &Url) -> Result<Option<Transport>, ElasticError> {
        let setup = |error: &(dyn std::error::Error + 'static)| ElasticError::Setup(chain(error));
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.clone()))
            .timeout(self.timeout)
            .request_body_compression(self.compress);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone(), None, None);
        } else if is_loopback(url) {
            builder = builder.disable_proxy();
        }
        builder = match &self.trust {
            Trust::Public => builder,
            Trust::Authorities(path) => {
                let pem = read_authorities(path)?;
                let authorities = Certificate::from_pem(&pem).map_err(|error| setup(&error))?;
                builder.cert_validation(CertificateValidation::Full(authorities))
            }
            Trust::Fingerprint(_) => return Ok(None),
        };
        builder.build().map(Some).map_err(|error| setup(&error))
    }

    /// A client without credentials for this address. It follows no redirect.
    ///
    /// # Errors
    ///
    /// Fails where the certificate or the proxy cannot be used.
    pub fn http(&self, url: &Url, compress: bool) -> Result<reqwest::Client, ElasticError> {
        build(self.builder(url, compress)?)
    }

    /// The same to see whether somebody is there: it connects anew each time, and has as long for all as for a connection.
    pub(crate) fn probe(&self, url: &Url) -> Result<reqwest::Client, ElasticError> {
        let builder = self.builder(url, false)?.pool_max_idle_per_host(0);
        build(builder.timeout(self.connect_timeout.min(self.timeout)))
    }

    fn builder(&self, url: &Url, compress: bool) -> Result<reqwest::ClientBuilder, ElasticError> {
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
            Trust::Authorities(path) => reqwest::Certificate::from_pem_bundle(&read_authorities(path)?)
                .map_err(setup)?
                .into_iter()
                .fold(builder, reqwest::ClientBuilder::add_root_certificate),
            Trust::Fingerprint(fingerprint) => builder.use_preconfigured_tls(fingerprint.tls()?),
        };
        Ok(builder)
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ElasticError> {
    let client = builder.build();
    client.map_err(|error| ElasticError::Setup(chain(&error.without_url())))
}

/// A PEM file of the authorities that signed certificates; an error where it has none.
fn read_authorities(path: &Path) -> Result<Vec<u8>, ElasticError> {
    let failed = |reason: String| ElasticError::Setup(format!("CA file {}: {reason}", path.display()));
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    Certificate::from_pem(&pem).map_err(|error| failed(error.to_string()))?;
    Ok(pem)
}
