//! `facedex label`

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use facedex_elastic::Destination;
use facedex_elastic::people::clusters;
use facedex_elastic::schema::document::{Person, parse_person_id, parse_person_name};
use facedex_elastic::transport::retry::RetryPolicy;
use indicatif::{ProgressBar, ProgressStyle};

use super::{CollectionArg, NEGATIVE, SUCCESS, client, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// A face's id, or a cluster's as `facedex cluster` gives them
    #[arg(value_name = "FACE|CLUSTER")]
    which: String,

    /// Who it is: what identifies the person in the collection
    #[arg(long, value_name = "ID", value_parser = parse_person_id)]
    person: String,

    /// The person's name, for people to read: of all of their faces [default: the name that they have]
    #[arg(long, value_name = "NAME", value_parser = parse_person_name)]
    name: Option<String>,

    /// Also faces that are somebody else so far
    #[arg(long)]
    overwrite: bool,

    /// End when elasticsearch has accepted nothing for so long; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2m")]
    retry_for: Duration,

    #[command(flatten)]
    collection: CollectionArg,
}

pub(super) async fn run(args: &LabelArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let client = Arc::new(client(global)?);
    let policy = RetryPolicy {
        give_up_after: Some(args.retry_for),
        ..RetryPolicy::DEFAULT
    };
    let (to, collection) = Destination::open(client, &args.collection.collection, policy).await?;
    let person = Person {
        id: args.person.clone(),
        name: args.name.clone(),
    };
    let bar = terminal::BARS.add(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} faces named, {elapsed}") {
        bar.set_style(style);
    }
    let labelled = clusters::label(&to, &args.which, &person, args.overwrite, |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    let Some(labelled) = labelled? else {
        terminal::note(&format!(
            "no face and no cluster of {} is called {}; `facedex cluster` names clusters, `facedex search --json` faces",
            collection.name, args.which
        ));
        return Ok(NEGATIVE);
    };
    show(global, &labelled, || {
        let mut text = format!("{} faces are {} now\n", labelled.changed, terminal::clean(&args.person));
        if labelled.already > 0 {
            text.push_str(&format!("{} were before\n", labelled.already));
        }
        if labelled.renamed > 0 {
            text.push_str(&format!(
                "{} other faces of theirs have this name now\n",
                labelled.renamed
            ));
        }
        if labelled.somebody_else > 0 {
            let count = labelled.somebody_else;
            text.push_str(&format!(
                "{count} are somebody else and stay so; --overwrite changes them\n"
            ));
        }
        text
    })?;
    labelled.reach.expect_all(true)?;
    Ok(SUCCESS)
}
