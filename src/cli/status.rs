//! `status`.

use std::path::PathBuf;

use super::context::{CommandContext, limits};
use super::options::{CommonOptions, EmptyOptions};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::{Outcome, output};
use meta_backup::check_writable;
use milvus_meta::finding::Finding;

/// Show the state of etcd: layout, key counts, sessions, lock, migration, database size
///
/// Writes nothing to etcd. Exits with code 4 if 2.2 metadata is incomplete, and with code 1 if the journal
/// of a migration cannot be read; everything else is still shown.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Folder for backups: tried first, with a small file that is written, synced and removed
    #[arg(long, value_name = "FOLDER", env)]
    backup_folder: Option<PathBuf>,
    /// Exit with code 0 whatever the findings
    #[arg(long, env)]
    report_only: bool,
    #[command(flatten)]
    empty: EmptyOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    if let Some(folder) = &args.backup_folder {
        check_writable(folder).map_err(|error| Failure::before_changes(&error))?;
    }
    let root = &context.config.root;
    let (found, failed) = context.read(async |store, environment| {
        let is_allowed = args.report_only || args.empty.allow_empty;
        context.require_metadata(store, is_allowed).await?;
        meta_migrate::status_with_journal_error(store, root, &limits(), environment).await
    })?;
    context.print(&found, output::status::text)?;
    match failed {
        Some(error) => Err(context.next_steps.failure(error)),
        None if !args.report_only && found.findings.iter().any(Finding::is_error) => {
            Ok(Exit::NotMigratable)
        }
        None => Ok(Exit::Done),
    }
}
