//! The rights that an upgrade needs: what `deploy/rbac.yaml` gives.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Empty for the core.
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: Option<&'static str>,
    pub verb: &'static str,
    /// The one object that is meant; `None` for all.
    pub name: Option<String>,
}

impl std::fmt::Display for Right {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(formatter, "/{subresource}")?;
        }
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
            name: None,
        })
    })
    .collect()
}

/// The right to look which certificates a Secret holds.
pub(crate) fn secret_right(name: &str) -> Right {
    Right {
        group: "",
        resource: "secrets",
        subresource: None,
        verb: "get",
        name: Some(name.to_owned()),
    }
}
