//! Kibana's saved objects API: the dashboards in, and back.

use std::path::PathBuf;

use bytes::Bytes;
use facedex_base::address::without_login;
use facedex_base::errors::chain;
use facedex_elastic::ElasticError;
use facedex_elastic::transport::connection::{Connection, Login};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// Data views and dashboards, as Kibana takes them; `dev/dashboards build` makes the file.
pub const OBJECTS: &str = include_str!("../kibana/facedex.ndjson");

/// Why Kibana does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KibanaError {
    /// The address or the certificate is wrong.
    #[error("cannot set up the connection to kibana: {0}")]
    Setup(String),
    /// Nobody answers.
    #[error("no answer from kibana at {url}: {reason}; --kibana-url or KIBANA_URL names another address")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// 401 or 403.
    #[error(
        "kibana refused the credentials ({status} {reason}); it takes those of elasticsearch, whose user needs Kibana's privilege to manage saved objects"
    )]
    Forbidden {
        /// HTTP status.
        status: u16,
        /// Kibana's words.
        reason: String,
    },
    /// Any other answer that is no success.
    #[error("kibana refused to {operation} ({status}): {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// Kibana's words.
        reason: String,
    },
    /// The file to import.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// How to reach Kibana.
#[derive(Debug, Clone)]
pub struct Address {
    /// Its address.
    pub url: Url,
    /// The space, where it is not the default one.
    pub space: Option<String>,
    /// Credentials, which Kibana hands on to Elasticsearch, certificates and timeouts; its addresses are not used.
    pub connection: Connection,
}

/// A Kibana.
pub struct Kibana {
    http: Client,
    address: Address,
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Imported {
    /// Whether all objects are there now.
    pub success: bool,
    /// How many were imported.
    pub success_count: u64,
    /// Those that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<NotImported>,
}

/// An object that was not imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotImported {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Why: `conflict` where it is there already.
    pub error: Cause,
}

/// Why an object was not imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Kibana's word for it.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Kibana {
    /// Sets the connection up; nothing is sent yet.
    pub fn new(address: Address) -> Result<Self, KibanaError> {
        let http = address.connection.http(&address.url, false);
        let http = http.map_err(|error| match error {
            ElasticError::Setup(reason) => KibanaError::Setup(reason),
            other => KibanaError::Setup(other.to_string()),
        })?;
        Ok(Self { http, address })
    }

    /// Imports saved objects (NDJSON). Those that are there stay as they are and are named, unless `overwrite`.
    pub async fn import(&self, objects: Vec<u8>, overwrite: bool) -> Result<Imported, KibanaError> {
        let file = Part::bytes(objects).file_name("facedex.ndjson");
        let request = self
            .post("_import")
            .query(&[("overwrite", overwrite)])
            .multipart(Form::new().part("file", file));
        let body = self.send("import saved objects", request).await?;
        serde_json::from_slice(&body).map_err(|error| KibanaError::Refused {
            operation: "say what it imported",
            status: 200,
            reason: error.to_string(),
        })
    }

    /// Exports our objects as they are in Kibana now, as NDJSON.
    pub async fn export(&self) -> Result<Bytes, KibanaError> {
        let request = self.post("_export").json(&json!({
            "objects": names(),
            "includeReferencesDeep": true,
            "excludeExportDetails": true,
        }));
        self.send("export saved objects", request).await
    }

    fn post(&self, what: &str) -> RequestBuilder {
        let mut url = self.address.url.clone();
        // Only a URL that cannot be a base refuses this, and such a one has no host either.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            if let Some(space) = &self.address.space {
                path.extend(["s", space]);
            }
            path.extend(["api", "saved_objects", what]);
        }
        // Kibana takes no change without this header, which no form of another site can send.
        let request = self.http.post(url).header("kbn-xsrf", "facedex");
        match &self.address.connection.credentials {
            Some(Login::ApiKey(key)) => request.header("authorization", format!("ApiKey {}", key.expose_secret())),
            Some(Login::Bearer(token)) => request.bearer_auth(token.expose_secret()),
            Some(Login::Basic(user, password)) => request.basic_auth(user, Some(password.expose_secret())),
            None => request,
        }
    }

    async fn send(&self, operation: &'static str, request: RequestBuilder) -> Result<Bytes, KibanaError> {
        let unreachable = |error: reqwest::Error| KibanaError::Unreachable {
            url: without_login(&self.address.url).into(),
            reason: chain(&error.without_url()),
        };
        let reply: Response = request.send().await.map_err(unreachable)?;
        let status = reply.status().as_u16();
        let body = reply.bytes().await.map_err(unreachable)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = said["message"].as_str().map(str::to_owned);
        let reason = reason.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect());
        Err(match status {
            401 | 403 => KibanaError::Forbidden { status, reason },
            _ => KibanaError::Refused {
                operation,
                status,
                reason,
            },
        })
    }
}

/// Type and id of each of our objects.
fn names() -> Vec<Value> {
    OBJECTS
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|object| json!({"type": object["type"], "id": object["id"]}))
        .collect()
}
