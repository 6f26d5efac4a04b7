//! `backup check`.

use std::path::PathBuf;

use crate::cli::Outcome;
use crate::cli::options::OutputOptions;
use crate::cli::report::exit::Exit;

/// Read a backup whole and check everything in it
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The backup file
    #[arg(value_name = "FILE", required_unless_present = "from")]
    file: Option<PathBuf>,
    /// The backup file, as an option
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(_args: &Args) -> Outcome {
    Ok(Exit::Failed)
}
