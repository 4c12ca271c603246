//! Brings an index to the state of another: what is missing or changed there is carried over, what is gone is removed.
//!
//! One look goes through both side by side, in the order of photos, and compares ids and versions. So the first copy, the
//! catching up with writes and deletions, going on after a crash, and the proof that nothing differs are the same thing.
//! A face carries the version of its source as its own, external one: `_primary_term` and `_seq_no` of a document only ever
//! grow together, so that equal versions are equal documents, and a late request cannot undo a newer one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::future::Future;

use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::task::JoinSet;

use super::LifecycleError;
use super::walk::{Face, Photo, Read, View, Walk, with_view};
use crate::schema::embedding::Form;
use crate::wire::bulk::{self, Action, Operation, Verdict, Version};
use crate::wire::mget::mget;
use crate::{Client, Destination, ElasticError};

/// Faces that are carried in one go. Photos are not torn apart.
const BATCH: usize = 500;
/// Bulk requests that may be unanswered.
const IN_FLIGHT: usize = 4;

/// Makes the documents of the next index.
pub trait Carrier {
    /// The documents of these photos' faces, by id. A face that is left out cannot be taken along; the carrier has noted
    /// why.
    fn carry(&mut self, photos: Vec<Photo>) -> impl Future<Output = Result<HashMap<String, Bytes>, LifecycleError>>;
}

/// Takes documents along as they are.
#[derive(Debug, Clone, Copy)]
pub struct Copier {
    form: Form,
}

impl Copier {
    /// One that writes as this cluster reads.
    ///
    /// # Errors
    ///
    /// Fails where the nodes' versions cannot be told.
    pub async fn of(client: &Client) -> Result<Self, ElasticError> {
        let form = Form::of(&*client.versions().await?);
        Ok(Self { form })
    }
}

impl Carrier for Copier {
    async fn carry(&mut self, photos: Vec<Photo>) -> Result<HashMap<String, Bytes>, LifecycleError> {
        let faces = photos.into_iter().flat_map(|photo| photo.faces);
        faces
            .map(|face| Ok((face.id.clone(), encode(&face, self.form)?)))
            .collect()
    }
}

fn encode(face: &Face, form: Form) -> Result<Bytes, ElasticError> {
    let document = face
        .to_write(form)
        .ok_or_else(|| ElasticError::unexpected("copy a face", format!("{} is no face's document", face.id)))?;
    let bytes = serde_json::to_vec(&document).map_err(|error| ElasticError::unexpected("encode a document", error))?;
    Ok(Bytes::from(bytes))
}

/// What one look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Faces of the source.
    pub faces: u64,
    /// Faces that were missing or different, and were written.
    pub carried: u64,
    /// Faces that the source has no more, and were removed.
    pub removed: u64,
    /// Faces that cannot be taken along.
    pub left: u64,
}

impl Round {
    /// Whether both indices were the same, but for faces that cannot be taken along.
    pub fn is_clean(&self) -> bool {
        self.carried == 0 && self.removed == 0
    }
}

/// The version that a face of the source has in the target.
fn version(face: &Face) -> u64 {
    // 2^40 writes to a shard are more than Lucene takes.
    ((face.primary_term as u64) << 40) | (face.seq_no as u64)
}

/// Looks once. `told` hears how many faces of the source were passed.
///
/// # Errors
///
/// Fails where either index cannot be read or the target takes no writes for longer than the policy says.
pub async fn round<C: Carrier>(
    from: &Destination,
    to: &Destination,
    carrier: &mut C,
    progress: &dyn Fn(u64),
) -> Result<Round, LifecycleError> {
    with_view(from, async |source| {
        with_view(to, async |target| {
            let mut work = Work {
                from,
                to,
                round: Round::default(),
                photos: Vec::new(),
                versions: HashMap::new(),
                removals: Vec::new(),
                in_air: JoinSet::new(),
            };
            let (mut old, mut new) = (Walk::new(Read::Versions, None), Walk::new(Read::Versions, None));
            let (mut left, mut right) = (old.next(source).await?, new.next(target).await?);
            while let Some(order) = order(left.as_ref(), right.as_ref()) {
                let stored = if order.is_le() { left.take() } else { None };
                let copied = if order.is_ge() { right.take() } else { None };
                if order.is_le() {
                    left = old.next(source).await?;
                }
                if order.is_ge() {
                    right = new.next(target).await?;
                }
                work.compare(stored.unwrap_or_default(), copied.unwrap_or_default());
                if work.versions.len() + work.removals.len() >= BATCH {
                    work.send(source, carrier).await?;
                    progress(work.round.faces);
                }
            }
            work.send(source, carrier).await?;
            progress(work.round.faces);
            work.land_all().await
        })
        .await
    })
    .await
}

/// Which of the two photos comes first; `None` when both walks are at their end. Photos without a hash come last.
fn order(left: Option<&Photo>, right: Option<&Photo>) -> Option<Ordering> {
    let key = |photo: &Photo| (photo.hash.is_none(), photo.hash.clone());
    match (left, right) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(left), Some(right)) => Some(key(left).cmp(&key(right))),
    }
}

/// What is to be carried and removed, and what is under way.
struct Work<'d> {
    from: &'d Destination,
    to: &'d Destination,
    round: Round,
    /// Ids of photos of which some face is to be carried: all of each photo's faces.
    photos: Vec<Vec<String>>,
    /// Those of them that are to be written, with their versions.
    versions: HashMap<String, u64>,
    removals: Vec<Operation>,
    in_air: JoinSet<Result<Vec<Verdict>, ElasticError>>,
}

impl Work<'_> {
    fn compare(&mut self, stored: Photo, copied: Photo) {
        self.round.faces += stored.faces.len() as u64;
        let mut there: HashMap<&str, &Face> = copied.faces.iter().map(|face| (face.id.as_str(), face)).collect();
        let mut differs = false;
        for face in &stored.faces {
            let wanted = version(face);
            if there.remove(face.id.as_str()).is_none_or(|copy| copy.version != wanted) {
                self.versions.insert(face.id.clone(), wanted);
                differs = true;
            }
        }
        if differs {
            self.photos.push(stored.faces.into_iter().map(|face| face.id).collect());
        }
        self.removals.extend(there.into_values().map(|face| Operation {
            id: face.id.clone(),
            action: Action::Delete(face.seen()),
        }));
    }

    async fn send<C: Carrier>(&mut self, source: &mut View<'_>, carrier: &mut C) -> Result<(), LifecycleError> {
        let photos = std::mem::take(&mut self.photos);
        let versions = std::mem::take(&mut self.versions);
        let mut operations = std::mem::take(&mut self.removals);
        self.round.removed += operations.len() as u64;
        if !versions.is_empty() {
            let documents = carrier.carry(read(source, photos).await?).await?;
            for (id, version) in versions {
                match documents.get(&id) {
                    Some(document) => {
                        let action = Action::Put(document.clone(), version);
                        operations.push(Operation { id, action });
                        self.round.carried += 1;
                    }
                    None => self.round.left += 1,
                }
            }
        }
        if operations.is_empty() {
            return Ok(());
        }
        while self.in_air.len() >= IN_FLIGHT {
            self.land().await?;
        }
        let (from, to) = (self.from.clone(), self.to.clone());
        self.in_air.spawn(async move {
            let verdicts = bulk::execute(&to, &operations).await?;
            take_back(&from, &to, &operations, &verdicts).await?;
            Ok(verdicts)
        });
        Ok(())
    }

    async fn land_all(&mut self) -> Result<Round, LifecycleError> {
        while !self.in_air.is_empty() {
            self.land().await?;
        }
        Ok(self.round)
    }

    async fn land(&mut self) -> Result<(), LifecycleError> {
        let Some(landed) = self.in_air.join_next().await else {
            return Ok(());
        };
        let verdicts = landed.map_err(|error| ElasticError::unexpected("write faces", error))??;
        for verdict in verdicts {
            // A newer version that is there already, or a face that somebody else removed, is for the next look.
            if let Verdict::Rejected { status, kind, reason } = verdict {
                let operation = "write a face into the new index".to_owned();
                return Err(ElasticError::Refused {
                    operation,
                    status,
                    kind,
                    reason,
                }
                .into());
            }
        }
        Ok(())
    }
}

/// Removes again what was deleted from the source after it was read for the target. Whoever deletes a face looks at both
/// indices: either that look at the target finds what was written here, or this look at the source does not find the face.
async fn take_back(
    from: &Destination,
    to: &Destination,
    operations: &[Operation],
    verdicts: &[Verdict],
) -> Result<(), ElasticError> {
    let put: Vec<(&str, Version)> = operations
        .iter()
        .zip(verdicts)
        .filter_map(|(operation, verdict)| match (&operation.action, verdict) {
            (Action::Put(..), Verdict::Done(Some(version))) => Some((operation.id.as_str(), *version)),
            _ => None,
        })
        .collect();
    let ids: Vec<&str> = put.iter().map(|(id, _)| *id).collect();
    let there: HashMap<String, (IgnoredAny, Version)> =
        mget(from, "look for faces deleted meanwhile", &ids, "image.hash").await?;
    let gone: Vec<Operation> = put
        .into_iter()
        .filter(|(id, _)| !there.contains_key(*id))
        .map(|(id, version)| Operation {
            id: id.to_owned(),
            action: Action::Delete(version),
        })
        .collect();
    bulk::execute(to, &gone).await.map(|_| ())
}

/// The whole documents of these photos.
async fn read(source: &mut View<'_>, photos: Vec<Vec<String>>) -> Result<Vec<Photo>, LifecycleError> {
    let ids: Vec<&str> = photos.iter().flatten().map(String::as_str).collect();
    let mut faces: HashMap<String, Face> = HashMap::with_capacity(ids.len());
    for part in ids.chunks(BATCH) {
        let found = source.documents(part).await?;
        faces.extend(found.into_iter().map(|face| (face.id.clone(), face)));
    }
    if faces.len() != ids.len() {
        let reason = format!("{} of {} faces were read", faces.len(), ids.len());
        return Err(ElasticError::unexpected("read faces", reason).into());
    }
    let whole = |ids: Vec<String>| Photo {
        hash: None,
        faces: ids.iter().filter_map(|id| faces.remove(id)).collect(),
    };
    Ok(photos.into_iter().map(whole).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_laid_side_by_side() {
        let photo = |hash: Option<&str>| Photo {
            hash: hash.map(str::to_owned),
            faces: Vec::new(),
        };
        let (a, b, none) = (photo(Some("a")), photo(Some("b")), photo(None));
        assert_eq!(order(Some(&a), Some(&b)), Some(Ordering::Less));
        assert_eq!(order(Some(&none), Some(&b)), Some(Ordering::Greater));
        assert_eq!(order(Some(&none), Some(&none)), Some(Ordering::Equal));
        assert_eq!(order(None, Some(&a)), Some(Ordering::Greater));
        assert_eq!(order(None, None), None);
    }
}
