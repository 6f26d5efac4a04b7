//! `status`.

use super::options::{EtcdOptions, OutputOptions};
use super::report::exit::Exit;
use super::session::{Session, limits};
use super::{Outcome, report};
use crate::engine;

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
    let root = &session.config.root;
    let found = session.read(async |store, environment| {
        engine::status(store, root, (&limits(), environment)).await
    })?;
    report::print(session.output.format, &found, report::status::text)?;
    Ok(Exit::Done)
}
