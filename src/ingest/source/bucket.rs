//! Everything under a prefix of an S3 bucket, in the order of the keys.

use std::sync::Arc;

use futures_util::StreamExt;
use object_store::ObjectStore;
use url::Url;

use super::folder::claims_to_be_an_image;
use super::{Content, Entry, Sink, Source, Stop};
use crate::ingest::fetch::Fetcher;

/// `s3://bucket/prefix/`. Objects are told by their names alone: looking into each would cost a request.
pub struct Prefix {
    url: Url,
    fetch: Arc<Fetcher>,
}

impl Prefix {
    /// Whether a URL names a prefix and not one object.
    pub fn is_one(url: &Url) -> bool {
        url.scheme() == "s3" && (url.path().is_empty() || url.path().ends_with('/'))
    }

    /// The objects under `url`.
    pub fn new(url: Url, fetch: Arc<Fetcher>) -> Self {
        Self { url, fetch }
    }
}

impl Source for Prefix {
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let tasks = sink.tasks.clone();
        let whole = self.entry(self.url.path(), String::from(self.url.clone()));
        let (bucket, prefix) = match self.fetch.buckets.open(&self.url) {
            Ok(open) => open,
            Err(reason) => return sink.broken(&whole, reason),
        };
        let mut objects = bucket.list(Some(&prefix));
        while let Some(found) = tasks.block_on(objects.next()) {
            sink.check()?;
            let object = match found {
                Ok(object) => object,
                Err(error) => return sink.broken(&whole, format!("it cannot be listed any further: {error}")),
            };
            let key = object.location.as_ref();
            if key.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            if !claims_to_be_an_image(key.as_ref()) {
                sink.skipped()?;
                continue;
            }
            let mut url = self.url.clone();
            url.set_path(&key.replace('%', "%25"));
            let mut entry = self.entry(key, String::from(url.clone()));
            entry.size = Some(object.size);
            entry.modified = Some(object.last_modified.into());
            sink.offer(entry, Ok(Content::Remote(url)))?;
        }
        Ok(())
    }
}

impl Prefix {
    fn entry(&self, key: &str, uri: String) -> Entry {
        Entry {
            key: key.to_owned(),
            uri,
            folder: key
                .rsplit('/')
                .nth(1)
                .filter(|part| !part.is_empty())
                .map(str::to_owned),
            size: None,
            modified: None,
            person: None,
            labels: Default::default(),
        }
    }
}
