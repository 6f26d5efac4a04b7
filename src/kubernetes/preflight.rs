//! What an operator checks by hand before an upgrade, decided on facts that were collected before.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::at_rest;
use super::discovery::etcd::Configured;
use super::discovery::{Workloads, image_version};
use super::operator;
use super::record::EtcdTarget;
use crate::finding::Severity;
use crate::report::{Layout, StatusReport};
use crate::version::Release;

mod report;

pub use report::{PreflightReport, UpgradePath, WorkloadReport, path, report};

/// Something to know before an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// An error stands in the way.
    pub severity: Severity,
    /// A stable name, for `--accept`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// A right that the upgrade needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource.
    pub subresource: Option<&'static str>,
    /// The verb.
    pub verb: &'static str,
}

impl std::fmt::Display for Right {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(formatter, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(formatter, " ({})", self.group)?;
        }
        Ok(())
    }
}

/// The rights that every upgrade needs, and those that only an operator-managed instance does.
#[must_use]
pub fn rights(operator_managed: bool) -> Vec<Right> {
    let table: &[(&str, &str, Option<&str>, &[&str])] = &[
        ("apps", "deployments", None, &["get", "list"]),
        ("", "pods", None, &["get", "list"]),
        ("", "pods", Some("log"), &["get"]),
        ("", "services", None, &["list"]),
        (
            "",
            "configmaps",
            None,
            &["get", "create", "update", "delete"],
        ),
        ("", "persistentvolumeclaims", None, &["get", "create"]),
        ("batch", "jobs", None, &["get", "list", "create", "delete"]),
        (
            "coordination.k8s.io",
            "leases",
            None,
            &["get", "create", "update", "delete"],
        ),
    ];
    let changed: &[(&str, &str, Option<&str>, &[&str])] = if operator_managed {
        &[
            ("milvus.io", "milvuses", None, &["get", "patch"]),
            ("milvus.io", "milvusupgrades", None, &["list"]),
        ]
    } else {
        &[("apps", "deployments", None, &["patch"])]
    };
    let rows = table.iter().chain(changed);
    rows.flat_map(|&(group, resource, subresource, verbs)| {
        verbs.iter().map(move |&verb| Right {
            group,
            resource,
            subresource,
            verb,
        })
    })
    .collect()
}

/// What was found in the cluster.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The instance.
    pub instance: String,
    /// Its namespace.
    pub namespace: String,
    /// Its Deployments, sorted.
    pub workloads: Workloads,
    /// The Deployments as they are.
    pub deployments: Vec<Deployment>,
    /// The custom resource, if an operator manages the instance.
    pub resource: Option<Value>,
    /// Whether its Deployments bear an operator's marks.
    pub is_operators: bool,
    /// The operator's own upgrades.
    pub upgrades: Vec<Value>,
    /// What Helm says, or why that cannot be read.
    pub helm: Option<super::discovery::helm::HelmRelease>,
    /// Why Helm's record could not be read.
    pub helm_problem: Option<String>,
    /// Where Milvus is configured to keep its metadata.
    pub configured: Configured,
    /// What could not be read of the configuration.
    pub configured_problem: Option<String>,
    /// Autoscalers of the namespace.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    /// KEDA's scalers of the namespace.
    pub scaled_objects: Vec<Value>,
    /// Rights that are missing.
    pub missing_rights: Vec<Right>,
    /// Pods of Milvus by component: ready and all.
    pub pods: BTreeMap<String, (usize, usize)>,
}

/// What the operator asks for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The release that wrote the metadata.
    pub source: Option<Release>,
    /// The release to upgrade to.
    pub target: Option<Release>,
    /// The image of the new release.
    pub image: Option<String>,
    /// The root path.
    pub root_path: Option<String>,
    /// The meta sub-path.
    pub meta_sub_path: Option<String>,
    /// Addresses of etcd.
    pub endpoints: Option<Vec<String>>,
    /// Concerns that shall not stand in the way.
    pub accepted: Vec<String>,
}

struct Concerns<'a> {
    accepted: &'a [String],
    all: Vec<Concern>,
}

impl Concerns<'_> {
    fn add(&mut self, severity: Severity, code: &str, message: String) {
        let accepted = self.accepted.iter().any(|one| one == code);
        let severity = if accepted && severity == Severity::Error {
            Severity::Warning
        } else {
            severity
        };
        self.all.push(Concern {
            severity,
            code: code.to_owned(),
            message,
        });
    }

    fn error(&mut self, code: &str, message: String) {
        self.add(Severity::Error, code, message);
    }

    fn warning(&mut self, code: &str, message: String) {
        self.add(Severity::Warning, code, message);
    }
}

/// Where the metadata is: what is given wins, then what is configured, then the defaults of Milvus.
#[must_use]
pub fn target(facts: &Facts, asked: &Asked) -> EtcdTarget {
    let configured = &facts.configured;
    let or = |given: Option<&String>, configured: Option<&String>, default: &str| {
        given
            .or(configured)
            .map_or(default, String::as_str)
            .to_owned()
    };
    EtcdTarget {
        endpoints: asked
            .endpoints
            .clone()
            .or_else(|| configured.endpoints.clone())
            .unwrap_or_default(),
        root_path: or(
            asked.root_path.as_ref(),
            configured.root_path.as_ref(),
            "by-dev",
        ),
        meta_sub_path: or(
            asked.meta_sub_path.as_ref(),
            configured.meta_sub_path.as_ref(),
            "meta",
        ),
        kv_sub_path: or(None, configured.kv_sub_path.as_ref(), "kv"),
        credentials: None,
        tls: None,
    }
}

/// The release that the images tell, if they agree.
#[must_use]
pub fn running(facts: &Facts) -> Option<Release> {
    let mut found: Option<Release> = None;
    for workload in &facts.workloads.found {
        let version = image_version(&workload.image)?;
        if found.as_ref().is_some_and(|other| *other != version) {
            return None;
        }
        found = Some(version);
    }
    found
}

/// Judges the facts.
#[must_use]
pub fn judge(facts: &Facts, asked: &Asked) -> Vec<Concern> {
    let mut concerns = Concerns {
        accepted: &asked.accepted,
        all: Vec::new(),
    };
    judge_rights(facts, &mut concerns);
    judge_workloads(facts, &mut concerns);
    judge_versions(facts, asked, &mut concerns);
    judge_etcd(facts, asked, &mut concerns);
    judge_owners(facts, &mut concerns);
    judge_scalers(facts, &mut concerns);
    concerns.all.sort_by(|a, b| {
        a.severity
            .cmp(&b.severity)
            .then_with(|| a.code.cmp(&b.code))
    });
    concerns.all
}

/// Judges what a Job found in etcd.
#[must_use]
pub fn judge_metadata(status: &StatusReport, target: &EtcdTarget, asked: &Asked) -> Vec<Concern> {
    let mut concerns = Concerns {
        accepted: &asked.accepted,
        all: Vec::new(),
    };
    let root = format!("{}/{}", target.root_path, target.meta_sub_path);
    match status.layout {
        Layout::Empty if status.sessions.is_empty() => concerns.error(
            "nothing-in-etcd",
            format!("etcd holds no metadata below {root}: is the root path right?"),
        ),
        Layout::Mixed => concerns.error(
            "mixed-metadata",
            format!("the metadata below {root} is a mixture of 2.1 and 2.2"),
        ),
        Layout::V2_2 => concerns.warning(
            "already-2-2",
            format!("the metadata below {root} has the 2.2 layout already"),
        ),
        Layout::V2_1 | Layout::Staged | Layout::Empty => {}
    }
    for alarm in &status.etcd.alarms {
        concerns.error("etcd-alarm", format!("etcd has raised the alarm {alarm}"));
    }
    if let Some(lock) = &status.lock {
        concerns.error(
            "locked",
            format!("another migration holds the lock {}", lock.key),
        );
    }
    concerns.all
}

fn judge_rights(facts: &Facts, concerns: &mut Concerns<'_>) {
    for right in &facts.missing_rights {
        concerns.error("missing-right", format!("the right to {right} is missing"));
    }
}

fn judge_workloads(facts: &Facts, concerns: &mut Concerns<'_>) {
    let workloads = &facts.workloads;
    if workloads.found.is_empty() && workloads.ambiguous.is_empty() {
        concerns.error(
            "no-instance",
            format!(
                "no Milvus Deployment of instance {} in namespace {}",
                facts.instance, facts.namespace
            ),
        );
    }
    for ambiguous in &workloads.ambiguous {
        concerns.error(
            "unclear-container",
            format!("Deployment {}: {}", ambiguous.name, ambiguous.problem),
        );
    }
    let of_milvus = |deployment: &&Deployment| {
        let name = deployment.metadata.name.as_ref();
        workloads.found.iter().any(|one| Some(&one.name) == name)
    };
    for deployment in facts.deployments.iter().filter(of_milvus) {
        if let Err(lack) = at_rest(deployment) {
            let name = deployment.metadata.name.as_deref().unwrap_or_default();
            concerns.error("not-at-rest", format!("Deployment {name}: {lack}"));
        }
    }
    let all_zero = workloads.found.iter().all(|one| one.replicas == 0);
    if all_zero && !workloads.found.is_empty() && facts.resource.is_none() {
        concerns.error(
            "all-stopped",
            "every Deployment has 0 replicas and nothing says how many there were: scale them up, \
             so that the counts can be recorded"
                .to_owned(),
        );
    }
}

fn judge_versions(facts: &Facts, asked: &Asked, concerns: &mut Concerns<'_>) {
    if let Some(source) = &asked.source {
        for workload in &facts.workloads.found {
            match image_version(&workload.image) {
                Some(version) if version.triple() != source.triple() => concerns.error(
                    "source-version",
                    format!(
                        "Deployment {} runs {version} ({}), not {source}",
                        workload.name, workload.image
                    ),
                ),
                Some(_) => {}
                None => concerns.warning(
                    "unknown-version",
                    format!(
                        "image {} of {} does not tell its version",
                        workload.image, workload.name
                    ),
                ),
            }
        }
    }
    if let (Some(target), Some(image)) = (&asked.target, &asked.image) {
        match image_version(image) {
            Some(version) if version.triple() != target.triple() => concerns.error(
                "target-version",
                format!("image {image} is {version}, not {target}"),
            ),
            Some(_) => {}
            None => concerns.warning(
                "unknown-version",
                format!("image {image} does not tell its version"),
            ),
        }
    }
}

fn judge_etcd(facts: &Facts, asked: &Asked, concerns: &mut Concerns<'_>) {
    let configured = &facts.configured;
    if let Some(problem) = &facts.configured_problem {
        concerns.warning("configuration", problem.clone());
    }
    if let Some(store) = &configured.metastore
        && !store.eq_ignore_ascii_case("etcd")
    {
        concerns.error(
            "metastore",
            format!("Milvus keeps its metadata in {store}: only etcd can be migrated"),
        );
    }
    for (what, given, configured) in [
        ("root path", &asked.root_path, &configured.root_path),
        (
            "meta sub-path",
            &asked.meta_sub_path,
            &configured.meta_sub_path,
        ),
    ] {
        if let (Some(given), Some(configured)) = (given, configured)
            && given != configured
        {
            concerns.error(
                "root-path",
                format!("the {what} {given} is given, but Milvus is configured with {configured}"),
            );
        }
    }
    if target(facts, asked).endpoints.is_empty() {
        concerns.error(
            "etcd-address",
            "neither Milvus' configuration nor --etcd-endpoints tells where etcd is".to_owned(),
        );
    }
}

fn judge_owners(facts: &Facts, concerns: &mut Concerns<'_>) {
    if let Some(resource) = &facts.resource {
        for reason in operator::refusals(resource, &facts.upgrades) {
            concerns.error("operator", reason);
        }
    } else if facts.is_operators {
        concerns.error(
            "operator",
            "an operator manages the instance, but its custom resource cannot be read".to_owned(),
        );
    }
    if let Some(helm) = &facts.helm {
        if helm.is_pending() {
            concerns.error(
                "helm-pending",
                format!(
                    "Helm is in the middle of something: {} is {}",
                    helm.name, helm.status
                ),
            );
        } else if helm.status == "failed" {
            concerns.warning(
                "helm-failed",
                format!("Helm's last upgrade of {} failed", helm.name),
            );
        }
    }
    if let Some(problem) = &facts.helm_problem {
        concerns.warning(
            "helm-record",
            format!("Helm's record cannot be read: {problem}"),
        );
    }
    for deployment in &facts.deployments {
        if let Some(owner) = gitops(deployment) {
            concerns.error(
                "gitops",
                format!(
                    "{owner} looks after Deployment {} and would undo scaling and image: pause it, \
                     then --accept gitops",
                    deployment.metadata.name.as_deref().unwrap_or_default()
                ),
            );
        }
    }
}

/// Who sets a Deployment back to what a repository says.
fn gitops(deployment: &Deployment) -> Option<&'static str> {
    let marks = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let metadata = &deployment.metadata;
    let has = |key: &str| {
        let labels = metadata.labels.as_ref();
        let annotations = metadata.annotations.as_ref();
        labels.is_some_and(|map| map.contains_key(key))
            || annotations.is_some_and(|map| map.contains_key(key))
    };
    marks
        .into_iter()
        .find(|(key, _)| has(key))
        .map(|(_, owner)| owner)
}

fn judge_scalers(facts: &Facts, concerns: &mut Concerns<'_>) {
    let is_ours = |kind: &str, name: &str| {
        let named = facts.workloads.found.iter().any(|one| one.name == name);
        named && matches!(kind, "Deployment" | "")
    };
    for scaler in &facts.autoscalers {
        let Some(spec) = &scaler.spec else { continue };
        let target = &spec.scale_target_ref;
        if is_ours(&target.kind, &target.name) {
            concerns.warning(
                "autoscaler",
                format!(
                    "HorizontalPodAutoscaler {} scales {}: it stands still while Milvus is stopped \
                     and may change the count afterwards",
                    scaler.metadata.name.as_deref().unwrap_or_default(),
                    target.name
                ),
            );
        }
    }
    for scaler in &facts.scaled_objects {
        let text = |pointer: &str| {
            let found = scaler.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default()
        };
        let annotations = scaler
            .pointer("/metadata/annotations")
            .and_then(Value::as_object);
        let paused = annotations.is_some_and(|all| {
            all.keys()
                .any(|key| key.starts_with("autoscaling.keda.sh/paused"))
        });
        let name = text("/spec/scaleTargetRef/name");
        if is_ours(text("/spec/scaleTargetRef/kind"), name) && !paused {
            concerns.error(
                "keda",
                format!(
                    "KEDA's ScaledObject {} would start {name} again from 0: pause it \
                     (annotation autoscaling.keda.sh/paused)",
                    text("/metadata/name")
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
