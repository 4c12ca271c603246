//! `facedex search`

use std::path::PathBuf;

use clap::Args;

use super::query::{QueryArgs, each_photo, exit_code};
use super::{picture, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::query::search::search;

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Draw the photo with its boxes beside the matches and save it (PNG or JPEG, by the name)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    #[command(flatten)]
    query: QueryArgs,
}

pub(super) async fn run(args: &SearchArgs, global: &GlobalArgs) -> Result<u8, Error> {
    if args.picture.is_some() && args.query.photos.len() > 1 {
        return Err(Error::OnePicture);
    }
    if let Some(file) = &args.picture {
        picture::check(file)?;
    }
    let mut matched = false;
    let failed = each_photo(
        &args.query,
        global,
        async |to, face, threshold| search(&to.client, &to.collection, &face.embedding, &to.options, threshold).await,
        |photo, answer, threshold| {
            matched |= answer.faces.iter().any(|face| !face.result.hits.is_empty());
            show(global, answer, || tables::search(answer, threshold))?;
            match &args.picture {
                Some(file) => picture::save(file, photo, answer),
                None => Ok(()),
            }
        },
    )
    .await?;
    Ok(exit_code(failed, matched))
}
