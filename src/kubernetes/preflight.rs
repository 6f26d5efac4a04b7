//! What an operator checks by hand before an upgrade, decided on facts that were collected before.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::at_rest;
use super::discovery::etcd::Configured;
use super::discovery::helm::HelmRelease;
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
    pub helm: Option<HelmRelease>,
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

#[cfg(test)]
mod tests;
