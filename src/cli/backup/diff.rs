//! `backup diff`.

use std::path::PathBuf;

use crate::cli::Outcome;
use crate::cli::options::OutputOptions;
use crate::cli::report::exit::Exit;

/// Compare two backups key by key
///
/// Ends with exit code 6 when they differ.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The two backup files; with --from, the one to compare it with
    #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// The first of the two, as an option
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(_args: &Args) -> Outcome {
    Ok(Exit::Failed)
}
