//! `facedex represent`

use std::path::PathBuf;

use clap::Args;
use facedex_face::Face;
use facedex_face::select::FaceChoice;
use serde::Serialize;

use super::{NEGATIVE, SUCCESS, print_json, query_engine};
use crate::config::{GlobalArgs, PhotoLimitArgs};
use crate::error::Error;
use crate::query::photo::QueryPhoto;

#[derive(Debug, Args)]
pub(super) struct RepresentArgs {
    /// Photos
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    /// Which faces of the photo: all, largest, central, or a number, counted from 0 in order from the top
    #[arg(long, value_name = "WHICH", default_value = "all")]
    face: FaceChoice,

    #[command(flatten)]
    limits: PhotoLimitArgs,
}

#[derive(Serialize)]
struct Answer<'a> {
    photo: &'a str,
    width: u32,
    height: u32,
    space: &'a str,
    engine: &'a str,
    faces: Vec<&'a Face>,
}

pub(super) fn run(args: &RepresentArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let mut engine = query_engine(global)?;
    let mut any = false;
    for path in &args.photos {
        let photo = QueryPhoto::load(&mut engine, path, &(&args.limits).into())?;
        let chosen = if photo.faces.is_empty() && args.face == FaceChoice::All {
            Vec::new()
        } else {
            photo.choose(args.face)?
        };
        any |= !chosen.is_empty();
        print_json(&Answer {
            photo: &photo.path,
            width: photo.pixels.width(),
            height: photo.pixels.height(),
            space: &engine.embedder().space,
            engine: engine.fingerprint(),
            faces: chosen.into_iter().map(|ordinal| &photo.faces[ordinal]).collect(),
        })?;
    }
    Ok(if any { SUCCESS } else { NEGATIVE })
}
