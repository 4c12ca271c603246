//! All faces of an index as they were at one moment, photo by photo in the order of the photos' hashes: two walks can be
//! laid side by side, and neither holds more than a page and a photo.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Number, Value, json};

use crate::schema::embedding::{self, Fields, Form};
use crate::schema::layout::VECTOR_FIELD;
use crate::wire::bulk::Version;
use crate::wire::scan::Scan;
use crate::{Destination, ElasticError};

/// A face as a walk meets it.
#[derive(Debug, Clone, Deserialize)]
pub struct Face {
    /// The face's `_id`.
    #[serde(rename = "_id")]
    pub id: String,
    /// `_version`.
    #[serde(rename = "_version", default)]
    pub version: u64,
    /// `_seq_no`.
    #[serde(rename = "_seq_no")]
    pub seq_no: i64,
    /// `_primary_term`.
    #[serde(rename = "_primary_term")]
    pub primary_term: i64,
    /// What was asked for of the document.
    #[serde(rename = "_source", default)]
    pub source: Value,
    #[serde(default)]
    fields: Fields<Number>,
    #[serde(default)]
    sort: Vec<Value>,
}

impl Face {
    /// The version that conditional writes name.
    pub fn seen(&self) -> Version {
        Version {
            seq_no: self.seq_no,
            primary_term: self.primary_term,
        }
    }

    /// The embedding, where it was asked for. 9.2 leaves vectors out of `_source`, so it is taken from `fields`.
    pub fn embedding(&self) -> Option<Vec<f32>> {
        self.fields.vector()
    }

    /// The whole document, with its vector where the source has it, as an array of numbers.
    pub fn document(&self) -> Option<Value> {
        self.with_vector(self.fields.numbers())
    }

    /// The same in the form in which it is written again.
    pub(super) fn to_write(&self, form: Form) -> Option<Value> {
        self.with_vector(self.fields.to_write(form))
    }

    fn with_vector(&self, vector: Option<Value>) -> Option<Value> {
        let mut document = self.source.clone();
        let face = document.get_mut("face")?.as_object_mut()?;
        face.insert("embedding".to_owned(), vector.unwrap_or_default());
        Some(document)
    }
}

/// The faces of one photo.
#[derive(Debug, Clone, Default)]
pub struct Photo {
    /// `image.hash`; others may have written documents without one.
    pub hash: Option<String>,
    /// Its faces, in no order.
    pub faces: Vec<Face>,
}

/// What of each face is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Ids and versions.
    Versions,
    /// The whole document with its vector.
    Documents,
}

impl Read {
    /// Faces a page: about a megabyte or two.
    fn page(self) -> usize {
        match self {
            Self::Versions => 5000,
            Self::Documents => 500,
        }
    }
}

/// A point in time of an index.
pub struct View<'d> {
    to: &'d Destination,
    scan: Scan,
}

impl<'d> View<'d> {
    /// Holds on to what the index holds now; everything acknowledged before this call is in it.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch cannot be reached or refuses a request.
    pub async fn open(to: &'d Destination) -> Result<Self, ElasticError> {
        to.refresh().await?;
        let scan = Scan::open(to).await?;
        Ok(Self { to, scan })
    }

    async fn search(&mut self, what: Read, mut body: Value) -> Result<Vec<Face>, ElasticError> {
        if what == Read::Documents {
            embedding::ask(&mut body, &*self.to.versions().await?);
        }
        body["track_total_hits"] = json!(false);
        body["seq_no_primary_term"] = json!(true);
        self.scan.search("read faces", body).await
    }

    /// The whole documents of these faces, at most 10,000.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch cannot be reached or refuses a request, or the point in time is gone.
    pub async fn documents(&mut self, ids: &[&str]) -> Result<Vec<Face>, ElasticError> {
        let mut body = json!({"query": {"ids": {"values": ids}}, "size": ids.len()});
        read(&mut body, Read::Documents);
        self.search(Read::Documents, body).await
    }

    /// Ends it; one that stays open ends by itself.
    pub async fn close(self) {
        self.scan.close().await;
    }
}

fn read(body: &mut Value, what: Read) {
    match what {
        Read::Versions => {
            body["_source"] = json!(false);
            body["version"] = json!(true);
        }
        Read::Documents => {
            body["_source"] = json!({"excludes": [VECTOR_FIELD]});
        }
    }
}

/// Goes through a view photo by photo.
pub struct Walk {
    what: Read,
    from: Option<String>,
    after: Option<Vec<Value>>,
    ready: VecDeque<Face>,
    ended: bool,
}

impl Walk {
    /// Begins at the photo `from`, or at the first.
    pub fn new(what: Read, from: Option<String>) -> Self {
        Self {
            what,
            from,
            after: None,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// The next photo with all of its faces; `None` at the end. Photos without a hash come last, as one.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch cannot be reached or refuses a request, or the point in time is gone.
    pub async fn next(&mut self, view: &mut View<'_>) -> Result<Option<Photo>, ElasticError> {
        let mut photo: Option<Photo> = None;
        loop {
            while let Some(face) = self.ready.front() {
                let hash = face.sort.first().and_then(Value::as_str).map(str::to_owned);
                let same = photo.as_ref().is_none_or(|photo| photo.hash == hash);
                if !same {
                    return Ok(photo);
                }
                let photo = photo.get_or_insert_with(|| Photo {
                    hash,
                    faces: Vec::new(),
                });
                photo.faces.extend(self.ready.pop_front());
            }
            if self.ended {
                return Ok(photo);
            }
            self.turn_page(view).await?;
        }
    }

    async fn turn_page(&mut self, view: &mut View<'_>) -> Result<(), ElasticError> {
        let mut body = json!({
            "size": self.what.page(),
            "sort": [{"image.hash": {"order": "asc", "missing": "_last"}}, "_shard_doc"],
        });
        read(&mut body, self.what);
        if let Some(from) = &self.from {
            body["query"] = json!({"bool": {"should": [
                {"range": {"image.hash": {"gte": from}}},
                {"bool": {"must_not": {"exists": {"field": "image.hash"}}}},
            ]}});
        }
        if let Some(after) = self.after.take() {
            body["search_after"] = Value::Array(after);
        }
        let page = view.search(self.what, body).await?;
        self.ended = page.len() < self.what.page();
        self.after = page.last().map(|face| face.sort.clone());
        self.ready.extend(page);
        Ok(())
    }
}

/// Opens a view, does `work` with it, and closes it whatever comes of that.
///
/// # Errors
///
/// What `work` answers, and where the view cannot be opened.
pub(crate) async fn with_view<'d, T, E, F>(to: &'d Destination, work: F) -> Result<T, E>
where
    E: From<ElasticError>,
    F: AsyncFnOnce(&mut View<'d>) -> Result<T, E>,
{
    let mut view = View::open(to).await?;
    let done = work(&mut view).await;
    view.close().await;
    done
}
