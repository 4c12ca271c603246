//! `facedex identify`

use clap::Args;

use super::query::{QueryArgs, each_photo};
use super::{NEGATIVE, SUCCESS, show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::query::identify::{Decision, identify};

/// Says for each face of the photo who it is, or that nobody in the collection is alike enough. Exit code 0 if somebody
/// was recognised, 1 if everybody is unknown.
#[derive(Debug, Args)]
pub(super) struct IdentifyArgs {
    #[command(flatten)]
    query: QueryArgs,
}

pub(super) async fn run(args: &IdentifyArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let mut matched = false;
    each_photo(
        &args.query,
        global,
        async |to, face, threshold| identify(&to.client, &to.collection, &face.embedding, &to.options, threshold).await,
        |_, answer, threshold| {
            matched |= answer.faces.iter().any(|face| face.result.decision == Decision::Match);
            show(global, answer, || tables::identify(answer, threshold))
        },
    )
    .await?;
    Ok(if matched { SUCCESS } else { NEGATIVE })
}
