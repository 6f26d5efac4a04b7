//! `status`.

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions};
use super::session::Session;

/// Show what is in etcd: layout, key counts, sessions, lock, journal, database size
///
/// Nothing is written.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
