//! Everything that is stored of a person, as it is stored: every field of every face, vectors and pictures included.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::of_person;
use super::view::View;
use crate::schema::embedding::{self, Fields};
use crate::schema::layout::VECTOR_FIELD;
use crate::schema::resolve::unseen;
use crate::schema::versions;
use crate::{Destination, ElasticError};

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", default)]
    source: Value,
    #[serde(default)]
    fields: Fields<Number>,
    sort: Vec<Value>,
}

/// A person's faces, page by page, from every index behind the collection.
pub struct Export {
    to: Destination,
    what: Value,
    indices: VecDeque<String>,
    /// Whether this account sees every index.
    pub sees_all: bool,
    open: Option<(String, View, Option<Vec<Value>>)>,
}

impl Export {
    /// Begins with the collection's current index. Refuses to begin where not all can be read.
    ///
    /// # Errors
    ///
    /// Fails where an index of the collection cannot be read.
    pub async fn begin(to: &Destination, person: &str) -> Result<Self, ElasticError> {
        let whole = versions::of(to).await?;
        if let Some(index) = whole.hidden.first() {
            return Err(unseen(index));
        }
        for version in &whole.versions {
            version.expect_open()?;
        }
        // From 9.2 on vectors are no part of `_source`, and before they may be there in another form.
        let mut what = json!({"query": of_person(person), "_source": {"excludes": [VECTOR_FIELD]}});
        embedding::ask(&mut what, &*to.versions().await?);
        Ok(Self {
            to: to.clone(),
            what,
            sees_all: whole.sees_all,
            indices: whole.versions.into_iter().map(|version| version.index).collect(),
            open: None,
        })
    }

    /// The next faces, one object each: `collection`, `index`, `id` and the whole `document`.
    ///
    /// # Errors
    ///
    /// Fails where Elasticsearch cannot be reached or refuses a request.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, ElasticError> {
        loop {
            let Some((index, mut view, after)) = self.open.take() else {
                let Some(index) = self.indices.pop_front() else {
                    return Ok(None);
                };
                let at = self.to.at(&index);
                at.refresh().await?;
                self.open = Some((index, View::open(&at).await?, None));
                continue;
            };
            let page: Vec<Found> = view.page(&self.what, after).await?;
            let Some(last) = page.last() else {
                view.close().await;
                continue;
            };
            let after = Some(last.sort.clone());
            let lines = page.into_iter().map(|found| self.line(&index, found)).collect();
            self.open = Some((index, view, after));
            return Ok(Some(lines));
        }
    }

    fn line(&self, index: &str, found: Found) -> Value {
        let mut document = found.source;
        if let Some(vector) = found.fields.numbers() {
            document["face"]["embedding"] = vector;
        }
        json!({"collection": self.to.collection, "index": index, "id": found.id, "document": document})
    }
}
