//! `status`.

use std::path::PathBuf;

use super::options::{EtcdOptions, OutputOptions};
use super::report::exit::Exit;
use super::session::{Session, limits, unusable};
use super::{Outcome, report};
use crate::backup::try_folder;
use crate::engine;

/// Show what is in etcd: layout, key counts, sessions, lock, journal, database size
///
/// Nothing is written to etcd. Where the journal of a migration cannot be read, the rest is shown, and the
/// exit code is 1.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    etcd: EtcdOptions,
    /// Folder for backups: tried first, with a small file that is written, synced and removed
    #[arg(
        long,
        value_name = "FOLDER",
        env = "META_MIGRATION_BACKUP_FOLDER",
        hide_env = true
    )]
    backup_folder: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    if let Some(folder) = &args.backup_folder {
        try_folder(folder).map_err(|error| unusable(&error))?;
    }
    let root = &session.config.root;
    let (found, failed) = session.read(async |store, environment| {
        engine::status_all_the_same(store, root, (&limits(), environment)).await
    })?;
    report::print(session.output.format, &found, report::status::text)?;
    match failed {
        Some(error) => Err(session.ways.failure(error)),
        None => Ok(Exit::Done),
    }
}
