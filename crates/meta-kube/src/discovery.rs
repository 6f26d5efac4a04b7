//! What an instance consists of, read off the objects of its namespace: pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;

use super::annotations;
use super::condition::{containers, replicas as count};
use super::state::{PodShape, Workload};

pub(crate) mod configuration;
pub(crate) mod helm;

/// The label by which Helm and the operator name an instance.
pub(crate) const LABEL_APP_INSTANCE: &str = "app.kubernetes.io/instance";
const LABEL_APP_NAME: &str = "app.kubernetes.io/name";
const LABEL_APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The chart's label for the component.
const LABEL_COMPONENT: &str = "component";
/// The operator's label for the component.
const LABEL_APP_COMPONENT: &str = "app.kubernetes.io/component";

/// The components of Milvus, in the order in which they are started: coordinators first, who serves
/// last.
pub(crate) const COMPONENTS: [&str; 10] = [
    "rootcoord",
    "datacoord",
    "indexcoord",
    "querycoord",
    "mixcoord",
    "indexnode",
    "datanode",
    "querynode",
    "proxy",
    "standalone",
];

/// A Deployment that looks like Milvus, and could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous {
    /// The Deployment.
    pub name: String,
    /// What is wrong, in words.
    pub problem: String,
}

/// The Milvus Deployments among those of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Understood, in the order in which they are started.
    pub found: Vec<Workload>,
    /// Not understood: nothing may be scaled.
    pub ambiguous: Vec<Ambiguous>,
    /// Left alone: Attu and others.
    pub others: Vec<String>,
}

fn label<'d>(deployment: &'d Deployment, key: &str) -> Option<&'d str> {
    let labels = deployment.metadata.labels.as_ref()?;
    labels.get(key).map(String::as_str)
}

/// Whether an operator, not Helm, made the Deployment.
pub(crate) fn is_operators(deployment: &Deployment) -> bool {
    let owners = deployment.metadata.owner_references.iter().flatten();
    label(deployment, LABEL_APP_MANAGED_BY) == Some("milvus-operator")
        || owners.into_iter().any(|owner| owner.kind == "Milvus")
}

/// Sorts the Deployments that a selector found.
///
/// Milvus is recognised by an allowed component, not by what it is not: Attu carries the same labels.
/// The chart's name in `app.kubernetes.io/name` may have been replaced, so the arguments
/// `milvus run <component>` count, too.
pub(crate) fn workloads(deployments: &[Deployment]) -> Workloads {
    let mut sorted = Workloads::default();
    let mut milvus = Vec::new();
    for deployment in deployments {
        match component(deployment) {
            Some(component) => milvus.push((component, deployment)),
            None => sorted.others.push(name(deployment)),
        }
    }
    let images: Vec<String> = milvus
        .iter()
        .filter_map(|(component, deployment)| {
            let named = containers(deployment)
                .iter()
                .find(|one| one.name == *component)?;
            named.image.clone()
        })
        .collect();
    for (component, deployment) in milvus {
        match workload(component, deployment, &images) {
            Ok(workload) => sorted.found.push(workload),
            Err(problem) => sorted.ambiguous.push(Ambiguous {
                name: name(deployment),
                problem,
            }),
        }
    }
    let order = |workload: &Workload| {
        let place = COMPONENTS.iter().position(|one| *one == workload.component);
        (place.unwrap_or(COMPONENTS.len()), workload.name.clone())
    };
    sorted.found.sort_by_key(order);
    sorted.others.sort();
    sorted
}

fn name(deployment: &Deployment) -> String {
    deployment.metadata.name.clone().unwrap_or_default()
}

fn component(deployment: &Deployment) -> Option<&'static str> {
    let labelled = label(deployment, LABEL_COMPONENT).or(label(deployment, LABEL_APP_COMPONENT));
    let ran = containers(deployment).iter().find_map(ran_component);
    let is_named_milvus = label(deployment, LABEL_APP_NAME) == Some("milvus");
    let claimed = match labelled {
        // A label without the chart's name is not enough: other charts use it too.
        Some(labelled) if is_named_milvus || ran.is_some() => Some(labelled),
        Some(_) => None,
        None => ran,
    };
    COMPONENTS.into_iter().find(|known| Some(*known) == claimed)
}

/// The component in `milvus run <component>`.
fn ran_component(container: &k8s_openapi::api::core::v1::Container) -> Option<&'static str> {
    let words: Vec<&str> = container
        .command
        .iter()
        .chain(&container.args)
        .flatten()
        .flat_map(|argument| argument.split_whitespace())
        .collect();
    words.windows(3).find_map(|three| {
        let runs = three[0].rsplit('/').next() == Some("milvus") && three[1] == "run";
        let known = COMPONENTS.into_iter().find(|known| *known == three[2]);
        known.filter(|_| runs)
    })
}

fn workload(
    component: &str,
    deployment: &Deployment,
    images: &[String],
) -> Result<Workload, String> {
    let all = containers(deployment);
    let by_name = all.iter().find(|one| one.name == component);
    let container = match by_name {
        Some(container) => container,
        None => {
            let candidates: Vec<_> = all
                .iter()
                .filter(|one| {
                    let image = one.image.clone().unwrap_or_default();
                    ran_component(one).is_some() || images.contains(&image)
                })
                .collect();
            match candidates.as_slice() {
                [only] => *only,
                [] => return Err(format!("no container is called {component} or runs Milvus")),
                several => {
                    let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
                    return Err(format!(
                        "which of the containers {} is Milvus?",
                        names.join(", ")
                    ));
                }
            }
        }
    };
    let live = || {
        let image = container.image.clone().unwrap_or_default();
        (count(deployment), image)
    };
    // What an upgrade stopped is what it was before.
    let (replicas, image) = annotations::of_deployment(deployment).unwrap_or_else(live);
    Ok(Workload {
        name: name(deployment),
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        component: component.to_owned(),
        container: container.name.clone(),
        image,
        replicas,
    })
}

/// What Jobs take over from a Milvus pod.
pub(crate) fn shape(deployment: &Deployment) -> PodShape {
    let Some(pod) = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
    else {
        return PodShape::default();
    };
    let security = pod
        .security_context
        .as_ref()
        .and_then(|one| serde_json::to_value(one).ok());
    PodShape {
        pull_secrets: pod
            .image_pull_secrets
            .iter()
            .flatten()
            .map(|secret| secret.name.clone())
            .collect(),
        node_selector: pod.node_selector.clone().unwrap_or_default(),
        tolerations: pod
            .tolerations
            .iter()
            .flatten()
            .filter_map(|toleration| serde_json::to_value(toleration).ok())
            .collect(),
        node_affinity: pod
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|affinity| serde_json::to_value(affinity).ok()),
        security: security.filter(|value| value.as_object().is_some_and(|map| !map.is_empty())),
        requests: BTreeMap::new(),
        limits: BTreeMap::new(),
        user: None,
        service_account: pod.service_account_name.clone(),
    }
}

/// The instances that Milvus Deployments belong to.
pub(crate) fn instances(deployments: &[Deployment]) -> Vec<String> {
    let of_milvus = deployments.iter().filter(|one| component(one).is_some());
    let named = of_milvus.filter_map(|one| label(one, LABEL_APP_INSTANCE));
    let sorted: BTreeSet<&str> = named.collect();
    sorted.into_iter().map(str::to_owned).collect()
}

/// The label selector of a Deployment's pods.
pub(crate) fn pod_selector(deployment: &Deployment) -> Option<String> {
    let selector = &deployment.spec.as_ref()?.selector;
    let labels = selector.match_labels.iter().flatten();
    let equal = labels.map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten();
    let expressed = expressions.map(|one| {
        let values = one.values.iter().flatten().map(String::as_str);
        let values = values.collect::<Vec<_>>().join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "DoesNotExist" => format!("!{}", one.key),
            _ => one.key.clone(),
        }
    });
    let parts: Vec<String> = equal.chain(expressed).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

/// The version in an image's tag, as far as it is one.
pub(crate) fn image_version(image: &str) -> Option<milvus_meta::release::Release> {
    let name = image.split('@').next().unwrap_or(image);
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    tag.parse().ok()
}

#[cfg(test)]
mod tests;
