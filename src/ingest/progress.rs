//! What a person sees while photos go in.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Failure, Summary, source};

/// A bar on a terminal; lines for failures everywhere.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows a bar on standard error if that is a terminal and `quiet` is not set.
    pub fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        let template = "{spinner} {pos}/{len} photos [{wide_bar}] {msg} {per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Counts the photos in the background, so that the bar knows how far it is.
    pub fn count_ahead(&self, roots: &[PathBuf]) {
        if self.bar.is_hidden() {
            return;
        }
        let (bar, roots) = (self.bar.clone(), roots.to_vec());
        std::thread::spawn(move || {
            let mut total = 0;
            for found in source::walk(&roots) {
                if !matches!(found, source::Found::Skipped) {
                    total += 1;
                    if total % 1000 == 0 {
                        bar.set_length(total);
                    }
                }
            }
            bar.set_length(total);
        });
    }

    /// Moves the bar.
    pub fn update(&self, so_far: &Summary) {
        self.bar.set_position(so_far.images);
        self.bar
            .set_message(format!("{} faces, {} failed", so_far.faces, so_far.failed));
    }

    /// Names a photo that failed.
    pub fn failed(&self, failure: &Failure) {
        let line = format!("failed: {}: {}", failure.path.display(), failure.reason);
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
