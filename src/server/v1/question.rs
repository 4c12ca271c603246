//! What search and identify have in common: options and a photo in, each chosen face asked about, one answer out.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use axum::{Extension, Json};
use facedex_elastic::ElasticError;
use facedex_elastic::read::effort::{Asked, MAX_CANDIDATES};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::filter::Filter;
use facedex_elastic::schema::resolve;
use facedex_face::select::FaceChoice;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{check_similarity, face_choice};
use crate::query::QueryError;
use crate::query::answer::{FaceAnswer, Took, milliseconds};
use crate::query::search::{Limit, SearchOptions, threshold};
use crate::query::threshold::{MAX_FPIR, Threshold};
use crate::server::access::{Caller, Scope};
use crate::server::error::ApiError;
use crate::server::events::{Decided, EventFacts};
use crate::server::photo::{self, ChosenFace, FoundFaces, ImageSize, WithPhotos};
use crate::server::schemas::{FormBody, JsonBody};
use crate::server::state::App;

/// What `oversample` was where nobody said.
const FORMER_OVERSAMPLE: f32 = 5.0;
/// When `num_candidates` and `oversample` became former names (RFC 9745): 2026-12-01.
const DEPRECATED_SINCE: &str = "@1796083200";

/// Options of a search.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QuestionOptions {
    /// The collection to search; in the query string where the photo is the whole body or a part of a form.
    #[schema(value_type = crate::server::schemas::CollectionName)]
    #[param(value_type = crate::server::schemas::CollectionName, required = false)]
    pub collection: String,
    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top.
    #[serde(default, deserialize_with = "face_choice")]
    #[schema(value_type = crate::server::schemas::FaceText, required = false)]
    #[param(value_type = crate::server::schemas::FaceText, required = false)]
    pub face: FaceChoice,
    /// How many results a face.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 10_000, default = 10)]
    #[param(minimum = 1, maximum = 10_000, default = 10)]
    pub k: u16,
    /// Results that are passed over, best first: the next page begins at `offset` + `k`, together at most 10,000.
    #[serde(default)]
    #[schema(maximum = 9_999, default = 0)]
    #[param(maximum = 9_999, default = 0)]
    pub offset: u16,
    /// How many faces each shard's graph is searched for: more find more of the true neighbours and take longer [default: by
    /// the size of the collection; for 99 % of the ten nearest in a search, for the nearest in 99.9 % of identifications].
    #[schema(minimum = 1, maximum = 10_000)]
    #[param(minimum = 1, maximum = 10_000)]
    pub candidates: Option<u16>,
    /// How many of the candidates are compared again with full-precision vectors, where the index compares shortened ones; at
    /// most `candidates` [default: 5 for each result; all candidates of a bbq_hnsw index].
    #[schema(minimum = 1, maximum = 10_000)]
    #[param(minimum = 1, maximum = 10_000)]
    pub rescored: Option<u16>,
    /// Former: `candidates` and `rescored` are `num_candidates` times `oversample`. Taken for one more release.
    #[schema(minimum = 1, maximum = 10_000)]
    #[param(minimum = 1, maximum = 10_000)]
    #[deprecated = "it is candidates and rescored now"]
    pub num_candidates: Option<u16>,
    /// Former: see `num_candidates`.
    #[schema(minimum = 1, maximum = 10_000)]
    #[param(minimum = 1, maximum = 10_000)]
    #[deprecated = "it is candidates and rescored now"]
    pub oversample: Option<f32>,
    /// Share of searches for people who are not in the collection that may name somebody [default: 0.01]. The
    /// similarity that this needs rises with the number of faces searched.
    #[schema(exclusive_minimum = 0, exclusive_maximum = 1)]
    #[param(exclusive_minimum = 0, exclusive_maximum = 1)]
    pub max_fpir: Option<f64>,
    /// Match from this cosine on, whatever false matches it brings; instead of `max_fpir`.
    #[schema(minimum = -1, maximum = 1)]
    #[param(minimum = -1, maximum = 1)]
    pub min_similarity: Option<f64>,
    /// Only faces that meet these conditions (field=value or field!=value, for example person.id=ada,
    /// labels.album=1927): one field's values are alternatives, different fields must all hold.
    #[serde(default, deserialize_with = "filters")]
    #[schema(value_type = Vec<String>, required = false)]
    #[param(value_type = Vec<String>, required = false)]
    pub filter: Vec<Filter>,
    /// Answer with the embeddings of the photo's faces too.
    #[serde(default)]
    #[schema(default = false)]
    #[param(default = false)]
    pub include_embedding: bool,
}

/// The options in a form.
pub type QuestionForm = FormBody<QuestionOptions>;
/// The options in JSON.
pub type QuestionJson = JsonBody<QuestionOptions>;

impl WithPhotos for QuestionOptions {
    const PHOTOS: &'static [&'static str] = &["photo"];
    const EMBEDDINGS: bool = true;
}

fn ten() -> u16 {
    10
}

fn filters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Filter>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(serde::de::Error::custom))
        .collect()
}

/// The answer to a search.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    /// The collection that was searched.
    pub collection: String,
    /// The photo's size; absent where an embedding was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSize>,
    /// The chosen faces, in order from the top.
    pub faces: Vec<FaceAnswer<T>>,
    /// Where the time went.
    pub took: Took,
}

/// A question that is ready to be asked.
pub struct Question {
    /// How hard to look; `k` with the results that are passed over.
    pub options: SearchOptions,
    /// Results that are passed over.
    pub offset: usize,
    /// Where to look.
    pub collection: Collection,
    /// What decides.
    pub threshold: Threshold,
    /// About whom.
    pub faces: Vec<ChosenFace>,
    size: Option<ImageSize>,
    with_embedding: bool,
    with_former: bool,
    photo_ms: f64,
    search_ms: f64,
}

impl Question {
    /// Reads a request: opens the collection and settles the threshold while the photo's faces are found.
    pub async fn receive(app: &Arc<App>, caller: &Caller, request: Request) -> Result<Self, ApiError> {
        caller.may_do(Scope::Read)?;
        let (given, inputs) = photo::receive::<QuestionOptions>(app, request).await?;
        caller.may(Scope::Read, &given.collection)?;
        let asked = given.check()?;
        let limit = match given.min_similarity {
            Some(similarity) => Limit::MinSimilarity(similarity),
            None => Limit::MaxFpir(given.max_fpir.unwrap_or(MAX_FPIR)),
        };
        let settle = async {
            let start = Instant::now();
            let collection = resolve::open(&app.elastic, &given.collection).await?;
            let embedder = app.inference.embedder();
            collection.expect_space(&embedder.space)?;
            let (threshold, stored) = threshold(&app.elastic, &collection, embedder, &given.filter, limit)
                .await
                .map_err(|error| unless_filtered(error, &given.filter))?;
            let options = SearchOptions {
                k: usize::from(given.k) + usize::from(given.offset),
                asked,
                stored,
                filters: given.filter.clone(),
                exact: false,
            };
            Ok::<_, ApiError>((collection, options, threshold, milliseconds(start)))
        };
        let look = async {
            let start = Instant::now();
            let mut seen = Vec::new();
            for input in inputs {
                seen.push(photo::find_faces(app, "photo", input, given.face, false).await?);
            }
            let seen = seen.pop().unwrap_or(FoundFaces {
                size: None,
                found: None,
                faces: Vec::new(),
            });
            Ok::<_, ApiError>((seen, milliseconds(start)))
        };
        let ((collection, options, threshold, search_ms), (seen, photo_ms)) = tokio::try_join!(settle, look)?;
        Ok(Self {
            options,
            offset: given.offset.into(),
            collection,
            threshold,
            faces: seen.faces,
            size: seen.size,
            with_embedding: given.include_embedding,
            with_former: given.former().is_some(),
            photo_ms,
            search_ms,
        })
    }

    /// The answer, from the results of the faces in their order, and what is told of it. `start` is when the first of them
    /// was asked about.
    pub fn answer<T>(
        self,
        results: Vec<T>,
        start: Instant,
        decisions: &[Decided],
    ) -> (HeaderMap, Extension<EventFacts>, Json<Answer<T>>) {
        let search_ms = self.search_ms + milliseconds(start);
        let mut facts = EventFacts::of(Some(self.collection.name.clone()), self.threshold.similarity, decisions);
        if let Some(query) = &mut facts.query {
            query.photo_ms = Some(self.photo_ms);
            query.search_ms = Some(search_ms);
        }
        let faces = self.faces.into_iter().zip(results).map(|(seen, result)| FaceAnswer {
            ordinal: seen.ordinal,
            face: seen.show(self.with_embedding),
            result,
        });
        let answer = Answer {
            collection: self.collection.name,
            image: self.size,
            faces: faces.collect(),
            took: Took {
                photo_ms: self.photo_ms,
                search_ms: (search_ms * 100.0).round() / 100.0,
            },
        };
        let mut headers = HeaderMap::new();
        if self.with_former {
            headers.insert("deprecation", HeaderValue::from_static(DEPRECATED_SINCE));
            headers.insert(LINK, HeaderValue::from_static("</docs>; rel=\"deprecation\""));
        }
        (headers, Extension(facts), Json(answer))
    }
}

/// Nothing but the conditions differs between one count of a collection's faces and another: what Elasticsearch cannot
/// parse is in them (a word where the field has numbers).
fn unless_filtered(error: QueryError, filters: &[Filter]) -> ApiError {
    match error {
        QueryError::Elastic(ElasticError::Refused {
            status: 400,
            kind,
            reason,
            ..
        }) if !filters.is_empty() && kind != "index_closed_exception" => ApiError::parameter("filter", reason),
        error => error.into(),
    }
}

impl QuestionOptions {
    /// Refuses what cannot be; gives how far to look.
    fn check(&self) -> Result<Asked, ApiError> {
        check_similarity(self.min_similarity)?;
        if self.min_similarity.is_some() && self.max_fpir.is_some() {
            return Err(ApiError::parameter("min_similarity", "give either it or max_fpir"));
        }
        if !(1..=MAX_CANDIDATES).contains(&self.k.into()) {
            return Err(ApiError::parameter("k", format!("from 1 to {MAX_CANDIDATES}")));
        }
        if usize::from(self.k) + usize::from(self.offset) > MAX_CANDIDATES {
            return Err(ApiError::parameter(
                "offset",
                format!("offset + k is at most {MAX_CANDIDATES}"),
            ));
        }
        for (name, number) in [("candidates", self.candidates), ("rescored", self.rescored)] {
            if number.is_some_and(|number| !(1..=MAX_CANDIDATES).contains(&number.into())) {
                return Err(ApiError::parameter(name, format!("from 1 to {MAX_CANDIDATES}")));
            }
        }
        let asked = Asked {
            candidates: self.candidates,
            rescored: self.rescored,
            former: None,
        };
        asked
            .check()
            .map_err(|reason| ApiError::parameter("rescored", reason))?;
        match self.former() {
            None => Ok(asked),
            Some(_) if asked != Asked::default() => {
                let reason = "num_candidates and oversample are its former names: leave them out";
                Err(ApiError::parameter("candidates", reason))
            }
            Some((candidates, times)) => former(candidates, times),
        }
    }

    /// The former fields, where they are given.
    #[expect(deprecated, reason = "the one place that reads them")]
    fn former(&self) -> Option<(Option<u16>, Option<f32>)> {
        (self.num_candidates.is_some() || self.oversample.is_some()).then_some((self.num_candidates, self.oversample))
    }
}

/// What the former fields ask for. Without candidates a search looks as far as it does by itself.
fn former(candidates: Option<u16>, times: Option<f32>) -> Result<Asked, ApiError> {
    if candidates.is_some_and(|number| !(1..=MAX_CANDIDATES).contains(&number.into())) {
        return Err(ApiError::parameter(
            "num_candidates",
            format!("from 1 to {MAX_CANDIDATES}"),
        ));
    }
    let times = times.unwrap_or(FORMER_OVERSAMPLE);
    if !(1.0..=10_000.0).contains(&times) {
        return Err(ApiError::parameter("oversample", "from 1 to 10000"));
    }
    Ok(Asked {
        former: candidates.map(|candidates| (candidates, times)),
        ..Asked::default()
    })
}
