//! `upgrade`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::builder::BoolishValueParser;

use super::Outcome;
use super::context::runtime;
use super::kube_args::{BY_THIS_COMMAND, InstanceArgs, Terminal, failure_of_cause};
use super::logging;
use super::options::{OutputOptions, policy_parser};
use super::output;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::upgrade as upgrade_output;
use super::report::ReportOptions;
use meta_kube::cause::{Cause, Refusal};
use meta_kube::client::Client;
use meta_kube::options::{Intent, Policy, UpgradeOptions};
use meta_kube::stage::Unreached;
use meta_kube::state::UpgradeState;
use meta_kube::upgrade::status::{State, meaning};
use meta_kube::upgrade::{Status, UpgradeError, dry_run, status, upgrade};
use milvus_meta::transform::OnBrokenRecord;

/// Upgrade a Milvus 2.1 instance on Kubernetes to 2.2, or roll it back
///
/// Everything that can be checked while Milvus runs is checked first. Then Milvus is stopped, Jobs in
/// its namespace back up, migrate and verify the metadata, and the new release is started with the
/// saved replica counts. Each step is saved before it begins: if interrupted, run the same command to
/// resume, or `-o rollback` to roll back.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What to do
    #[arg(
        short = 'o',
        long,
        value_name = "OPERATION",
        value_enum,
        default_value_t
    )]
    operation: Intent,
    /// After success, delete Jobs and configuration; backup and upgrade state are kept
    #[arg(short = 'd', long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          default_value = "false", value_parser = BoolishValueParser::new())]
    cleanup: bool,
    #[command(flatten)]
    policy: Policy,
    /// How to handle records that cannot be migrated: fail ends before Milvus is stopped, skip skips
    /// them [default: fail]
    #[arg(long, value_name = "POLICY", value_parser = policy_parser())]
    on_broken_record: Option<OnBrokenRecord>,
    /// With -o status: show the timeline until the upgrade ends or needs a decision; without a terminal a line
    /// for each stage
    #[arg(long)]
    watch: bool,
    /// Print the steps and the manifests as YAML; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: InstanceArgs,
    #[command(flatten)]
    given: UpgradeOptions,
    #[command(flatten)]
    report: ReportOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// How often `--watch` reads the status.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Clears the terminal and moves to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    runtime()?.block_on(run_upgrade(args))
}

async fn run_upgrade(args: &Args) -> Outcome {
    if args.watch && args.operation != Intent::Status {
        return Err(Failure::usage(
            "--watch has no effect here: it shows the status of an upgrade, with -o status",
        ));
    }
    let report = match args.dry_run {
        true => None,
        false => args.report.target()?,
    };
    let client = args.place.connect().await?;
    let options = UpgradeOptions {
        intent: args.operation,
        policy: args.policy,
        skip_broken: args.on_broken_record.map(|one| one == OnBrokenRecord::Skip),
        clean_up: args.cleanup,
        ..args.place.options(client.namespace(), &args.given)
    };
    let terminal = Terminal::new(&args.output);
    let failed = |error| failure(&error, &options, &terminal);
    if args.operation == Intent::Status {
        let status = if args.watch {
            watch(&client, &options).await
        } else {
            status(&client, &options).await
        };
        let status = status.map_err(|cause| failed(cause.into()))?;
        if let Some(report) = report {
            report.upgrade(&status)?;
        }
        let status = Status {
            findings: status.all_findings(),
            ..status
        };
        output::print(args.output.format, &status, upgrade_output::status)?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        let steps = dry_run(&client, &options).await.map_err(failed)?;
        output::write(steps.as_bytes())?;
        return Ok(Exit::Done);
    }
    let done = upgrade(&client, &options, &terminal)
        .await
        .map_err(failed)?;
    if let Some(report) = report {
        report.upgraded(&done.status);
    }
    output::print_done(args.output.format, &done.status, upgrade_output::status);
    match done.result {
        Ok(()) => Ok(Exit::Done),
        Err(unreached) => Err(unreached_failure(unreached, &done.status)),
    }
}

/// Shows the status until the upgrade ends or needs a decision. Returns that last status without showing it.
async fn watch(client: &Client, options: &UpgradeOptions) -> Result<Status, Cause> {
    let redraws = std::io::stderr().is_terminal();
    let mut shown = 0;
    loop {
        let status = status(client, options).await?;
        let stages = status.timeline.iter().flat_map(|one| &one.stages);
        if redraws {
            output::inform(CLEAR);
        } else {
            let lines = stages.clone().skip(shown).map(upgrade_output::began);
            output::inform(&lines.collect::<String>());
            shown = stages.count();
        }
        if !matches!(status.state, State::AtWork | State::Interrupted) {
            return Ok(status);
        }
        if redraws {
            let style = Style::for_stream(&std::io::stderr());
            output::inform(&upgrade_output::status(&status, style));
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn unreached_failure(unreached: Unreached, status: &Status) -> Failure {
    let (exit, why) = match unreached {
        Unreached::Failed(why) => (Exit::Failed, why),
        Unreached::Refused(why) => (Exit::Refused, why),
        Unreached::Halted(why) => (Exit::PartWay, why),
    };
    let place = status.saved.as_ref().and_then(UpgradeState::backup_place);
    Failure {
        changed: status.meaning.clone().into(),
        backup: place.map(String::into_boxed_str),
        hints: status.next.clone(),
        ..Failure::new(exit, why)
    }
}

/// Turns an error into a failure with the next commands as hints.
fn failure(error: &UpgradeError, options: &UpgradeOptions, terminal: &Terminal<'_>) -> Failure {
    let place = &options.repeated.place;
    let mut failure = failure_of_cause(&error.cause, terminal);
    let saved = error.state.as_deref();
    if let Some(state) = saved {
        failure.changed = meaning(state).into();
        failure.backup = state.backup_place().map(String::into_boxed_str);
    }
    let upgrade = |what: &str| format!("meta-migration upgrade{place} -o {what}");
    let with_ways = |failure: Failure| {
        let all = ["status", "resume", "rollback"].map(upgrade);
        all.into_iter().fold(failure, Failure::hint)
    };
    match &error.cause {
        Cause::Held(_) => failure.hint(upgrade("status")),
        Cause::Refusal(Refusal::Halted(_)) => with_ways(failure),
        Cause::Refusal(_) => failure.hint(format!(
            "{}   # shows all findings",
            options.command("preflight")
        )),
        Cause::Unconfirmed => failure,
        Cause::Stopped if saved.is_none_or(|state| state.stage.is_final()) => {
            failure.changed = BY_THIS_COMMAND.into();
            failure.hint("run the same command again")
        }
        Cause::Stopped => {
            failure.message =
                format!("{}; a Job that is running continues", failure.message).into();
            failure.hint(upgrade("resume")).hint(upgrade("rollback"))
        }
        Cause::Client(_) | Cause::LeaseLost | Cause::UpgradeState { .. } => {
            let Some(state) = saved else { return failure };
            if !state.stage.row().untouched {
                failure.exit = Exit::PartWay;
            }
            with_ways(failure)
        }
    }
}
