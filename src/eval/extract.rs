//! Photos to faces, on all cores, each photo at most once an engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use facedex_face::detect::shrink;
use facedex_face::image::{ImageError, Limits, read};
use facedex_face::select::FaceChoice;
use facedex_face::{DecodedPhoto, Face, FaceEngine, FaceError};

use super::EvalError;
use super::cache::{Cache, PhotoFaces};

/// How photos are looked at.
pub struct Extractor<'l> {
    /// Makes an engine that uses one core.
    pub engine: &'l (dyn Fn() -> Result<FaceEngine, FaceError> + Sync),
    /// What was seen before.
    pub cache: Cache,
    /// Threads.
    pub workers: usize,
    /// What a photo may cost.
    pub limits: Limits,
    /// Which face of a photo is the person that its name says.
    pub subject: FaceChoice,
    /// Factors, at most 1, by which photos are made smaller before anything looks at them, each in turn; none: as they are.
    pub shrink: Vec<f32>,
    /// Hears of every photo that is done.
    pub done: &'l (dyn Fn() + Sync),
}

/// What was seen in a photo: its subject, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Extracted {
    /// The face of the person that the photo is filed under.
    pub subject: Option<Face>,
    /// First 32 hexadecimal digits of the BLAKE3 of the photo's bytes.
    pub hash: String,
    /// Why there is nothing to see, where the photo cannot be used.
    pub unreadable: Option<String>,
    /// Milliseconds from pixels to vectors; none where the cache knew the photo.
    pub took_ms: Option<f64>,
}

impl Extractor<'_> {
    /// Looks at all photos and gives what was seen, in their order.
    pub fn extract(&self, photos: &[PathBuf]) -> Result<Vec<Extracted>, EvalError> {
        let next = AtomicUsize::new(0);
        let workers = self.workers.clamp(1, photos.len().max(1));
        let mut seen: Vec<Extracted> = vec![Extracted::default(); photos.len()];
        let parts = std::thread::scope(|scope| {
            let work = || {
                let mut engine = None;
                let mut part = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = photos.get(at) else { return Ok(part) };
                    let factor = self.shrink.get(at % self.shrink.len().max(1)).copied();
                    part.push((at, self.one(&mut engine, path, factor.unwrap_or(1.0))?));
                    (self.done)();
                }
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<(usize, Extracted)>, EvalError>>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(EvalError::Worker(photos.first().cloned().unwrap_or_default())))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        })?;
        for (at, one) in parts.into_iter().flatten() {
            seen[at] = one;
        }
        Ok(seen)
    }

    fn one(&self, engine: &mut Option<FaceEngine>, path: &Path, factor: f32) -> Result<Extracted, EvalError> {
        let unreadable = |hash: String, reason: String| Extracted {
            hash,
            unreadable: Some(reason),
            ..Extracted::default()
        };
        let bytes = match read(path, &self.limits) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(unreadable(String::new(), error.to_string())),
        };
        let hash = blake3::hash(&bytes).to_hex()[..32].to_owned();
        let known = match factor < 1.0 {
            true => format!("{hash}-{factor}"),
            false => hash.clone(),
        };
        let (found, took_ms) = match self.cache.get(&known) {
            Some(found) => (found, None),
            None => {
                let decoded = DecodedPhoto::new(&bytes, &self.limits, |_| Ok::<_, ImageError>(()));
                let mut decoded = match decoded {
                    Ok((decoded, ())) => decoded,
                    Err(error) => return Ok(unreadable(hash, error.to_string())),
                };
                if factor < 1.0 {
                    decoded.pixels = shrink(&decoded.pixels, factor);
                }
                // Loaded when the first photo needs it: a second run needs none.
                let engine = match engine {
                    Some(engine) => engine,
                    None => engine.insert((self.engine)()?),
                };
                let start = Instant::now();
                let photo = decoded.faces(engine)?;
                let found = PhotoFaces {
                    width: photo.pixels.width(),
                    height: photo.pixels.height(),
                    faces: photo.faces,
                };
                let took = start.elapsed().as_secs_f64() * 1e3;
                self.cache.put(&known, &found)?;
                (found, Some(took))
            }
        };
        let chosen = self.subject.ordinals(&found.faces, found.width, found.height);
        Ok(Extracted {
            subject: chosen.first().and_then(|&ordinal| found.faces.into_iter().nth(ordinal)),
            hash,
            unreadable: None,
            took_ms,
        })
    }
}
