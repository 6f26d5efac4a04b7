//! What the containers of a Job request and may use, within what the namespace allows: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::state::PodShape;

/// What a container requests, where nothing else is given.
pub(crate) const REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "256Mi")];
/// The limits of a container, where a quota asks for some.
const LIMITS: [(&str, &str); 2] = [("cpu", "1"), ("memory", "1Gi")];

/// Amounts by what they are of.
pub(crate) type Amounts = BTreeMap<String, String>;

/// The requests and limits that differ from the defaults, so that the namespace takes the pods.
#[must_use]
pub(crate) fn fitting(ranges: &[LimitRange], quotas: &[ResourceQuota]) -> (Amounts, Amounts) {
    let items = container_items(ranges);
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for ((name, usual), (_, limit)) in REQUESTS.into_iter().zip(LIMITS) {
        let mut amount = usual.to_owned();
        for item in &items {
            if let Some(least) = of(item.min.as_ref(), name).filter(|one| is_less(&amount, one)) {
                amount = least;
            }
            if let Some(most) = of(item.max.as_ref(), name).filter(|one| is_less(one, &amount)) {
                amount = most;
            }
        }
        let usual_limit = |item: &&LimitRangeItem| {
            of(item.default.as_ref(), name).or_else(|| of(item.max.as_ref(), name))
        };
        let mut given = items.iter().filter_map(usual_limit);
        let first = given.next();
        // Without a limit of its own a container gets that of the range, which may be below its request.
        if first.as_ref().is_some_and(|one| is_less(one, &amount)) {
            limits.insert(name.to_owned(), amount.clone());
        }
        let key = format!("limits.{name}");
        let asks = |quota: &ResourceQuota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.is_some_and(|hard| hard.contains_key(&key))
        };
        if first.is_none() && quotas.iter().any(asks) {
            limits.insert(name.to_owned(), limit.to_owned());
        }
        if amount != usual {
            requests.insert(name.to_owned(), amount);
        }
    }
    (requests, limits)
}

/// The requests and limits that the API server counts for a pod of a Job.
#[must_use]
pub(crate) fn of_a_pod(
    ranges: &[LimitRange],
    quotas: &[ResourceQuota],
    given: &PodShape,
) -> (Amounts, Amounts) {
    let (fitting_requests, fitting_limits) = fitting(ranges, quotas);
    let usual = |(name, amount): (&str, &str)| (name.to_owned(), amount.to_owned());
    let mut requests: Amounts = REQUESTS.into_iter().map(usual).collect();
    requests.extend(fitting_requests);
    requests.extend(given.requests.clone());
    let mut limits = Amounts::new();
    for item in container_items(ranges) {
        // Without a default the range takes its maximum.
        for amounts in [&item.max, &item.default].into_iter().flatten() {
            let amounts = amounts.iter();
            limits.extend(amounts.map(|(name, amount)| (name.clone(), amount.0.clone())));
        }
    }
    limits.extend(fitting_limits);
    limits.extend(given.limits.clone());
    (requests, limits)
}

fn container_items(ranges: &[LimitRange]) -> Vec<&LimitRangeItem> {
    let items = ranges.iter().filter_map(|range| range.spec.as_ref());
    let items = items.flat_map(|spec| &spec.limits);
    items.filter(|item| item.type_ == "Container").collect()
}

fn of(amounts: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<String> {
    amounts?.get(name).map(|amount| amount.0.clone())
}

/// Whether one amount is less than another; one in an unknown form is not.
fn is_less(one: &str, other: &str) -> bool {
    let (one, other) = (number(one), number(other));
    one.zip(other).is_some_and(|(one, other)| one < other)
}

/// A number as an amount of a resource, in the unit that is usual for it.
#[must_use]
pub(crate) fn written(number: f64, resource: &str) -> String {
    const MI: f64 = 1_048_576.0;
    let name = resource.rsplit(['.', '/']).next().unwrap_or(resource);
    match name {
        "cpu" if number.fract() != 0.0 => format!("{}m", (number * 1e3).round()),
        "memory" | "storage" | "ephemeral-storage"
            if number >= 1024.0 * MI && number % (1024.0 * MI) == 0.0 =>
        {
            format!("{}Gi", number / (1024.0 * MI))
        }
        "memory" | "storage" | "ephemeral-storage" if number > 0.0 => {
            format!("{}Mi", (number / MI).ceil())
        }
        _ => number.to_string(),
    }
}

/// An amount as Kubernetes writes it, `100m` or `256Mi`, as a number.
#[must_use]
pub(crate) fn number(text: &str) -> Option<f64> {
    let digits = text.find(|one: char| !one.is_ascii_digit() && one != '.');
    let (digits, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(limits: Value) -> Vec<LimitRange> {
        let mut item = limits;
        item["type"] = json!("Container");
        let pod = json!({"type": "Pod", "max": {"memory": "1Mi"}});
        let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [pod, item]}});
        vec![serde_json::from_value(range).unwrap()]
    }

    fn amounts(pairs: &[(&str, &str)]) -> Amounts {
        let owned = pairs.iter();
        owned
            .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
            .collect()
    }

    #[test]
    fn requests_fit_the_range_and_the_limit() {
        let fits = |limits: Value| fitting(&range(limits), &[]);
        let none = amounts(&[]);
        assert_eq!(fitting(&[], &[]), (none.clone(), none.clone()));
        let wide = json!({"min": {"memory": "1Mi"}, "max": {"memory": "8Gi"}});
        assert_eq!(fits(wide), (none.clone(), none.clone()));
        let least = json!({"min": {"memory": "1Gi", "cpu": "0.5"}});
        let expected = amounts(&[("memory", "1Gi"), ("cpu", "0.5")]);
        assert_eq!(fits(least), (expected, none.clone()));
        let most = json!({"max": {"memory": "128Mi"}});
        assert_eq!(fits(most), (amounts(&[("memory", "128Mi")]), none.clone()));
        // The range gives a limit below what is requested.
        let default = json!({"default": {"memory": "128Mi"}});
        assert_eq!(fits(default), (none, amounts(&[("memory", "256Mi")])));
    }

    #[test]
    fn a_quota_on_limits_gets_limits() {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"limits.memory": "4Gi"}}});
        let quotas: Vec<ResourceQuota> = vec![serde_json::from_value(quota).unwrap()];
        let limits = amounts(&[("memory", "1Gi")]);
        assert_eq!(fitting(&[], &quotas), (amounts(&[]), limits));
        let given = range(json!({"default": {"memory": "512Mi"}}));
        assert_eq!(
            fitting(&given, &quotas).1,
            amounts(&[]),
            "the range has them"
        );
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        assert!(is_less("100m", "1"));
        assert!(is_less("256Mi", "1Gi"));
        assert!(is_less("1G", "1Gi"));
        assert!(!is_less("1e3", "1Gi"), "an unknown form");
    }
}
