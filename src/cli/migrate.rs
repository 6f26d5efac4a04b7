//! `migrate`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions, TransformOptions, WaitOptions};
use super::session::Session;

/// Migrate the metadata: plan, back up, stage, switch over in one transaction, tidy up, verify
///
/// Milvus has to be stopped, etcd has to run. Before the switch Milvus 2.1 starts as if nothing had
/// happened, after it Milvus 2.2 starts. Interrupted, the same command goes on where it stopped, and
/// `rollback` goes back. At a terminal the plan is shown and a yes is asked for; without a terminal
/// nothing is asked.
///
/// Without --backup-file the backup is written into the working directory, named after the root path.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Turn this 2.1 backup into a 2.2 backup, without etcd; needs --to
    #[arg(long, value_name = "FILE", requires = "to")]
    from: Option<PathBuf>,
    /// Where the 2.2 backup is written; an existing file is never overwritten
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
    /// Make no backup: there is no way back once the switch is done
    #[arg(long)]
    no_backup: bool,
    /// Operations in one transaction; adapts downward when etcd says too many [default: 128]
    #[arg(long, value_name = "N")]
    max_txn_ops: Option<NonZeroUsize>,
    /// Transactions in flight at once
    #[arg(long, value_name = "N")]
    in_flight: Option<NonZeroUsize>,
    /// After success, compact etcd and defragment its members one by one
    #[arg(long)]
    compact: bool,
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
