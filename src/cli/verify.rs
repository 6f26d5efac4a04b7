//! `verify`.

use std::path::PathBuf;

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions, TransformOptions};
use super::session::Session;

/// Check whether the 2.2 layout is complete and consistent
///
/// With --backup: whether it is exactly what the migration of that backup gives. Nothing is written.
/// Ends with exit code 6 when it is not.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The 2.1 backup that was migrated
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Check a backup file instead of etcd
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
