//! `upgrade`.

use clap::builder::BoolishValueParser;

use super::Outcome;
use super::kube_args::{
    BY_THIS_COMMAND, InstanceArgs, Terminal, backup, block_on, failure_of_cause,
};
use super::logging;
use super::options::{OutputOptions, policy_parser};
use super::output;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::upgrade as upgrade_output;
use meta_kube::options::{Intent, Policy, UpgradeOptions};
use meta_kube::stage::Unreached;
use meta_kube::upgrade::decide::Refusal;
use meta_kube::upgrade::status::meaning;
use meta_kube::upgrade::{Cause, Status, UpgradeError, dry_run, status, upgrade};
use milvus_meta::transform::OnBrokenRecord;

/// Upgrade a Milvus 2.1 instance on Kubernetes to 2.2, and back
///
/// Everything that can fail without touching Milvus comes first. Then Milvus is stopped, its metadata
/// backed up, migrated and verified by Jobs in its namespace, and the new release started with the
/// counts that were recorded. Every step is recorded before it begins: killed anywhere, the same
/// command resumes, and `-o rollback` rolls back.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: InstanceArgs,
    #[command(flatten)]
    given: UpgradeOptions,
    /// What to do
    #[arg(
        short = 'o',
        long,
        value_name = "OPERATION",
        value_enum,
        default_value_t
    )]
    operation: What,
    /// After success, delete Jobs and configuration; backup and upgrade state are kept
    #[arg(short = 'd', long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          default_value = "false", value_parser = BoolishValueParser::new())]
    cleanup: bool,
    #[command(flatten)]
    policy: Policy,
    /// What becomes of records that cannot be migrated: fail ends before Milvus is stopped, skip leaves just
    /// them out [default: fail]
    #[arg(long, value_name = "POLICY", value_parser = policy_parser())]
    on_broken_record: Option<OnBrokenRecord>,
    /// Print the steps and the manifests as YAML; touch nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum What {
    /// Upgrade, or resume an unfinished upgrade.
    #[default]
    Migrate,
    /// Roll back to the old release.
    Rollback,
    /// Resume what is unfinished, forward or back.
    Resume,
    /// Abandon an unfinished rollback and continue the upgrade.
    Forward,
    /// Show progress.
    Status,
}

impl What {
    fn intent(self) -> Intent {
        match self {
            Self::Migrate | Self::Status => Intent::Upgrade,
            Self::Rollback => Intent::RollBack,
            Self::Resume => Intent::Resume,
            Self::Forward => Intent::Forward,
        }
    }
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    block_on(run_upgrade(args))
}

async fn run_upgrade(args: &Args) -> Outcome {
    let client = args.place.connect().await?;
    let options = UpgradeOptions {
        intent: args.operation.intent(),
        policy: args.policy,
        skip_broken: args.on_broken_record.map(|one| one == OnBrokenRecord::Skip),
        clean_up: args.cleanup,
        ..args.place.options(client.namespace(), &args.given)
    };
    let terminal = Terminal::new(&args.output);
    let failed = |error| failure(&error, &options, &terminal);
    if args.operation == What::Status {
        let status = status(&client, &options)
            .await
            .map_err(|error| failed(UpgradeError::from(Cause::Driver(error))))?;
        output::print(args.output.format, &status, upgrade_output::status)?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        let steps = dry_run(&client, &options).await.map_err(failed)?;
        output::write(steps.as_bytes())?;
        return Ok(Exit::Done);
    }
    let report = upgrade(&client, &options, &terminal)
        .await
        .map_err(failed)?;
    output::print_done(args.output.format, &report.status, upgrade_output::status);
    match report.result {
        Ok(()) => Ok(Exit::Done),
        Err(unreached) => Err(unreached_failure(unreached, &report.status)),
    }
}

fn unreached_failure(unreached: Unreached, status: &Status) -> Failure {
    let (exit, why) = match unreached {
        Unreached::Failed(why) => (Exit::Failed, why),
        Unreached::Refused(why) => (Exit::Refused, why),
        Unreached::Halted(why) => (Exit::PartWay, why),
    };
    Failure {
        changed: status.meaning.clone().into(),
        backup: status.saved.as_ref().and_then(backup),
        hints: status.next.clone(),
        ..Failure::new(exit, why)
    }
}

/// Why the command ended before its end, with the commands that follow.
fn failure(error: &UpgradeError, options: &UpgradeOptions, terminal: &Terminal<'_>) -> Failure {
    let place = &options.repeated.place;
    let mut failure = failure_of_cause(&error.cause, terminal);
    let saved = error.state.as_deref();
    if let Some(state) = saved {
        failure.changed = meaning(state).into();
        failure.backup = backup(state);
    }
    let upgrade = |what: &str| format!("meta-migration upgrade{place} -o {what}");
    match &error.cause {
        Cause::Lease(_) => failure.hint(upgrade("status")),
        Cause::Refusal(Refusal::Halted(_)) => failure
            .hint(upgrade("status"))
            .hint(upgrade("resume"))
            .hint(upgrade("rollback")),
        Cause::Refusal(_) | Cause::Rights(_) => failure.hint(format!(
            "{}   # shows all findings",
            options.preflight_again()
        )),
        Cause::Unconfirmed => failure,
        Cause::Stopped if saved.is_none_or(|state| state.stage.is_final()) => {
            failure.changed = BY_THIS_COMMAND.into();
            failure.hint("run the same command again")
        }
        Cause::Stopped => failure.hint(upgrade("resume")).hint(upgrade("rollback")),
        Cause::Driver(_) => {
            let Some(state) = saved else { return failure };
            if !state.stage.row().untouched {
                failure.exit = Exit::PartWay;
            }
            failure
                .hint(upgrade("status"))
                .hint(upgrade("resume"))
                .hint(upgrade("rollback"))
        }
    }
}
