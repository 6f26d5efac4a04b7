//! `verify`.

use std::path::{Path, PathBuf};

use super::options::{EmptyOptions, EtcdOptions, OutputOptions, TransformOptions};
use super::reading::ReadingOptions;
use super::report::exit::Exit;
use super::session::{Session, limits};
use super::{Outcome, report, target};
use crate::engine::{self, Limits, VerifyOptions};

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
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    let backup = args.etcd.named_backup();
    let told = target::told(&session.config, &args.transform)?;
    let release = session.config.target_version.clone();
    let found = match &args.from {
        Some(path) => {
            let source = session.open(path, args.reading)?;
            let before = backup.map(|path| session.open(path, args.reading));
            let before = before.transpose()?;
            session.offline(|environment| {
                let reader = (told.as_ref(), release.as_ref());
                source.verify(before.as_ref(), reader, environment)
            })?
        }
        None => {
            let limits = Limits {
                tolerance: args.reading.tolerance(),
                ..limits()
            };
            if let Some(path) = backup {
                session.require_one_instance(path, limits.tolerance)?;
            }
            let options = VerifyOptions {
                root: session.config.root.clone(),
                backup: backup.map(Path::to_owned),
                options: told,
                target: release,
                limits,
            };
            session.read(async |store, environment| {
                session
                    .require_metadata(store, args.empty.allow_empty)
                    .await?;
                engine::verify(store, &options, environment).await
            })?
        }
    };
    report::print(session.output.format, &found, |found, palette| {
        report::outcome::verify(found, backup.is_some(), palette)
    })?;
    Ok(if found.ok {
        Exit::Done
    } else {
        Exit::Differences
    })
}
