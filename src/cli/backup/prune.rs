//! `backup prune`.

use std::path::PathBuf;

use crate::cli::Outcome;
use crate::cli::options::OutputOptions;
use crate::cli::report::exit::Exit;

/// Delete all but the newest backups of a folder
///
/// Only valid backups count and go; what is damaged or no backup is told and left alone.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// How many of the newest backups stay
    #[arg(long, value_name = "N")]
    keep: usize,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(_args: &Args) -> Outcome {
    Ok(Exit::Failed)
}
