//! The report of preflight: which way the upgrade goes, and the exact next command.

use serde::{Deserialize, Serialize};

use super::{Asked, Concern, Facts, judge, judge_metadata, running};
use crate::finding::Severity;
use crate::kubernetes::discovery::helm::HelmRelease;
use crate::kubernetes::record::EtcdTarget;
use crate::report::StatusReport;
use crate::version::Release;

/// Which way an instance is upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradePath {
    /// 2.1 to 2.2: the metadata has to be migrated.
    MetadataMigration,
    /// Within 2.2 from below 2.2.3: a new image, with a short interruption.
    ImageChange,
    /// From 2.2.3 on: one Deployment after the other.
    RollingUpdate,
    /// It runs already what is asked for.
    Nothing,
    /// Neither the images nor the command line tell.
    Unknown,
}

/// What preflight reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreflightReport {
    /// The instance.
    pub instance: String,
    /// Its namespace.
    pub namespace: String,
    /// `helm`, `operator` or `plain`.
    pub managed_by: String,
    /// Helm's record.
    pub helm: Option<HelmRelease>,
    /// The Milvus Deployments.
    pub workloads: Vec<WorkloadReport>,
    /// What of the instance is left alone.
    pub left_alone: Vec<String>,
    /// The release that runs, by its images.
    pub running: Option<String>,
    /// Where the metadata is.
    pub etcd: EtcdTarget,
    /// What is in etcd; `None` where nobody looked.
    pub metadata: Option<StatusReport>,
    /// Which way the upgrade goes.
    pub path: UpgradePath,
    /// What to know, worst first.
    pub concerns: Vec<Concern>,
    /// Whether nothing stands in the way.
    pub ok: bool,
    /// The next command.
    pub next: String,
}

/// One Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadReport {
    /// The component.
    pub component: String,
    /// The Deployment.
    pub name: String,
    /// The image.
    pub image: String,
    /// Desired pods.
    pub replicas: i32,
    /// Ready pods.
    pub ready: usize,
}

/// Which way the upgrade goes.
#[must_use]
pub fn path(running: Option<&Release>, asked: &Asked) -> UpgradePath {
    let Some(from) = running.or(asked.source.as_ref()) else {
        return UpgradePath::Unknown;
    };
    if asked
        .target
        .as_ref()
        .is_some_and(|target| target.triple() == from.triple())
    {
        return UpgradePath::Nothing;
    }
    if from.is_2_1() {
        UpgradePath::MetadataMigration
    } else if from.triple() >= (2, 2, 3) {
        UpgradePath::RollingUpdate
    } else if from.has_2_2_layout() {
        UpgradePath::ImageChange
    } else {
        UpgradePath::Unknown
    }
}

/// The report, with the exact next command.
#[must_use]
pub fn report(
    facts: &Facts,
    asked: &Asked,
    etcd: EtcdTarget,
    metadata: Option<StatusReport>,
) -> PreflightReport {
    let mut concerns = judge(facts, asked);
    if let Some(status) = &metadata {
        concerns.extend(judge_metadata(status, &etcd, asked));
        concerns.sort_by(|a, b| {
            a.severity
                .cmp(&b.severity)
                .then_with(|| a.code.cmp(&b.code))
        });
    }
    let running = running(facts);
    let path = path(running.as_ref(), asked);
    let ok = concerns
        .iter()
        .all(|concern| concern.severity != Severity::Error);
    let workloads = facts.workloads.found.iter().map(|one| WorkloadReport {
        component: one.component.clone(),
        name: one.name.clone(),
        image: one.image.clone(),
        replicas: one.replicas,
        ready: facts.pods.get(&one.name).map_or(0, |(ready, _)| *ready),
    });
    let managed_by = match (&facts.resource, &facts.helm) {
        (Some(_), _) => "operator",
        (None, _) if facts.is_operators => "operator",
        (None, Some(_)) => "helm",
        (None, None) => "plain",
    };
    PreflightReport {
        instance: facts.instance.clone(),
        namespace: facts.namespace.clone(),
        managed_by: managed_by.to_owned(),
        helm: facts.helm.clone(),
        workloads: workloads.collect(),
        left_alone: facts.workloads.others.clone(),
        next: next_command(facts, asked, running.as_ref(), path, ok),
        running: running.map(|release| release.to_string()),
        etcd,
        metadata,
        path,
        concerns,
        ok,
    }
}

fn next_command(
    facts: &Facts,
    asked: &Asked,
    running: Option<&Release>,
    path: UpgradePath,
    ok: bool,
) -> String {
    if !ok {
        return "put right what stands in the way, then run preflight again".to_owned();
    }
    let place = format!("-i {} -n {}", facts.instance, facts.namespace);
    let source = running.or(asked.source.as_ref()).map(ToString::to_string);
    let source = source.unwrap_or_else(|| "VERSION".to_owned());
    let target = asked.target.clone().unwrap_or(Release::LATEST_2_2);
    let image = asked
        .image
        .clone()
        .unwrap_or_else(|| format!("milvusdb/milvus:v{target}"));
    match path {
        UpgradePath::MetadataMigration => {
            let given = asked.image.as_ref().map(|image| format!(" -w {image}"));
            format!(
                "meta-migration upgrade {place} -s {source} -t {target}{}",
                given.unwrap_or_default()
            )
        }
        UpgradePath::RollingUpdate => {
            format!("meta-migration rolling-update {place} -t {target} -w {image}")
        }
        UpgradePath::ImageChange => format!(
            "helm upgrade {} milvus/milvus -n {} -f VALUES --set image.all.tag=v{target}",
            facts.instance, facts.namespace
        ),
        UpgradePath::Nothing => "nothing: it runs what is asked for".to_owned(),
        UpgradePath::Unknown => {
            format!("meta-migration preflight {place} -s VERSION -t {target}")
        }
    }
}
