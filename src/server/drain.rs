//! What a client still sends when its request has been refused is read and thrown away, within limits: a connection that
//! is closed while the client writes loses the refusal, and the client sees only a broken pipe.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};

/// The most that is thrown away.
const MOST: usize = 64 << 20;
/// For how long at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets the rest of a body that nobody wants run out.
pub async fn drain(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let rest = Rest(Some(body.into_data_stream()));
    next.run(Request::from_parts(head, Body::from_stream(rest))).await
}

/// A body; what is left of it when it is dropped is read all the same.
struct Rest(Option<BodyDataStream>);

impl Stream for Rest {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = body.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let (Some(body), Ok(tasks)) = (self.0.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        tasks.spawn(tokio::time::timeout(PATIENCE, discard(body)));
    }
}

async fn discard(mut body: BodyDataStream) {
    let mut left = MOST;
    while let Some(Ok(bytes)) = body.next().await {
        let Some(less) = left.checked_sub(bytes.len()) else {
            return;
        };
        left = less;
    }
}
