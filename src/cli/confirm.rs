//! Asks before something is removed for good.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use crate::error::Error;

/// Whether to ask.
#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// Do it without asking. Needed where nobody can be asked
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// Comes back if the question needs no answer or is answered with yes.
pub(super) fn confirmed(args: &ConfirmArgs, question: &str) -> Result<(), Error> {
    if args.yes {
        return Ok(());
    }
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    if !(input.is_terminal() && output.is_terminal()) {
        return Err(Error::Unconfirmed(question.trim_end_matches('?').to_owned()));
    }
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::Declined),
    }
}
