//! The finding for rights that an upgrade needs and the user does not have.

use super::super::rbac::{Right, rights};
use super::cluster_finding;
use milvus_meta::finding::{Finding, Severity};

/// The error for missing rights. If all are missing, the namespace may be the wrong one.
pub(crate) fn missing_rights(missing: &[Right], namespace: &str) -> Option<Finding> {
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let what = match names.as_slice() {
        [] => return None,
        [name] => format!("the right to {name} is missing"),
        names if names.len() >= rights(false).len() => format!(
            "no rights in namespace {namespace}; check that it exists, and which user the kubeconfig names"
        ),
        names => format!("these rights are missing: {}", names.join(", ")),
    };
    let message = format!(
        "{what}. An administrator grants the rights: kubectl apply -n {namespace} -f deploy/rbac.yaml, and a \
         RoleBinding of its Role to this user"
    );
    Some(cluster_finding(Severity::Error, "missing-right", message))
}
