//! What requests may hold at a time: bodies, what they inflate to, and pixels. Neither more clients nor more cores make it
//! more.
//!
//! Bodies have a quarter of it, pixels the rest. Of each a part is kept for small ones, which large ones can never take:
//! whoever sends large photos keeps nobody else waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::rate::Subject;
use super::error::{ApiError, Code};
use crate::budget::{Budget, Reservation};

/// The least with which a body of `max_body` bytes fits, and photos of a few megapixels.
pub fn least(max_body: usize) -> u64 {
    // As it came, and what it inflates to.
    let largest = (max_body as u64).saturating_mul(2 * COPIES).saturating_add(STEP);
    // One subject has half of the three quarters that large bodies have of the bodies' quarter.
    largest.saturating_mul(32).div_ceil(3).max(128 << 20)
}

/// A body that is held is counted twice: it is copied when it is read.
const COPIES: u64 = 2;
/// The largest small body, in bytes.
const SMALL_BODY: u64 = 1 << 20;
/// Bodies take room in steps of this.
const STEP: u64 = 16 << 10;

/// What requests may hold.
#[derive(Debug, Clone)]
pub struct Memory {
    bodies: Lanes,
    pixels: Lanes,
    /// Small photos that are decoded at a time. Large ones have few places by their size.
    decoders: Arc<Semaphore>,
    held: Arc<Mutex<HashMap<Subject, Held>>>,
}

/// A budget in two parts.
#[derive(Debug, Clone)]
struct Lanes {
    small: Budget,
    large: Budget,
}

/// What bodies of one subject hold, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    small: u64,
    large: u64,
}

impl Lanes {
    fn new(bytes: u64) -> Self {
        Self {
            small: Budget::new(bytes / 4),
            large: Budget::new(bytes - bytes / 4),
        }
    }
}

impl Memory {
    /// So many bytes; `threads` photos are decoded at a time.
    pub fn new(bytes: u64, threads: usize) -> Self {
        let bodies = bytes / 4;
        Self {
            bodies: Lanes::new(bodies),
            pixels: Lanes::new(bytes - bodies),
            decoders: Arc::new(Semaphore::new(threads.max(1))),
            held: Arc::default(),
        }
    }

    /// Room for a body of this subject, which takes it as the body comes in. One that is announced as large takes no room of
    /// the small ones.
    pub fn body(&self, subject: Subject, announced: Option<u64>) -> BodyRoom {
        BodyRoom {
            memory: self.clone(),
            subject,
            is_large: announced.is_some_and(|bytes| bytes > SMALL_BODY),
            bytes: 0,
            counted: Held::default(),
            small: None,
            large: None,
        }
    }

    /// Waits until a photo may be decoded. Where nobody waits any more, it is not.
    pub async fn decoder(&self) -> Decoder {
        // The semaphore is never closed.
        Decoder(Arc::clone(&self.decoders).acquire_owned().await.ok())
    }

    /// Room for a photo whose decoding takes `bytes` of memory. A small one waits for it, a large one is refused where there
    /// is none now. To be called on a thread that may wait.
    pub fn room(&self, decoder: Decoder, bytes: u64) -> Result<DecodingRoom, ApiError> {
        // Several small ones fit into their part.
        if bytes <= self.pixels.small.whole() / 3 {
            let pixels = Handle::current().block_on(self.pixels.small.reserve(bytes));
            return Ok(DecodingRoom {
                pixels,
                _decoder: Some(decoder),
            });
        }
        let most = self.pixels.large.whole();
        if bytes > most {
            let message = format!(
                "the photo takes {} MiB while it is decoded, and the server has {} MiB for one (--memory); send a smaller one",
                bytes >> 20,
                most >> 20
            );
            return Err(ApiError::new(Code::TooManyPixels, message));
        }
        // It takes long, and there are few of its size: small ones go on beside it.
        drop(decoder);
        let pixels = self.pixels.large.try_reserve(bytes).ok_or_else(overloaded)?;
        Ok(DecodingRoom { pixels, _decoder: None })
    }
}

/// The right to decode a photo.
#[derive(Debug)]
pub struct Decoder(#[expect(dead_code, reason = "held for its destructor")] Option<OwnedSemaphorePermit>);

/// What the decoding of a photo holds.
#[derive(Debug)]
pub struct DecodingRoom {
    pixels: Reservation,
    _decoder: Option<Decoder>,
}

impl DecodingRoom {
    /// The photo is decoded and has `bytes`: what they take stays held, the rest is for others.
    pub fn keep(self, bytes: u64) -> Reservation {
        let mut pixels = self.pixels;
        pixels.shrink_to(bytes);
        pixels
    }
}

/// The refusal of what would take more memory than there is.
fn overloaded() -> ApiError {
    let message = "requests under way hold the memory that the server may take for such bodies and photos (--memory); \
                   try again after the seconds in Retry-After";
    ApiError::new(Code::Overloaded, message).after(std::time::Duration::from_secs(1))
}

/// The room of one body.
#[derive(Debug)]
pub struct BodyRoom {
    memory: Memory,
    subject: Subject,
    is_large: bool,
    bytes: u64,
    counted: Held,
    small: Option<Reservation>,
    large: Option<Reservation>,
}

impl BodyRoom {
    /// Takes room for `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes as u64;
        let needed = (self.bytes * COPIES).next_multiple_of(STEP);
        if self.bytes <= SMALL_BODY && !self.is_large {
            let more = needed - self.counted.small;
            if more > 0 {
                let lane = self.memory.bodies.small.clone();
                self.count(more, 0)?;
                join(&mut self.small, lane.try_reserve(more).ok_or_else(overloaded)?);
            }
            return Ok(());
        }
        let more = needed - self.counted.large;
        if more > 0 {
            let lane = self.memory.bodies.large.clone();
            self.count(0, more)?;
            join(&mut self.large, lane.try_reserve(more).ok_or_else(overloaded)?);
        }
        if self.small.take().is_some() {
            self.uncount(self.counted.small, 0);
        }
        Ok(())
    }

    /// Counts bytes for the subject, of whom no other must be kept out: half of each part is theirs.
    fn count(&mut self, small: u64, large: u64) -> Result<(), ApiError> {
        let lanes = &self.memory.bodies;
        let mut all = self.memory.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(self.subject.clone()).or_default();
        let is_within = |held: u64, more: u64, lane: &Budget| more == 0 || held + more <= lane.whole() / 2;
        if !is_within(held.small, small, &lanes.small) || !is_within(held.large, large, &lanes.large) {
            return Err(overloaded());
        }
        held.small += small;
        held.large += large;
        self.counted.small += small;
        self.counted.large += large;
        Ok(())
    }

    fn uncount(&mut self, small: u64, large: u64) {
        let mut all = self.memory.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get_mut(&self.subject) {
            held.small -= small;
            held.large -= large;
            if held.small == 0 && held.large == 0 {
                all.remove(&self.subject);
            }
        }
        self.counted.small -= small;
        self.counted.large -= large;
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        self.uncount(self.counted.small, self.counted.large);
    }
}

fn join(all: &mut Option<Reservation>, more: Reservation) {
    match all {
        Some(all) => all.join(more),
        None => *all = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_body_fits_into_the_least() {
        for max in [20 << 20, 100 << 20] {
            let memory = Memory::new(least(max), 1);
            assert_eq!(fitting(&memory, "one", 2 * max).len(), 1);
        }
    }

    fn subject(name: &str) -> Subject {
        Subject::Key(name.into())
    }

    /// Bodies of `bytes` that fit at a time.
    fn fitting(memory: &Memory, name: &str, bytes: usize) -> Vec<BodyRoom> {
        let mut rooms = Vec::new();
        loop {
            let mut room = memory.body(subject(name), None);
            if (0..bytes.div_ceil(1 << 16)).any(|_| room.grow(1 << 16).is_err()) {
                return rooms;
            }
            rooms.push(room);
        }
    }

    #[test]
    fn nobody_s_bodies_keep_others_or_small_ones_out() {
        let memory = Memory::new(2 << 30, 2);
        // A quarter of 2 GiB, of it three quarters for large ones, of which half are one's own: 192 MiB, counted twice.
        let greedy = fitting(&memory, "greedy", 16 << 20);
        assert_eq!(greedy.len(), 6);
        let small = fitting(&memory, "greedy", 1 << 20);
        assert_eq!(small.len(), 32);
        let other = fitting(&memory, "other", 16 << 20);
        assert_eq!(other.len(), 6);
        assert_eq!(fitting(&memory, "third", 16 << 20).len(), 0);
        assert_eq!(fitting(&memory, "third", 64 << 10).len(), 512);
        // What is announced as large takes nothing of them while it comes in.
        let mut large = memory.body(subject("fourth"), Some(16 << 20));
        assert!(large.grow(1).is_err());
        drop(large);
        drop((greedy, small, other));
        assert!(memory.held.lock().unwrap().is_empty());
        assert_eq!(fitting(&memory, "third", 16 << 20).len(), 6);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_photos_are_refused_where_small_ones_go_on() {
        let memory = Memory::new(1 << 30, 1);
        let decoder = || Decoder(None);
        tokio::task::spawn_blocking(move || {
            let large = 400 << 20;
            let room = memory.room(decoder(), large).unwrap();
            let refused = |bytes| memory.room(decoder(), bytes).unwrap_err().code;
            assert_eq!(refused(large), Code::Overloaded);
            assert_eq!(refused(1 << 30), Code::TooManyPixels);
            let _small = memory.room(decoder(), 9 << 20).unwrap();
            drop(room);
            memory.room(decoder(), large).unwrap();
        })
        .await
        .unwrap();
    }
}
