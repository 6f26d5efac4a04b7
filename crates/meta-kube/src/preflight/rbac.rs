//! The rights that an upgrade needs, as in `deploy/rbac.yaml`.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource with its subresource: `pods/log`.
    pub resource: &'static str,
    pub verb: &'static str,
    /// The object that the right is limited to; `None` for all.
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

/// The rights that an upgrade needs, with those for an operator-managed instance or for Deployments.
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

/// The right to read which certificates a Secret contains.
pub(crate) fn secret_right(name: &str) -> Right {
    Right {
        group: "",
        resource: "secrets",
        verb: "get",
        name: Some(name.to_owned()),
    }
}
