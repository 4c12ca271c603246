//! `facedex cluster`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use facedex_elastic::Destination;
use facedex_elastic::people::clusters::{self, Updated};
use facedex_elastic::read::effort::{Asked, Effort, MAX_CANDIDATES, Question};
use facedex_elastic::read::search;
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::filter::Filter;
use facedex_elastic::schema::make;
use facedex_elastic::schema::resolve;
use facedex_elastic::transport::retry::RetryPolicy;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::effort::FormerArgs;
use super::tables::{body, table};
use super::{CollectionArg, SUCCESS, client, parse_similarity, recipe, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::eval::clustering::{Agreement, agreement};
use crate::query::cluster::{Grouping, group, name, neighbourhood};
use crate::query::threshold::Threshold;
use crate::terminal;

/// Clusters that are listed.
const LISTED: usize = 20;

#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    collection: CollectionArg,

    /// End when elasticsearch has accepted nothing for so long; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2m")]
    retry_for: Duration,

    /// Only faces that meet this condition (field=value or field!=value); may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    filter: Vec<Filter>,

    /// Clusters become one while the faces of both are on average as alike as two different people are at this rate
    /// (docs/accuracy.md says how the default was chosen)
    #[arg(long, value_name = "RATE", default_value_t = 2e-5)]
    max_fmr: f64,

    /// The same as a similarity
    #[arg(long, value_name = "SIMILARITY", value_parser = parse_similarity, conflicts_with = "max_fmr", allow_negative_numbers = true)]
    min_similarity: Option<f64>,

    /// Nearest neighbours of each face that are looked at
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    neighbours: u16,

    #[command(flatten)]
    effort: ClusterEffortArgs,

    /// Two photos whose faces are at least so alike are listed as near-duplicates
    #[arg(long, value_name = "SIMILARITY", value_parser = parse_similarity, default_value_t = 0.95)]
    duplicates: f64,

    /// Only report: leave the faces as they are
    #[arg(long)]
    dry_run: bool,
}

/// How far to look for each face's neighbours.
#[derive(Debug, Args)]
struct ClusterEffortArgs {
    /// How many faces each shard's graph is searched for
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    candidates: u16,

    /// How many of the candidates are compared again with full-precision vectors, where the index compares shortened ones
    /// [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    rescored: Option<u16>,

    #[command(flatten)]
    former: FormerArgs,
}

impl ClusterEffortArgs {
    fn effort(&self, collection: &Collection, neighbours: u16) -> Result<Effort, Error> {
        self.former.refuse(1.5)?;
        let asked = Asked {
            candidates: Some(self.candidates),
            rescored: Some(self.rescored.unwrap_or(self.candidates)),
            former: None,
        };
        asked.check().map_err(Error::Effort)?;
        Ok(asked.effort(Question::Search, &collection.layout(), usize::from(neighbours) + 1, 0))
    }
}

#[derive(Debug, Serialize)]
struct Report {
    collection: String,
    faces: usize,
    /// Clusters of two faces or more.
    clusters: usize,
    /// Faces in them.
    clustered: usize,
    threshold: Threshold,
    /// The largest ones.
    largest: Vec<Listed>,
    /// Photos that show nearly the same.
    near_duplicates: Vec<[String; 2]>,
    /// How well this agrees with the people that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Updated>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    faces: usize,
    /// The name that most of its labelled faces have.
    #[serde(skip_serializing_if = "Option::is_none")]
    mostly: Option<String>,
}

pub(super) async fn run(args: &ClusterArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let start = Instant::now();
    let embedder = recipe(global)?.embedder;
    let threshold = match args.min_similarity {
        Some(similarity) => Threshold::fixed(&embedder, similarity, None),
        None => Threshold::for_comparison(&embedder, args.max_fmr)?,
    };
    let client = Arc::new(client(global)?);
    let collection = resolve::open(&client, &args.collection.collection).await?;
    collection.expect_space(&embedder.space)?;
    search::count_among(&client, &collection, &args.filter).await?;
    let grouping = Grouping {
        threshold: threshold.similarity,
        neighbours: args.neighbours.into(),
        effort: args.effort.effort(&collection, args.neighbours)?,
    };
    let policy = RetryPolicy {
        give_up_after: Some(args.retry_for),
        ..RetryPolicy::DEFAULT
    };
    let to = Destination::new(Arc::clone(&client), &collection, policy);
    let bar = terminal::BARS.add(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} faces looked up, {elapsed}") {
        bar.set_style(style);
    }
    let progress = |done: usize| bar.set_position(done as u64);
    let found = neighbourhood(&to, &collection, &args.filter, &grouping, progress).await;
    bar.finish_and_clear();
    let found = found?;
    let vectors: Vec<&[f32]> = found.faces.iter().map(|face| face.vector.as_slice()).collect();
    let groups = group(&vectors, &found.edges, threshold.similarity);
    let mut cluster_of = vec![None; found.faces.len()];
    for (number, members) in groups.iter().enumerate() {
        for &at in members {
            cluster_of[at] = Some(number);
        }
    }
    let names: Vec<String> = groups.iter().map(|members| name(&found.faces, members)).collect();
    let person = |at: usize| found.faces[at].person.as_ref().map(|person| person.id.as_str());
    let truth: Vec<_> = (0..found.faces.len()).map(|at| (person(at), cluster_of[at])).collect();
    let changes: Vec<_> = found
        .faces
        .iter()
        .zip(&cluster_of)
        .map(|(face, cluster)| (face, cluster.map(|number: usize| names[number].clone())))
        .filter(|(face, cluster)| face.cluster != *cluster)
        .map(|(face, cluster)| (face.id.clone(), face.version, cluster))
        .collect();
    let written = match args.dry_run {
        true => None,
        false => {
            make::prepare(&to, &collection).await?;
            Some(clusters::write(&to, &changes).await?)
        }
    };
    let photo = |at: usize| found.faces[at].image.clone().unwrap_or_default();
    let alike = found
        .edges
        .iter()
        .filter(|(.., similarity)| *similarity >= args.duplicates);
    let mut near_duplicates: Vec<[String; 2]> = alike
        .map(|(a, b, _)| [photo(*a), photo(*b)])
        .filter(|[a, b]| a != b)
        .collect();
    near_duplicates.sort();
    near_duplicates.dedup();
    let largest = groups.iter().zip(&names).take(LISTED).map(|(members, id)| Listed {
        id: id.clone(),
        faces: members.len(),
        mostly: mostly(members.iter().filter_map(|&at| person(at))),
    });
    let report = Report {
        collection: collection.name.clone(),
        faces: found.faces.len(),
        clusters: groups.len(),
        clustered: groups.iter().map(Vec::len).sum(),
        threshold,
        largest: largest.collect(),
        near_duplicates,
        agreement: agreement(&truth),
        written,
        seconds: start.elapsed().as_secs_f64(),
    };
    show(global, &report, || text(&report))?;
    Ok(SUCCESS)
}

/// What most of them are; of equals the first in the alphabet.
fn mostly<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)));
    most.map(|(name, _)| name.to_owned())
}

fn text(report: &Report) -> String {
    let mut rows = table(&["cluster", "faces", "mostly"], &[1]);
    for listed in &report.largest {
        let mostly = listed.mostly.as_deref().unwrap_or("(no names)");
        rows.add_row(vec![
            listed.id.clone(),
            listed.faces.to_string(),
            terminal::clean(mostly),
        ]);
    }
    let mut text = format!(
        "{} faces: {} clusters of {} of them, in {:.1} s\n{}",
        report.faces,
        report.clusters,
        report.clustered,
        report.seconds,
        body(&rows)
    );
    for [a, b] in report.near_duplicates.iter().take(LISTED) {
        text.push_str(&format!(
            "nearly the same: {} {}\n",
            terminal::plain(a),
            terminal::plain(b)
        ));
    }
    if report.near_duplicates.len() > LISTED {
        text.push_str(&format!(
            "and {} more pairs (--json has all)\n",
            report.near_duplicates.len() - LISTED
        ));
    }
    if let Some(found) = &report.agreement {
        text.push_str(&format!(
            "against the {} people that {} faces are labelled with: pairs precision {:.4}, recall {:.4}; BCubed precision {:.4}, recall {:.4}, F {:.4}\n",
            found.people,
            found.faces,
            found.pair_precision,
            found.pair_recall,
            found.bcubed_precision,
            found.bcubed_recall,
            found.bcubed_f
        ));
    }
    text + &match &report.written {
        Some(written) => format!("{} faces changed their cluster\n", written.changed),
        None => "nothing was written\n".to_owned(),
    }
}
