//! `migrate`.

use std::error::Error;
use std::path::{Path, PathBuf};

use super::backup_target::{TargetOptions, warn_if_ephemeral};
use super::context::{CommandContext, limits};
use super::options::{
    ApprovalOptions, CommonOptions, EmptyOptions, ReadingOptions, TransformOptions, WaitOptions,
};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::outcome::Next;
use super::output::units::bytes;
use super::report::{self, ReportOptions};
use super::target::Target;
use super::{Outcome, output, plan};
use crate::config::number;
use meta_migrate::{
    BackupSource, BackupTarget, EngineError, EngineErrorKind, Limits, MigrateOptions, Waits,
};
use meta_report::{BackupRef, MigrateOutcome, MigrateReport};
use meta_store::etcd::EtcdStore;
use milvus_meta::finding::Finding;
use milvus_meta::transform::{Options, PlanReport, Task};

/// Migrate the metadata: plan, back up, stage, commit, clean up, verify
///
/// Stop Milvus first and leave etcd running. Until the commit, one etcd transaction, Milvus 2.1 can
/// start; after it Milvus 2.2 can. If interrupted, run the same command to resume, or `rollback`. The command
/// shows the plan and asks for confirmation; without a terminal it requires --yes.
///
/// Without --backup-file the backup is written to the working directory and named after the root path.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Convert this 2.1 backup to a 2.2 backup, without etcd; requires --to
    #[arg(long, value_name = "FILE", requires = "to")]
    from: Option<PathBuf>,
    /// File to write the 2.2 backup to; an existing file is never overwritten
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
    /// Write no backup: the migration cannot be rolled back after the commit
    #[arg(long, env)]
    no_backup: bool,
    #[command(flatten)]
    approval: ApprovalOptions,
    #[command(flatten)]
    target: TargetOptions,
    /// Maximum number of operations in a transaction; lowered if etcd rejects it [default: 128]
    #[arg(long, value_name = "N", env, value_parser = number::between(1..=1_000_000_usize))]
    max_txn_ops: Option<usize>,
    /// Number of transactions in flight [default: 8]
    #[arg(long, value_name = "N", env, value_parser = number::between(1..=1024_usize))]
    in_flight: Option<usize>,
    /// After success, compact etcd and defragment its members one by one
    #[arg(long, env)]
    compact: bool,
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    empty: EmptyOptions,
    #[command(flatten)]
    report: ReportOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut context = CommandContext::begin(&args.common)?;
    context.next_steps.set_planning(planning(args));
    let Target::Migrate(target) = Target::of(&context, &args.transform)? else {
        let source = args.from.as_ref();
        let source = source.map(|from| context.open(from, args.reading));
        let done = nothing_to_do(
            &context,
            source.transpose()?.as_ref(),
            args.empty.allow_empty,
        )?;
        if let Some(report) = args.report.target()? {
            report.done(&context, &done, None);
        }
        return finish(&context, &done);
    };
    if let (Some(from), Some(to)) = (&args.from, &args.to) {
        let source = context.open(from, args.reading)?;
        let written = args.target.file(&context, Some(to))?;
        let done = context.offline(|environment| source.migrate(&target, &written, environment))?;
        output::print_done(context.output.format, &done, |done, style| {
            output::outcome::migrate(done, &Next::default(), style)
        });
        return Ok(Exit::Done);
    }
    require_confirmation(&context, &target, args.empty.allow_empty)?;
    let given = context.config.backup_file.as_deref();
    let mut limits = limits();
    if let Some(number) = args.max_txn_ops {
        limits.txn_ops_max = number;
    }
    if let Some(number) = args.in_flight {
        limits.in_flight = number;
    }
    let backup = match args.no_backup {
        true => None,
        false => Some(args.target.file(&context, given)?),
    };
    let options = MigrateOptions {
        approved_plan: args.approval.approved_plan.clone(),
        ..options(&context, target, backup, args.wait.resolve(), limits)
    };
    let extras = Extras {
        compacts: args.compact,
        may_be_empty: args.empty.allow_empty,
        report: args.report.target()?,
    };
    carry_out(&mut context, &options, &extras)
}

/// Fails without `--yes` if there is no terminal to ask at. Errors of the plan are reported first: `--yes` would not
/// change them.
pub(in crate::cli) fn require_confirmation(
    context: &CommandContext,
    target: &Options,
    may_be_empty: bool,
) -> Result<(), Failure> {
    let Err(failure) = context.require_confirmation() else {
        return Ok(());
    };
    let plan = plan::of_etcd(context, target, may_be_empty)?.plan;
    fail_on_errors(context, plan)?;
    Err(failure)
}

/// Returns the options that make `plan` plan this migration.
fn planning(args: &Args) -> Vec<String> {
    let from = args.from.iter();
    let mut words: Vec<String> = from
        .flat_map(|path| ["--from".to_owned(), path.display().to_string()])
        .collect();
    words.extend(args.transform.as_flags());
    words
}

/// Returns the engine's options.
pub(in crate::cli) fn options(
    context: &CommandContext,
    target: Options,
    backup: Option<BackupTarget>,
    waits: Waits,
    limits: Limits,
) -> MigrateOptions {
    MigrateOptions {
        transform: target,
        root: context.config.root.clone(),
        source_version: context.config.source_version.clone(),
        approved_plan: None,
        backup,
        waits,
        limits,
    }
}

/// Options of the command that are not the engine's.
#[derive(Debug, Default)]
pub(in crate::cli) struct Extras {
    /// Whether to compact etcd afterwards.
    pub(in crate::cli) compacts: bool,
    /// Whether an etcd without metadata is accepted.
    pub(in crate::cli) may_be_empty: bool,
    pub(in crate::cli) report: Option<report::Target>,
}

/// Carries out a migration and prints its result.
pub(in crate::cli) fn carry_out(
    context: &mut CommandContext,
    options: &MigrateOptions,
    extras: &Extras,
) -> Outcome {
    if options.backup.is_none() {
        tracing::warn!(
            "no backup will be written: after the commit this migration cannot be rolled back"
        );
    }
    let verb = match options.transform.task {
        Task::Migration => "Migrate",
        Task::Repair => "Repair",
    };
    let release = format!(" to Milvus {}", options.transform.target);
    let detail = match options.transform.task {
        Task::Migration => release,
        Task::Repair => String::new(),
    };
    context.announce(verb, &options.root, &detail);
    let context = &*context;
    let mut phase = None;
    let done = context.write(async |store, environment| {
        context.require_metadata(store, extras.may_be_empty).await?;
        let done = meta_migrate::migrate(store, options, environment).await;
        let done = done.inspect_err(|error| phase = error.phase)?;
        if extras.compacts && done.outcome != MigrateOutcome::NothingToDo {
            compact(store, options).await;
        }
        Ok(done)
    });
    let done = match (done, &extras.report) {
        (Err(failure), Some(report)) => {
            report.failed(context, &failure, phase);
            return Err(failure);
        }
        (done, _) => done?,
    };
    if let Some(report) = &extras.report {
        let back = done.backup.as_ref().filter(|_| is_written(&done));
        let back = back.map(|backup| context.next_steps.rollback(Some(&backup.path)));
        report.done(context, &done, back.as_deref());
    }
    finish(context, &done)
}

/// Whether this run wrote the result, instead of finding it complete.
fn is_written(done: &MigrateReport) -> bool {
    matches!(
        done.outcome,
        MigrateOutcome::Migrated | MigrateOutcome::Repaired
    )
}

/// Compacts etcd. The migration is finished, so failures are warnings.
async fn compact(store: &EtcdStore, options: &MigrateOptions) {
    match meta_migrate::compact(store, &options.root, &options.limits).await {
        Ok(compacted) => {
            for member in compacted.members {
                tracing::info!(
                    "compacted {}: database {} before, {} after",
                    member.endpoint,
                    bytes(member.before),
                    bytes(member.after)
                );
            }
        }
        Err(error) => {
            let source = error.failure.source().map(|source| format!(": {source}"));
            tracing::warn!(
                "the migration is finished, but etcd was not compacted: {error}{}",
                source.unwrap_or_default()
            );
        }
    }
}

/// Returns the report for a target that reads the 2.1 layout. Fails if the metadata is in the 2.2 layout; etcd need not
/// be reachable.
pub(in crate::cli) fn nothing_to_do(
    context: &CommandContext,
    source: Option<&BackupSource>,
    may_be_empty: bool,
) -> Result<MigrateReport, Failure> {
    match plan::idle(context, source, may_be_empty) {
        Ok(plan) => fail_on_errors(context, plan)?,
        Err(failure) => tracing::warn!("the layout was not checked: {}", failure.message),
    }
    Ok(MigrateReport::unchanged(MigrateOutcome::NothingToDo))
}

fn fail_on_errors(context: &CommandContext, plan: PlanReport) -> Result<(), Failure> {
    if !plan.findings.iter().any(Finding::is_error) {
        return Ok(());
    }
    let errors = EngineErrorKind::Findings(Box::new(plan));
    Err(context
        .next_steps
        .failure(EngineError::before_writing(errors)))
}

/// Prints the result and the next commands.
pub(in crate::cli) fn finish(context: &CommandContext, done: &MigrateReport) -> Outcome {
    let target = context.config.target_version.as_ref();
    let release = target.map_or_else(|| "2.2".to_owned(), ToString::to_string);
    let is_there = |backup: &&BackupRef| Path::new(&backup.path).is_file();
    let recorded = done.backup.as_ref();
    if let Some(missing) = recorded.filter(|backup| !is_there(backup)) {
        tracing::warn!(
            "the backup is not at {}: without it this migration cannot be rolled back",
            missing.path
        );
    }
    let backup = recorded.filter(is_there).filter(|_| is_written(done));
    if let Some(backup) = backup {
        warn_if_ephemeral(Path::new(&backup.path));
    }
    // Without work to do, the metadata was not checked or is empty.
    let is_ready = done.outcome != MigrateOutcome::NothingToDo;
    let next = Next {
        start: is_ready.then(|| format!("start Milvus {release}")),
        back: backup.map(|backup| context.next_steps.rollback(Some(&backup.path))),
        backup_is_missing: recorded.filter(is_there).is_none(),
        findings_shown: context.has_shown_plan(),
    };
    print(context, done, &next)
}

fn print(context: &CommandContext, done: &MigrateReport, next: &Next) -> Outcome {
    context.print_done(done, |done, style| {
        output::outcome::migrate(done, next, style)
    });
    Ok(Exit::Done)
}
