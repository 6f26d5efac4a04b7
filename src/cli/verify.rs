//! `verify`.

use std::path::{Path, PathBuf};

use super::context::{CommandContext, limits};
use super::options::{CommonOptions, EmptyOptions, ReadingOptions, TransformOptions};
use super::output::exit::Exit;
use super::{Outcome, output, target};
use meta_migrate::{Limits, VerifyOptions};

/// Check whether the 2.2 metadata is complete for the release that will read it
///
/// With --backup-file, compares it with the expected result of migrating that backup. Writes nothing.
/// Exits with code 6 on differences, and with code 3 while another migration holds the lock.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Check a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    transform: TransformOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    empty: EmptyOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let backup = args.common.etcd.named_backup();
    let options = target::past_options(&context, &args.transform)?;
    let release = context.config.target_version.clone();
    target::require_2_2_layout(release.as_ref(), "verify checks")?;
    let found = match &args.from {
        Some(path) => {
            let source = context.open(path, args.reading)?;
            let before = backup.map(|path| context.open(path, args.reading));
            let before = before.transpose()?;
            context.offline(|environment| {
                source.verify(
                    before.as_ref(),
                    options.as_ref(),
                    release.as_ref(),
                    environment,
                )
            })?
        }
        None => {
            let limits = Limits {
                tolerance: args.reading.tolerance(),
                ..limits()
            };
            if let Some(path) = backup {
                context.require_one_instance(path, limits.tolerance)?;
            }
            let verification = VerifyOptions {
                root: context.config.root.clone(),
                backup: backup.map(Path::to_owned),
                options,
                target: release,
                limits,
            };
            context.read(async |store, environment| {
                context
                    .require_metadata(store, args.empty.allow_empty)
                    .await?;
                meta_migrate::verify(store, &verification, environment).await
            })?
        }
    };
    let text = |found: &_, style| output::outcome::verify(found, backup.is_some(), style);
    match args.from {
        Some(_) => output::print(context.output.format, &found, text)?,
        None => context.print(&found, text)?,
    }
    Ok(if found.ok {
        Exit::Done
    } else {
        Exit::Differences
    })
}
