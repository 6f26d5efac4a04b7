//! Checks whether the namespace's limit ranges accept the pods of the Jobs.

use k8s_openapi::api::core::v1::LimitRangeItem;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Facts, Findings};
use crate::options::UpgradeOptions;
use crate::pod_resources::{Amounts, effective_resources, items};
use crate::quantity::{is_less, number};

/// Adds a finding for each bound that rejects the pods.
pub(super) fn check_limit_ranges(
    facts: &Facts,
    options: &UpgradeOptions,
    findings: &mut Findings<'_>,
) {
    let (requests, limits) = effective_resources(&facts.limit_ranges, &facts.quotas, &options.pods);
    for (name, request) in &requests {
        if let Some(limit) = limits.get(name).filter(|limit| is_less(limit, request)) {
            let message = format!(
                "the API server refuses the pods of the Jobs: their {name} request of {request} is above their limit of \
                 {limit}; lower --job-requests or raise --job-limits"
            );
            findings.error("limit-range", message);
        }
    }
    for (range, item) in items(&facts.limit_ranges) {
        let what = item.type_.to_lowercase();
        for problem in refusals(item, &requests, &limits) {
            let message = format!(
                "LimitRange {range} refuses the pods of the Jobs: {problem} (for each {what}); set \
                 --job-requests and --job-limits within the range, or change the range"
            );
            findings.error("limit-range", message);
        }
    }
}

/// Why a range rejects pods with these amounts. A request is at most its limit, so the request is
/// compared with the minimum and the limit with the maximum.
fn refusals(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, Quantity(least)) in item.min.iter().flatten() {
        match requests.get(name) {
            None => reasons.push(format!(
                "they have no {name} request, and the minimum is {least}"
            )),
            Some(request) if is_less(request, least) => reasons.push(format!(
                "their {name} request of {request} is below the minimum of {least}"
            )),
            Some(_) => {}
        }
    }
    for (name, Quantity(most)) in item.max.iter().flatten() {
        match limits.get(name) {
            None => reasons.push(format!(
                "they have no {name} limit, and the maximum is {most}"
            )),
            Some(limit) if is_less(most, limit) => reasons.push(format!(
                "their {name} limit of {limit} is above the maximum of {most}"
            )),
            Some(_) => {}
        }
    }
    for (name, Quantity(ratio)) in item.max_limit_request_ratio.iter().flatten() {
        let Some((request, limit)) = requests.get(name).zip(limits.get(name)) else {
            reasons.push(format!(
                "they have no {name} request and limit, and the ratio of the two is at most {ratio}"
            ));
            continue;
        };
        let most = number(request).zip(number(ratio));
        // Quotients of decimal fractions are not exact.
        let most = most.map(|(request, ratio)| request * ratio * (1.0 + 1e-9));
        if number(limit) > most {
            reasons.push(format!(
                "their {name} limit of {limit} is more than {ratio} times their request of {request}"
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::LimitRange;
    use serde_json::{Value, json};

    use super::*;

    fn refused(limits: Value, requests: &[(&str, &str)], given: &[(&str, &str)]) -> Vec<String> {
        let range = json!({"metadata": {"name": "r"}, "spec": {"limits": limits}});
        let range: LimitRange = serde_json::from_value(range).unwrap();
        let facts = Facts {
            limit_ranges: vec![range],
            ..Facts::default()
        };
        let amounts = |pairs: &[(&str, &str)]| -> Amounts {
            let pairs = pairs.iter();
            pairs
                .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
                .collect()
        };
        let mut options = UpgradeOptions::default();
        options.pods.requests = amounts(requests).into_iter().collect();
        options.pods.limits = amounts(given).into_iter().collect();
        let mut findings = Findings {
            accepted: &[],
            all: Vec::new(),
        };
        check_limit_ranges(&facts, &options, &mut findings);
        let all = findings.sorted().into_iter();
        all.map(|finding| finding.message).collect()
    }

    #[test]
    fn ranges_that_the_defaults_fit_are_no_finding() {
        for kind in ["Container", "Pod"] {
            for mut item in [
                json!({"min": {"memory": "1Mi"}, "max": {"memory": "8Gi", "cpu": "2"}}),
                json!({"min": {"memory": "1Gi", "cpu": "1"}}),
                json!({"max": {"memory": "64Mi", "cpu": "10m"}}),
                json!({"maxLimitRequestRatio": {"memory": "1.5", "cpu": "1"}}),
                json!({"max": {"memory": "300Mi"}, "maxLimitRequestRatio": {"memory": "3"}}),
            ] {
                item["type"] = json!(kind);
                let found = refused(json!([item]), &[], &[]);
                assert_eq!(found, Vec::<String>::new(), "{item}");
            }
        }
        let storage = json!({"ephemeral-storage": "1Gi"});
        let other = json!([{"type": "Container", "min": storage, "max": storage}]);
        assert_eq!(
            refused(other, &[], &[]),
            Vec::<String>::new(),
            "it gets the default"
        );
        let claims = json!([{"type": "PersistentVolumeClaim", "max": {"memory": "1"}}]);
        assert_eq!(refused(claims, &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn options_outside_a_range_are_findings() {
        let item = |kind: &str| {
            json!([{"type": kind, "min": {"memory": "128Mi"}, "max": {"memory": "1Gi"},
                    "maxLimitRequestRatio": {"memory": "2"}}])
        };
        for (requests, limits, problem) in [
            (
                "64Mi",
                "128Mi",
                "memory request of 64Mi is below the minimum of 128Mi",
            ),
            (
                "1Gi",
                "2Gi",
                "memory limit of 2Gi is above the maximum of 1Gi",
            ),
            (
                "2Gi",
                "2Gi",
                "memory limit of 2Gi is above the maximum of 1Gi",
            ),
            (
                "256Mi",
                "1Gi",
                "memory limit of 1Gi is more than 2 times their request of 256Mi",
            ),
            (
                "512Mi",
                "256Mi",
                "memory request of 512Mi is above their limit of 256Mi",
            ),
        ] {
            for kind in ["Container", "Pod"] {
                let found = refused(item(kind), &[("memory", requests)], &[("memory", limits)]);
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].contains(problem), "{found:?}");
            }
        }
        let found = refused(item("Pod"), &[("memory", "512Mi")], &[("memory", "1Gi")]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_pod_range_on_another_resource_is_a_finding() {
        let ranges = || json!([{"type": "Pod", "max": {"ephemeral-storage": "1Gi"}}]);
        let found = refused(ranges(), &[], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("no ephemeral-storage limit"), "{found:?}");
        let limit = [("ephemeral-storage", "1Gi")];
        assert_eq!(refused(ranges(), &[], &limit), Vec::<String>::new());
    }

    #[test]
    fn ranges_that_contradict_each_other_are_findings() {
        let ranges = json!([
            {"type": "Container", "min": {"cpu": "1"}},
            {"type": "Pod", "max": {"cpu": "500m"}},
        ]);
        let found = refused(ranges, &[], &[]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("below the minimum of 1 (for each container)"));
        assert!(found[1].contains("above the maximum of 500m (for each pod)"));
    }
}
