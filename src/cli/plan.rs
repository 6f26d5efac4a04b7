//! `plan`.

use std::path::PathBuf;

use super::context::{CommandContext, limits};
use super::options::{CommonOptions, EmptyOptions, ReadingOptions, TransformOptions};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::plan::Planned;
use super::report::ReportOptions;
use super::target::Target;
use super::{Outcome, output};
use meta_migrate::BackupSource;
use meta_report::shell::quoted;
use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;
use milvus_meta::transform::Options;
use milvus_meta::transform::PlanReport;

/// Show what a migration would change, without changing anything
///
/// Reads, decodes, transforms and validates all metadata as `migrate` does. Shows what changes for
/// collections, partitions, indexes, segments, aliases and load states, and lists all findings; -v
/// adds the keys by family. What blocks `migrate` now is listed separately: live sessions, a held
/// lock, alarms, missing space or write permission, requests over etcd's limits, an unfinished
/// restore. Writes nothing.
///
/// Exits with code 4 on findings of severity error, and with code 3 if these are only sessions, the
/// lock or an unfinished restore.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Plan the migration of a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Milvus is stopped later: its sessions do not block the migration
    #[arg(long)]
    ignore_sessions: bool,
    #[command(flatten)]
    transform: TransformOptions,
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
    let context = CommandContext::begin(&args.common)?;
    let report = args.report.target()?;
    let source = args
        .from
        .as_deref()
        .map(|path| context.open(path, args.reading));
    let source = source.transpose()?;
    let mut planned = match Target::of(&context, &args.transform)? {
        Target::Migrate(options) => match &source {
            Some(source) => {
                let plan = context.offline(|environment| source.plan(&options, environment))?;
                Planned::new(plan)
            }
            None => of_etcd(&context, &options, args.empty.allow_empty)?,
        },
        Target::NothingToDo => {
            Planned::new(idle(&context, source.as_ref(), args.empty.allow_empty)?)
        }
    };
    if args.ignore_sessions {
        planned.ignore_sessions();
    }
    planned.is_detailed = context.output.is_detailed();
    planned.next = next(&context, args, &planned);
    if args.from.is_some() {
        output::print(context.output.format, &planned, output::plan::text)?;
    } else {
        context.print(&planned, output::plan::text)?;
    }
    if let Some(report) = report {
        report.plan(
            &context,
            &planned,
            source.as_ref(),
            &args.transform.as_flags(),
        )?;
    }
    Ok(exit(&planned))
}

/// Returns the command that migrates as planned, or that finishes an interrupted restore.
fn next(context: &CommandContext, args: &Args, planned: &Planned) -> Vec<String> {
    let (Exit::Done | Exit::Refused, None) = (exit(planned), &args.from) else {
        return Vec::new();
    };
    if let Some(backup) = &planned.restoring {
        let restore = context.next_steps.restore(backup);
        return vec![format!("{restore}   # finishes the interrupted restore")];
    }
    let found = &planned.plan.findings;
    let is_idle = found.iter().any(|one| one.code == "nothing-to-do");
    let is_migratable = matches!(planned.plan.layout, Layout::V2_1 | Layout::Staged);
    let is_unfinished = found.iter().any(|one| one.code == "unfinished");
    if is_idle || !(is_migratable || is_unfinished) {
        return Vec::new();
    }
    let words = args.transform.as_flags().into_iter();
    let words: String = words.map(|word| format!(" {}", quoted(&word))).collect();
    let migrate = format!("{}{words}", context.next_steps.command("migrate"));
    let why = match (is_unfinished, planned.blocking.is_empty()) {
        (true, _) => "finishes the interrupted run",
        (false, true) => "stop Milvus first, and leave etcd running",
        (false, false) => "when nothing blocks any more",
    };
    vec![format!("{migrate}   # {why}")]
}

/// Returns exit code 3 if only sessions, the lock or an unfinished restore block a migration, and 4 for other errors.
pub(in crate::cli) fn exit(planned: &Planned) -> Exit {
    const REFUSING: [&str; 3] = [
        meta_migrate::LIVE_SESSION,
        meta_migrate::LOCK_HELD,
        meta_migrate::UNFINISHED_RESTORE,
    ];
    let refuses = |finding: &&Finding| REFUSING.contains(&finding.code.as_str());
    let all = planned.plan.findings.iter().chain(&planned.blocking);
    let (refusing, others): (Vec<_>, Vec<_>) =
        all.filter(|finding| finding.is_error()).partition(refuses);
    if !others.is_empty() {
        Exit::NotMigratable
    } else if !refusing.is_empty() {
        Exit::Refused
    } else {
        Exit::Done
    }
}

/// Plans the migration or repair of the metadata in etcd, with the findings that block it now.
pub(in crate::cli) fn of_etcd(
    context: &CommandContext,
    options: &Options,
    may_be_empty: bool,
) -> Result<Planned, Failure> {
    context.read(async |store, environment| {
        context.require_metadata(store, may_be_empty).await?;
        let (root, limits) = (&context.config.root, limits());
        let planned = meta_migrate::plan(store, root, options, &limits, environment).await?;
        let blocking = meta_migrate::blocking(store, root, &planned, &limits, environment).await?;
        Ok(Planned {
            blocking,
            restoring: planned.restoring,
            ..Planned::new(planned.report)
        })
    })
}

fn layout(
    context: &CommandContext,
    source: Option<&BackupSource>,
    may_be_empty: bool,
) -> Result<Layout, Failure> {
    match source {
        Some(source) => context.offline(|environment| Ok(source.layout(environment)?.0)),
        None => context.read(async |store, environment| {
            context.require_metadata(store, may_be_empty).await?;
            let limits = limits();
            let found = meta_migrate::status(store, &context.config.root, &limits, environment);
            Ok(found.await?.layout)
        }),
    }
}

/// The plan for a target that reads the 2.1 layout, with an error if the metadata is in the 2.2 layout.
pub(in crate::cli) fn idle(
    context: &CommandContext,
    source: Option<&BackupSource>,
    may_be_empty: bool,
) -> Result<PlanReport, Failure> {
    let layout = layout(context, source, may_be_empty)?;
    let finding = match layout {
        Layout::V2_1 | Layout::Staged | Layout::Empty => Finding::notice(
            "nothing-to-do",
            b"",
            "the target version reads the 2.1 layout: no need to migrate",
        ),
        Layout::V2_2 | Layout::Mixed => Finding::error(
            "newer-layout",
            b"",
            "the target version reads the 2.1 layout, but the metadata is in the 2.2 layout: name a release of 2.2 or later, \
             or run meta-migration rollback",
        ),
    };
    Ok(PlanReport {
        layout,
        findings: vec![finding],
        ..PlanReport::default()
    })
}
