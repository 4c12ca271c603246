//! Where photos come from. A source walks its photos in a fixed order and offers them one by one to a [`Sink`]; what is
//! done with them is none of its business.

pub mod archive;
pub mod bucket;
pub mod folder;
pub mod input;
pub mod list;
pub mod names;
pub mod paths;
mod table;
mod tar;
#[cfg(test)]
pub(crate) mod testing;
pub mod watch;
mod zip;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use facedex_elastic::schema::document::Person;
use url::Url;

use super::journal::Journal;
use super::{Failure, Stage};
use crate::budget::{Budget, Reservation};

/// A place that holds photos.
pub trait Source: Send {
    /// Offers every photo to the sink, in an order that does not change between runs. Blocking: it has a thread to
    /// itself. Ends early, with [`Stop`], when the sink takes no more.
    fn walk(&mut self, sink: &mut Sink) -> Result<(), Stop>;

    /// Counts the photos ahead of the walk, for the progress bar; `None` where only the walk can tell.
    fn counter(&self) -> Option<Box<dyn FnOnce() -> u64 + Send>> {
        None
    }
}

/// The run takes no more photos.
#[derive(Debug)]
pub struct Stop;

/// A photo before its content is looked at.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The photo's name within its source (a path relative to the folder, a member's path in an archive): the same on
    /// every machine that sees the source, wherever it is mounted. Shards are made by it.
    pub key: String,
    /// Where the photo is, without credentials; stored as `image.uri`.
    pub uri: String,
    /// The name of the folder that holds the photo, for `--person-from-dir`.
    pub folder: Option<String>,
    /// Bytes, where the source knows.
    pub size: Option<u64>,
    /// When it was last changed, where the source knows.
    pub modified: Option<SystemTime>,
    /// The person that the source itself names.
    pub person: Option<Person>,
    /// Labels that the source itself gives.
    pub labels: BTreeMap<String, String>,
}

impl Entry {
    /// The person whom its folder names.
    pub fn person_of_folder(&self) -> Option<Person> {
        self.folder.as_ref().map(|folder| Person {
            id: folder.clone(),
            name: Some(folder.replace('_', " ")).filter(|name| !name.trim().is_empty()),
        })
    }
}

/// What is known of a photo besides where it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Whom it shows.
    pub person: Option<Person>,
    /// Labels for its faces.
    pub labels: BTreeMap<String, String>,
}

/// How the bytes of a photo are had.
#[derive(Debug)]
pub enum Content {
    /// Read from here.
    File(PathBuf),
    /// There already; they are counted against the run's memory until the photo is decoded.
    Bytes(Held),
    /// Fetched from here: `http`, `https` or `s3`.
    Remote(Url),
}

/// Bytes in memory with the part of the budget that they take.
#[derive(Debug)]
pub struct Held {
    /// The photo's bytes.
    pub bytes: Bytes,
    /// Given back when the bytes are dropped.
    pub permit: Reservation,
}

/// A photo that a source offers.
#[derive(Debug)]
pub struct Item {
    /// What is known of it.
    pub entry: Entry,
    /// How its bytes are had.
    pub content: Content,
}

/// What goes from the source to the rest of the run.
#[derive(Debug)]
pub enum Offer {
    /// A photo to ingest.
    Photo(Box<Item>),
    /// A photo that an earlier run finished.
    Done,
    /// A file that is no image.
    Skipped,
    /// A photo, or a part of the source, that cannot be read.
    Failed(Box<Failure>),
}

/// Which part of a source a run takes: the photos whose key's hash is `index` modulo `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// At least 1.
    pub count: u64,
}

impl Shard {
    fn holds(self, key: &str) -> bool {
        let hash = blake3::hash(key.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first) % self.count == self.index
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err("expected i/n with i from 0 to n-1, for example 0/4".to_owned()),
        }
    }
}

/// A photo that is for this run: only [`Sink::wanted`] makes one.
#[derive(Debug)]
pub struct Wanted(Entry);

/// Where a source's photos go. Which of them a run takes is decided here.
pub struct Sink {
    /// The shard of this run, if the source is split.
    pub shard: Option<Shard>,
    /// Name the person in a photo after the folder that holds it, where the source names nobody.
    pub person_from_dir: bool,
    /// What earlier runs finished.
    pub journal: Arc<Journal>,
    /// Bounds the bytes in memory.
    pub budget: Budget,
    /// The run, for failures.
    pub run: String,
    /// The other end is the run's readers.
    pub offers: async_channel::Sender<Offer>,
    /// The way of photos whose bytes are there already. They have their part of the budget: they must not stand behind
    /// photos that wait for theirs.
    pub held: async_channel::Sender<Offer>,
    /// Lets the source's thread wait for the budget.
    pub tasks: tokio::runtime::Handle,
    /// Set when the run is to end after what is in flight.
    pub stop: Arc<AtomicBool>,
}

impl Sink {
    /// Decides about a photo, or about why it cannot be read.
    pub fn offer(&mut self, entry: Entry, content: Result<Content, String>) -> Result<(), Stop> {
        match (self.wanted(entry)?, content) {
            (None, _) => Ok(()),
            (Some(wanted), Ok(content)) => self.photo(wanted, content),
            (Some(wanted), Err(reason)) => self.failed(wanted, reason),
        }
    }

    /// The photo, if it is for this run, with the person that its folder names; otherwise it has been accounted for. For
    /// sources that read contents themselves: what is not wanted need not be read.
    pub fn wanted(&mut self, mut entry: Entry) -> Result<Option<Wanted>, Stop> {
        if self.person_from_dir && entry.person.is_none() {
            entry.person = entry.person_of_folder();
        }
        if self.shard.is_some_and(|shard| !shard.holds(&entry.key)) {
            return Ok(None);
        }
        if self.journal.is_done(&entry) {
            self.send(Offer::Done)?;
            return Ok(None);
        }
        if let Some(Err(reason)) = entry.person.as_ref().map(Person::check) {
            self.failed(Wanted(entry), reason)?;
            return Ok(None);
        }
        Ok(Some(Wanted(entry)))
    }

    /// Waits until `bytes` may be held in memory.
    pub fn reserve(&self, bytes: u64) -> Reservation {
        self.tasks.block_on(self.budget.reserve(bytes))
    }

    /// Offers a photo that is wanted.
    pub fn photo(&mut self, Wanted(entry): Wanted, content: Content) -> Result<(), Stop> {
        let way = match content {
            Content::Bytes(_) => &self.held,
            Content::File(_) | Content::Remote(_) => &self.offers,
        };
        self.check()?;
        let offer = Offer::Photo(Box::new(Item { entry, content }));
        way.send_blocking(offer).map_err(|_| Stop)
    }

    /// Counts a file that is no image.
    pub fn skipped(&mut self) -> Result<(), Stop> {
        self.send(Offer::Skipped)
    }

    /// Records a wanted photo that cannot be read.
    pub fn failed(&mut self, Wanted(entry): Wanted, reason: String) -> Result<(), Stop> {
        self.broken(&entry, reason)
    }

    /// Records a folder, a list or an archive that cannot be read: every shard meets it.
    pub fn broken(&mut self, entry: &Entry, reason: String) -> Result<(), Stop> {
        let failure = Failure::new(entry, Stage::Read, reason, &self.run);
        self.send(Offer::Failed(Box::new(failure)))
    }

    /// Fails when the run is to end. Sources that wait for something outside ask from time to time.
    pub fn check(&self) -> Result<(), Stop> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Stop)
        } else {
            Ok(())
        }
    }

    fn send(&self, offer: Offer) -> Result<(), Stop> {
        self.check()?;
        self.offers.send_blocking(offer).map_err(|_| Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_divide_everything_between_them() {
        let shards: Vec<Shard> = (0..4).map(|index| Shard { index, count: 4 }).collect();
        let mut sizes = [0; 4];
        for number in 0..4000 {
            let key = format!("people/{number}.jpg");
            let holders: Vec<usize> = (0..4).filter(|&at| shards[at].holds(&key)).collect();
            assert_eq!(holders.len(), 1);
            sizes[holders[0]] += 1;
        }
        assert!(sizes.iter().all(|size| (850..1150).contains(size)), "{sizes:?}");
    }

    #[test]
    fn shards_are_written_as_index_of_count() {
        assert_eq!("3/4".parse(), Ok(Shard { index: 3, count: 4 }));
        for bad in ["4/4", "0/0", "a/b", "1", "-1/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
