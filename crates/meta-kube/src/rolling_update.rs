//! A rolling update from 2.2.3 on: no migration, one Deployment after the other.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;
use serde_json::{Value, json};

use super::cause::{Cause, Refusal};
use super::client::{Client, ClientError};
use super::collect;
use super::condition::{rollout_complete, unhealthy};
use super::discovery::image_version;
use super::lease::HeldLease;
use super::manifest;
use super::object::Patch;
use super::options::UpgradeOptions;
use super::preflight::rolling_update::{ACCEPTABLE, blockers, standby_problem};
use super::preflight::{Facts, check, no_instance, running};
use super::progress::ProgressObserver;
use super::state::Workload;
use super::wait::{retry_on_conflict, wait_until};
use milvus_meta::finding::Finding;
use milvus_meta::release::Release;

/// How long a new coordinator must be ready before the old one is stopped.
const COORDINATOR_READY_S: i32 = 30;

#[derive(Debug, Serialize)]
pub struct RollingReport {
    pub instance: String,
    pub target_version: String,
    pub image: String,
    /// The Deployments, in the order of their update.
    pub deployments: Vec<String>,
    /// Whether Helm installed the instance: then its values still have the old image.
    pub is_helm_managed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RollingError {
    #[error("not healthy within {} s: {reason}; {updated} Deployments have the new image, the rest the old one", limit.as_secs())]
    Unhealthy {
        workload: String,
        reason: String,
        /// Number of Deployments updated before.
        updated: usize,
        limit: Duration,
    },
    /// Another process may hold the Lease.
    #[error(
        "the Lease was lost: another orchestrator may be running; {patched} Deployments have the new image"
    )]
    LeaseLost { patched: usize },
    /// The command was refused or stopped, or a request failed.
    #[error(transparent)]
    Ended(Cause),
}

impl<E: Into<Cause>> From<E> for RollingError {
    fn from(cause: E) -> Self {
        Self::Ended(cause.into())
    }
}

/// Why the running releases cannot be updated this way. An image without a release in its tag may
/// even be 2.1, so it requires `source`. A Deployment with `image` was updated by an earlier run.
fn unfit_sources(facts: &Facts, source: Option<&Release>, image: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let others = facts
        .workloads
        .found
        .iter()
        .filter(|one| one.image != image);
    for workload in others {
        let tagged = image_version(&workload.image);
        let reason = match tagged.as_ref().or(source) {
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

/// Findings about other controllers; an error blocks unless it is accepted.
fn findings(facts: &Facts, options: &UpgradeOptions) -> Vec<Finding> {
    let mut findings = check(facts, options);
    findings.retain(|finding| ACCEPTABLE.contains(&finding.code.as_str()));
    findings
}

/// Why an instance cannot be updated to this target now; empty if it can.
fn refusals(facts: &Facts, options: &UpgradeOptions, target: &Release, image: &str) -> Vec<String> {
    let mut reasons = blockers(facts);
    reasons.extend(unfit_sources(facts, options.source.as_ref(), image));
    reasons.extend(standby_problem(facts));
    if facts.workloads.found.is_empty() {
        reasons.push(no_instance(facts));
    }
    reasons.extend(facts.workloads.ambiguous.iter().cloned());
    if target.triple() < (2, 2, 3) {
        reasons.push(format!("{target} is below 2.2.3"));
    }
    if let Some(newer) = running(facts).filter(|from| from.triple() > target.triple()) {
        reasons.push(format!("{newer} runs, which is newer than {target}"));
    }
    if image_version(image).is_some_and(|version| version.triple() != target.triple()) {
        reasons.push(format!("image {image} is not {target}"));
    }
    for workload in &facts.workloads.found {
        // One that already has the new image was updated by an earlier run: the update waits for it.
        if workload.image != image
            && let Some(Err(reason)) = facts.deployment(&workload.name).map(rollout_complete)
        {
            reasons.push(format!("Deployment {}: {reason}", workload.name));
        }
    }
    let others = findings(facts, options);
    let others = others.iter().filter(|one| one.is_error());
    reasons.extend(others.map(|one| format!("{} [{}]", one.message, one.code)));
    reasons
}

/// Describes the steps of an update.
fn outline(facts: &Facts, image: &str) -> String {
    let mut text = format!(
        "Update {} in namespace {} to {}, one Deployment after the other, each until it is healthy:\n",
        facts.instance, facts.namespace, image
    );
    for (number, workload) in facts.workloads.found.iter().enumerate() {
        text.push_str(&format!(
            "  {}. {}, now {}\n",
            number + 1,
            workload.name,
            workload.image
        ));
    }
    text
}

fn patch(workload: &Workload, target: &Release, image: &str) -> Value {
    let container = json!({"name": workload.container, "image": image});
    let mut spec = json!({
        // Charts use Recreate for coordinators, which stops the old one before the new one runs.
        "strategy": {"type": "RollingUpdate"},
        "template": {"spec": {"containers": [container]}},
    });
    if workload.component.ends_with("coord") {
        spec["minReadySeconds"] = json!(COORDINATOR_READY_S);
    }
    json!({
        "metadata": {"labels": {"app.kubernetes.io/version": target.to_string()}},
        "spec": spec,
    })
}

/// Updates an instance one Deployment after the other.
///
/// # Errors
/// Why it ended early. Deployments that were updated until then stay updated.
pub async fn rolling_update(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
) -> Result<RollingReport, RollingError> {
    let (Some(target), Some(image)) = (&options.target, options.new_image()) else {
        let why = "a rolling update needs --target-version";
        return Err(Refusal::Refused(why.to_owned()).into());
    };
    let lease = HeldLease::acquire(client, &options.instance, &options.identity).await?;
    let update = Update {
        client,
        lease: &lease,
        options,
        target,
        image: &image,
        observer,
    };
    let ended = tokio::select! {
        ended = update.run() => ended,
        () = observer.stopped() => Err(Cause::Stopped.into()),
    };
    lease.release().await;
    ended
}

struct Update<'a> {
    client: &'a Client,
    lease: &'a HeldLease,
    options: &'a UpgradeOptions,
    target: &'a Release,
    image: &'a str,
    observer: &'a dyn ProgressObserver,
}

impl Update<'_> {
    async fn run(&self) -> Result<RollingReport, RollingError> {
        let options = self.options;
        let facts = collect::facts(self.client, options).await?;
        let mut notable = findings(&facts, options);
        notable.retain(|one| !one.is_error());
        self.observer.findings(&notable);
        let reasons = refusals(&facts, options, self.target, self.image);
        if !reasons.is_empty() {
            return Err(Refusal::Refused(reasons.join("; ")).into());
        }
        let outline = outline(&facts, self.image);
        if !self.observer.confirm(&outline).await {
            return Err(Cause::Unconfirmed.into());
        }
        let workloads = facts.workloads.found;
        for (updated, workload) in workloads.iter().enumerate() {
            self.update(workload, updated).await?;
        }
        Ok(RollingReport {
            instance: options.instance.clone(),
            target_version: self.target.to_string(),
            image: self.image.to_owned(),
            deployments: workloads.into_iter().map(|one| one.name).collect(),
            is_helm_managed: facts.helm.is_some(),
        })
    }

    /// Updates a Deployment and waits until it is healthy, while we hold the Lease; `updated` is
    /// the number of Deployments before it.
    async fn update(&self, workload: &Workload, updated: usize) -> Result<(), RollingError> {
        let limit = self.options.limit;
        self.observer
            .message(&format!("updating {}", workload.name));
        let change = async || {
            if self.lease.is_held(limit).await {
                Ok(self.change(workload).await)
            } else {
                Err(RollingError::LeaseLost { patched: updated })
            }
        };
        let generation = retry_on_conflict(change).await??;
        let unmet = async || {
            if self.lease.is_held(limit).await {
                Ok(self.unmet(workload, generation).await?)
            } else {
                let patched = updated + 1;
                Err(RollingError::LeaseLost { patched })
            }
        };
        let unmet = wait_until(self.observer, limit, unmet).await?;
        if unmet.is_empty() {
            return Ok(());
        }
        Err(RollingError::Unhealthy {
            workload: workload.name.clone(),
            reason: unmet.join("; "),
            updated,
            limit,
        })
    }

    /// Patches a Deployment as it was just read; returns its generation.
    async fn change(&self, workload: &Workload) -> Result<i64, ClientError> {
        let live: Option<Deployment> = self.client.get(&workload.name).await?;
        let mut patch = patch(workload, self.target, self.image);
        if let Some(live) = &live {
            patch = manifest::if_unchanged(patch, live);
        }
        let patch = Patch::Strategic(&patch);
        let written: Deployment = self.client.patch(&workload.name, patch).await?;
        Ok(written.metadata.generation.unwrap_or(0))
    }

    async fn unmet(
        &self,
        workload: &Workload,
        generation: i64,
    ) -> Result<Vec<String>, ClientError> {
        let live: Option<Deployment> = self.client.get(&workload.name).await?;
        let reason = match &live {
            None => Some("it is missing".to_owned()),
            Some(live) => {
                let pods = self.client.pods_of(Some(live)).await?;
                unhealthy(live, &pods, workload, self.image, generation)
            }
        };
        let named = reason.map(|reason| format!("Deployment {}: {reason}", workload.name));
        Ok(named.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvus_meta::finding::Severity;

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
        let options = UpgradeOptions {
            source: source.cloned(),
            ..accepting(accepted)
        };
        refusals(facts, &options, &target(), image).join("; ")
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
        managed.is_operator_managed = true;
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
        let patch = patch(&facts.workloads.found[0], &target(), "m:2");
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
