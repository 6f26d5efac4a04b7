//! `completions`.

use clap_complete::Shell;

use super::output::exit::Exit;
use super::{Outcome, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::command(),
        "meta-migration",
        &mut script,
    );
    output::write(&script)?;
    Ok(Exit::Done)
}
