//! Photos from elsewhere: `http(s)` and `s3`, with limits on time, size and redirects, and not from private addresses
//! unless that is allowed.

mod address;
mod http;
mod s3;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use facedex_base::errors::chain;
use facedex_face::image::{ImageError, Limits};
use futures_util::{Stream, StreamExt};
use url::Url;

use self::address::Rule;
use self::http::Web;
pub use self::s3::Buckets;
use super::source::Held;
use crate::budget::{Budget, Reservation};

/// How often a fetch is tried.
const TRIES: u32 = 3;

/// A connection that does not come about in this time does not come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Fetches photos.
pub struct Fetcher {
    web: Web,
    /// For `s3` URLs.
    pub buckets: Buckets,
}

/// Why a fetch failed.
#[derive(Debug)]
enum Trouble {
    /// It will fail again.
    Final(String),
    /// It may work, not before the time that the server asked for.
    Again(String, Option<Duration>),
}

impl Fetcher {
    /// `timeout` holds for an answer to begin, and again for it to end.
    pub fn new(allow_private: bool, timeout: Duration) -> Result<Self, String> {
        let rule: Rule = if allow_private { |_| true } else { address::is_public };
        Ok(Self {
            // A proxy resolves names itself: what it connects to cannot be checked.
            web: Web::new(rule, allow_private, timeout)?,
            buckets: Buckets::new(timeout),
        })
    }

    /// The bytes at a URL, at most [`Limits::max_bytes`] of them.
    pub async fn fetch(&self, url: &Url, limits: &Limits, budget: &Budget) -> Result<Held, String> {
        if url.scheme() == "s3" {
            return self.buckets.fetch(url, limits, budget).await;
        }
        self.web.fetch(url, limits, budget).await
    }
}

fn too_large(limits: &Limits) -> String {
    let limit = limits.max_bytes;
    ImageError::TooManyBytes { limit }.to_string()
}

/// Collects a body; whatever its length was said to be, it is bounded.
async fn collect<E: std::error::Error>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    permit: Reservation,
    declared: Option<u64>,
    limits: &Limits,
) -> Result<Held, Trouble> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(declared.unwrap_or(0)).unwrap_or(0));
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Trouble::Again(format!("it broke off: {}", chain(&error)), None))?;
        if (bytes.len() + chunk.len()) as u64 > limits.max_bytes {
            return Err(Trouble::Final(too_large(limits)));
        }
        bytes.extend_from_slice(&chunk);
    }
    let bytes = bytes.freeze();
    Ok(Held { bytes, permit })
}
