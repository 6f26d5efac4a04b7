//! `preflight`.

use super::Outcome;
use super::cluster::{
    AimOptions, PlaceOptions, Terminal, UNTOUCHED, block_on, operation_failure, signalled,
};
use super::logging;
use super::options::OutputOptions;
use super::report;
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::report::orchestration;
use crate::kubernetes::operation::begin;
use crate::kubernetes::stage::Policy;

/// Check a Milvus instance on Kubernetes before an upgrade, and say which way it goes
///
/// Release, pods, images, versions, etcd as configured and as it is, sessions, rights, rollouts,
/// autoscalers, GitOps and operators. Nothing is changed; a Job that only reads looks into etcd.
/// Ends with exit code 3 when something stands in the way.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: PlaceOptions,
    #[command(flatten)]
    aim: AimOptions,
    /// Make no Job: do not look into etcd
    #[arg(long)]
    no_job: bool,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    block_on(preflight(args))
}

async fn preflight(args: &Args) -> Outcome {
    let cluster = args.place.connect().await?;
    let request = args
        .place
        .request(cluster.namespace(), &args.aim, Policy::default());
    let terminal = Terminal::new(&args.output);
    let found = tokio::select! {
        found = begin::preflight(&cluster, &terminal, &request, !args.no_job) => found,
        signal = signalled() => {
            if let Err(error) = begin::clear(&cluster, &request.operation).await {
                tracing::warn!(%error, operation = request.operation, "the status Job may be left");
            }
            let mut failure = Failure::new(signal, "ended by a signal");
            failure.changed = UNTOUCHED.into();
            return Err(failure);
        }
    };
    let found = found.map_err(|error| operation_failure(&error))?;
    report::print(args.output.format, &found, orchestration::preflight)?;
    Ok(if found.ok { Exit::Done } else { Exit::Refused })
}
