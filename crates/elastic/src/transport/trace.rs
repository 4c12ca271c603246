//! What a request carries on to Elasticsearch for those who follow it through logs: `traceparent`, `x-opaque-id`.

use reqwest::header::HeaderMap;

tokio::task_local! {
    static HEADERS: HeaderMap;
}

/// Runs `future`; every request that it sends to Elasticsearch has these headers.
pub async fn carrying<F: Future>(headers: HeaderMap, future: F) -> F::Output {
    HEADERS.scope(headers, future).await
}

/// The headers of the present task.
pub fn headers() -> HeaderMap {
    HEADERS.try_with(Clone::clone).unwrap_or_default()
}
