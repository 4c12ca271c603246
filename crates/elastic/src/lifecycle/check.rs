//! Whether a collection is what it should be: photos with all of their faces, vectors of unit length, each picture once,
//! the mapping as it is compiled in. Reads everything and changes nothing.

use std::collections::BTreeSet;

use elasticsearch::http::Method;
use facedex_base::space::Metric;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

use super::drift::drift;
use super::imports;
use super::walk::{Photo, Read, Walk, with_view};
use crate::lifecycle::recall;
use crate::people::purge;
use crate::schema::collection::Collection;
use crate::schema::document::{face_id, flaws};
use crate::schema::embedding::{self, Fields};
use crate::schema::resolve::{self, survey, unseen};
use crate::schema::template;
use crate::schema::tombstones;
use crate::schema::versions;
use crate::transport::client::Payload;
use crate::wire::reply::STRICT;
use crate::write::load;
use crate::{Destination, ElasticError};

/// A vector's length may differ from 1 by this much: single-precision arithmetic accounts for less than a tenth of it.
pub(crate) const LENGTH_TOLERANCE: f64 = 1e-3;
/// Faces of two photos with a cosine above this, and the same figures, are of the same pixels.
const SAME_PIXELS: f64 = 0.9999;
/// Groups that one request for figures brings.
const GROUPS: usize = 1000;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Faces that were looked at.
    pub faces: u64,
    /// Photos that were looked at.
    pub photos: u64,
    /// Photos of which faces are missing, or that a rewrite left unfinished.
    pub incomplete: Findings,
    /// Faces whose vector is not of length 1.
    pub lengths: Findings,
    /// Photos whose pixels are another photo's: copies of one picture in files that differ.
    pub duplicates: Findings,
    /// Places (`image.uri`) that are stored with several contents: the file there was changed after it was ingested.
    pub changed: Findings,
    /// Differences from the compiled mapping and template.
    pub drift: Findings,
    /// Indices with the collection's id that are no part of it, and its aliases that stand for other indices.
    pub copies: Findings,
    /// Faces that were deleted on request and are stored.
    pub returned: Findings,
    /// What a command that was cut off has left in the indices' settings.
    pub leftovers: Findings,
    /// Documents that are not as facedex writes them, or whose person could not be asked for.
    pub foreign: Findings,
}

/// How many, with some examples.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// How many.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Findings {
    fn add(&mut self, most: usize, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < most {
            self.examples.push(example());
        }
    }
}

impl Report {
    /// All findings by name.
    pub fn findings(&self) -> [(&'static str, &Findings); 9] {
        [
            ("photos with missing faces", &self.incomplete),
            ("vectors of a wrong length", &self.lengths),
            ("photos that are copies of others", &self.duplicates),
            ("files that changed since", &self.changed),
            ("differences in the mapping", &self.drift),
            ("copies of the collection's index, and aliases of others", &self.copies),
            ("faces that were deleted on request and are stored", &self.returned),
            ("settings that a command left behind", &self.leftovers),
            ("documents that others wrote, or that nobody can ask for", &self.foreign),
        ]
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, findings)| findings.count == 0)
    }
}

/// Checks a collection; keeps at most `examples` of each kind of finding.
///
/// # Errors
///
/// Fails where Elasticsearch cannot be reached or refuses a request.
pub async fn check(to: &Destination, collection: &Collection, examples: usize) -> Result<Report, ElasticError> {
    let mut report = Report::default();
    mappings(to, collection, examples, &mut report.drift).await?;
    indices(to, collection, examples, &mut report).await?;
    with_view(to, async |view| {
        let mut walk = Walk::new(Read::Documents, None);
        while let Some(photo) = walk.next(view).await? {
            check_photo(&photo, collection.metric, examples, &mut report);
        }
        Ok(())
    })
    .await?;
    copies(to, examples, &mut report.duplicates).await?;
    changed_files(to, examples, &mut report.changed).await?;
    Ok(report)
}

/// The live mapping and the installed template against the compiled ones.
async fn mappings(
    to: &Destination,
    collection: &Collection,
    examples: usize,
    found: &mut Findings,
) -> Result<(), ElasticError> {
    let wanted = template::wanted_template(collection)?;
    let path = format!("/{}/_mapping", collection.index);
    let reply: Value = to
        .json("read the mapping", Method::Get, &path, &[], Payload::None)
        .await?;
    for difference in drift(&wanted["template"]["mappings"], &reply[&collection.index]["mappings"]) {
        found.add(examples, || difference);
    }
    if let Some(warning) = recall::early_termination(&to.client, collection).await? {
        found.add(examples, || warning);
    }
    let installed = template::installed_template_version(&to.client, template::TEMPLATE_NAME).await?;
    if installed < wanted["version"].as_i64() {
        let installed = installed.map_or("none".to_owned(), |version| format!("version {version}"));
        found.add(examples, || {
            format!(
                "index template: {installed} is installed, this facedex has version {}; `facedex collection repair` installs it",
                wanted["version"]
            )
        });
    }
    Ok(())
}

/// The indices of the collection beside the one that is searched, and what is in them that should not be.
async fn indices(
    to: &Destination,
    collection: &Collection,
    examples: usize,
    report: &mut Report,
) -> Result<(), ElasticError> {
    let all = survey(&to.client).await?;
    for (index, _) in all.iter().filter(|(_, described)| described.is_hidden) {
        report.leftovers.add(examples, || unseen(index).to_string());
    }
    let (versions, copies) = versions::sorted(collection, &all);
    for copy in copies {
        report.copies.add(examples, || {
            format!("{copy}; `facedex collection adopt` says which one is meant")
        });
    }
    for stray in resolve::found(&to.client, &collection.name).await?.1 {
        report.copies.add(examples, || {
            format!(
                "the alias {} stands for {}; `facedex collection adopt` makes {} the collection",
                stray.alias, stray.index, collection.index
            )
        });
    }
    for version in versions {
        if let Err(closed) = version.expect_open() {
            report.leftovers.add(examples, || closed.to_string());
            continue;
        }
        let of_version = Collection {
            index: version.index.clone(),
            ..collection.clone()
        };
        for (id, _) in tombstones::stored_again(&to.client, &of_version).await? {
            report.returned.add(examples, || format!("{id} in {}", version.index));
        }
        if purge::is_left_behind(to, &version.index).await? {
            report.leftovers.add(examples, || {
                format!(
                    "{}: a purge was cut off; `facedex collection repair` sets the merge policy right",
                    version.index
                )
            });
        }
    }
    if let Some(import) = imports::unfinished(&to.client, collection).await?
        && !import.is_alive()
    {
        report.leftovers.add(examples, || {
            format!("{}: {}", collection.index, import.meaning(&collection.name))
        });
    }
    // One that goes on is no leftover.
    if let Some(load) = load::in_progress(&to.client, collection).await?
        && !load.is_alive
    {
        report.leftovers.add(examples, || {
            format!("{}: {}", collection.index, load.meaning(&collection.name))
        });
    }
    Ok(())
}

/// One photo's faces: are all there, and are their vectors as long as they should be?
fn check_photo(photo: &Photo, metric: Metric, examples: usize, report: &mut Report) {
    report.photos += 1;
    report.faces += photo.faces.len() as u64;
    for face in &photo.faces {
        let flaws = flaws(&face.source);
        if !flaws.is_empty() {
            let remedy =
                "`facedex label ID --person WHO --overwrite` gives it a person, DELETE /v1/faces/ID deletes it";
            report
                .foreign
                .add(examples, || format!("{}: {} ({remedy})", face.id, flaws.join(", ")));
        }
        let length = face.embedding().map(|vector| norm(&vector));
        let wrong = |length: f64| metric == Metric::Cosine && (length - 1.0).abs() > LENGTH_TOLERANCE;
        if length.is_none_or(wrong) {
            report.lengths.add(examples, || match length {
                Some(length) => format!("{}: length {length:.4}", face.id),
                None => format!("{}: no vector", face.id),
            });
        }
    }
    let Some(hash) = &photo.hash else {
        report.incomplete.add(examples, || {
            format!("{} documents without image.hash", photo.faces.len())
        });
        return;
    };
    let stored: BTreeSet<&str> = photo.faces.iter().map(|face| face.id.as_str()).collect();
    let expected = photo
        .faces
        .iter()
        .filter_map(|face| face.source["image"]["faces"].as_u64())
        .max();
    let missing: Vec<u64> = (0..expected.unwrap_or(0))
        .filter(|&ordinal| !stored.contains(face_id(hash, ordinal as usize).as_str()))
        .collect();
    let unfinished = photo
        .faces
        .iter()
        .any(|face| face.source["image"]["unfinished"] == true);
    if unfinished || !missing.is_empty() {
        let uri = photo
            .faces
            .iter()
            .find_map(|face| face.source["image"]["uri"].as_str())
            .unwrap_or("");
        report.incomplete.add(examples, || match unfinished {
            true => format!("{hash} ({uri}): a rewrite was cut off"),
            false => format!(
                "{hash} ({uri}): faces {missing:?} of {} are missing",
                expected.unwrap_or(0)
            ),
        });
    }
}

fn norm(vector: &[f32]) -> f64 {
    vector
        .iter()
        .map(|&value| f64::from(value) * f64::from(value))
        .sum::<f64>()
        .sqrt()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot / (norm(a) * norm(b))
}

/// The same pixels give the same figures: Elasticsearch finds groups of faces with equal ones, the vectors decide.
async fn copies(to: &Destination, examples: usize, found: &mut Findings) -> Result<(), ElasticError> {
    const FIGURES: [&str; 3] = ["face.score", "face.quality.sharpness", "face.quality.brightness"];
    let mut seen = BTreeSet::new();
    let mut groups = Groups::new(&FIGURES);
    while let Some(page) = groups.next(to).await? {
        for (key, _) in page.into_iter().filter(|(_, count)| *count > 1) {
            let terms: Vec<Value> = FIGURES
                .iter()
                .zip(&key)
                .map(|(field, value)| json!({"term": {*field: value}}))
                .collect();
            let mut body = json!({
                "query": {"bool": {"filter": terms}}, "size": 100, "_source": ["image.hash", "image.uri"],
            });
            embedding::ask(&mut body, &*to.versions().await?);
            let reply = search(to, &body).await?;
            let empty = Vec::new();
            let alike = reply["hits"]["hits"].as_array().unwrap_or(&empty);
            for (at, hit) in alike.iter().enumerate() {
                let text = |hit: &Value, field: &str| hit["_source"]["image"][field].as_str().unwrap_or("").to_owned();
                let original = alike[..at].iter().find(|other| {
                    text(other, "hash") != text(hit, "hash") && cosine(&vector(other), &vector(hit)) > SAME_PIXELS
                });
                // A photo of several faces is met once a face.
                if let Some(original) = original
                    && seen.insert(text(hit, "hash"))
                {
                    found.add(examples, || {
                        format!("{} shows what {} shows", text(hit, "uri"), text(original, "uri"))
                    });
                }
            }
        }
    }
    Ok(())
}

fn vector(hit: &Value) -> Vec<f32> {
    let fields: Fields = Fields::deserialize(&hit["fields"]).unwrap_or_default();
    fields.vector().unwrap_or_default()
}

/// Groups come in order, so the contents of one place follow one another.
async fn changed_files(to: &Destination, examples: usize, found: &mut Findings) -> Result<(), ElasticError> {
    let mut groups = Groups::new(&["image.uri", "image.hash"]);
    let mut last: Option<(Value, u64)> = None;
    while let Some(page) = groups.next(to).await? {
        for (key, _) in page {
            match &mut last {
                Some((uri, contents)) if *uri == key[0] => {
                    *contents += 1;
                    if *contents == 2 {
                        found.add(examples, || key[0].as_str().unwrap_or("").to_owned());
                    }
                }
                _ => last = Some((key[0].clone(), 1)),
            }
        }
    }
    Ok(())
}

/// The different values of some fields together, a page at a time (a `composite` aggregation).
struct Groups {
    fields: Vec<&'static str>,
    after: Option<Value>,
    ended: bool,
}

impl Groups {
    fn new(fields: &[&'static str]) -> Self {
        Self {
            fields: fields.to_vec(),
            after: None,
            ended: false,
        }
    }

    async fn next(&mut self, to: &Destination) -> Result<Option<Vec<(Vec<Value>, u64)>>, ElasticError> {
        if self.ended {
            return Ok(None);
        }
        let sources: Vec<Value> = self
            .fields
            .iter()
            .map(|field| json!({*field: {"terms": {"field": field}}}))
            .collect();
        let mut composite = json!({"size": GROUPS, "sources": sources});
        if let Some(after) = self.after.take() {
            composite["after"] = after;
        }
        let body = json!({"size": 0, "aggs": {"groups": {"composite": composite}}});
        let mut reply = search(to, &body).await?;
        let groups = reply["aggregations"]["groups"].take();
        let buckets = groups["buckets"].as_array().cloned().unwrap_or_default();
        self.ended = buckets.len() < GROUPS || groups["after_key"].is_null();
        self.after = Some(groups["after_key"].clone());
        let of = |bucket: &Value| {
            let key = self.fields.iter().map(|field| bucket["key"][field].clone()).collect();
            (key, bucket["doc_count"].as_u64().unwrap_or(0))
        };
        Ok(Some(buckets.iter().map(of).collect()))
    }
}

async fn search(to: &Destination, body: &Value) -> Result<Value, ElasticError> {
    let path = format!("/{}/_search", to.collection);
    to.json("look for copies", Method::Post, &path, &STRICT, Payload::Json(body))
        .await
}
