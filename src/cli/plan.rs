//! `plan`.

use std::path::PathBuf;

use super::options::{EtcdOptions, OutputOptions, TransformOptions};
use super::reading::ReadingOptions;
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::session::{Session, limits};
use super::target::Target;
use super::{Outcome, report};
use crate::engine::{self, BackupSource};
use crate::finding::Finding;
use crate::report::{Layout, PlanReport};
use crate::transform::Options;

/// Show what a migration would do, without doing it
///
/// Everything is read, decoded, transformed and validated as `migrate` does it; what would be put,
/// rewritten and deleted is counted by family, and every finding is told. Nothing is written. Ends with
/// exit code 4 when the metadata cannot be migrated as it is.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Plan the migration of a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    args.etcd
        .without_backup("--from reads a file instead of etcd");
    let source = args
        .from
        .as_deref()
        .map(|path| session.open(path, args.reading));
    let source = source.transpose()?;
    let plan = match Target::of(&session.config, &args.transform)? {
        Target::Migrate(options) => make(&session, source.as_ref(), &options)?,
        Target::NothingToDo => idle(layout(&session, source.as_ref())?),
    };
    report::print(session.output.format, &plan, report::plan::text)?;
    Ok(if plan.findings.iter().any(Finding::is_error) {
        Exit::NotMigratable
    } else {
        Exit::Done
    })
}

fn make(
    session: &Session,
    source: Option<&BackupSource>,
    options: &Options,
) -> Result<PlanReport, Failure> {
    match source {
        Some(source) => session.offline(|environment| source.plan(options, environment)),
        None => session.read(async |store, environment| {
            engine::plan(
                store,
                &session.config.root,
                options,
                (&limits(), environment),
            )
            .await
        }),
    }
}

fn layout(session: &Session, source: Option<&BackupSource>) -> Result<Layout, Failure> {
    match source {
        Some(source) => session.offline(|environment| Ok(source.layout(environment)?.0)),
        None => session.read(async |store, environment| {
            let limits = limits();
            let found = engine::status(store, &session.config.root, (&limits, environment));
            Ok(found.await?.layout)
        }),
    }
}

/// The plan for a target that reads the 2.1 layout.
fn idle(layout: Layout) -> PlanReport {
    let finding = match layout {
        Layout::V2_1 | Layout::Staged | Layout::Empty => Finding::notice(
            "nothing-to-do",
            b"",
            "the target version reads the 2.1 layout: no need to migrate",
        ),
        Layout::V2_2 | Layout::Mixed => Finding::warning(
            "nothing-to-do",
            b"",
            "the target version reads the 2.1 layout, and there is another one: a rollback leads back",
        ),
    };
    PlanReport {
        layout,
        revision: 0,
        collection_form: String::new(),
        families: Vec::new(),
        put: 0,
        rewrite: 0,
        delete: 0,
        bytes_put: 0,
        digest: String::new(),
        findings: vec![finding],
    }
}
