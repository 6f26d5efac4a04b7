//! `restore`.

use std::path::Path;

use super::Outcome;
use super::context::{CommandContext, limits};
use super::next_steps::NextSteps;
use super::options::{CommonOptions, ReadingOptions, WaitOptions, family_parser};
use super::output::failure::Failure;
use super::rollback::{LossOptions, carry_out, options};
use crate::config::ConfigError;
use meta_migrate::{Limits, RestoreCommand, RestoreOptions, RunKind};
use milvus_meta::keys::{Family, MetaRoot, path_part};

/// Restore a backup file into etcd, at any root path
///
/// Reads all backup formats of Milvus metadata. The file is checked and compared completely before the
/// first write; puts come first, deletes last. Leased keys and the server id counter are not changed. The command
/// shows the diff and asks for confirmation; without a terminal it requires --yes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Restore below this root path, whatever the backup's own was, for example by-dev2; of several
    /// instances in one file --root-path names the one to take
    #[arg(long, value_name = "ROOT", env, value_parser = path_part)]
    to_root: Option<String>,
    /// Restore only this family of keys, for example root-coord/credential; repeat it for several. inspect --summary
    /// lists the families of a file
    #[arg(long, value_name = "NAME", env, value_delimiter = ',', value_parser = family_parser(&[]),
          hide_possible_values = true)]
    family: Vec<Family>,
    /// Only show the difference
    #[arg(long, env)]
    dry_run: bool,
    #[command(flatten)]
    loss: LossOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

/// Each family once, in the order of their names.
fn sorted(families: &[Family]) -> Vec<Family> {
    let mut families = families.to_vec();
    families.sort_by_key(|family| family.name());
    families.dedup();
    families
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut context = CommandContext::begin(&args.common)?;
    if let Some(path) = &args.to_root {
        context.next_steps = NextSteps::new(&args.common.etcd.at_root(path), &context.config);
    }
    context.next_steps.set_kind(RunKind::Restore);
    let config = &context.config;
    let Some(backup) = &config.backup_file else {
        let next = &context.next_steps;
        let list = next.list_backups(Path::new("."));
        return Err(next
            .missing_option("--backup-file", "the backup to restore", "FILE")
            .hint(format!(
                "{list}   # lists the backups in the working directory"
            )));
    };
    if !args.dry_run
        && let Err(failure) = context.require_confirmation()
    {
        // A file that cannot be restored is reported first: --yes would not change that.
        context
            .open(backup, args.reading)
            .map_err(Failure::unchanged)?;
        return Err(failure);
    }
    let root = match &args.to_root {
        Some(path) => MetaRoot::new(path, &config.sub_paths.0, &config.sub_paths.1)
            .map_err(ConfigError::Root)?,
        None => config.root.clone(),
    };
    let options = RestoreOptions {
        root,
        command: RestoreCommand::Restore,
        expects_2_1: false,
        moved_from: args.to_root.as_ref().map(|_| config.root.clone()),
        families: sorted(&args.family),
        limits: Limits {
            tolerance: args.reading.tolerance(),
            ..limits()
        },
        ..options(&context, args.loss, &args.wait, args.dry_run)
    };
    carry_out(&mut context, &options)
}
