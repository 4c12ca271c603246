//! `--events`, which `ingest` and `serve` have.

use clap::Args;
use clap::builder::BoolishValueParser;

/// Whether the events index is written.
// Off by default: nobody expects a second index, it needs a privilege more, and who searched when is not everybody's to see.
#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub(super) struct EventsArgs {
    /// Write into the indices facedex-events-YEAR.MONTH what is done and how it goes, for Kibana's dashboards: counts,
    /// durations and outcomes; no pictures, no vectors, no names
    #[arg(long, env = "FACEDEX_EVENTS", value_parser = BoolishValueParser::new())]
    events: bool,

    /// Write no events, whatever else is said
    #[arg(long)]
    no_events: bool,
}

impl EventsArgs {
    /// Whether they are wanted.
    pub(super) fn are_wanted(&self) -> bool {
        self.events && !self.no_events
    }
}
