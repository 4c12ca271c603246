//! A photo of a request on its way to the engines: read and decoded where threads may wait, within the server's memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use axum::body::Bytes;
use facedex_face::image::{ImageError, Limits};
use facedex_face::{DecodedPhoto, FaceEngine};

use super::error::{ApiError, Code};
use super::inference::panicked;
use super::memory::{Decoder, Memory};
use super::photo;
use super::state::App;
use crate::budget::Reservation;
use crate::query::QueryError;

/// A photo of a request, decoded.
pub struct Decoded {
    /// The file.
    pub bytes: Bytes,
    /// Its pixels.
    pub photo: DecodedPhoto,
}

impl App {
    /// Decodes a photo and runs `work` on it and an engine. `name` is the photo's in the request. Where all seats are taken,
    /// or the memory for such a photo, it is refused at once.
    pub async fn infer<T: Send + 'static>(
        &self,
        name: &str,
        encoded: photo::Encoded,
        work: impl FnOnce(&mut FaceEngine, Decoded) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let seat = self.inference.seat()?;
        let waiting = Instant::now();
        let decoder = self.memory.decoder().await;
        metrics::histogram!("facedex_decode_wait_seconds").record(waiting.elapsed().as_secs_f64());
        let (name, limits, memory) = (name.to_owned(), self.settings.limits, self.memory.clone());
        // The seat goes along: also a photo that nobody waits for any more has one until it is decoded.
        let reading = tokio::task::spawn_blocking(move || {
            let read = AssertUnwindSafe(|| read(&name, encoded, &limits, &memory, decoder));
            let read = catch_unwind(read).unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
            read.map(|(decoded, room)| (decoded, room, seat))
        });
        let (decoded, room, seat) = reading.await.unwrap_or_else(|error| {
            tracing::error!(reason = error.to_string(), "decoding a photo failed");
            Err(ApiError::plain(Code::Internal))
        })?;
        let work = move |engine: &mut FaceEngine| {
            let _room = room;
            work(engine, decoded)
        };
        self.inference.run(seat, work).await
    }
}

/// Why there are no pixels.
enum NoPhoto {
    Image(ImageError),
    Room(ApiError),
}

impl From<ImageError> for NoPhoto {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

fn read(
    name: &str,
    encoded: photo::Encoded,
    limits: &Limits,
    memory: &Memory,
    decoder: Decoder,
) -> Result<(Decoded, Reservation), ApiError> {
    let bytes = encoded.decode(name)?;
    let room = |bytes| memory.room(decoder, bytes).map_err(NoPhoto::Room);
    let (photo, room) = DecodedPhoto::new(&bytes, limits, room).map_err(|error| match error {
        NoPhoto::Image(source) => QueryError::Image {
            path: name.to_owned(),
            source,
        }
        .into(),
        NoPhoto::Room(error) => error,
    })?;
    let room = room.keep(photo.pixels.as_raw().len() as u64);
    Ok((Decoded { bytes, photo }, room))
}
