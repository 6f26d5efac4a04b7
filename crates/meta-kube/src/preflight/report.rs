//! The report of preflight: the upgrade path, and the exact next command.

use serde::{Deserialize, Serialize};

use super::checks::{check, sort};
use super::rolling_update;
use super::{
    Facts, PodFact, RELEASES, Storage, check_metadata, cluster_finding, release_findings, running,
};
use crate::discovery::helm::{HelmRelease, chart_for};
use crate::options::{UpgradeOptions, severity};
use crate::state::{EtcdTarget, Workload};
use meta_report::StatusReport;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::release::Release;

/// How an instance is upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradePath {
    /// 2.1 to 2.2: the metadata must be migrated.
    MetadataMigration,
    /// Within 2.2 from below 2.2.3: a new image, with a short interruption.
    ImageChange,
    /// From 2.2.3 on, if nothing prevents it: one Deployment after the other.
    RollingUpdate,
    /// The target release is older than the running one.
    Downgrade,
    /// Below 2.1: upgrade to 2.1 first.
    TooOld,
    /// The target release is already running.
    Nothing,
    /// Neither the images nor the command line name a release.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreflightReport {
    pub instance: String,
    pub namespace: String,
    /// `helm`, `operator` or `plain`.
    pub managed_by: String,
    pub helm: Option<HelmRelease>,
    pub workloads: Vec<WorkloadReport>,
    /// Deployments of the instance that are not Milvus.
    pub left_alone: Vec<String>,
    /// The running release, by its images.
    pub running: Option<String>,
    pub wanted: Option<String>,
    /// The location of the metadata.
    pub etcd: EtcdTarget,
    pub storage: Storage,
    /// The metadata's status; `None` unless etcd was inspected.
    pub metadata: Option<StatusReport>,
    pub path: UpgradePath,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Codes of the errors that are temporary: they end without a change of the plan.
    pub blocks_now: Vec<String>,
    /// Whether an upgrade could start now: no finding is an error.
    pub ok: bool,
    pub next: String,
    #[serde(skip)]
    pub again: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadReport {
    pub component: String,
    pub name: String,
    pub image: String,
    pub replicas: i32,
    pub ready: usize,
    pub pods: Vec<PodFact>,
}

/// The path from the known source to the known target.
fn path(facts: &Facts, known: &UpgradeOptions) -> UpgradePath {
    let (Some(from), Some(target)) = (&known.source, &known.target) else {
        return UpgradePath::Unknown;
    };
    if target.triple() == from.triple() {
        UpgradePath::Nothing
    } else if target.triple() < from.triple() {
        UpgradePath::Downgrade
    } else if from.triple() < (2, 1, 0) {
        UpgradePath::TooOld
    } else if from.is_2_1() && target.has_2_2_layout() {
        UpgradePath::MetadataMigration
    } else if from.triple() >= (2, 2, 3) && rolling_update::blockers(facts).is_empty() {
        UpgradePath::RollingUpdate
    } else {
        UpgradePath::ImageChange
    }
}

fn findings(facts: &Facts, options: &UpgradeOptions, etcd: &EtcdTarget) -> Vec<Finding> {
    let mut all = check(facts, options);
    if let Some(status) = &facts.metadata {
        let runs = facts.pods.values().flatten().any(|pod| pod.ready);
        all.extend(check_metadata(status, etcd, &options.accepted, runs));
        all.extend(unreadable(facts, status.layout, options));
    }
    all
}

fn workloads(facts: &Facts) -> Vec<WorkloadReport> {
    let pods = |one: &Workload| facts.pods.get(&one.name).cloned().unwrap_or_default();
    let report = |one: &Workload| WorkloadReport {
        component: one.component.clone(),
        name: one.name.clone(),
        image: one.image.clone(),
        replicas: one.replicas,
        ready: pods(one).iter().filter(|pod| pod.ready).count(),
        pods: pods(one),
    };
    facts.workloads.found.iter().map(report).collect()
}

/// Checks the facts and returns the report, with the exact next command.
pub(crate) fn report(facts: &Facts, options: &UpgradeOptions, etcd: EtcdTarget) -> PreflightReport {
    let running = running(facts);
    // The defaults are the running release and the newest one.
    let known = UpgradeOptions {
        source: running.clone().or(options.source.clone()),
        target: options.target.clone().or(Some(Release::LATEST_2_2)),
        ..options.clone()
    };
    let path = path(facts, &known);
    let mut findings = findings(facts, options, &etcd);
    if path == UpgradePath::RollingUpdate
        && let Some(reason) = rolling_update::standby_problem(facts)
    {
        findings.push(cluster_finding(Severity::Warning, "active-standby", reason));
    }
    let managed_by = match (&facts.resource, &facts.helm) {
        (Some(_), _) => "operator",
        (None, _) if facts.is_operator_managed => "operator",
        (None, Some(_)) => "helm",
        (None, None) => "plain",
    };
    let mut report = PreflightReport {
        instance: facts.instance.clone(),
        namespace: facts.namespace.clone(),
        managed_by: managed_by.to_owned(),
        helm: facts.helm.clone(),
        workloads: workloads(facts),
        left_alone: facts.workloads.others.clone(),
        next: next_command(facts, &known, path),
        again: known.command("preflight"),
        running: running.map(|release| release.to_string()),
        wanted: options.target.as_ref().map(ToString::to_string),
        storage: facts.storage.clone(),
        etcd,
        metadata: facts.metadata.clone(),
        path,
        findings: Vec::new(),
        blocks_now: Vec::new(),
        ok: true,
    };
    report.add(findings);
    report
}

/// Codes of temporary errors: an operation is in progress, or must be ended first.
const TEMPORARY: [&str; 9] = [
    "all-stopped",
    "at-work",
    "etcd-alarm",
    "helm-pending",
    "lock-held",
    "not-at-rest",
    "paused",
    "unfinished",
    "unfinished-restore",
];

impl PreflightReport {
    /// Adds findings in order; an error keeps an upgrade from starting.
    pub(crate) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        sort(&mut self.findings);
        let errors = self.findings.iter().filter(|one| one.is_error());
        let codes: Vec<String> = errors.map(|one| one.code.clone()).collect();
        if !codes.is_empty() {
            self.ok = false;
            self.next = format!("fix the errors above, then run {}", self.again);
        }
        self.blocks_now = codes;
        self.blocks_now
            .retain(|code| TEMPORARY.contains(&code.as_str()));
        self.blocks_now.dedup();
    }
}

/// A finding for each release that runs on metadata which it cannot read.
fn unreadable(facts: &Facts, layout: Layout, options: &UpgradeOptions) -> Vec<Finding> {
    let place = &options.repeated.place;
    let (metadata, fix) = match layout {
        Layout::V2_1 | Layout::Staged => (
            Layout::V2_1,
            format!(
                "stop it, set the image of 2.1 that wrote the metadata, then migrate: meta-migration upgrade{place}"
            ),
        ),
        Layout::V2_2 => (
            Layout::V2_2,
            format!(
                "stop it, then set the image of the new release, or roll the metadata back: meta-migration \
                 upgrade{place} -o rollback"
            ),
        ),
        Layout::Mixed | Layout::Empty => return Vec::new(),
    };
    let running = facts.workloads.found.iter().filter(|one| one.replicas > 0);
    let running = running.map(|one| (one.name.as_str(), one.image.as_str()));
    release_findings(
        running,
        metadata,
        severity(&options.accepted, RELEASES),
        &fix,
    )
}

/// The next command.
fn next_command(facts: &Facts, known: &UpgradeOptions, path: UpgradePath) -> String {
    let place = &known.repeated.place;
    let target = known.target.clone().unwrap_or(Release::LATEST_2_2);
    let image = known.new_image().unwrap_or_default();
    match path {
        UpgradePath::MetadataMigration => known.command("upgrade"),
        UpgradePath::RollingUpdate => {
            let accepted = known.accepted.iter();
            let accepted =
                accepted.filter(|code| rolling_update::ACCEPTABLE.contains(&code.as_str()));
            let accepted: String = accepted.map(|code| format!(" --accept {code}")).collect();
            let versions = known.versions();
            format!("meta-migration rolling-update{place}{versions}{accepted}")
        }
        UpgradePath::ImageChange => image_change(facts, &target, &image),
        UpgradePath::Nothing => "nothing to do: the target release is running".to_owned(),
        UpgradePath::Downgrade => format!(
            "no downgrade to an older release; to roll back an upgrade: meta-migration \
             upgrade{place} -o rollback"
        ),
        UpgradePath::TooOld => "upgrade to 2.1.4 first, as its documentation says".to_owned(),
        UpgradePath::Unknown => format!("{} -s VERSION", known.command("preflight")),
    }
}

/// The command that sets a new image if no migration is needed.
fn image_change(facts: &Facts, target: &Release, image: &str) -> String {
    let namespace = &facts.namespace;
    let instance = &facts.instance;
    if facts.resource.is_some() {
        return format!(
            "kubectl -n {namespace} patch milvus {instance} --type merge -p \
             '{{\"spec\":{{\"components\":{{\"image\":\"{image}\"}}}}}}'"
        );
    }
    if facts.helm.is_some() {
        return helm_upgrade(facts, target, image);
    }
    let set = |one: &Workload| {
        format!(
            "kubectl -n {namespace} set image deployment/{} {}={image}",
            one.name, one.container
        )
    };
    let all: Vec<String> = facts.workloads.found.iter().map(set).collect();
    all.join(" && ")
}

/// The command that sets an image in Helm's values.
pub(crate) fn helm_upgrade(facts: &Facts, target: &Release, image: &str) -> String {
    // The chart joins repository and tag with a colon; a digest takes the place of the tag.
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        Some(_) | None => (image, "latest"),
    };
    let repository = (repository != "milvusdb/milvus")
        .then(|| format!(" --set image.all.repository={repository}"));
    format!(
        "helm upgrade {} milvus/milvus -n {} --version {} -f YOUR-VALUES{} --set image.all.tag={tag}",
        facts.instance,
        facts.namespace,
        chart_for(target),
        repository.unwrap_or_default()
    )
}
