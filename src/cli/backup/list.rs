//! `backup list`.

use std::path::PathBuf;

use crate::cli::Outcome;
use crate::cli::options::OutputOptions;
use crate::cli::report::exit::Exit;

/// List the backups in a folder
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder
    #[arg(value_name = "FOLDER", required_unless_present = "from")]
    folder: Option<PathBuf>,
    /// The folder, as an option
    #[arg(long, value_name = "FOLDER", conflicts_with = "folder")]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(_args: &Args) -> Outcome {
    Ok(Exit::Failed)
}
