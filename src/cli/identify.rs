//! `facedex identify`

use clap::Args;

use super::query::{QueryArgs, each_photo, exit_code};
use super::{show, tables};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::query::identify::{Decision, identify};

#[derive(Debug, Args)]
pub(super) struct IdentifyArgs {
    #[command(flatten)]
    query: QueryArgs,
}

pub(super) async fn run(args: &IdentifyArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let mut matched = false;
    let failed = each_photo(
        &args.query,
        global,
        async |to, face, threshold| identify(&to.client, &to.collection, &face.embedding, &to.options, threshold).await,
        |_, answer, threshold| {
            matched |= answer.faces.iter().any(|face| face.result.decision == Decision::Match);
            show(global, answer, || tables::identify(answer, threshold))
        },
    )
    .await?;
    Ok(exit_code(failed, matched))
}
