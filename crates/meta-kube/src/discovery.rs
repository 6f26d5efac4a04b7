//! Finds the parts of an instance among the objects of its namespace: pure functions.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use serde::Serialize;
use serde_json::{Value, json};

use super::condition::{container, containers, image_of, replicas as count};
use super::state::{PodShape, Workload};
use super::{LABEL_APP_INSTANCE, annotations};
use crate::object::{ResourceExt, Selector};
use milvus_meta::release::Release;

pub(crate) mod configuration;
pub(crate) mod helm;

const LABEL_APP_NAME: &str = "app.kubernetes.io/name";
const LABEL_APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The component label of the chart.
const LABEL_COMPONENT: &str = "component";
/// The component label of the Milvus Operator.
const LABEL_APP_COMPONENT: &str = "app.kubernetes.io/component";

/// The components of Milvus in start order: coordinators first, proxies last.
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

/// The Milvus Deployments among those of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Workloads {
    /// The Milvus Deployments, in start order.
    pub found: Vec<Workload>,
    /// Why Deployments that look like Milvus cannot be scaled.
    pub ambiguous: Vec<String>,
    /// Deployments that are not Milvus, such as Attu.
    pub others: Vec<String>,
}

fn label<'d>(deployment: &'d Deployment, key: &str) -> Option<&'d str> {
    deployment.labels().get(key).map(String::as_str)
}

/// Whether the Milvus Operator, not Helm, created the Deployment.
pub(crate) fn is_operator_managed(deployment: &Deployment) -> bool {
    let mut owners = deployment.owner_references().iter();
    label(deployment, LABEL_APP_MANAGED_BY) == Some("milvus-operator")
        || owners.any(|owner| owner.kind == "Milvus")
}

/// Sorts the Deployments that a selector found.
///
/// Milvus is recognised by a known component, because Attu carries the same labels. A chart may
/// have replaced `app.kubernetes.io/name`, so the arguments `milvus run <component>` count, too.
pub(crate) fn workloads(deployments: &[Deployment]) -> Workloads {
    let mut sorted = Workloads::default();
    let mut milvus = Vec::new();
    for deployment in deployments {
        match component(deployment) {
            Some(component) => milvus.push((component, deployment)),
            None => sorted.others.push(deployment.name_any()),
        }
    }
    let images: Vec<&str> = milvus
        .iter()
        .filter_map(|(component, deployment)| image_of(deployment, component))
        .collect();
    for (component, deployment) in milvus {
        match workload(component, deployment, &images) {
            Ok(workload) => sorted.found.push(workload),
            Err(problem) => {
                let name = deployment.name_any();
                sorted
                    .ambiguous
                    .push(format!("Deployment {name}: {problem}"));
            }
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

fn component(deployment: &Deployment) -> Option<&'static str> {
    let labelled = label(deployment, LABEL_COMPONENT).or(label(deployment, LABEL_APP_COMPONENT));
    let ran = containers(deployment).iter().find_map(ran_component);
    let is_named_milvus = label(deployment, LABEL_APP_NAME) == Some("milvus");
    let claimed = match labelled {
        // A component label without the chart's name is not enough: other charts use it too.
        Some(labelled) if is_named_milvus || ran.is_some() => Some(labelled),
        Some(_) => None,
        None => ran,
    };
    COMPONENTS.into_iter().find(|known| Some(*known) == claimed)
}

/// The component in `milvus run <component>`.
fn ran_component(container: &Container) -> Option<&'static str> {
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

/// The container of a Deployment that runs Milvus: by name, else by its arguments or image.
fn milvus_container<'d>(
    component: &str,
    deployment: &'d Deployment,
    images: &[&str],
) -> Result<&'d Container, String> {
    if let Some(named) = container(deployment, component) {
        return Ok(named);
    }
    let runs_milvus = |one: &&Container| {
        let image = one.image.as_deref().unwrap_or_default();
        ran_component(one).is_some() || images.contains(&image)
    };
    let candidates: Vec<_> = containers(deployment).iter().filter(runs_milvus).collect();
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => Err(format!("no container is called {component} or runs Milvus")),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            let names = names.join(", ");
            Err(format!("which of the containers {names} is Milvus?"))
        }
    }
}

fn workload(component: &str, deployment: &Deployment, images: &[&str]) -> Result<Workload, String> {
    let container = milvus_container(component, deployment, images)?;
    let live = || {
        (
            count(deployment),
            container.image.clone().unwrap_or_default(),
        )
    };
    // A Deployment that an upgrade stopped counts as it was before.
    let (replicas, image) = annotations::of_deployment(deployment).unwrap_or_else(live);
    Ok(Workload {
        name: deployment.name_any(),
        uid: deployment.uid().unwrap_or_default(),
        component: component.to_owned(),
        container: container.name.clone(),
        image,
        replicas,
    })
}

/// The settings that Jobs take over from a Milvus pod.
pub(crate) fn shape(deployment: &Deployment) -> PodShape {
    let spec = deployment.spec.as_ref();
    let Some(pod) = spec.and_then(|spec| spec.template.spec.clone()) else {
        return PodShape::default();
    };
    let secrets = pod.image_pull_secrets.into_iter().flatten();
    let tolerations = pod.tolerations.into_iter().flatten();
    let node_affinity = pod.affinity.and_then(|affinity| affinity.node_affinity);
    PodShape {
        pull_secrets: secrets.map(|secret| secret.name).collect(),
        node_selector: pod.node_selector.unwrap_or_default(),
        tolerations: tolerations.filter_map(value).collect(),
        node_affinity: node_affinity.and_then(value),
        security: pod.security_context.and_then(value),
        service_account: pod.service_account_name,
        ..PodShape::default()
    }
}

/// A part of an object as JSON; `None` if it is empty.
fn value(part: impl Serialize) -> Option<Value> {
    let value = serde_json::to_value(part).ok()?;
    Some(value).filter(|value| *value != json!({}))
}

pub(crate) fn instances(deployments: &[Deployment]) -> Vec<String> {
    let of_milvus = deployments.iter().filter(|one| component(one).is_some());
    let named = of_milvus.filter_map(|one| label(one, LABEL_APP_INSTANCE));
    let sorted: BTreeSet<&str> = named.collect();
    sorted.into_iter().map(str::to_owned).collect()
}

/// Lists the instances of the namespace, to append to the message that one was not found.
pub(crate) fn other_instances(namespace: &str, instances: &[String]) -> String {
    if instances.is_empty() {
        return format!(
            "; namespace {namespace} contains no Milvus instance: check -n and the context"
        );
    }
    format!("; instances in this namespace: {}", instances.join(", "))
}

pub(crate) fn pod_selector(deployment: &Deployment) -> Option<String> {
    let selector: Selector = deployment.spec.as_ref()?.selector.clone().try_into().ok()?;
    (!selector.selects_all()).then(|| selector.to_string())
}

/// The repository and tag of an image, without its digest.
pub(crate) fn image_parts(image: &str) -> (&str, Option<&str>) {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        // Otherwise it is the port of a registry.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        Some(_) | None => (name, None),
    }
}

/// The version in an image's tag, if it is one.
pub(crate) fn image_version(image: &str) -> Option<Release> {
    image_parts(image).1?.parse().ok()
}

#[cfg(test)]
mod tests;
