//! The settings of the connection to Elasticsearch.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use clap::builder::BoolishValueParser;
use facedex_elastic::transport::connection::{Connection, Login, Trust};
use facedex_elastic::transport::fingerprint::Fingerprint;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::ConfigError;

/// Where Elasticsearch is if nobody says so.
const DEFAULT_URL: &str = "http://127.0.0.1:9200";

/// How to reach Elasticsearch.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Elasticsearch")]
pub struct ElasticsearchArgs {
    /// Address of a node; several, separated by commas, stand in for one another [default: http://127.0.0.1:9200]
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_URL",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub elasticsearch_url: Vec<SecretString>,

    /// Cloud id of an Elastic Cloud deployment, instead of an address
    #[arg(long, global = true, env = "ELASTICSEARCH_CLOUD_ID", value_name = "ID")]
    pub elasticsearch_cloud_id: Option<String>,

    /// API key, as Elasticsearch shows it (base64 of id:key)
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_API_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY"
    )]
    pub elasticsearch_api_key: Option<SecretString>,

    /// User name
    #[arg(long, global = true, env = "ELASTICSEARCH_USERNAME", value_name = "NAME")]
    pub elasticsearch_username: Option<String>,

    /// Password of that user
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_PASSWORD",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "PASSWORD"
    )]
    pub elasticsearch_password: Option<SecretString>,

    /// Token of a service account or of the token service
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_BEARER_TOKEN",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "TOKEN"
    )]
    pub elasticsearch_bearer_token: Option<SecretString>,

    /// PEM file of the authorities that signed the nodes' certificates
    #[arg(long, global = true, env = "ELASTICSEARCH_CA_FILE", value_name = "FILE")]
    pub elasticsearch_ca_file: Option<PathBuf>,

    /// SHA-256 of the certificate of the authority that signed the nodes' certificates, in hexadecimal; the nodes must
    /// show that certificate along with theirs, as those that set up their own security do
    #[arg(long, global = true, env = "ELASTICSEARCH_CA_FINGERPRINT", value_name = "SHA256")]
    pub elasticsearch_ca_fingerprint: Option<Fingerprint>,

    /// Proxy for all requests to Elasticsearch [default: HTTPS_PROXY and its like, but not for this machine]
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_PROXY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL"
    )]
    pub elasticsearch_proxy: Option<SecretString>,

    /// Compress what goes to Elasticsearch and comes back: for slow or paid-for networks
    #[arg(long, global = true, env = "ELASTICSEARCH_GZIP", value_parser = BoolishValueParser::new())]
    pub elasticsearch_gzip: bool,

    /// The longest that one request may take
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_TIMEOUT",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        default_value = "30s"
    )]
    pub elasticsearch_timeout: Duration,

    /// The longest that a node may take to accept a connection before the next one is tried
    #[arg(
        long,
        global = true,
        env = "ELASTICSEARCH_CONNECT_TIMEOUT",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        default_value = "5s"
    )]
    pub elasticsearch_connect_timeout: Duration,
}

impl ElasticsearchArgs {
    /// The connection that these settings describe.
    pub fn connection(&self) -> Result<Connection, ConfigError> {
        Ok(Connection {
            urls: self.urls()?,
            credentials: self.login()?,
            trust: self.trust()?,
            proxy: match given(self.elasticsearch_proxy.as_ref()) {
                Some(proxy) => Some(parse_url("--elasticsearch-proxy (ELASTICSEARCH_PROXY)", proxy)?),
                None => None,
            },
            compress: self.elasticsearch_gzip,
            timeout: self.elasticsearch_timeout,
            connect_timeout: self.elasticsearch_connect_timeout,
        })
    }

    fn urls(&self) -> Result<Vec<Url>, ConfigError> {
        let parse = |url: &SecretString| parse_url("--elasticsearch-url (ELASTICSEARCH_URL)", url);
        let urls = self.elasticsearch_url.iter().filter_map(|url| given(Some(url)));
        let urls = urls.map(parse).collect::<Result<Vec<_>, _>>()?;
        let cloud = self.elasticsearch_cloud_id.as_deref().filter(|id| !id.is_empty());
        match (cloud, urls.is_empty()) {
            (Some(_), false) => Err(ConfigError::TwoAddresses),
            (Some(id), true) => Ok(vec![cloud_url(id).map_err(ConfigError::BadCloudId)?]),
            (None, true) => Ok(vec![parse(&DEFAULT_URL.into())?]),
            (None, false) => Ok(urls),
        }
    }

    fn login(&self) -> Result<Option<Login>, ConfigError> {
        // A line end that came along from a file is no part of it.
        let trimmed = |text: &SecretString| text.expose_secret().trim().into();
        let key = given(self.elasticsearch_api_key.as_ref()).map(|key| Login::ApiKey(trimmed(key)));
        let token = given(self.elasticsearch_bearer_token.as_ref()).map(|token| Login::Bearer(trimmed(token)));
        let user = self.elasticsearch_username.as_ref().filter(|user| !user.is_empty());
        let basic = user.map(|user| {
            let password = self.elasticsearch_password.clone().unwrap_or_default();
            Login::Basic(user.clone(), password)
        });
        let mut all = [key, token, basic].into_iter().flatten();
        match (all.next(), all.next()) {
            (_, Some(_)) => Err(ConfigError::TwoLogins),
            (login, None) => Ok(login),
        }
    }

    fn trust(&self) -> Result<Trust, ConfigError> {
        let file = self.elasticsearch_ca_file.as_ref();
        let file = file.filter(|path| !path.as_os_str().is_empty());
        match (file, self.elasticsearch_ca_fingerprint) {
            (Some(_), Some(_)) => Err(ConfigError::TwoAuthorities),
            (Some(path), None) => Ok(Trust::Authorities(path.clone())),
            (None, Some(fingerprint)) => Ok(Trust::Fingerprint(fingerprint)),
            (None, None) => Ok(Trust::Public),
        }
    }
}

/// A variable that is set and empty is how scripts unset one.
fn given(secret: Option<&SecretString>) -> Option<&SecretString> {
    secret.filter(|text| !text.expose_secret().is_empty())
}

/// The address that a setting holds, with a slash at its end. It is not shown in errors.
pub fn parse_url(setting: &'static str, text: &SecretString) -> Result<Url, ConfigError> {
    address(text.expose_secret()).map_err(|reason| ConfigError::BadUrl { setting, reason })
}

fn address(text: &str) -> Result<Url, String> {
    let mut url: Url = text.parse().map_err(|error: url::ParseError| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it does not begin with http:// or https:// and a host".to_owned());
    }
    // Paths are joined to it: without the slash its last part would be replaced.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The address in a cloud id: `NAME:` and the base64 of `HOST[:PORT]$ELASTICSEARCH[:PORT]$KIBANA`.
fn cloud_url(id: &str) -> Result<Url, String> {
    let (_, encoded) = id.trim().rsplit_once(':').ok_or("it has no colon")?;
    let decoded = BASE64_STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let decoded = String::from_utf8(decoded).map_err(|error| error.to_string())?;
    let mut parts = decoded.split('$').map(str::trim);
    let (Some(host), Some(node)) = (parts.next(), parts.next().filter(|node| !node.is_empty())) else {
        return Err("it names no elasticsearch".to_owned());
    };
    let (host, port) = host.split_once(':').unwrap_or((host, "443"));
    // A port of the node's own goes before that of the host.
    let (node, port) = node.split_once(':').unwrap_or((node, port));
    address(&format!("https://{node}.{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_path() {
        let url = address("http://h:1/es").unwrap();
        assert_eq!(url.join("x").unwrap().as_str(), "http://h:1/es/x");
        assert!(address("localhost:9200").is_err());
    }

    #[test]
    fn a_cloud_id_is_an_address() {
        let id = |text: &str| format!("my-deployment:{}", BASE64_STANDARD.encode(text));
        let url = |text: &str| cloud_url(&id(text)).map(String::from);
        assert_eq!(url("eu.example.com$abc$def").unwrap(), "https://abc.eu.example.com/");
        assert_eq!(
            url("eu.example.com:9243$abc$").unwrap(),
            "https://abc.eu.example.com:9243/"
        );
        assert_eq!(
            url("eu.example.com:9243$abc:9244$def:1").unwrap(),
            "https://abc.eu.example.com:9244/"
        );
        for wrong in ["eu.example.com", "$", "eu.example.com$"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
        assert!(cloud_url("no-base64:%").is_err() && cloud_url("nothing").is_err());
    }
}
