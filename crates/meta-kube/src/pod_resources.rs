//! The resource requests and limits of a Job's containers, within what the namespace allows.
//!
//! A Job's pod has one container, and in the probe an init container with the same amounts, so what
//! holds for a container holds for the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::options::PodOptions;
use super::quantity::{at_most, is_less, number};

/// The default requests of a container.
const REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "256Mi")];
/// The limits of a container if the namespace requires some.
const LIMITS: [(&str, &str); 2] = [("cpu", "1"), ("memory", "1Gi")];

pub(crate) type Amounts = BTreeMap<String, String>;

/// Returns requests and limits that the namespace accepts, as far as they differ from the defaults.
/// Given amounts are not changed.
pub(crate) fn accepted_resources(
    ranges: &[LimitRange],
    quotas: &[ResourceQuota],
    given: &PodOptions,
) -> (Amounts, Amounts) {
    let items: Vec<&LimitRangeItem> = items(ranges).map(|(_, item)| item).collect();
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for ((name, usual), (_, usual_limit)) in REQUESTS.into_iter().zip(LIMITS) {
        let among = |given: &[(String, String)]| {
            let mut named = given.iter().filter(|(one, _)| one == name);
            named.next().map(|(_, amount)| amount.clone())
        };
        let given_limit = among(&given.limits);
        let request = among(&given.requests)
            .unwrap_or_else(|| fitting_request(&items, name, usual, given_limit.clone()));
        if given_limit.is_none() {
            let default = default_limit(&items, name);
            let is_required = limit_is_required(&items, quotas, name);
            let limit = default
                .clone()
                .or(is_required.then(|| usual_limit.to_owned()));
            let fitted = limit.map(|limit| fitting_limit(&items, name, &request, limit));
            if fitted != default {
                limits.extend(fitted.map(|limit| (name.to_owned(), limit)));
            }
        }
        if request != usual {
            requests.insert(name.to_owned(), request);
        }
    }
    (requests, limits)
}

/// A request within all ranges and the limit.
fn fitting_request(
    items: &[&LimitRangeItem],
    name: &str,
    usual: &str,
    limit: Option<String>,
) -> String {
    let ratio = |item: &&LimitRangeItem| amount_of(item.max_limit_request_ratio.as_ref(), name);
    match limit {
        // A ratio is at least 1.
        Some(limit) if items.iter().any(|item| ratio(item).is_some()) => limit,
        limit => items
            .iter()
            .fold(limited(usual.to_owned(), limit), |request, item| {
                let raised = at_least(request, amount_of(item.min.as_ref(), name));
                limited(raised, amount_of(item.max.as_ref(), name))
            }),
    }
}

fn at_least(amount: String, least: Option<String>) -> String {
    let least = least.filter(|least| is_less(&amount, least));
    least.unwrap_or(amount)
}

fn limited(amount: String, most: Option<String>) -> String {
    let most = most.filter(|most| is_less(most, &amount));
    most.unwrap_or(amount)
}

/// A limit within all ranges and ratios, never below the request.
fn fitting_limit(items: &[&LimitRangeItem], name: &str, request: &str, limit: String) -> String {
    let limit = items.iter().fold(limit, |limit, item| {
        let ratio = amount_of(item.max_limit_request_ratio.as_ref(), name);
        let ratio = ratio.and_then(|ratio| Some(number(&ratio)? * number(request)?));
        let ratio = ratio.map(|most| at_most(most, name));
        limited(limited(limit, amount_of(item.max.as_ref(), name)), ratio)
    });
    let least = items.iter().map(|item| amount_of(item.min.as_ref(), name));
    let least = least.chain([Some(request.to_owned())]);
    least.fold(limit, at_least)
}

/// The limit of a container without one: the default of the first range that has one, else its maximum.
fn default_limit(items: &[&LimitRangeItem], name: &str) -> Option<String> {
    let containers = items.iter().filter(|item| is_for_containers(item));
    let mut defaults = containers.filter_map(|item| {
        amount_of(item.default.as_ref(), name).or_else(|| amount_of(item.max.as_ref(), name))
    });
    defaults.next()
}

/// Whether pods without a limit are rejected: a quota counts limits, or a range checks them and
/// sets no default.
fn limit_is_required(items: &[&LimitRangeItem], quotas: &[ResourceQuota], name: &str) -> bool {
    let has =
        |amounts: &Option<BTreeMap<String, Quantity>>| amount_of(amounts.as_ref(), name).is_some();
    let compares = |item: &&LimitRangeItem| has(&item.max) || has(&item.max_limit_request_ratio);
    let key = format!("limits.{name}");
    let counts = |quota: &ResourceQuota| {
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        hard.is_some_and(|hard| hard.contains_key(&key))
    };
    items.iter().any(compares) || quotas.iter().any(counts)
}

/// The requests and limits that the API server counts for a Job's pod.
pub(crate) fn effective_resources(
    ranges: &[LimitRange],
    quotas: &[ResourceQuota],
    given: &PodOptions,
) -> (Amounts, Amounts) {
    let (mut requests, mut limits) = accepted_resources(ranges, quotas, given);
    requests.extend(given.requests.clone());
    limits.extend(given.limits.clone());
    requests = with_usual_requests(&requests, &limits);
    // If a container sets nothing, the API server uses the limit, then the defaults of the ranges.
    add_missing(&mut requests, limits.clone());
    for (_, item) in items(ranges).filter(|(_, item)| is_for_containers(item)) {
        let defaults = [&item.default_request, &item.default, &item.max, &item.min];
        let texts = defaults.map(|amounts| {
            let all = amounts.iter().flatten();
            all.map(|(name, amount)| (name.clone(), amount.0.clone()))
        });
        let [_, default, most, _] = texts.clone();
        add_missing(&mut limits, default.chain(most));
        add_missing(&mut requests, texts.into_iter().flatten());
    }
    (requests, limits)
}

/// The requests of a container: as given, else the default, or the limit if that is lower.
pub(crate) fn with_usual_requests(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = requests.clone();
    let request = |(name, usual): (&str, &str)| {
        let limit = limits.get(name).cloned();
        (name.to_owned(), limited(usual.to_owned(), limit))
    };
    add_missing(&mut all, REQUESTS.map(request));
    all
}

fn add_missing(amounts: &mut Amounts, defaults: impl IntoIterator<Item = (String, String)>) {
    for (name, amount) in defaults {
        amounts.entry(name).or_insert(amount);
    }
}

/// The items of limit ranges for pods and containers, with the names of the ranges.
pub(crate) fn items(ranges: &[LimitRange]) -> impl Iterator<Item = (&str, &LimitRangeItem)> {
    ranges.iter().flat_map(|range| {
        let name = range.metadata.name.as_deref().unwrap_or_default();
        let items = range.spec.iter().flat_map(|spec| &spec.limits);
        items
            .filter(|item| matches!(item.type_.as_str(), "Container" | "Pod"))
            .map(move |item| (name, item))
    })
}

fn is_for_containers(item: &LimitRangeItem) -> bool {
    item.type_ == "Container"
}

pub(crate) fn amount_of(
    amounts: Option<&BTreeMap<String, Quantity>>,
    name: &str,
) -> Option<String> {
    amounts?.get(name).map(|amount| amount.0.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(limits: Value) -> Vec<LimitRange> {
        ranges("Container", limits)
    }

    fn ranges(kind: &str, limits: Value) -> Vec<LimitRange> {
        let mut item = limits;
        item["type"] = json!(kind);
        let claims = json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Mi"}});
        let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [claims, item]}});
        vec![serde_json::from_value(range).unwrap()]
    }

    fn amounts(pairs: &[(&str, &str)]) -> Amounts {
        let owned = pairs.iter();
        owned
            .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
            .collect()
    }

    fn fits(ranges: &[LimitRange], quotas: &[ResourceQuota]) -> (Amounts, Amounts) {
        accepted_resources(ranges, quotas, &PodOptions::default())
    }

    #[test]
    fn requests_fit_the_range_and_the_limit() {
        let none = amounts(&[]);
        assert_eq!(fits(&[], &[]), (none.clone(), none.clone()));
        let wide = json!({"min": {"memory": "1Mi"}, "max": {"memory": "8Gi"}});
        assert_eq!(fits(&range(wide), &[]), (none.clone(), none.clone()));
        let least = json!({"min": {"memory": "1Gi", "cpu": "0.5"}});
        let expected = amounts(&[("memory", "1Gi"), ("cpu", "0.5")]);
        assert_eq!(fits(&range(least), &[]), (expected, none.clone()));
        let most = range(json!({"max": {"memory": "128Mi"}}));
        assert_eq!(
            fits(&most, &[]),
            (amounts(&[("memory", "128Mi")]), none.clone())
        );
        // The default limit of the range is below the request.
        let default = range(json!({"default": {"memory": "128Mi"}}));
        assert_eq!(fits(&default, &[]), (none, amounts(&[("memory", "256Mi")])));
    }

    #[test]
    fn a_range_for_pods_requires_limits_within_it() {
        let pods = ranges(
            "Pod",
            json!({"max": {"memory": "512Mi"}, "min": {"cpu": "200m"}}),
        );
        let expected = (amounts(&[("cpu", "200m")]), amounts(&[("memory", "512Mi")]));
        assert_eq!(fits(&pods, &[]), expected);
    }

    #[test]
    fn limits_fit_the_ratio_of_the_range() {
        let ratio = json!({"maxLimitRequestRatio": {"memory": "2", "cpu": "1"}});
        let expected = amounts(&[("memory", "512Mi"), ("cpu", "100m")]);
        assert_eq!(fits(&ranges("Pod", ratio.clone()), &[]).1, expected);
        let mut with_default = ratio;
        with_default["default"] = json!({"memory": "4Gi", "cpu": "1"});
        assert_eq!(fits(&range(with_default), &[]).1, expected);
    }

    #[test]
    fn given_requests_stay_and_raise_the_limit() {
        let default = range(json!({"default": {"memory": "512Mi"}}));
        let mut given = PodOptions {
            requests: vec![("memory".to_owned(), "1Gi".to_owned())],
            ..PodOptions::default()
        };
        let (requests, limits) = effective_resources(&default, &[], &given);
        assert_eq!(requests["memory"], "1Gi");
        assert_eq!(limits["memory"], "1Gi");
        given.limits = vec![("memory".to_owned(), "2Gi".to_owned())];
        assert_eq!(
            effective_resources(&default, &[], &given).1["memory"],
            "2Gi"
        );
    }

    #[test]
    fn a_limit_alone_leaves_the_usual_request() {
        let request = |ranges: &[LimitRange], limit: &str| {
            let given = PodOptions {
                limits: vec![("memory".to_owned(), limit.to_owned())],
                ..PodOptions::default()
            };
            effective_resources(ranges, &[], &given)
                .0
                .remove("memory")
                .unwrap()
        };
        assert_eq!(request(&[], "4Gi"), "256Mi");
        assert_eq!(request(&[], "128Mi"), "128Mi");
        let ratio = range(json!({"maxLimitRequestRatio": {"memory": "2"}}));
        assert_eq!(request(&ratio, "4Gi"), "4Gi", "the ratio is kept");
    }

    #[test]
    fn a_quota_on_limits_gets_limits() {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"limits.memory": "4Gi"}}});
        let quotas: Vec<ResourceQuota> = vec![serde_json::from_value(quota).unwrap()];
        assert_eq!(
            fits(&[], &quotas),
            (amounts(&[]), amounts(&[("memory", "1Gi")]))
        );
        let given = range(json!({"default": {"memory": "512Mi"}}));
        assert_eq!(fits(&given, &quotas).1, amounts(&[]), "the range has them");
    }
}
