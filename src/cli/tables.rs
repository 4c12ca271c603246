//! What people read: plain tables and a line of explanation.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use facedex_elastic::schema::collection::Collection;
use facedex_elastic::schema::document::Person;
use facedex_elastic::schema::resolve;

use super::keys::Listed;
use super::query::Answer;
use super::verify;
use crate::ingest::profile::Shares;
use crate::ingest::{Stage, Summary};
use crate::query::identify::{Decision, Identification};
use crate::query::search::SearchResult;
use crate::query::threshold::Threshold;
use crate::terminal;

/// A table of text: the columns of these places hold numbers.
pub fn table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for &column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table without the spaces that would pad its last column.
pub fn rendered(rows: &Table) -> String {
    rows.trim_fmt() + "\n"
}

/// The table without its header.
pub fn body(rows: &Table) -> String {
    rendered(rows).lines().skip(1).map(|line| format!("{line}\n")).collect()
}

/// Bytes as people read them, in powers of 1024.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

fn name(person: Option<&Person>) -> String {
    person.map_or_else(
        || "(no name)".to_owned(),
        |person| terminal::clean(person.name.as_ref().unwrap_or(&person.id)),
    )
}

/// Who answered, how long it took, and what a match means.
fn footer<T>(answer: &Answer<T>, threshold: &Threshold) -> String {
    format!(
        "{}\nphoto {:.0} ms, search {:.0} ms\n",
        threshold.explain(),
        answer.took.photo_ms,
        answer.took.search_ms
    )
}

pub(super) fn search(answer: &Answer<SearchResult>, threshold: &Threshold) -> String {
    let mut text = format!("{} in collection {}\n", answer.photo, answer.collection);
    for face in &answer.faces {
        let hits = &face.result.hits;
        if hits.is_empty() {
            text.push_str(&format!("face {}: no match\n", face.ordinal));
            continue;
        }
        text.push_str(&format!(
            "face {}: {} match{}\n",
            face.ordinal,
            hits.len(),
            plural(hits.len())
        ));
        let mut rows = table(&["rank", "similarity", "person", "face", "image"], &[0, 1, 3]);
        for (rank, hit) in hits.iter().enumerate() {
            rows.add_row(vec![
                (rank + 1).to_string(),
                format!("{:.3}", hit.similarity),
                name(hit.person.as_ref()),
                hit.id.rsplit_once('-').map_or("", |(_, ordinal)| ordinal).to_owned(),
                terminal::plain(&hit.image),
            ]);
        }
        text.push_str(&rendered(&rows));
    }
    text + &footer(answer, threshold)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "es" }
}

pub(super) fn identify(answer: &Answer<Identification>, threshold: &Threshold) -> String {
    let mut text = format!("{} in collection {}\n", answer.photo, answer.collection);
    for face in &answer.faces {
        let result = &face.result;
        let verdict = match (result.decision, result.similarity) {
            (Decision::Match, Some(similarity)) => match &result.person {
                Some(person) => format!("{}, similarity {similarity:.3}", name(Some(person))),
                None => format!("in the collection, without a name (similarity {similarity:.3})"),
            },
            (_, Some(nearest)) => format!("unknown (the nearest face has similarity {nearest:.3})"),
            (_, None) => "unknown (no faces were searched)".to_owned(),
        };
        text.push_str(&format!("face {}: {verdict}\n", face.ordinal));
        if result.decision == Decision::Match {
            let mut rows = table(&["", "similarity", "person", "faces found"], &[1, 3]);
            for candidate in &result.candidates {
                let matches = candidate.similarity >= threshold.similarity;
                rows.add_row(vec![
                    if matches { "match" } else { "" }.to_owned(),
                    format!("{:.3}", candidate.similarity),
                    name(candidate.person.as_ref()),
                    candidate.hits.len().to_string(),
                ]);
            }
            text.push_str(&rendered(&rows));
        }
    }
    text + &footer(answer, threshold)
}

pub(super) fn verify(answer: &verify::Answer) -> String {
    let mut text = String::new();
    for side in &answer.photos {
        text.push_str(&format!(
            "{}: face {} of {}\n",
            side.photo, side.ordinal, side.faces_found
        ));
    }
    let verdict = match answer.result.decision {
        Decision::Match => "match: the same person",
        Decision::Unknown => "no match",
    };
    text + &format!(
        "{verdict}, similarity {:.3}\n{}\n",
        answer.result.similarity,
        answer.result.threshold.explain()
    )
}

/// The counts of a run; `to` is the collection and the cluster's address, absent for a dry run.
pub(super) fn summary(summary: &Summary, to: Option<(&str, String)>, dry_run: bool) -> String {
    let mut rows = table(&["", ""], &[1]);
    let mut row = |label: &str, value: u64| {
        rows.add_row(vec![label.to_owned(), value.to_string()]);
    };
    row("photos", summary.images);
    row("faces", summary.faces);
    if to.is_some() {
        row(
            if dry_run { "  to be indexed" } else { "  indexed now" },
            summary.indexed,
        );
        row("  there before", summary.existing);
    }
    for (label, count) in [
        ("  of these somebody else before", summary.renamed),
        (
            if dry_run {
                "  there without a person, to be named"
            } else {
                "  there without a person, named"
            },
            summary.named,
        ),
        ("  there without a person, left so", summary.unnamed),
        ("  there as another person, left so", summary.conflicts),
    ] {
        if count > 0 {
            row(label, count);
        }
    }
    if summary.deleted > 0 {
        row("  deleted on request, left out", summary.deleted);
    }
    if summary.removed > 0 {
        row("  not found any more, removed", summary.removed);
    }
    row("photos without a face", summary.no_face);
    if summary.done_before > 0 {
        row("photos done by earlier runs", summary.done_before);
    }
    row("photos failed", summary.failed);
    for (stage, count) in summary.failures.iter().filter(|(stage, _)| **stage != Stage::Conflict) {
        row(&format!("  {}", stage.name()), *count);
    }
    if summary.skipped > 0 {
        row("other files skipped", summary.skipped);
    }
    let mut text = format!(
        "{}{} faces in {:.1} s ({:.1} a second), {}\n",
        body(&rows),
        summary.faces,
        summary.seconds,
        summary.faces_per_second,
        match to.filter(|_| !dry_run) {
            Some((collection, place)) => format!("into collection {collection} at {place}"),
            None => "none written: this was a dry run".to_owned(),
        }
    );
    if summary.other_labels > 0 {
        text.push_str(&format!(
            "{} faces are stored without a label, name or picture that was given now, or with another; --replace adds these and keeps the rest\n",
            summary.other_labels
        ));
    }
    if summary.interrupted {
        text.push_str("stopped before the end; the same command goes on from there\n");
    }
    if let Some(path) = &summary.dead_letter {
        text.push_str(&format!("failures, with reasons, are in {path}\n"));
    }
    text
}

pub(super) fn profile(shares: &Shares) -> String {
    let mut rows = table(&["workers' time", "seconds", "share"], &[1, 2]);
    for stage in &shares.stages {
        rows.add_row(vec![
            stage.stage.name().to_owned(),
            format!("{:.2}", stage.seconds),
            format!("{:.1} %", stage.share * 100.0),
        ]);
    }
    format!(
        "{}inference: {:.1} % of the workers' time\nbottleneck: {}\n",
        rendered(&rows),
        shares.inference * 100.0,
        shares.bottleneck
    )
}

pub(super) fn collections(listed: &resolve::Listed) -> String {
    let mut text = usable(&listed.collections, listed.unusable.is_empty());
    for name in &listed.unusable {
        text.push_str(&format!(
            "cannot be used: {} (index {}): {}\n",
            name.name, name.index, name.reason
        ));
    }
    text
}

fn usable(collections: &[Collection], is_all: bool) -> String {
    if collections.is_empty() && !is_all {
        return String::new();
    }
    if collections.is_empty() {
        return "no collections; `facedex ingest` or `facedex collection create` makes one\n".to_owned();
    }
    let mut rows = table(
        &[
            "collection",
            "embedding space",
            "index type",
            "shards",
            "replicas",
            "index",
        ],
        &[3, 4],
    );
    for collection in collections {
        rows.add_row(vec![
            collection.name.clone(),
            collection.space.clone(),
            collection.index_type.name().to_owned(),
            collection.shards.to_string(),
            collection.replicas.to_string(),
            collection.index.clone(),
        ]);
    }
    rendered(&rows)
}

pub(super) fn keys(keys: &[Listed<'_>]) -> String {
    if keys.is_empty() {
        return "no keys; `facedex keys create NAME --collection NAME` makes one\n".to_owned();
    }
    let mut rows = table(&["name", "scope", "collections", "created", "expires", "state"], &[]);
    for key in keys {
        rows.add_row(vec![
            key.name.to_owned(),
            key.scope.to_string(),
            key.collections.to_string(),
            key.created.to_string(),
            key.expires.map_or_else(|| "never".to_owned(), |time| time.to_string()),
            key.state.to_string(),
        ]);
    }
    rendered(&rows)
}
