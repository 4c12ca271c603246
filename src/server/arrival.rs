//! A request as it comes in. Its body is counted against the server's memory, and it has a place among those that are
//! worked on only when all of it is here: whoever sends slowly keeps nobody out.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep};

use super::access::Caller;
use super::error::{ApiError, Code};
use super::state::{App, Place};

/// A body of which nothing comes for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

/// What holding a piece of a body takes beside its bytes: clients may send them one by one.
const CHUNK: usize = 64;

/// Takes a request if there is room for it, and ends it when its time is over.
pub async fn limits(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let max = app.settings.max_body;
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max as u64) {
        return too_large(max).into_response();
    }
    let Some(subject) = request.extensions().get::<Caller>().map(Caller::subject) else {
        tracing::error!("a request came past the guard");
        return ApiError::plain(Code::Internal).into_response();
    };
    let arrival = Arrival {
        place: Place::new(app.memory.body(subject, announced)),
        app: app.clone(),
        refusal: Arc::default(),
        is_whole: Arc::default(),
    };
    // Nothing reads the bodies of the other methods' requests.
    let reads_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let reads_body = reads_body || request.uri().path().starts_with("/es");
    if !reads_body && let Err(error) = arrival.is_here() {
        return error.into_response();
    }
    request.extensions_mut().insert(arrival.place.clone());
    let request = request.map(|body| {
        Body::from_stream(Counted {
            body: Some(body.into_data_stream()),
            arrival: arrival.clone(),
            bytes: 0,
            stalled: Box::pin(tokio::time::sleep(STALLED)),
        })
    });
    match tokio::time::timeout(app.settings.timeout, next.run(request)).await {
        Ok(response) => match arrival.refusal.get() {
            // The route saw a body that broke off.
            Some(refusal) => refusal.clone().into_response(),
            None => response,
        },
        Err(_) if arrival.place.has_begun() => {
            let message = "the change takes longer than a request may (--timeout) and goes on; see whether it is done, or \
                           send it again: that changes nothing twice";
            ApiError::new(Code::Timeout, message).into_response()
        }
        Err(_) if arrival.is_whole.get().is_none() => ApiError::plain(Code::SlowBody).into_response(),
        Err(_) => ApiError::plain(Code::Timeout).into_response(),
    }
}

/// The refusal of a body with more than `max` bytes.
pub fn too_large(max: usize) -> ApiError {
    let message = format!("the body has more than {max} bytes, decompressed; send smaller photos, or raise --max-body");
    ApiError::new(Code::TooLarge, message).with("limit", max)
}

#[derive(Clone)]
struct Arrival {
    app: Arc<App>,
    place: Place,
    /// Why the body was given up.
    refusal: Arc<OnceLock<ApiError>>,
    /// Set when all of it is here.
    is_whole: Arc<OnceLock<()>>,
}

impl Arrival {
    /// All of the request is here: it may be worked on if there is a place.
    fn is_here(&self) -> Result<(), ApiError> {
        let _ = self.is_whole.set(());
        let permit = self.app.places.clone().try_acquire_owned();
        let permit = permit.map_err(|_| ApiError::plain(Code::Overloaded).after(Duration::from_secs(1)))?;
        self.place.take(permit);
        Ok(())
    }
}

/// A body that is counted as it comes in.
struct Counted {
    body: Option<BodyDataStream>,
    arrival: Arrival,
    bytes: usize,
    stalled: Pin<Box<Sleep>>,
}

impl Counted {
    fn refuse(&mut self, refusal: ApiError) -> Poll<Option<Result<Bytes, axum::Error>>> {
        self.body = None;
        let message = refusal.message.clone();
        let _ = self.arrival.refusal.set(refusal);
        Poll::Ready(Some(Err(axum::Error::new(message))))
    }

    fn came(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.stalled.as_mut().reset(Instant::now() + STALLED);
        self.bytes += bytes;
        let max = self.arrival.app.settings.max_body;
        if self.bytes > max {
            return Err(too_large(max));
        }
        self.arrival.place.grow(bytes + CHUNK)
    }
}

impl Stream for Counted {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        match body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(chunk))) => match self.came(chunk.len()) {
                Ok(()) => Poll::Ready(Some(Ok(chunk))),
                Err(refusal) => self.refuse(refusal),
            },
            Poll::Ready(None) => {
                self.body = None;
                if self.arrival.is_whole.get().is_some() {
                    return Poll::Ready(None);
                }
                match self.arrival.is_here() {
                    Ok(()) => Poll::Ready(None),
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Pending if self.stalled.as_mut().poll(context).is_ready() => {
                self.refuse(ApiError::plain(Code::SlowBody))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
