//! `plan`.

use std::path::PathBuf;

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions, TransformOptions};
use super::session::Session;

/// Show what a migration would do, without doing it
///
/// Everything is read, decoded, transformed and validated as `migrate` does it; what would be put,
/// rewritten and deleted is counted by family, and every finding is told. Nothing is written. Ends with
/// exit code 4 when the metadata cannot be migrated as it is.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Plan the migration of a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
