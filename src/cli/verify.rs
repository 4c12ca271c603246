//! `facedex verify`

use std::path::PathBuf;

use clap::Args;
use facedex_face::Face;
use facedex_face::select::FaceChoice;
use serde::Serialize;

use super::{NEGATIVE, SUCCESS, query_engine, show, tables};
use crate::config::{self, GlobalArgs};
use crate::error::Error;
use crate::query::identify::Decision;
use crate::query::photo::QueryPhoto;
use crate::query::threshold::Threshold;
use crate::query::verify::{Verification, verify};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// One photo
    a: PathBuf,

    /// The other photo
    b: PathBuf,

    /// Which face of each photo: largest, central, or a number, counted from 0 in order from the top
    #[arg(long, value_name = "WHICH", default_value = "largest", value_parser = parse_one_face)]
    face: FaceChoice,

    /// Share of comparisons of two different people that may match
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    max_fmr: f64,

    /// Match from this cosine on, whatever false matches it brings
    #[arg(long, value_name = "COSINE", value_parser = super::parse_similarity, allow_negative_numbers = true)]
    min_similarity: Option<f64>,

    #[command(flatten)]
    limits: config::PhotoLimitArgs,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    pub(super) result: Verification,
    pub(super) photos: [Side; 2],
}

#[derive(Debug, Serialize)]
pub(super) struct Side {
    pub(super) photo: String,
    pub(super) faces_found: usize,
    pub(super) ordinal: usize,
    pub(super) face: Face,
}

pub(super) fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let mut engine = query_engine(global)?;
    let threshold = match args.min_similarity {
        Some(similarity) => Threshold::fixed(engine.embedder(), similarity, None),
        None => Threshold::for_comparison(engine.embedder(), args.max_fmr)?,
    };
    let mut side = |path: &PathBuf| -> Result<Side, Error> {
        let photo = QueryPhoto::load(&mut engine, path, &(&args.limits).into())?;
        // `choose` gives at least one, and the choices that are offered here never more.
        let ordinal = photo.choose(args.face)?[0];
        Ok(Side {
            photo: photo.path.clone(),
            faces_found: photo.faces.len(),
            ordinal,
            face: photo.faces[ordinal].clone(),
        })
    };
    let photos = [side(&args.a)?, side(&args.b)?];
    let result = verify(&photos[0].face.embedding, &photos[1].face.embedding, threshold);
    let matched = result.decision == Decision::Match;
    let answer = Answer { result, photos };
    show(global, &answer, || tables::verify(&answer))?;
    Ok(if matched { SUCCESS } else { NEGATIVE })
}

fn parse_one_face(text: &str) -> Result<FaceChoice, String> {
    match text.parse()? {
        FaceChoice::All => Err("one face of each photo is compared: largest, central or a number".to_owned()),
        choice => Ok(choice),
    }
}
