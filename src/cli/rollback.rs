//! `rollback`.

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions, WaitOptions};
use super::session::Session;

/// Put the metadata back to what it was before the migration
///
/// Milvus has to be stopped. A run that was interrupted before the switch needs no backup: what was
/// staged is deleted. After the switch the backup is put back, found by --backup-file or else where the
/// migration recorded it; it is opened, checked and compared whole before the first write. At a
/// terminal the difference is shown and a yes is asked for; without a terminal nothing is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    pub(in crate::cli) way_back: WayBack,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

/// What a way back may destroy.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "What is lost")]
pub(in crate::cli) struct WayBack {
    /// Do not delete keys that are not in the backup
    #[arg(long)]
    pub(in crate::cli) keep_extra: bool,
    /// Go back although the metadata changed after the migration finished: those changes are lost
    #[arg(long)]
    pub(in crate::cli) accept_loss: bool,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
