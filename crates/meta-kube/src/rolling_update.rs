//! A rolling update from 2.2.3 on: no migration, one Deployment after the other.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::client::{Client, ClientError};
use super::collect::{self, Scope};
use super::condition::{at_rest, unhealthy};
use super::discovery::{COMPONENTS, image_version};
use super::lease::Held;
use super::options::UpgradeOptions;
use super::preflight::rolling_update::{ACCEPTABLE, blockers, standby_lack};
use super::preflight::{Facts, check, no_instance, running};
use super::progress::ProgressObserver;
use super::state::Workload;
use super::upgrade::Cause;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::release::Release;

/// How long a new coordinator has to be ready before the old one goes.
const COORDINATOR_READY_S: i32 = 30;
/// Tries of a change that others keep coming in between.
const TRIES: u32 = 8;

/// What the user asks for.
#[derive(Debug, Clone)]
pub struct RollingOptions {
    /// The release to update to.
    pub target: Release,
    /// Its image.
    pub image: String,
    /// The options that every command has: instance, accepted findings, timeout.
    pub given: UpgradeOptions,
}

/// What was updated.
#[derive(Debug, Serialize)]
pub struct RollingReport {
    /// The instance.
    pub instance: String,
    /// The release that runs now.
    pub target_version: String,
    /// Its image.
    pub image: String,
    /// The Deployments, in the order of their update.
    pub deployments: Vec<String>,
    /// Whether Helm installed it: then it does not know of the image.
    pub is_helms: bool,
}

/// Why a rolling update ended.
#[derive(Debug, thiserror::Error)]
pub enum RollingError {
    /// It does not fit the instance; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A Deployment did not become healthy.
    #[error("{workload} did not become healthy within {} s: {lack}; {updated} Deployments have the new image, the rest the old one", limit.as_secs())]
    Unhealthy {
        /// The Deployment.
        workload: String,
        /// What is lacking.
        lack: String,
        /// Deployments before it.
        updated: usize,
        /// The limit.
        limit: Duration,
    },
    /// Another process works on the instance.
    #[error(
        "the Lease was lost: another orchestrator may be running; {patched} Deployments have the new image"
    )]
    LeaseLost {
        /// Deployments that were changed.
        patched: usize,
    },
    /// It did not begin, or was stopped.
    #[error(transparent)]
    Ended(Cause),
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The Deployments in the order of their update.
pub(crate) fn ordered(facts: &Facts) -> Vec<Workload> {
    // What is asked is new before what asks.
    let place = |workload: &Workload| COMPONENTS.iter().position(|one| *one == workload.component);
    let mut workloads = facts.workloads.found.clone();
    workloads.sort_by_key(|workload| (place(workload), workload.name.clone()));
    workloads
}

/// Why the releases that run cannot be updated so. A tag without a release may mean anything, 2.1 too:
/// then `source` has to be given. A Deployment with `image` is what an earlier run left.
fn unfit_sources(facts: &Facts, source: Option<&Release>, image: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    for workload in facts
        .workloads
        .found
        .iter()
        .filter(|one| one.image != image)
    {
        let reported = image_version(&workload.image);
        let reason = match reported.as_ref().or(source) {
            None => format!(
                "the image {} of Deployment {} has no release in its tag: use --source-version",
                workload.image, workload.name
            ),
            Some(from) if from.triple() < (2, 2, 3) => format!(
                "{from} cannot be updated without interruption, which requires 2.2.3 or later (see preflight)"
            ),
            Some(_) => continue,
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

/// What other controllers do to the instance; an error blocks unless it is accepted.
fn findings(facts: &Facts, options: &UpgradeOptions) -> Vec<Finding> {
    let mut findings = check(facts, options);
    findings.retain(|finding| ACCEPTABLE.contains(&finding.code.as_str()));
    findings
}

/// Why an instance cannot be updated so to this target now; empty where it can.
pub(crate) fn refusals(facts: &Facts, options: &RollingOptions) -> Vec<String> {
    let (target, image) = (&options.target, options.image.as_str());
    let mut reasons = blockers(facts);
    reasons.extend(unfit_sources(facts, options.given.source.as_ref(), image));
    reasons.extend(standby_lack(facts));
    if facts.workloads.found.is_empty() {
        reasons.push(no_instance(facts));
    }
    for ambiguous in &facts.workloads.ambiguous {
        reasons.push(format!(
            "Deployment {}: {}",
            ambiguous.name, ambiguous.problem
        ));
    }
    if target.triple() < (2, 2, 3) {
        reasons.push(format!("{target} is below 2.2.3"));
    }
    if let Some(newer) = running(facts).filter(|from| from.triple() > target.triple()) {
        reasons.push(format!("{newer} runs, which is newer than {target}"));
    }
    if image_version(image).is_some_and(|version| version.triple() != target.triple()) {
        reasons.push(format!("image {image} is not {target}"));
    }
    for deployment in &facts.deployments {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let found = &facts.workloads.found;
        let Some(workload) = found.iter().find(|one| one.name == name) else {
            continue;
        };
        // One with the new image already is what an earlier run left: it is waited for.
        if workload.image != image
            && let Err(lack) = at_rest(deployment)
        {
            reasons.push(format!("Deployment {name}: {lack}"));
        }
    }
    let others = findings(facts, &options.given).into_iter();
    let others = others.filter(|finding| finding.severity == Severity::Error);
    reasons.extend(others.map(|one| format!("{} [{}]", one.message, one.code)));
    reasons
}

/// What an update does, in steps.
fn outline(facts: &Facts, image: &str) -> String {
    let mut text = format!(
        "Update {} in namespace {} to {}, one Deployment after the other, each until it is healthy:\n",
        facts.instance, facts.namespace, image
    );
    for (number, workload) in ordered(facts).iter().enumerate() {
        text.push_str(&format!(
            "  {}. {}, now {}\n",
            number + 1,
            workload.name,
            workload.image
        ));
    }
    text
}

/// The patch of one Deployment, if it is still as it was read.
pub(crate) fn patch(
    workload: &Workload,
    target: &Release,
    image: &str,
    version: Option<&str>,
) -> Value {
    let mut spec = json!({
        // Charts give coordinators Recreate, which stops the old one before the new one is there.
        "strategy": {"type": "RollingUpdate"},
        "template": {"spec": {"containers": [{"name": workload.container, "image": image}]}},
    });
    if workload.component.ends_with("coord") {
        spec["minReadySeconds"] = json!(COORDINATOR_READY_S);
    }
    json!({
        "metadata": {
            "resourceVersion": version,
            "labels": {"app.kubernetes.io/version": target.to_string()},
        },
        "spec": spec,
    })
}

/// Updates an instance in a rolling way: observes, decides, acts, reports.
///
/// # Errors
/// Why it ended; what was updated until then stays so.
pub async fn rolling_update(
    client: &Client,
    options: &RollingOptions,
    observer: &dyn ProgressObserver,
) -> Result<RollingReport, RollingError> {
    let held = Held::acquire(client, &options.given.instance, &options.given.identity)
        .await
        .map_err(|error| RollingError::Ended(error.into()))?;
    let ended = tokio::select! {
        ended = work((client, &held), options, observer) => ended,
        () = observer.stopped() => Err(RollingError::Ended(Cause::Stopped)),
    };
    held.release().await;
    ended
}

async fn work(
    (client, held): (&Client, &Held),
    options: &RollingOptions,
    observer: &dyn ProgressObserver,
) -> Result<RollingReport, RollingError> {
    let scope = Scope {
        instance: &options.given.instance,
        selector: options.given.selector.as_deref(),
        ..Scope::default()
    };
    let facts = collect::facts(client, scope).await?;
    for finding in findings(&facts, &options.given) {
        if finding.severity != Severity::Error {
            observer.finding(&finding);
        }
    }
    let reasons = refusals(&facts, options);
    if !reasons.is_empty() {
        return Err(RollingError::Refused(reasons.join("; ")));
    }
    if !observer.confirm(&outline(&facts, &options.image)).await {
        return Err(RollingError::Ended(Cause::Unconfirmed));
    }
    update((client, held), observer, &facts, options).await?;
    let deployments = ordered(&facts).into_iter().map(|one| one.name);
    Ok(RollingReport {
        instance: options.given.instance.clone(),
        target_version: options.target.to_string(),
        image: options.image.clone(),
        deployments: deployments.collect(),
        is_helms: facts.helm.is_some(),
    })
}

/// Updates one Deployment after the other, each until it is healthy, as long as the Lease is ours.
async fn update(
    (client, held): (&Client, &Held),
    observer: &dyn ProgressObserver,
    facts: &Facts,
    options: &RollingOptions,
) -> Result<(), RollingError> {
    let (image, limit) = (options.image.as_str(), options.given.limit);
    for (updated, workload) in ordered(facts).iter().enumerate() {
        observer.message(&format!("updating {}", workload.name));
        let changed = change((client, held), workload, options).await?;
        let generation = changed.ok_or(RollingError::LeaseLost { patched: updated })?;
        let begun = Instant::now();
        let mut reported = String::new();
        loop {
            let lack = lack(client, workload, image, generation).await?;
            let Some(lack) = lack else { break };
            if reported != lack {
                observer.message(&format!("waiting for: {}: {lack}", workload.name));
                reported.clone_from(&lack);
            }
            if !held.is_sure(limit).await {
                let patched = updated + 1;
                return Err(RollingError::LeaseLost { patched });
            }
            if begun.elapsed() >= limit {
                return Err(RollingError::Unhealthy {
                    workload: workload.name.clone(),
                    lack,
                    updated,
                    limit,
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// Changes a Deployment as it was just read, again if another client changed it meanwhile; gives its generation, or
/// nothing where the Lease was lost before.
async fn change(
    (client, held): (&Client, &Held),
    workload: &Workload,
    options: &RollingOptions,
) -> Result<Option<i64>, ClientError> {
    let mut tries = 1;
    loop {
        if !held.is_sure(options.given.limit).await {
            return Ok(None);
        }
        let live: Option<Deployment> = client.get(&workload.name).await?;
        let version = live.and_then(|live| live.metadata.resource_version);
        let patch = patch(
            workload,
            &options.target,
            &options.image,
            version.as_deref(),
        );
        match client.patch::<Deployment>(&workload.name, &patch).await {
            Ok(written) => return Ok(Some(written.metadata.generation.unwrap_or(0))),
            Err(error) if error.is_conflict() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn lack(
    client: &Client,
    workload: &Workload,
    image: &str,
    generation: i64,
) -> Result<Option<String>, ClientError> {
    let live: Option<Deployment> = client.get(&workload.name).await?;
    let Some(live) = live else {
        return Ok(Some("it is not there any more".to_owned()));
    };
    let pods = client.pods_of(Some(&live)).await?;
    Ok(unhealthy(&live, &pods, workload, image, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(components: &[&str], version: &str) -> Facts {
        let mut facts = Facts::default();
        facts.workloads.found = components
            .iter()
            .map(|component| Workload {
                name: format!("p-{component}"),
                uid: String::new(),
                component: (*component).to_owned(),
                container: "main".to_owned(),
                image: format!("milvusdb/milvus:v{version}"),
                replicas: 1,
            })
            .collect();
        facts
    }

    fn target() -> Release {
        "2.2.16".parse().unwrap()
    }

    fn accepting(codes: &[&str]) -> UpgradeOptions {
        UpgradeOptions {
            accepted: codes.iter().map(|one| (*one).to_owned()).collect(),
            ..UpgradeOptions::default()
        }
    }

    fn refused(facts: &Facts, source: Option<&Release>, image: &str, accepted: &[&str]) -> String {
        let options = RollingOptions {
            target: target(),
            image: image.to_owned(),
            given: UpgradeOptions {
                source: source.cloned(),
                ..accepting(accepted)
            },
        };
        refusals(facts, &options).join("; ")
    }

    #[test]
    fn coordinators_come_first_including_mixcoord() {
        let facts = facts(&["proxy", "querynode", "mixcoord", "rootcoord"], "2.2.3");
        let ordered = ordered(&facts);
        let components: Vec<&str> = ordered.iter().map(|one| one.component.as_str()).collect();
        assert_eq!(components, ["rootcoord", "mixcoord", "querynode", "proxy"]);
    }

    #[test]
    fn unsupported_rolling_updates_are_refused() {
        let reasons = |facts: &Facts, image: &str| refused(facts, None, image, &[]);
        let image = "milvusdb/milvus:v2.2.16";
        assert_eq!(reasons(&facts(&["proxy"], "2.2.3"), image), "");
        assert!(reasons(&facts(&["proxy"], "2.1.4"), image).contains("2.1.4 cannot"));
        assert!(reasons(&facts(&[], "2.2.3"), image).contains("no Milvus"));
        let mut rocks = facts(&["standalone"], "2.2.3");
        rocks.configured.message_queue = Some("rocksmq".to_owned());
        assert!(reasons(&rocks, image).contains("RocksMQ"));
        let alone = facts(&["rootcoord"], "2.2.3");
        assert!(reasons(&alone, image).contains("enableActiveStandby"));
        let mut managed = facts(&["proxy"], "2.2.3");
        managed.is_operators = true;
        assert!(reasons(&managed, image).contains("Milvus Operator"));
        let other = "milvusdb/milvus:v2.2.9";
        assert!(reasons(&facts(&["proxy"], "2.2.3"), other).contains("is not 2.2.16"));
    }

    #[test]
    fn an_unknown_release_requires_a_source_version() {
        let image = "milvusdb/milvus:v2.2.16";
        let mut unknown = facts(&["proxy", "querynode"], "2.2.3");
        unknown.workloads.found[0].image = "r/milvus:production".to_owned();
        let reasons = |source: Option<&str>| {
            let source: Option<Release> = source.map(|one| one.parse().unwrap());
            refused(&unknown, source.as_ref(), image, &[])
        };
        assert!(reasons(None).contains("r/milvus:production of Deployment p-proxy"));
        assert!(reasons(None).contains("--source-version"));
        assert!(reasons(Some("2.1.4")).contains("2.1.4 cannot"));
        assert_eq!(reasons(Some("2.2.3")), "");
    }

    #[test]
    fn an_external_controller_blocks_until_accepted() {
        let mut owned = facts(&["proxy"], "2.2.3");
        let deployment =
            json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}});
        owned.deployments = vec![serde_json::from_value(deployment).unwrap()];
        let image = "milvusdb/milvus:v2.2.16";
        assert!(refused(&owned, None, image, &[]).contains("[gitops]"));
        assert_eq!(refused(&owned, None, image, &["gitops"]), "");
        let reported = findings(&owned, &accepting(&["gitops"]));
        assert_eq!(reported[0].severity, Severity::Warning);
    }

    #[test]
    fn an_interrupted_update_resumes_but_not_from_2_1() {
        let image = "milvusdb/milvus:v2.2.16";
        let mut mixed = facts(&["proxy", "querynode"], "2.2.3");
        mixed.workloads.found[0].image = image.to_owned();
        assert_eq!(refused(&mixed, None, image, &[]), "");
        mixed.workloads.found[1].image = "milvusdb/milvus:v2.1.4".to_owned();
        let reasons = refused(&mixed, Some(&target()), image, &[]);
        assert!(reasons.contains("2.1.4 cannot"), "{reasons}");
    }

    #[test]
    fn the_patch_names_the_found_container() {
        let facts = facts(&["rootcoord"], "2.2.3");
        let patch = patch(&facts.workloads.found[0], &target(), "m:2", Some("3"));
        assert_eq!(
            patch["spec"]["template"]["spec"]["containers"],
            json!([{"name": "main", "image": "m:2"}])
        );
        assert_eq!(patch["spec"]["minReadySeconds"], 30);
        assert_eq!(
            patch["metadata"]["labels"]["app.kubernetes.io/version"],
            "2.2.16"
        );
    }
}
