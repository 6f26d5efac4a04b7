//! `rollback`.

use super::context::{CommandContext, limits};
use super::options::{CommonOptions, WaitOptions};
use super::output::exit::Exit;
use super::output::outcome::Next;
use super::{Outcome, output, target};
use meta_migrate::{RestoreCommand, RestoreOptions, RunKind};
use meta_report::RestoreReport;

/// Restore the metadata to its state before the migration
///
/// Stop Milvus first. Before the commit no backup is needed: the staged keys are deleted. After the commit
/// the backup is restored, the one of --backup-file or the one that the migration recorded; it is checked
/// and compared completely before the first write. The command shows the diff and asks for confirmation; without
/// a terminal it requires --yes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only show the diff, and fail as the rollback would if anything would be lost; Milvus may run
    #[arg(long, env)]
    dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli) loss: LossOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    common: CommonOptions,
}

/// Options for metadata that a rollback or restore would delete.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Data loss")]
pub(in crate::cli) struct LossOptions {
    /// Do not delete keys that are not in the backup
    #[arg(long, env)]
    pub(in crate::cli) keep_extra: bool,
    /// Continue although the metadata changed after the migration finished: those changes are lost
    #[arg(long, env)]
    pub(in crate::cli) accept_loss: bool,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut context = CommandContext::begin(&args.common)?;
    context.next_steps.set_kind(RunKind::Restore);
    target::check_versions(&context.config)?;
    if !args.dry_run {
        context.require_confirmation()?;
    }
    let options = options(&context, args.loss, &args.wait, args.dry_run);
    carry_out(&mut context, &options)
}

/// Returns the options of a rollback to the configured backup, or to the one that the migration recorded.
pub(in crate::cli) fn options(
    context: &CommandContext,
    loss: LossOptions,
    wait: &WaitOptions,
    dry_run: bool,
) -> RestoreOptions {
    let config = &context.config;
    let source = config.source_version.as_ref();
    RestoreOptions {
        root: config.root.clone(),
        command: RestoreCommand::Rollback,
        // The restored metadata must have the layout of the source release.
        expects_2_1: source.is_some_and(|release| !release.has_2_2_layout()),
        backup: config.backup_file.clone(),
        moved_from: None,
        families: Vec::new(),
        keep_extra: loss.keep_extra,
        accept_loss: loss.accept_loss,
        dry_run,
        waits: wait.resolve(),
        limits: limits(),
    }
}

/// Carries out a rollback or restore and prints its result.
pub(in crate::cli) fn carry_out(context: &mut CommandContext, options: &RestoreOptions) -> Outcome {
    announce(context, options);
    if let Some(path) = &options.backup {
        context.require_one_instance(path, options.limits.tolerance)?;
    }
    let work =
        async |store: &_, environment: &_| meta_migrate::restore(store, options, environment).await;
    let done = if options.dry_run {
        context.read(work)?
    } else {
        context.write(work)?
    };
    finish(context, options, &done)
}

/// Sets the beginning of prompts, such as `Roll back by-dev/meta on localhost:2379`.
pub(in crate::cli) fn announce(context: &mut CommandContext, options: &RestoreOptions) {
    let verb = match options.command {
        RestoreCommand::Rollback => "Roll back",
        RestoreCommand::Restore => "Restore",
    };
    context.announce(verb, &options.root, "");
}

/// Prints the result and the next command.
pub(in crate::cli) fn finish(
    context: &CommandContext,
    options: &RestoreOptions,
    done: &RestoreReport,
) -> Outcome {
    let source = context.config.source_version.as_ref();
    let release = source.map_or_else(|| "2.1".to_owned(), ToString::to_string);
    let next = Next {
        start: (options.command == RestoreCommand::Rollback && !options.dry_run).then(
            || match done.undoes_repair {
                true => "start the Milvus release that ran before the repair".to_owned(),
                false => format!("start Milvus {release}"),
            },
        ),
        ..Next::default()
    };
    let text = |done: &_, style| {
        output::outcome::restore(done, options.command, options.dry_run, &next, style)
    };
    if options.dry_run {
        context.print(done, text)?;
    } else {
        context.print_done(done, text);
    }
    Ok(Exit::Done)
}
