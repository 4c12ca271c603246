//! A run's events: that it began, how fast it goes, each photo that failed, how it ended.

use std::time::{Duration, Instant};

use facedex_elastic::events::event::{Event, Facedex, Failed, IngestCounts, What};
use facedex_elastic::events::writer::Events;

use super::{Failure, IngestError, Stage, Summary};

/// How often a run tells what it did since it last told.
const PERIOD: Duration = Duration::from_secs(10);
const DATASET: &str = "facedex.ingest";

/// Tells the events index what a run does.
pub struct Report {
    events: Events,
    collection: String,
    run: String,
    host: String,
    start: Instant,
    reported_at: Instant,
    reported: IngestCounts,
}

impl Report {
    /// Tells that a run begins.
    pub fn begin(events: Events, collection: &str, run: &str, host: &str) -> Self {
        let now = Instant::now();
        let report = Self {
            events,
            collection: collection.to_owned(),
            run: run.to_owned(),
            host: host.to_owned(),
            start: now,
            reported_at: now,
            reported: IngestCounts::default(),
        };
        report.send(What::new(DATASET, "process", "start", "ingest-begin"), None, None);
        report
    }

    /// A photo failed.
    pub fn failed(&self, failure: &Failure) {
        let what = What::new(DATASET, "process", "error", "ingest-failure").ending("failure");
        let error = Failed {
            code: failure.stage.name(),
            reason: Some(plain(failure.stage, &failure.reason)),
        };
        self.send(what, Some(error), None);
    }

    /// Tells what was done since it last told, if that is long enough ago.
    pub fn progress(&mut self, so_far: &Summary) {
        if self.reported_at.elapsed() >= PERIOD {
            self.tell(so_far);
        }
    }

    /// The run came to its end, or was told to end.
    pub fn end(&mut self, summary: &Summary) {
        self.tell(summary);
        let outcome = match summary {
            Summary { interrupted: true, .. } => "unknown",
            Summary {
                failed: 0,
                conflicts: 0,
                ..
            } => "success",
            _ => "failure",
        };
        let what = What::new(DATASET, "process", "end", "ingest-end").ending(outcome);
        self.send(what.taking(self.start.elapsed()), None, Some(counts(summary)));
    }

    /// The run broke off.
    pub fn broke_off(&mut self, so_far: &Summary, error: &IngestError) {
        self.tell(so_far);
        let what = What::new(DATASET, "process", "end", "ingest-end").ending("failure");
        let code = match error {
            IngestError::Elastic(_) => "elasticsearch",
            IngestError::Journal(_) => "journal",
            IngestError::DeadLetter { .. } => "dead_letter",
            _ => "internal",
        };
        let error = Failed { code, reason: None };
        self.send(what.taking(self.start.elapsed()), Some(error), Some(counts(so_far)));
    }

    /// The counts since it last told, which add up to those of the whole run.
    fn tell(&mut self, so_far: &Summary) {
        let (now, before) = (counts(so_far), self.reported);
        let since = IngestCounts {
            images: now.images - before.images,
            faces: now.faces - before.faces,
            indexed: now.indexed - before.indexed,
            existing: now.existing - before.existing,
            conflicts: now.conflicts - before.conflicts,
            no_face: now.no_face - before.no_face,
            failed: now.failed - before.failed,
            done_before: now.done_before - before.done_before,
        };
        let what = What::new(DATASET, "process", "info", "ingest-progress").metric();
        self.send(what.taking(self.reported_at.elapsed()), None, Some(since));
        (self.reported_at, self.reported) = (Instant::now(), now);
    }

    fn send(&self, what: What, error: Option<Failed>, ingest: Option<IngestCounts>) {
        let facedex = Facedex {
            collection: Some(self.collection.clone()),
            run: self.run.clone(),
            ingest,
            ..Facedex::default()
        };
        let mut event = Event::now(what, &self.host, facedex);
        event.error = error;
        self.events.send(&event);
    }
}

fn counts(summary: &Summary) -> IngestCounts {
    IngestCounts {
        images: summary.images,
        faces: summary.faces,
        indexed: summary.indexed,
        existing: summary.existing,
        conflicts: summary.conflicts,
        no_face: summary.no_face,
        failed: summary.failed,
        done_before: summary.done_before,
    }
}

/// A reason without what belongs to one photo: numbers, and whatever may name a person or a file.
fn plain(stage: Stage, reason: &str) -> String {
    match stage {
        // These quote paths, addresses, people and Elasticsearch.
        Stage::Read => "cannot be read".to_owned(),
        Stage::Index => "refused by elasticsearch".to_owned(),
        Stage::Conflict => "stored as another person".to_owned(),
        Stage::Decode | Stage::Detect | Stage::Subject | Stage::Quality => {
            let head = reason.split([':', ';', '(']).next().unwrap_or_default().trim();
            let mut text = String::with_capacity(head.len());
            for c in head.chars() {
                match c.is_ascii_digit() {
                    true if text.ends_with('#') => {}
                    true => text.push('#'),
                    false => text.push(c),
                }
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_kind_and_loses_what_belongs_to_the_photo() {
        let shown = |stage, reason| plain(stage, reason);
        assert_eq!(
            shown(Stage::Decode, "not an image (JPEG, PNG are read)"),
            "not an image"
        );
        assert_eq!(
            shown(Stage::Decode, "truncated JPEG: the image data ends"),
            "truncated JPEG"
        );
        assert_eq!(
            shown(
                Stage::Decode,
                "9000 x 20000 pixels are more than the 100 allowed; raise it"
            ),
            "# x # pixels are more than the # allowed"
        );
        assert_eq!(
            shown(Stage::Subject, "3 faces where --subject only expects one"),
            "# faces where --subject only expects one"
        );
        assert_eq!(
            shown(Stage::Quality, "the face is too small: 12 pixels"),
            "the face is too small"
        );
        for stage in [Stage::Conflict, Stage::Index, Stage::Read] {
            assert!(!shown(stage, "stored as \"Ada\" in /home/ada").contains("ada"));
        }
    }
}
