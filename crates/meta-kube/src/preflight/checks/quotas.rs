//! Checks whether the ResourceQuotas of the namespace leave enough for the upgrade and its
//! rollback, before Milvus is stopped.

use k8s_openapi::api::core::v1::ResourceQuota;

use super::{Facts, Findings};
use crate::CLAIM_SIZE;
use crate::condition::finished;
use crate::options::UpgradeOptions;
use crate::pod_resources::{Amounts, effective_resources};
use crate::preflight::Storage;
use crate::quantity::{formatted, number};

/// Maximum number of concurrent Jobs: the backup's, up to three failed ones, and a running one.
const JOBS: f64 = 5.0;
/// The ConfigMaps of an upgrade: its state, and the configuration of its Jobs.
const CONFIG_MAPS: f64 = 2.0;
/// The quota scopes that match the pods of our Jobs.
const SCOPES: [&str; 2] = ["NotTerminating", "NotBestEffort"];

/// The resources that an upgrade needs in addition to a running Milvus, by name in a quota.
struct Needs<'a> {
    requests: Amounts,
    limits: Amounts,
    storage: &'a Storage,
    options: &'a UpgradeOptions,
    is_saved: bool,
}

impl Needs<'_> {
    /// The needed amount of a resource; 0 if it is not used.
    fn of(&self, resource: &str) -> f64 {
        let amount = |amounts: &Amounts, name: &str| amounts.get(name).and_then(|one| number(one));
        let (class, name) = match resource.split_once(".storageclass.storage.k8s.io/") {
            Some((class, name)) => (Some(class), name),
            None => (None, resource),
        };
        match name {
            "pods" => 1.0,
            "count/pods" | "count/jobs.batch" => JOBS,
            "configmaps" | "count/configmaps" if !self.is_saved => CONFIG_MAPS,
            "persistentvolumeclaims" | "count/persistentvolumeclaims" if self.claims(class) => 1.0,
            "requests.storage" if self.claims(class) => {
                let size = self.options.claim_size.as_deref().unwrap_or(CLAIM_SIZE);
                number(size).unwrap_or(0.0)
            }
            _ => match name.split_once('.') {
                Some(("requests", name)) => amount(&self.requests, name).unwrap_or(0.0),
                Some(("limits", name)) => amount(&self.limits, name).unwrap_or(0.0),
                _ => amount(&self.requests, name).unwrap_or(0.0),
            },
        }
    }

    /// Whether a claim with this storage class is created.
    fn claims(&self, class: Option<&str>) -> bool {
        let storage = self.storage;
        let wanted = self.options.storage_class.as_deref();
        let wanted = wanted.or(storage.default_class.as_deref());
        !storage.exists && !storage.claim.is_empty() && (class.is_none() || class == wanted)
    }
}

pub(super) fn check_quotas(facts: &Facts, options: &UpgradeOptions, findings: &mut Findings<'_>) {
    let (requests, limits) = effective_resources(&facts.limit_ranges, &facts.quotas, &options.pods);
    let needs = Needs {
        requests,
        limits,
        storage: &facts.storage,
        options,
        is_saved: !facts.saved.is_empty(),
    };
    for quota in facts.quotas.iter().filter(|quota| counts_ours(quota)) {
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        let status = quota.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        for (resource, hard) in status.hard.unwrap_or_default() {
            let used = used.get(&resource).map_or("0", |used| used.0.as_str());
            let (Some(limit), Some(used)) = (number(&hard.0), number(used)) else {
                continue;
            };
            let needed = needs.of(&resource);
            let short = needed - (limit - used);
            // A difference below a thousandth is a rounding error.
            if needed > 0.0 && short > 0.0005 {
                let amount = |number: f64| formatted(number, &resource);
                let message = format!(
                    "ResourceQuota {name} leaves {} of {} {resource}: an upgrade and its rollback need {}, {} \
                     more; {}",
                    amount((limit - used).max(0.0)),
                    hard.0,
                    amount(needed),
                    amount(short),
                    remedy(facts, &resource)
                );
                findings.error("quota", message);
            }
        }
    }
}

/// Whether a quota counts the pods of our Jobs, which have requests, no deadline and no priority class.
fn counts_ours(quota: &ResourceQuota) -> bool {
    let spec = quota.spec.clone().unwrap_or_default();
    let selected = spec.scope_selector.and_then(|one| one.match_expressions);
    let selected = selected.into_iter().flatten().map(|one| one.scope_name);
    let mut scopes = spec.scopes.into_iter().flatten().chain(selected);
    scopes.all(|scope| SCOPES.contains(&scope.as_str()))
}

/// How to fix a shortage, with the objects of earlier upgrades that can be deleted.
fn remedy(facts: &Facts, resource: &str) -> String {
    let namespace = &facts.namespace;
    if matches!(resource, "count/jobs.batch" | "count/pods") {
        let jobs = finished(&facts.jobs);
        if !jobs.is_empty() {
            return format!(
                "delete the finished Jobs of earlier upgrades: kubectl -n {namespace} delete job {}",
                jobs.join(" ")
            );
        }
        return format!(
            "delete finished Jobs (kubectl -n {namespace} get jobs), or raise the quota"
        );
    }
    let what =
        if resource.contains("persistentvolumeclaims") || resource.ends_with("requests.storage") {
            "name an existing claim with --backup-pvc"
        } else if resource.ends_with("configmaps") {
            "delete ConfigMaps that nothing uses"
        } else if resource.starts_with("limits.") {
            "lower --job-limits"
        } else if resource.ends_with("pods") {
            "delete pods that nothing uses"
        } else {
            "lower --job-requests"
        };
    format!("{what}, or raise the quota")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(spec: Value, hard: Value, used: Value) -> Facts {
        let quota = json!({
            "metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used},
        });
        Facts {
            namespace: "data".to_owned(),
            quotas: vec![serde_json::from_value(quota).unwrap()],
            storage: Storage {
                claim: "c".to_owned(),
                default_class: Some("fast".to_owned()),
                ..Storage::default()
            },
            ..Facts::default()
        }
    }

    fn said(facts: &Facts, options: &UpgradeOptions) -> Vec<String> {
        let mut findings = Findings {
            accepted: &[],
            all: Vec::new(),
        };
        check_quotas(facts, options, &mut findings);
        let messages = findings.sorted().into_iter();
        messages.map(|finding| finding.message).collect()
    }

    /// The finding about a quota of one resource.
    fn finding(resource: &str, hard: &str, used: &str) -> Option<String> {
        let facts = facts(json!({}), json!({resource: hard}), json!({resource: used}));
        said(&facts, &UpgradeOptions::default()).pop()
    }

    #[test]
    fn a_quota_that_is_just_enough_is_no_finding() {
        for (resource, hard, enough, short) in [
            ("count/jobs.batch", "20", "15", "16"),
            ("count/pods", "20", "15", "16"),
            ("pods", "20", "19", "20"),
            ("configmaps", "20", "18", "19"),
            ("count/configmaps", "20", "18", "19"),
            ("persistentvolumeclaims", "2", "1", "2"),
            ("count/persistentvolumeclaims", "2", "1", "2"),
            (
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims",
                "2",
                "1",
                "2",
            ),
            ("requests.storage", "100Gi", "90Gi", "91Gi"),
            (
                "fast.storageclass.storage.k8s.io/requests.storage",
                "100Gi",
                "90Gi",
                "91Gi",
            ),
            ("requests.cpu", "2", "1900m", "1901m"),
            ("cpu", "2", "1900m", "1901m"),
            ("requests.memory", "2Gi", "1792Mi", "1793Mi"),
            ("memory", "2Gi", "1792Mi", "1793Mi"),
        ] {
            assert_eq!(finding(resource, hard, enough), None, "{resource}");
            assert!(finding(resource, hard, short).is_some(), "{resource}");
        }
        for unused in [
            "services",
            "requests.nvidia.com/gpu",
            "slow.storageclass.storage.k8s.io/requests.storage",
        ] {
            assert_eq!(finding(unused, "1", "1"), None, "{unused}");
        }
    }

    #[test]
    fn a_quota_finding_names_the_shortage_and_the_remedy() {
        assert_eq!(
            finding("requests.memory", "2Gi", "1948Mi").unwrap(),
            "ResourceQuota q leaves 100Mi of 2Gi requests.memory: an upgrade and its rollback need 256Mi, 156Mi \
             more; lower --job-requests, or raise the quota"
        );
        assert_eq!(
            finding("requests.cpu", "1", "950m").unwrap(),
            "ResourceQuota q leaves 50m of 1 requests.cpu: an upgrade and its rollback need 100m, 50m more; lower \
             --job-requests, or raise the quota"
        );
        assert_eq!(
            finding("persistentvolumeclaims", "1", "3").unwrap(),
            "ResourceQuota q leaves 0 of 1 persistentvolumeclaims: an upgrade and its rollback need 1, 3 more; \
             name an existing claim with --backup-pvc, or raise the quota"
        );
    }

    #[test]
    fn a_job_quota_finding_names_the_finished_jobs() {
        let mut facts = facts(
            json!({}),
            json!({"count/jobs.batch": "3"}),
            json!({"count/jobs.batch": "2"}),
        );
        let job = |name: &str, state: &str| {
            let conditions = json!([{"type": state, "status": "True"}]);
            let job = json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
            serde_json::from_value(job).unwrap()
        };
        facts.jobs = vec![
            job("done", "Complete"),
            job("broken", "Failed"),
            job("runs", "Suspended"),
        ];
        let reported = said(&facts, &UpgradeOptions::default());
        assert!(
            reported[0].ends_with("kubectl -n data delete job done broken"),
            "{reported:?}"
        );
    }

    #[test]
    fn limits_count_as_given_or_as_the_range_sets_them() {
        let mut facts = facts(
            json!({"hard": {"limits.memory": "4Gi"}}),
            json!({"limits.memory": "4Gi"}),
            json!({"limits.memory": "3200Mi"}),
        );
        let mut options = UpgradeOptions::default();
        assert_eq!(said(&facts, &options).len(), 1, "1Gi is needed");
        options.pods.limits = vec![("memory".to_owned(), "512Mi".to_owned())];
        assert_eq!(said(&facts, &options), Vec::<String>::new());
        let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
            {"type": "Container", "default": {"memory": "900Mi"}},
        ]}});
        facts.limit_ranges = vec![serde_json::from_value(range).unwrap()];
        assert_eq!(said(&facts, &options), Vec::<String>::new());
        options.pods.limits.clear();
        assert_eq!(said(&facts, &options).len(), 1, "900Mi are needed");
    }

    #[test]
    fn a_quota_on_ephemeral_storage_counts_given_and_default_amounts() {
        let quota = |resource: &str| {
            let full = json!({resource: "1Gi"});
            facts(json!({}), full.clone(), full)
        };
        let given = |requests: &[&str], limits: &[&str]| {
            let amounts = |all: &[&str]| {
                let all = all.iter();
                all.map(|one| ("ephemeral-storage".to_owned(), (*one).to_owned()))
                    .collect()
            };
            let mut options = UpgradeOptions::default();
            options.pods.requests = amounts(requests);
            options.pods.limits = amounts(limits);
            options
        };
        for (resource, requests, limits, expected) in [
            ("requests.ephemeral-storage", &[][..], &[][..], 0),
            ("requests.ephemeral-storage", &["1Gi"], &[], 1),
            // A container with a limit and no request requests the limit.
            ("requests.ephemeral-storage", &[], &["1Gi"], 1),
            ("limits.ephemeral-storage", &["1Gi"], &[], 0),
            ("limits.ephemeral-storage", &[], &["1Gi"], 1),
        ] {
            let found = said(&quota(resource), &given(requests, limits));
            assert_eq!(found.len(), expected, "{resource} {requests:?} {limits:?}");
        }
        for resource in ["requests.ephemeral-storage", "limits.ephemeral-storage"] {
            let mut facts = quota(resource);
            let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
                {"type": "Container", "default": {"ephemeral-storage": "1Gi"}},
            ]}});
            facts.limit_ranges = vec![serde_json::from_value(range).unwrap()];
            let found = said(&facts, &UpgradeOptions::default());
            assert_eq!(found.len(), 1, "{resource}");
        }
    }

    #[test]
    fn a_quota_for_other_pods_is_no_finding() {
        let used_up = |spec: Value| {
            let facts = facts(spec, json!({"pods": "1"}), json!({"pods": "1"}));
            !said(&facts, &UpgradeOptions::default()).is_empty()
        };
        assert!(used_up(
            json!({"scopes": ["NotTerminating", "NotBestEffort"]})
        ));
        assert!(!used_up(json!({"scopes": ["Terminating"]})));
        assert!(!used_up(json!({"scopes": ["BestEffort"]})));
        let selector =
            json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
        assert!(!used_up(
            json!({"scopeSelector": {"matchExpressions": selector}})
        ));
    }

    #[test]
    fn a_resumed_upgrade_needs_no_further_configmap() {
        let mut facts = facts(
            json!({}),
            json!({"configmaps": "2"}),
            json!({"configmaps": "2"}),
        );
        facts
            .saved
            .insert("prod-milvus-standalone".to_owned(), None);
        assert_eq!(
            said(&facts, &UpgradeOptions::default()),
            Vec::<String>::new()
        );
    }
}
