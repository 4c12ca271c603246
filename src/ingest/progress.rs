//! What people, or a program that reads our output, see while photos go in.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use facedex_elastic::wire::destination::Pulse;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Failure, Summary};
use crate::terminal;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar on standard error, if that is a terminal.
    Bar,
    /// A JSON object a second on standard output.
    Events,
}

/// The run's figures, for whoever shows them.
pub struct Progress {
    bar: Option<ProgressBar>,
    state: Arc<Mutex<Summary>>,
    ticker: tokio::task::JoinHandle<()>,
}

#[derive(Serialize)]
struct Event<'s> {
    event: &'static str,
    #[serde(flatten)]
    so_far: &'s Summary,
    bulk_ms: Option<f64>,
    retries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for_elasticsearch: Option<String>,
    paused: bool,
}

impl Progress {
    /// Starts showing; `counter` counts the photos ahead where the source can.
    pub fn start(show: Show, pulse: Arc<Pulse>, counter: Option<Box<dyn FnOnce() -> u64 + Send>>) -> Self {
        let state = Arc::new(Mutex::new(Summary::default()));
        let bar = (show == Show::Bar).then(|| {
            let bar = terminal::BARS.add(ProgressBar::no_length());
            let template = "{spinner} {pos}/{len} photos [{wide_bar}] {per_sec} {eta} left {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        if let (Some(bar), Some(counter)) = (&bar, counter)
            && !bar.is_hidden()
        {
            let bar = bar.clone();
            std::thread::spawn(move || bar.set_length(counter()));
        }
        let ticker = tokio::spawn(tick(bar.clone(), Arc::clone(&state), pulse, Instant::now()));
        Self { bar, state, ticker }
    }

    /// Tells the figures.
    pub fn update(&self, so_far: &Summary) {
        so_far.clone_into(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Names a photo that failed.
    pub fn failed(&self, failure: &Failure) {
        let (photo, reason) = (terminal::plain(&failure.uri), terminal::clean(&failure.reason));
        terminal::note(&format!("failed: {photo}: {reason}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ticker.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn tick(bar: Option<ProgressBar>, state: Arc<Mutex<Summary>>, pulse: Arc<Pulse>, start: Instant) {
    let period = if bar.is_some() {
        Duration::from_millis(200)
    } else {
        Duration::from_secs(1)
    };
    let mut ticks = tokio::time::interval(period);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let mut so_far = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        so_far.time(start.elapsed());
        let waiting = pulse.waiting();
        let requests = pulse.requests.load(std::sync::atomic::Ordering::Relaxed);
        let micros = pulse.micros.load(std::sync::atomic::Ordering::Relaxed);
        let bulk_ms = (requests > 0).then(|| micros as f64 / requests as f64 / 1000.0);
        match &bar {
            Some(bar) => {
                bar.set_position(so_far.images);
                let mut message = format!("{} faces", so_far.faces);
                if let Some(ms) = bulk_ms {
                    message.push_str(&format!(", bulk {ms:.0} ms"));
                }
                for (stage, count) in &so_far.failures {
                    message.push_str(&format!(", {count} failed ({})", stage.name()));
                }
                match waiting {
                    Some(waiting) if waiting.paused => message.push_str(", PAUSED: elasticsearch accepts nothing"),
                    Some(_) => message.push_str(", waiting for elasticsearch"),
                    None => {}
                }
                bar.set_message(message);
                bar.tick();
            }
            None => {
                let event = Event {
                    event: "progress",
                    so_far: &so_far,
                    bulk_ms,
                    retries: pulse.retries.load(std::sync::atomic::Ordering::Relaxed),
                    paused: waiting.as_ref().is_some_and(|waiting| waiting.paused),
                    waiting_for_elasticsearch: waiting.map(|waiting| waiting.reason),
                };
                if let Ok(mut line) = serde_json::to_vec(&event) {
                    line.push(b'\n');
                    // Whoever read them has enough; the work goes on.
                    let _ = std::io::stdout().write_all(&line);
                }
            }
        }
    }
}
