//! `rollback`.

use clap::builder::BoolishValueParser;

use super::options::{EtcdOptions, OutputOptions, WaitOptions};
use super::report::exit::Exit;
use super::report::outcome::Next;
use super::session::{Session, limits};
use super::{Outcome, report, target};
use crate::config::gate::Purpose;
use crate::engine::{self, RestoreOptions, Way};
use crate::report::RestoreReport;

/// Put the metadata back to what it was before the migration
///
/// Milvus has to be stopped. A run that was interrupted before the switch needs no backup: what was
/// staged is deleted. After the switch the backup is put back, found by --backup-file or else where the
/// migration recorded it; it is opened, checked and compared whole before the first write. At a
/// terminal the difference is shown and a yes is asked for; without a terminal nothing is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only show the difference, and whether anything would be lost: then it fails as the rollback would;
    /// Milvus may run
    #[arg(long, env = "META_MIGRATION_DRY_RUN", hide_env = true, value_parser = BoolishValueParser::new())]
    dry_run: bool,
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
    #[arg(long, env = "META_MIGRATION_KEEP_EXTRA", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(in crate::cli) keep_extra: bool,
    /// Go back although the metadata changed after the migration finished: those changes are lost
    #[arg(long, env = "META_MIGRATION_ACCEPT_LOSS", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(in crate::cli) accept_loss: bool,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut session = Session::begin(&args.etcd, &args.output)?;
    session.ways.going_back();
    target::judge(&session.config, Purpose::Rollback)?;
    let options = RestoreOptions {
        root: session.config.root.clone(),
        way: Way::Rollback,
        backup: session.config.backup_file.clone(),
        moved_from: None,
        keep_extra: args.way_back.keep_extra,
        accept_loss: args.way_back.accept_loss,
        dry_run: args.dry_run,
        waits: args.wait.resolve(),
        limits: limits(),
    };
    carry_out(&session, &options)
}

/// Goes back, and says what was done.
pub(in crate::cli) fn carry_out(session: &Session, options: &RestoreOptions) -> Outcome {
    if let Some(path) = &options.backup {
        session.require_one_instance(path, options.limits.tolerance)?;
    }
    let work =
        async |store: &_, environment: &_| engine::restore(store, options, environment).await;
    let done = if options.dry_run {
        session.read(work)?
    } else {
        session.write(work)?
    };
    finish(session, options, &done)
}

/// Says what was done and what comes next.
pub(in crate::cli) fn finish(
    session: &Session,
    options: &RestoreOptions,
    done: &RestoreReport,
) -> Outcome {
    let source = session.config.source_version.as_ref();
    let release = source.map_or_else(|| "2.1".to_owned(), ToString::to_string);
    let next = Next {
        start: (options.way == Way::Rollback && !options.dry_run)
            .then(|| format!("start Milvus {release}")),
        back: None,
    };
    let text = |done: &_, palette| report::outcome::restore(done, options.dry_run, &next, palette);
    if options.dry_run {
        report::print(session.output.format, done, text)?;
    } else {
        report::print_done(session.output.format, done, text);
    }
    Ok(Exit::Done)
}
