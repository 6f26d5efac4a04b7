//! The rights that an upgrade needs: what `deploy/rbac.yaml` gives.

use super::cluster_finding;
use milvus_meta::finding::{Finding, Severity};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Empty for the core.
    pub group: &'static str,
    /// With its subresource: `pods/log`.
    pub resource: &'static str,
    pub verb: &'static str,
    /// The one object that is meant; `None` for all.
    pub name: Option<String>,
}

impl std::fmt::Display for Right {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(formatter, " {name}")?;
        }
        if !self.group.is_empty() {
            write!(formatter, " ({})", self.group)?;
        }
        Ok(())
    }
}

/// The rights that every upgrade needs, and those that only an operator-managed instance does.
pub fn rights(operator_managed: bool) -> Vec<Right> {
    let all: &[(&str, &str, &[&str])] = &[
        ("apps", "deployments", &["get", "list"]),
        ("", "pods", &["get", "list"]),
        ("", "pods/log", &["get"]),
        ("", "services", &["list"]),
        ("", "configmaps", &["get", "create", "update", "delete"]),
        ("", "persistentvolumeclaims", &["get", "create"]),
        ("batch", "jobs", &["get", "list", "create", "delete"]),
        (
            "coordination.k8s.io",
            "leases",
            &["get", "create", "update", "delete"],
        ),
    ];
    let changed: &[(&str, &str, &[&str])] = if operator_managed {
        &[
            ("milvus.io", "milvuses", &["get", "patch"]),
            ("milvus.io", "milvusupgrades", &["list"]),
        ]
    } else {
        &[("apps", "deployments", &["patch"])]
    };
    let rights = all
        .iter()
        .chain(changed)
        .flat_map(|&(group, resource, verbs)| {
            let right = move |&verb| Right {
                group,
                resource,
                verb,
                name: None,
            };
            verbs.iter().map(right)
        });
    rights.collect()
}

/// The error for missing rights. Without any right at all, the namespace may be the wrong one.
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

/// The right to look which certificates a Secret holds.
pub(crate) fn secret_right(name: &str) -> Right {
    Right {
        group: "",
        resource: "secrets",
        verb: "get",
        name: Some(name.to_owned()),
    }
}
