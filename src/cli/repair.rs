//! `repair`.

use std::path::PathBuf;
use std::sync::Arc;

use super::backup_target::TargetOptions;
use super::context::{CommandContext, limits};
use super::migrate::{self, Extras};
use super::options::{ApprovalOptions, CommonOptions, ReadingOptions, WaitOptions};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::plan;
use super::report::ReportOptions;
use super::{Outcome, output, target};
use meta_migrate::{MigrateOptions, RunKind};
use milvus_meta::transform::{FormChoice, OnBrokenRecord, Options, SegmentForm, Task};

/// Repair 2.2 metadata that the target release would misread, such as that of the official tool
///
/// Collections in the embedded form are converted to the form that --target-version reads. Leftovers of 2.1, load
/// states of missing collections, objects without snapshots and tombstones without snapshots are fixed as well. Lost
/// fields and partitions of collections are restored from their snapshots, or from a backup (--from). Every change is
/// a finding of the plan; keys without a finding are not changed.
///
/// Stop Milvus first, but not etcd. The steps are those of a migration: backup, staging, one commit, verification. If
/// interrupted, run the same command again to resume, or `rollback` to restore the previous metadata.
///
/// Exits with code 4, and writes nothing, if the metadata has errors that a repair cannot fix.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only show the plan; Milvus may run
    #[arg(long, env)]
    dry_run: bool,
    /// Restore fields and partitions that no snapshot holds from this backup, of any format
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Write no backup: the repair cannot be rolled back after the commit
    #[arg(long, env)]
    no_backup: bool,
    #[command(flatten)]
    approval: ApprovalOptions,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    common: CommonOptions,
    #[command(flatten)]
    report: ReportOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut context = CommandContext::begin(&args.common)?;
    context.next_steps.set_kind(RunKind::Repair);
    let target = target(&context, args)?;
    if args.dry_run {
        let mut planned = plan::of_etcd(&context, &target, false)?;
        planned.ignore_sessions();
        planned.is_detailed = true;
        context.print(&planned, output::plan::text)?;
        return Ok(plan::exit(&planned));
    }
    migrate::require_confirmation(&context, &target, false)?;
    let given = context.config.backup_file.clone();
    let backup = match args.no_backup {
        true => None,
        false => Some(args.target.file(&context, given.as_deref())?),
    };
    let options = MigrateOptions {
        approved_plan: args.approval.approved_plan.clone(),
        ..migrate::options(&context, target, backup, args.wait.resolve(), limits())
    };
    let extras = Extras {
        report: args.report.target()?,
        ..Extras::default()
    };
    migrate::carry_out(&mut context, &options, &extras)
}

/// Returns the options of the repair for the target release.
fn target(context: &CommandContext, args: &Args) -> Result<Options, Failure> {
    let target = context
        .config
        .target_version
        .clone()
        .ok_or_else(|| context.next_steps.missing_target())?;
    target::require_2_2_layout(Some(&target), "repair works on")?;
    let form = FormChoice::Auto
        .resolve(&target)
        .map_err(|error| Failure::from_error(Exit::Usage, &error).unchanged())?;
    let schemas = match &args.from {
        Some(path) => {
            let source = context
                .open(path, args.reading)
                .map_err(Failure::unchanged)?;
            let schemas = context.offline(|environment| source.schemas(environment))?;
            Some(Arc::new(schemas))
        }
        None => None,
    };
    Ok(Options {
        task: Task::Repair,
        form,
        segment_form: SegmentForm::Inline,
        on_broken_record: OnBrokenRecord::Fail,
        schemas,
        target,
    })
}
