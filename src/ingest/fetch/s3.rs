//! Photos out of buckets. Where they are and who we are comes from the environment, as for Amazon's own tools:
//! `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and so on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use facedex_base::errors::chain;
use facedex_face::image::Limits;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use tokio::time::timeout;
use url::Url;

use super::{CONNECT, TRIES, Trouble, collect, too_large};
use crate::budget::Budget;
use crate::ingest::source::Held;

/// The buckets that were asked for.
pub struct Buckets {
    timeout: Duration,
    open: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl Buckets {
    /// No bucket is opened yet.
    pub(super) fn new(timeout: Duration) -> Self {
        let open = Mutex::default();
        Self { timeout, open }
    }

    /// The bucket, and the key or prefix in it, that a URL names.
    pub fn open(&self, url: &Url) -> Result<(Arc<AmazonS3>, Path), String> {
        let name = url.host_str().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("{name:?} is no name of a bucket"));
        }
        let key = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = open.get(name) {
            return Ok((Arc::clone(bucket), key));
        }
        let seconds = |time: Duration| format!("{} seconds", time.as_secs().max(1));
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_config(client(ClientConfigKey::ConnectTimeout), seconds(CONNECT))
            .with_config(client(ClientConfigKey::Timeout), seconds(2 * self.timeout))
            .with_retry(RetryConfig {
                max_retries: TRIES as usize - 1,
                retry_timeout: TRIES * self.timeout,
                ..RetryConfig::default()
            });
        // Whoever names an endpoint without TLS means it.
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        let bucket = Arc::new(builder.build().map_err(|error| chain(&error))?);
        open.insert(name.to_owned(), Arc::clone(&bucket));
        Ok((bucket, key))
    }

    pub(super) async fn fetch(&self, url: &Url, limits: &Limits, budget: &Budget) -> Result<Held, String> {
        let (bucket, key) = self.open(url)?;
        let slow = |_| format!("not all of it came within {:?}", self.timeout);
        // The client retries and has its own timeouts for that.
        let found = bucket.get(&key).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => "there is no such object".to_owned(),
            error => chain(&error),
        })?;
        let size = found.meta.size;
        if size > limits.max_bytes {
            return Err(too_large(limits));
        }
        let permit = budget.reserve(size).await;
        let body = found.into_stream();
        let collected = timeout(self.timeout, collect(body, permit, Some(size), limits)).await;
        collected.map_err(slow)?.map_err(|trouble| match trouble {
            Trouble::Final(reason) | Trouble::Again(reason, _) => reason,
        })
    }
}

fn client(key: ClientConfigKey) -> AmazonS3ConfigKey {
    AmazonS3ConfigKey::Client(key)
}
