//! Faces that were deleted on request and are not stored again.
//!
//! Tombstones are read before and after the write. Whoever deletes a person writes a face's tombstone first and then looks
//! for faces: either that look finds what was written here, or the second read here finds the tombstone.

use std::borrow::Cow;

use super::{Outcome, PhotoRecord, Stored};
use crate::schema::document::{FaceDocument, StoredFace};
use crate::schema::tombstones::{self, PhotoKeys, Tombstone, Tombstones};
use crate::wire::bulk::{self, Operation};
use crate::wire::mget::mget;
use crate::{Destination, ElasticError};

/// The tombstones of a batch's photos.
#[derive(Default)]
pub(super) struct Deleted(Tombstones);

impl Deleted {
    /// Those that are there before the batch is written.
    pub(super) async fn before(to: &Destination, photos: &[PhotoRecord]) -> Result<Self, ElasticError> {
        Ok(Self(tombstones::of(to, &keys(photos)).await?))
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

    /// Takes back what is there of the deleted faces: of those that were deleted while the photos were written, and what a
    /// run that was cut off between its write and this look left of others.
    /// Where nothing was written no write can have met a deletion, and what was known before is enough.
    pub(super) async fn since(
        &self,
        to: &Destination,
        photos: &[PhotoRecord],
        kept: &[PhotoRecord],
        written: &Result<Vec<Stored>, ElasticError>,
    ) -> Result<Cow<'_, Tombstones>, ElasticError> {
        let is_new = |stored: &Stored| (0..stored.outcomes.len()).any(|place| stored.has_written(place));
        // After a failure too: some of it may have been written.
        let is_written = written.as_ref().map_or(true, |stored| stored.iter().any(is_new));
        let now = match is_written {
            true => Cow::Owned(tombstones::of(to, &keys(photos)).await?),
            false => Cow::Borrowed(&self.0),
        };
        for photo in photos {
            let of_file = of_this_file(&now, &photo.hash);
            for (place, face) in photo.faces.iter().enumerate() {
                if of_file.iter().any(|tombstone| tombstone.covers(&face.face.bbox)) {
                    take_back_deleted(to, &photo.id(place), Some(&of_file)).await?;
                }
            }
        }
        // By a copy's tombstones only what was written here goes: what was stored before was not deleted.
        for (photo, stored) in kept.iter().zip(written.iter().flatten()) {
            for place in 0..stored.outcomes.len() {
                let face = photo.faces.get(place).filter(|_| stored.has_written(place));
                if face.is_some_and(|face| covers(&now, &photo.hash, face)) {
                    take_back_deleted(to, &photo.id(place), now.get(&photo.hash)).await?;
                }
            }
        }
        Ok(now)
    }

    /// Notes which of the faces that were written are taken back.
    pub(super) fn note(&self, now: &Tombstones, kept: &[PhotoRecord], stored: &mut [Stored]) {
        for (photo, stored) in kept.iter().zip(stored) {
            for (place, face) in photo.faces.iter().enumerate() {
                if stored.has_written(place) && covers(now, &photo.hash, face) {
                    stored.outcomes[place] = Outcome::Deleted;
                }
            }
        }
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

fn keys(photos: &[PhotoRecord]) -> Vec<PhotoKeys> {
    photos.iter().map(PhotoRecord::keys).collect()
}

/// The tombstones of the very file.
fn of_this_file(tombstones: &Tombstones, hash: &str) -> Vec<Tombstone> {
    let all = tombstones.get(hash).into_iter().flatten();
    all.filter(|tombstone| !tombstone.is_copy).cloned().collect()
}

fn covers(tombstones: &Tombstones, hash: &str, face: &FaceDocument) -> bool {
    let of_photo = tombstones.get(hash);
    of_photo.is_some_and(|all| all.iter().any(|tombstone| tombstone.covers(&face.face.bbox)))
}

/// Deletes the face of this id whatever its version, if it is the one that was deleted: another engine may have numbered
/// the photo's faces otherwise.
pub(crate) async fn take_back_deleted(
    to: &Destination,
    id: &str,
    of_photo: Option<&Vec<Tombstone>>,
) -> Result<(), ElasticError> {
    let is_deleted = |face: &StoredFace| {
        let bbox = face.face.as_ref().map(|face| face.bbox);
        let covers = |tombstone: &Tombstone| bbox.is_none_or(|bbox| tombstone.covers(&bbox));
        of_photo.is_some_and(|all| all.iter().any(covers))
    };
    loop {
        let found = mget(to, "look for deleted faces", &[id], "image.hash,face.box,face.score").await?;
        let Some((_, version)) = found.get(id).filter(|(face, _)| is_deleted(face)) else {
            return Ok(());
        };
        let removal = Operation::delete(id.to_owned(), *version);
        // One that was changed meanwhile is looked at again.
        bulk::expect_done("take back a deleted face", &bulk::execute(to, &[removal]).await?)?;
    }
}
