//! The official tool's interface: `-config=FILE`, where the YAML file says what to do.
//!
//! # Backups
//! The official tool makes a backup only if `cmd.runWithBackup` is true; otherwise a failed run cannot be rolled back.
//! `migrate.sh` and the Milvus Operator run a backup pod first and never set it: they only name the file of that pod.
//! So here the path decides. With `config.backupFilePath`, the run has a backup there: a valid file with exactly the
//! content to be migrated is used again; any other file is kept, and the new backup gets the time added to its name.
//! Without a path, only an explicit `runWithBackup: false` means no backup; the default is a backup in the working
//! directory.
//!
//! A rollback prefers the backup that the migration recorded, if that file exists, to the one in the YAML file, which may
//! be older: restoring it would undo more than the migration. A file given by an option or the environment precedes both.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::backup_target::TargetOptions;
use super::context::{CommandContext, limits};
use super::options::{
    CommonOptions, EmptyOptions, TransformOptions, WaitOptions, with_environment,
};
use super::output::failure::Failure;
use super::rollback::LossOptions;
use super::target::Target;
use super::{Outcome, migrate, rollback, target, version};
use crate::config::{ConfigError, DropInCommand};
use meta_migrate::{BackupOptions, RestoreOptions, RunKind, recorded_backup, restore};

/// Does what cmd.type in the YAML file says: backup, run or rollback
#[derive(Debug, clap::Parser)]
#[command(name = "meta-migration", version = version::VERSION)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    loss: LossOptions,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    empty: EmptyOptions,
    #[command(flatten)]
    pub(in crate::cli) common: CommonOptions,
    /// Ignored, as in the official tool
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// Returns the command line of this interface.
pub(in crate::cli) fn command() -> clap::Command {
    with_environment(Args::command())
}

impl Args {
    pub(in crate::cli) fn parse(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command().try_get_matches_from(arguments)?)
    }
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut context = CommandContext::begin(&args.common)?;
    if !args.ignored.is_empty() {
        tracing::warn!("ignored: {}", args.ignored.join(" "));
    }
    let command = required(&context)?;
    if command == DropInCommand::Rollback {
        context.next_steps.set_kind(RunKind::Restore);
    }
    tracing::info!(
        "{}: meta root {}, etcd {}",
        command.name(),
        context.config.root,
        context.config.connection.endpoints.join(", ")
    );
    match command {
        DropInCommand::Backup => backup(&context, args),
        DropInCommand::Run => migrate(&mut context, args),
        DropInCommand::Rollback => rollback(&mut context, args),
    }
}

fn backup(context: &CommandContext, args: &Args) -> Outcome {
    target::check_versions(&context.config)?;
    let options = BackupOptions {
        root: context.config.root.clone(),
        target: args
            .target
            .file_or_stream(context, context.config.backup_file.as_deref())?,
        refuse_sessions: true,
        waits: args.wait.resolve_drop_in(&context.config),
        limits: limits(),
    };
    super::backup::save(context, &options, may_be_empty(context, args))
}

fn migrate(context: &mut CommandContext, args: &Args) -> Outcome {
    let config = &context.config;
    let Target::Migrate(target) = Target::of(context, &args.transform)? else {
        let done = migrate::nothing_to_do(context, None, may_be_empty(context, args))?;
        return migrate::finish(context, &done);
    };
    let path = config.backup_file.as_deref();
    let has_backup = path.is_some() || config.drop_in.run_with_backup != Some(false);
    let backup = match has_backup {
        true => Some(args.target.file(context, path)?),
        false => None,
    };
    let waits = args.wait.resolve_drop_in(config);
    let options = migrate::options(context, target, backup, waits, limits());
    let extras = migrate::Extras {
        may_be_empty: may_be_empty(context, args),
        ..migrate::Extras::default()
    };
    migrate::carry_out(context, &options, &extras)
}

fn may_be_empty(context: &CommandContext, args: &Args) -> bool {
    args.empty.allow_empty || context.config.drop_in.allow_empty == Some(true)
}

fn rollback(context: &mut CommandContext, args: &Args) -> Outcome {
    target::check_versions(&context.config)?;
    let mut options = RestoreOptions {
        accept_loss: args.loss.accept_loss || context.config.drop_in.accept_loss == Some(true),
        waits: args.wait.resolve_drop_in(&context.config),
        ..rollback::options(context, args.loss, &args.wait, false)
    };
    rollback::announce(context, &options);
    let context = &*context;
    if let Some(path) = &options.backup {
        context.require_one_instance(path, options.limits.tolerance)?;
    }
    let done = context.write(async |store, environment| {
        let recorded = recorded_backup(store, &options.root, &options.limits).await?;
        if args.common.etcd.named_backup().is_none()
            && let Some(recorded) = recorded.map(|backup| PathBuf::from(backup.path))
            && recorded.is_file()
        {
            // Without a file the engine takes the recorded one and checks that its content is unchanged.
            options.backup = None;
        }
        restore(store, &options, environment).await
    })?;
    rollback::finish(context, &options, &done)
}

/// Returns the command. Fails if a key that it requires is missing.
fn required(context: &CommandContext) -> Result<DropInCommand, Failure> {
    let config = &context.config;
    let missing = |key, purpose| {
        let path = config.file.clone().unwrap_or_default();
        let hint = format!(
            "{}   # with {key} in {}",
            context.next_steps.again(),
            path.display()
        );
        Failure::from(ConfigError::MissingKey { path, key, purpose }).hint(hint)
    };
    let Some(command) = config.drop_in.command else {
        return Err(missing("cmd.type", "must be run, backup or rollback"));
    };
    if config.source_version.is_none() {
        return Err(missing(
            "config.sourceVersion",
            "the Milvus release that wrote the metadata, for example 2.1.4",
        ));
    }
    let forward = matches!(command, DropInCommand::Run | DropInCommand::Rollback);
    if forward && config.target_version.is_none() {
        return Err(missing(
            "config.targetVersion",
            "the Milvus release to upgrade to, for example 2.2.16",
        ));
    }
    let wants_file = match command {
        DropInCommand::Backup => true,
        DropInCommand::Run => config.drop_in.run_with_backup == Some(true),
        // Before the commit, a rollback needs no file.
        DropInCommand::Rollback => false,
    };
    if wants_file && config.backup_file.is_none() {
        return Err(missing(
            "config.backupFilePath",
            "where the backup is written",
        ));
    }
    Ok(command)
}
