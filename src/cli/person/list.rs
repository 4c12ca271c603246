//! `facedex person list`

use clap::Args;
use facedex_elastic::people::{self, ListedPerson};
use facedex_elastic::schema::resolve;
use serde::Serialize;

use crate::cli::tables::{rendered, table};
use crate::cli::{CollectionArg, NEGATIVE, SUCCESS, client, show};
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::terminal;

/// People that one request brings.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only people whose id or name has this text in it, in whatever case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only those behind this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,

    /// At most so many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    #[command(flatten)]
    collection: CollectionArg,
}

#[derive(Serialize)]
struct Listing {
    collection: String,
    persons: Vec<ListedPerson>,
    /// Whether there are more behind the last one.
    more: bool,
}

pub(super) async fn list(args: &ListArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let client = client(global)?;
    let collection = resolve::open(&client, &args.collection.collection).await?;
    let most = args
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut listing = Listing {
        collection: collection.name.clone(),
        persons: Vec::new(),
        more: false,
    };
    let mut after = args.after.clone();
    loop {
        let limit = PAGE.min(most - listing.persons.len());
        let page = people::list(
            &client,
            &collection.name,
            args.search.as_deref(),
            after.as_deref(),
            limit,
        )
        .await?;
        listing.persons.extend(page.persons);
        listing.more = page.after.is_some();
        after = page.after;
        if after.is_none() || listing.persons.len() >= most {
            break;
        }
    }
    show(global, &listing, || text(&listing, args.search.is_some()))?;
    Ok(if listing.persons.is_empty() { NEGATIVE } else { SUCCESS })
}

fn text(listing: &Listing, is_search: bool) -> String {
    let mut rows = table(&["person", "name", "faces"], &[2]);
    for person in &listing.persons {
        rows.add_row(vec![
            terminal::clean(&person.id),
            terminal::clean(person.name.as_deref().unwrap_or("")),
            person.faces.to_string(),
        ]);
    }
    match listing.persons.last() {
        None if is_search => format!("nobody in {} is so called\n", listing.collection),
        None => format!("nobody in {} has a name\n", listing.collection),
        Some(last) if listing.more => format!(
            "{}there are more: --after {}\n",
            rendered(&rows),
            terminal::clean(&last.id)
        ),
        Some(_) => rendered(&rows),
    }
}
