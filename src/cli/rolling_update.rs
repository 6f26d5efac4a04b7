//! `rolling-update`.

use super::Outcome;
use super::cluster::{
    PlaceOptions, Terminal, UNTOUCHED, block_on, confirmed, failure, identity, lease_failure,
    signalled,
};
use super::logging;
use super::options::OutputOptions;
use super::report;
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::report::orchestration;
use super::report::palette::Palette;
use crate::finding::Severity;
use crate::kubernetes::cluster::Cluster;
use crate::kubernetes::lease::Held;
use crate::kubernetes::operation::Audience;
use crate::kubernetes::rolling::{self, Aim, RollingError};
use crate::kubernetes::survey::{self, Scope};
use crate::version::Release;

const AGAIN: &str = "the same command goes on with what is not updated yet";
const ADVICE: &str = "it does not know about this: run helm upgrade with image.all.tag set to the new release, or the next one \
                      sets the old image again";

/// Update a Milvus instance on Kubernetes from 2.2.3 or later to a newer release, without interruption
///
/// One Deployment after the other, coordinators first, each until it is healthy. No metadata is
/// migrated. Ends at the first Deployment that does not become healthy.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: PlaceOptions,
    /// What to do
    #[arg(short = 'o', long, value_name = "OPERATION", value_parser = ["update"], default_value = "update")]
    operation: String,
    /// Milvus release that runs [default: what the images' tags tell]
    #[arg(short = 's', long, value_name = "VERSION")]
    source_version: Option<Release>,
    /// Milvus release to update to
    #[arg(short = 't', long, value_name = "VERSION")]
    target_version: Release,
    /// Image of that release [default: milvusdb/milvus:vTARGET]
    #[arg(short = 'w', long, value_name = "IMAGE")]
    image: Option<String>,
    /// A concern of preflight that shall not stand in the way, by its code; may be repeated
    #[arg(long, value_name = "CODE", value_parser = rolling::IN_THE_WAY)]
    accept: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    block_on(rolling_update(args))
}

async fn rolling_update(args: &Args) -> Outcome {
    let cluster = args.place.connect().await?;
    let held = Held::acquire(&cluster, &args.place.instance, &identity())
        .await
        .map_err(|error| lease_failure(&error))?;
    let ended = tokio::select! {
        ended = update(args, &cluster, &held) => ended,
        signal = signalled() => Err(Failure::new(
            signal,
            "ended by a signal: some Deployments may have the new image; run the same command again",
        )),
    };
    held.release().await;
    ended
}

async fn update(args: &Args, cluster: &Cluster, held: &Held) -> Outcome {
    let place = &args.place;
    let scope = Scope {
        instance: &place.instance,
        selector: place.selector.as_deref(),
        ..Scope::default()
    };
    let facts = survey::facts(cluster, scope)
        .await
        .map_err(|error| failure(&error))?;
    let target = &args.target_version;
    let image = args
        .image
        .clone()
        .unwrap_or_else(|| format!("milvusdb/milvus:v{target}"));
    let terminal = Terminal::new(&args.output);
    let aim = Aim {
        source: args.source_version.as_ref(),
        target,
        image: &image,
        accepted: &args.accept,
    };
    let palette = Palette::for_stream(&std::io::stderr());
    for concern in rolling::concerns(&facts, &args.accept) {
        if concern.severity != Severity::Error {
            terminal.tell(&orchestration::concern(&concern, palette));
        }
    }
    if rolling::refusals(&facts, aim).is_empty() {
        confirmed(&args.output, &rolling::outline(&facts, aim)).await?;
    }
    let updated = rolling::update((cluster, held), &terminal, &facts, aim, place.timeout).await;
    match updated {
        Ok(()) => {
            let done = Updated {
                instance: place.instance.clone(),
                target_version: target.to_string(),
                deployments: rolling::ordered(&facts)
                    .into_iter()
                    .map(|one| one.name)
                    .collect(),
                image,
                advice: facts.helm.as_ref().map(|_| ADVICE.to_owned()),
            };
            report::print_done(args.output.format, &done, |done, palette| {
                done.text(palette)
            });
            Ok(Exit::Done)
        }
        Err(RollingError::Cluster(error)) => Err(failure(&error).hint(AGAIN)),
        Err(error @ RollingError::Refused(_)) => {
            let mut refused = Failure::from_error(Exit::Refused, &error);
            refused.changed = UNTOUCHED.into();
            let words = place.words(cluster.namespace());
            Err(refused.hint(format!("meta-migration preflight{words} -t {target}")))
        }
        Err(RollingError::LeaseLost { patched }) => Err(lost(patched)),
        Err(error @ RollingError::Unhealthy { .. }) => Err(unhealthy(cluster.namespace(), &error)),
    }
}

fn lost(patched: usize) -> Failure {
    let error = RollingError::LeaseLost { patched };
    if patched > 0 {
        return Failure::from_error(Exit::PartWay, &error).hint(AGAIN);
    }
    let mut failure = Failure::from_error(Exit::Refused, &error);
    failure.changed = UNTOUCHED.into();
    failure
}

fn unhealthy(namespace: &str, error: &RollingError) -> Failure {
    let told = Failure::from_error(Exit::PartWay, error).hint(AGAIN);
    let RollingError::Unhealthy { workload, .. } = error else {
        return told;
    };
    told.hint(format!(
        "kubectl -n {namespace} describe pods; kubectl -n {namespace} logs deployment/{workload}"
    ))
    .hint(format!(
        "kubectl -n {namespace} rollout undo deployment/{workload}   # back to its old image"
    ))
}

/// What was updated.
#[derive(Debug, serde::Serialize)]
struct Updated {
    instance: String,
    target_version: String,
    image: String,
    deployments: Vec<String>,
    advice: Option<String>,
}

impl Updated {
    fn text(&self, palette: Palette) -> String {
        let mut text = format!(
            "{} {} runs {}: {}\n",
            palette.good("Updated:"),
            self.instance,
            self.image,
            self.deployments.join(", ")
        );
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{} {advice}\n", palette.strong("Helm:")));
        }
        text
    }
}
