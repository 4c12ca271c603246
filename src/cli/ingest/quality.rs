//! How good a face must be to stand for a person.

use clap::Args;
use facedex_face::gate::{Gate, MinQuality};

/// What the face of a named person must have. A photo whose face falls short is left out and recorded as failed, with the
/// reasons; photos without a person are taken as they are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Quality of named faces")]
pub(super) struct QualityArgs {
    /// How good a face must be to stand for a person
    #[arg(long, value_enum, default_value_t)]
    min_quality: MinQuality,

    /// Least shorter side of the face's box, in pixels of the photo
    #[arg(long, value_name = "PIXELS", value_parser = parse_measure)]
    min_face_size: Option<f32>,

    /// Least sharpness (variance of the Laplacian)
    #[arg(long, value_name = "X", value_parser = parse_measure)]
    min_sharpness: Option<f32>,

    /// Least detection score, 0 to 1
    #[arg(long, value_name = "X", value_parser = parse_measure)]
    min_score: Option<f32>,
}

fn parse_measure(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|value: &f32| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| "expected a number from 0 on".to_owned())
}

impl QualityArgs {
    /// The measures that are given, the others as `--min-quality` says.
    pub(super) fn gate(&self) -> Gate {
        let named = self.min_quality.gate();
        Gate {
            size: self.min_face_size.or(named.size),
            sharpness: self.min_sharpness.or(named.sharpness),
            score: self.min_score.or(named.score),
        }
    }
}
