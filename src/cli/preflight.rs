//! `preflight`.

use super::Outcome;
use super::context::runtime;
use super::kube_args::{InstanceArgs, Terminal, failure_of_cause};
use super::logging;
use super::options::OutputOptions;
use super::output;
use super::output::exit::Exit;
use super::output::upgrade as upgrade_output;
use meta_kube::options::UpgradeOptions;
use meta_kube::upgrade::preflight;

/// Check a Milvus instance on Kubernetes before an upgrade, and recommend an upgrade path
///
/// Checks the release, pods, images, versions, the configuration and content of etcd, sessions,
/// rights, rollouts, autoscalers, GitOps controllers and the Milvus Operator. Nothing is changed; a
/// Job reads etcd and is deleted. Exits with code 3 if a finding blocks an upgrade.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Create no Job, and do not check the content of etcd
    #[arg(long)]
    no_job: bool,
    #[command(flatten)]
    place: InstanceArgs,
    #[command(flatten)]
    given: UpgradeOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    runtime()?.block_on(run_preflight(args))
}

async fn run_preflight(args: &Args) -> Outcome {
    let client = args.place.connect().await?;
    let options = args.place.options(client.namespace(), &args.given);
    let terminal = Terminal::new(&args.output);
    let found = preflight(&client, &options, !args.no_job, &terminal)
        .await
        .map_err(|cause| failure_of_cause(&cause, &terminal))?;
    output::print(args.output.format, &found, upgrade_output::preflight)?;
    Ok(if found.ok { Exit::Done } else { Exit::Refused })
}
