//! `facedex search`

use std::path::PathBuf;

use clap::Args;

use super::query::{QueryArgs, each_photo};
use super::{NEGATIVE, SUCCESS, picture, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::query::search::search;

/// Prints the stored faces that look like those in the photo, best first, down to the threshold. Exit code 0 if there
/// is a match, 1 if there is none.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    query: QueryArgs,

    /// Draw the photo with its boxes beside the matches and save it (PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

pub(super) async fn run(args: &SearchArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let mut matched = false;
    each_photo(
        &args.query,
        global,
        async |to, face, threshold| search(&to.client, &to.collection, &face.embedding, &to.options, threshold).await,
        |photo, answer, threshold| {
            matched |= answer.faces.iter().any(|face| !face.result.hits.is_empty());
            if let Some(file) = &args.picture {
                picture::save(file, photo, answer)?;
            }
            show(global, answer, || tables::search(answer, threshold))
        },
    )
    .await?;
    Ok(if matched { SUCCESS } else { NEGATIVE })
}
