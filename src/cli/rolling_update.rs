//! `rolling-update`.

use super::Outcome;
use super::context::runtime;
use super::kube_args::{BY_THIS_COMMAND, InstanceArgs, Terminal, failure, failure_of_cause};
use super::logging;
use super::options::OutputOptions;
use super::output;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use meta_kube::cause::Cause;
use meta_kube::options::UpgradeOptions;
use meta_kube::preflight::rolling_update::ACCEPTABLE;
use meta_kube::rolling_update::{RollingError, RollingReport, rolling_update};
use milvus_meta::release::Release;

const AGAIN: &str = "run the same command again: it continues with what is not updated yet";
const NOTICE: &str = "Helm does not know the new image: run helm upgrade with image.all.tag set to the new release; otherwise the next helm upgrade sets the old image again";

/// Update a Milvus instance on Kubernetes from 2.2.3 or later to a newer release, without interruption
///
/// One Deployment after the other, coordinators first, each until it is healthy. No metadata is
/// migrated. Ends at the first Deployment that does not become healthy.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What to do
    #[arg(short = 'o', long, value_name = "OPERATION", value_parser = ["update"], default_value = "update")]
    operation: String,
    /// Milvus release that runs [default: from the images' tags]
    #[arg(short = 's', long, value_name = "VERSION")]
    source_version: Option<Release>,
    /// Milvus release to update to
    #[arg(short = 't', long, value_name = "VERSION")]
    target_version: Release,
    /// Image of that release [default: milvusdb/milvus:vTARGET]
    #[arg(short = 'w', long, value_name = "IMAGE")]
    image: Option<String>,
    /// Ignore this preflight check, given by its code; may be repeated
    #[arg(long, value_name = "CODE", value_parser = ACCEPTABLE)]
    accept: Vec<String>,
    #[command(flatten)]
    place: InstanceArgs,
    #[command(flatten)]
    output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    runtime()?.block_on(run_update(args))
}

async fn run_update(args: &Args) -> Outcome {
    let place = &args.place;
    let client = place.connect().await?;
    let namespace = client.namespace();
    let given = UpgradeOptions {
        source: args.source_version.clone(),
        target: Some(args.target_version.clone()),
        image: args.image.clone(),
        accepted: args.accept.clone(),
        ..UpgradeOptions::default()
    };
    let options = place.options(namespace, &given);
    let terminal = Terminal::new(&args.output);
    let done = rolling_update(&client, &options, &terminal)
        .await
        .map_err(|error| failed(&error, namespace, &options, &terminal))?;
    output::print_done(args.output.format, &done, text);
    Ok(Exit::Done)
}

fn failed(
    error: &RollingError,
    namespace: &str,
    options: &UpgradeOptions,
    terminal: &Terminal<'_>,
) -> Failure {
    let part_way = || Failure::from_error(Exit::PartWay, error).hint(AGAIN);
    match error {
        RollingError::Unhealthy { workload, .. } => part_way()
            .hint(format!(
                "kubectl -n {namespace} describe pods; kubectl -n {namespace} logs deployment/{workload}"
            ))
            .hint(format!(
                "kubectl -n {namespace} rollout undo deployment/{workload}   # back to its old image"
            )),
        RollingError::LeaseLost { patched: 0 } => Failure {
            changed: BY_THIS_COMMAND.into(),
            ..Failure::from_error(Exit::Refused, error)
        },
        RollingError::LeaseLost { .. } => part_way(),
        RollingError::Ended(Cause::Client(error)) => failure(error).hint(AGAIN),
        RollingError::Ended(cause @ Cause::Stopped) => Failure {
            changed: "some Deployments may have the new image".into(),
            ..failure_of_cause(cause, terminal).hint(AGAIN)
        },
        RollingError::Ended(cause @ Cause::Refusal(_)) => {
            let hint = options.command("preflight");
            failure_of_cause(cause, terminal).hint(hint)
        }
        RollingError::Ended(cause) => failure_of_cause(cause, terminal),
    }
}

/// Formats the updated Deployments.
fn text(done: &RollingReport, style: Style) -> String {
    let mut text = format!(
        "{} {} runs {}: {}\n",
        style.good("Updated:"),
        done.instance,
        done.image,
        done.deployments.join(", ")
    );
    if done.is_helm_managed {
        text.push_str(&format!("{} {NOTICE}\n", style.strong("Important:")));
    }
    text
}
