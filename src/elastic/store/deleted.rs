//! Faces that were deleted on request and are not stored again.
//!
//! Tombstones are read before and after the write. Whoever deletes a person writes a face's tombstone first and then looks
//! for faces: either that look finds what was written here, or the second read here finds the tombstone.

use std::borrow::Cow;

use super::{Outcome, PhotoRecord, Stored, look_up};
use crate::elastic::bulk::{self, Action, Operation};
use crate::elastic::document::FaceDocument;
use crate::elastic::tombstones::{self, Tombstones};
use crate::elastic::{Destination, ElasticError};

/// The tombstones of a batch's photos.
pub(super) struct Deleted(Tombstones);

impl Deleted {
    /// Those that are there before the batch is written.
    pub(super) async fn before(to: &Destination, photos: &[PhotoRecord]) -> Result<Self, ElasticError> {
        Ok(Self(tombstones::of(to, &hashes(photos)).await?))
    }

    /// The photos without the deleted faces.
    pub(super) fn without<'p>(&self, photos: &'p [PhotoRecord]) -> Cow<'p, [PhotoRecord]> {
        if self.0.is_empty() {
            return Cow::Borrowed(photos);
        }
        let mut kept = photos.to_vec();
        for photo in &mut kept {
            let hash = &photo.hash;
            photo.faces.retain(|face| !covers(&self.0, hash, face));
        }
        Cow::Owned(kept)
    }

    /// Takes back what was written of faces that were deleted meanwhile.
    pub(super) async fn since(
        &self,
        to: &Destination,
        kept: &[PhotoRecord],
        stored: &mut [Stored],
    ) -> Result<(), ElasticError> {
        let is_written = |stored: &Stored| stored.outcomes.contains(&Outcome::Indexed);
        let written = kept.iter().zip(stored.iter()).filter(|(_, stored)| is_written(stored));
        let hashes: Vec<&str> = written.map(|(photo, _)| photo.hash.as_str()).collect();
        let now = tombstones::of(to, &hashes).await?;
        for (photo, stored) in kept.iter().zip(stored) {
            let was_written = is_written(stored);
            for (place, face) in photo.faces.iter().enumerate() {
                if was_written && covers(&now, &photo.hash, face) {
                    take_back(to, &photo.id(place)).await?;
                    if let Some(outcome) = stored.outcomes.get_mut(place) {
                        *outcome = Outcome::Deleted;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the outcomes of the deleted faces between those of the others.
    pub(super) fn tell(&self, photos: &[PhotoRecord], stored: &mut [Stored]) {
        for (photo, stored) in photos.iter().zip(stored) {
            // A photo that was left to somebody else has other outcomes than one a face.
            for (place, face) in photo.faces.iter().enumerate() {
                if covers(&self.0, &photo.hash, face) {
                    let place = place.min(stored.outcomes.len());
                    stored.outcomes.insert(place, Outcome::Deleted);
                }
            }
        }
    }
}

fn hashes(photos: &[PhotoRecord]) -> Vec<&str> {
    photos.iter().map(|photo| photo.hash.as_str()).collect()
}

fn covers(tombstones: &Tombstones, hash: &str, face: &FaceDocument) -> bool {
    let of_photo = tombstones.get(hash);
    of_photo.is_some_and(|all| all.iter().any(|tombstone| tombstone.covers(&face.face.bbox)))
}

/// Deletes a face whatever its version.
async fn take_back(to: &Destination, id: &str) -> Result<(), ElasticError> {
    while let Some((_, version)) = look_up(to, &[id]).await?.remove(id) {
        let removal = Operation {
            id: id.to_owned(),
            action: Action::Delete(version),
        };
        bulk::execute(to, &[removal]).await?;
    }
    Ok(())
}
