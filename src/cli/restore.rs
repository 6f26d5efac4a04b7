//! `restore`.

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions, WaitOptions};
use super::rollback::WayBack;
use super::session::Session;

/// Put the content of a backup file into etcd, at any root path
///
/// Reads every format that a backup of Milvus metadata can have. The file is opened, checked and compared
/// whole before the first write; puts come first, deletes last. Keys on a lease and the server id counter
/// stay as they are. At a terminal the difference is shown and a yes is asked for; without a terminal
/// nothing is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Restore below this meta root instead of the one in the file, for example by-dev/meta
    #[arg(long, value_name = "PATH")]
    to_root: Option<String>,
    /// Only show the difference
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way_back: WayBack,
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
