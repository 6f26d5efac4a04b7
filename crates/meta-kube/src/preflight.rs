//! The checks before an upgrade, on facts that were collected before.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use serde::{Deserialize, Serialize};

use super::discovery::configuration::Configured;
use super::discovery::{Workloads, image_version, other_instances};
use super::object::{Milvus, MilvusUpgrade, ScaledObject};
use super::options::UpgradeOptions;
use super::state::{EtcdTarget, StorageRoot, TlsSecret, Workload};
use meta_report::StatusReport;
use milvus_meta::release::Release;

mod checks;
mod rbac;
mod report;
pub mod rolling_update;

pub(crate) use checks::{
    RELEASES, check, check_metadata, check_storage_roots, cluster_finding, is_restoring,
    missing_rights, no_instance, release_findings,
};
pub(crate) use rbac::secret_right;
pub use rbac::{Right, rights};
pub(crate) use report::helm_upgrade;
pub(crate) use report::report;
pub use report::{PreflightReport, UpgradePath, WorkloadReport};

#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub instance: String,
    pub namespace: String,
    /// The Milvus Deployments, in start order.
    pub workloads: Workloads,
    pub deployments: Vec<Deployment>,
    /// The custom resource, if the Milvus Operator manages the instance.
    pub resource: Option<Milvus>,
    /// Whether the Deployments carry the labels or owners of the Milvus Operator.
    pub is_operator_managed: bool,
    /// The `MilvusUpgrade` resources of the Milvus Operator.
    pub upgrades: Vec<MilvusUpgrade>,
    /// The Helm release, or why its record cannot be read.
    pub helm: Option<super::discovery::helm::HelmRelease>,
    pub helm_problem: Option<String>,
    pub configured: Configured,
    /// Which part of the configuration could not be read.
    pub configured_problem: Option<String>,
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    pub scaled_objects: Vec<ScaledObject>,
    pub missing_rights: Vec<Right>,
    /// The pods of each Milvus Deployment, by its name.
    pub pods: BTreeMap<String, Vec<PodFact>>,
    pub storage: Storage,
    /// The range of user ids that the namespace assigns to its pods (OpenShift).
    pub user_range: Option<String>,
    /// The instances of the namespace, if this one was not found.
    pub instances: Vec<String>,
    /// The holder of the instance's Lease.
    pub active_orchestrator: Option<String>,
    /// The certificates in the given Secret; also `None` if it is missing.
    pub tls: Option<TlsSecret>,
    /// The UIDs of the Deployments in the saved upgrade state, by name; `None` for a missing one.
    pub saved: BTreeMap<String, Option<String>>,
    pub limit_ranges: Vec<LimitRange>,
    pub quotas: Vec<ResourceQuota>,
    /// The Jobs of this and earlier upgrades of the instance.
    pub jobs: Vec<Job>,
    /// The old and the new release of the upgrade with the newest backup, if its configuration
    /// still exists.
    pub last_versions: Option<(String, String)>,
    /// The status that a Job reported, if one ran.
    pub metadata: Option<StatusReport>,
    /// Objects that could not be read because a right is missing.
    pub unseen: Vec<String>,
}

impl Facts {
    pub(crate) fn deployment(&self, name: &str) -> Option<&Deployment> {
        let mut all = self.deployments.iter();
        all.find(|one| one.metadata.name.as_deref() == Some(name))
    }

    /// Whether no right to these resources is missing; missing rights are reported.
    pub(crate) fn may_read(&self, resources: &[&str]) -> bool {
        let mut missing = self.missing_rights.iter();
        !missing.any(|right| resources.contains(&right.resource))
    }

    /// The workloads with replicas; all of them if none has any. The Milvus Operator keeps
    /// Deployments without replicas, with any image, next to the serving ones.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Workload> {
        let all = &self.workloads.found;
        let serves = all.iter().any(|one| one.replicas > 0);
        all.iter().filter(move |one| one.replicas > 0 || !serves)
    }

    /// Whether the platform assigns the users of pods. The constraint that admitted the Milvus pods
    /// decides; without pods, the namespace does.
    pub(crate) fn assigns_users(&self) -> bool {
        let mut constraints = self
            .pods
            .values()
            .flatten()
            .filter_map(|pod| pod.scc.as_ref());
        constraints.next().map_or(self.user_range.is_some(), |scc| {
            scc.starts_with("restricted")
        })
    }

    /// Where Milvus keeps its files; `None` if that is not set and a part of the configuration
    /// could not be read.
    pub(crate) fn storage_root(&self) -> Option<StorageRoot> {
        let hidden =
            self.configured_problem.is_some() || self.unseen.iter().any(|one| one == "ConfigMaps");
        Some(self.configured.storage_root()).filter(|root| root.is_set || !hidden)
    }

    /// Lists the instances of the namespace if this one was not found; else empty.
    pub(crate) fn other_instances(&self) -> String {
        if self.workloads.found.is_empty() && self.resource.is_none() {
            other_instances(&self.namespace, &self.instances)
        } else {
            String::new()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFact {
    pub name: String,
    pub image: String,
    pub ready: bool,
    /// The security context constraint that admitted it (OpenShift).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scc: Option<String>,
}

/// The storage for backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Storage {
    pub claim: String,
    pub exists: bool,
    /// Why an existing claim cannot be used.
    pub problem: Option<String>,
    /// The storage classes; `None` without the right to list them.
    pub classes: Option<Vec<String>>,
    pub default_class: Option<String>,
}

/// The location of the metadata: as given, else as configured, else the default of Milvus.
pub(crate) fn target(facts: &Facts, options: &UpgradeOptions) -> EtcdTarget {
    let configured = &facts.configured;
    let endpoints = options.endpoints.as_ref().or(configured.endpoints.as_ref());
    let path = |given: &Option<String>, configured: &Option<String>, default: &str| {
        let known = given.as_ref().or(configured.as_ref());
        known.map_or(default, String::as_str).to_owned()
    };
    EtcdTarget {
        endpoints: endpoints.cloned().unwrap_or_default(),
        root_path: path(&options.root_path, &configured.root_path, "by-dev"),
        meta_sub_path: path(&options.meta_sub_path, &configured.meta_sub_path, "meta"),
        kv_sub_path: path(&None, &configured.kv_sub_path, "kv"),
        credentials: None,
        tls: None,
    }
}

/// The release of the images, if they agree.
pub(crate) fn running(facts: &Facts) -> Option<Release> {
    let mut releases = facts.serving().map(|one| image_version(&one.image));
    let first = releases.next()?;
    releases.all(|other| other == first).then_some(first)?
}

#[cfg(test)]
mod tests;
