//! `backup` and its subcommands.

mod check;
mod diff;
mod list;
mod prune;

use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::backup_target::{TargetOptions, warn_if_ephemeral};
use super::context::{CommandContext, limits};
use super::options::{CommonOptions, EmptyOptions, WaitOptions};
use super::output::exit::Exit;
use super::output::units::{bytes, counted, short_digest};
use super::{Outcome, output, target};
use crate::config::number;
use meta_backup::{GREATEST_LEVEL, LEAST_LEVEL, OutputFormat, STDOUT};
use meta_migrate::BackupOptions;

/// Save the metadata at one revision, or manage backups
///
/// Without a subcommand, saves the metadata to --backup-file. Never overwrites a file: a valid backup of
/// the same content is used again, otherwise the time is added to the name. Leased keys (sessions) are
/// skipped. Writes nothing to etcd. Milvus may run, unless --wait-sessions requires it to be stopped.
///
/// --backup-file - writes the native format to standard output, for example for object storage; the
/// report then goes to standard error. A named pipe works too. A stream is not read back: check the
/// stored file with backup check.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    save: Save,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Check(check::Args),
    Prune(prune::Args),
    Diff(diff::Args),
}

#[derive(Debug, clap::Args)]
struct Save {
    /// Format of the file: native, or the official tool's
    #[arg(long, value_name = "FORMAT", env, default_value = "native", value_parser = format_parser())]
    backup_format: OutputFormat,
    /// Compression level of the native format, 1 to 19
    #[arg(long, value_name = "N", env, value_parser = number::between(LEAST_LEVEL..=GREATEST_LEVEL))]
    level: Option<i32>,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    empty: EmptyOptions,
    #[command(flatten)]
    common: CommonOptions,
}

fn format_parser() -> impl TypedValueParser<Value = OutputFormat> {
    PossibleValuesParser::new(["native", "official"]).map(|name| match name.as_str() {
        "official" => OutputFormat::Official,
        _ => OutputFormat::Native,
    })
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    match &args.command {
        None => begin(&args.save),
        Some(Command::List(args)) => list::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Prune(args)) => prune::run(args),
        Some(Command::Diff(args)) => diff::run(args),
    }
}

fn begin(args: &Save) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    target::check_versions(&context.config)?;
    let given = context.config.backup_file.as_deref();
    let mut target = args.target.file_or_stream(&context, given)?;
    target.options.format = args.backup_format;
    if let Some(level) = args.level {
        target.options.level = level;
    }
    let options = BackupOptions {
        root: context.config.root.clone(),
        target,
        refuse_sessions: args.wait.wait_sessions.is_some(),
        waits: args.wait.resolve(),
        limits: limits(),
    };
    save(&context, &options, args.empty.allow_empty)
}

/// Saves the metadata and prints the result.
pub(in crate::cli) fn save(
    context: &CommandContext,
    options: &BackupOptions,
    may_be_empty: bool,
) -> Outcome {
    let saved = context.read(async |store, environment| {
        context.require_metadata(store, may_be_empty).await?;
        meta_migrate::backup(store, options, environment).await
    })?;
    if saved.entries == 0 {
        tracing::warn!(
            "the backup is empty: no metadata is below {}",
            options.root.meta_root()
        );
    }
    if options.target.path == Path::new(STDOUT) {
        // Standard output has the backup.
        let digest = short_digest(&saved.digest);
        let (entries, revision) = (saved.entries, saved.revision);
        tracing::info!(
            "backup written to standard output: {}, {}, revision {revision}, digest {digest}",
            counted(entries, "entry"),
            bytes(saved.bytes)
        );
        return Ok(Exit::Done);
    }
    context.print_done(&saved, output::outcome::backup);
    warn_if_ephemeral(Path::new(&saved.path));
    Ok(Exit::Done)
}
