//! Instances managed by the Milvus Operator: pure functions on their custom resource.
//!
//! The Milvus Operator reverts changes of its Deployments within about a minute, so counts and
//! images are changed in the custom resource.

use serde_json::{Map, Value, json};

use k8s_openapi::api::apps::v1::Deployment;

use super::annotations;
use super::condition::{Unmet, containers};
use super::discovery::configuration::is_cluster;
use super::object::{Milvus, MilvusUpgrade, ResourceExt, text};
use super::state::{SavedComponent, SavedResource};

/// The annotation that pauses the Milvus Operator for an instance.
pub(crate) const PAUSE: &str = "milvus.io/pause-reconcile";

/// The components of a cluster, named as in the resource.
const CLUSTER: [&str; 8] = [
    "rootCoord",
    "dataCoord",
    "indexCoord",
    "queryCoord",
    "indexNode",
    "dataNode",
    "queryNode",
    "proxy",
];

/// Whether the state of a `MilvusUpgrade` is final.
fn is_over(MilvusUpgrade { content, .. }: &MilvusUpgrade) -> bool {
    let asks_back = text(content, "/spec/operation") == "rollback";
    match text(content, "/status/state") {
        "RollbackedSucceeded" | "RollbackFailed" => true,
        // If it is changed to a rollback afterwards, it starts again.
        "Succeeded" => !asks_back,
        // The Milvus Operator rolls back automatically unless configured otherwise.
        "UpdateMetaFailed" => {
            content.pointer("/spec/rollbackIfFailed") == Some(&json!(false)) && !asks_back
        }
        _ => false,
    }
}

fn components(resource: &Milvus) -> Option<&Map<String, Value>> {
    let components = resource.content.pointer("/spec/components");
    components.and_then(Value::as_object)
}

/// The components that are scaled to 0 to stop the instance.
fn stopped_components(resource: &Milvus) -> Vec<String> {
    if !is_cluster(&resource.content["spec"]) {
        return vec!["standalone".to_owned()];
    }
    let mut names: Vec<String> = CLUSTER.iter().map(|name| (*name).to_owned()).collect();
    for (name, component) in components(resource).into_iter().flatten() {
        let counts = component.get("replicas").is_some() || component.get("groups").is_some();
        if counts && name != "standalone" && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Saves counts and images, present or absent.
pub(crate) fn save(resource: &Milvus) -> SavedResource {
    let all = components(resource);
    let saved = |name: String| {
        let component = all.and_then(|all| all.get(&name)).unwrap_or(&Value::Null);
        let image = component["image"].as_str();
        let saved = SavedComponent {
            replicas: component["replicas"].as_i64(),
            image: image.map(str::to_owned),
            groups: component.get("groups").cloned(),
            absent: component.is_null(),
        };
        (name, saved)
    };
    let image = all.and_then(|all| all.get("image")?.as_str());
    SavedResource {
        uid: resource.uid().unwrap_or_default(),
        image: image.map(str::to_owned),
        components: stopped_components(resource)
            .into_iter()
            .map(saved)
            .collect(),
    }
}

/// Returns the saved resource with current counts and unchanged images. A component at 0 is
/// ignored, because that may come from our own earlier attempt to stop it.
pub(crate) fn with_current_counts(saved: &SavedResource, live: &Milvus) -> SavedResource {
    let mut counted = saved.clone();
    for (name, mut now) in save(live).components {
        if now.replicas == Some(0) && group_counts(&now).all(|count| count == 0) {
            continue;
        }
        if let Some(before) = saved.components.get(&name) {
            now.image.clone_from(&before.image);
        }
        counted.components.insert(name, now);
    }
    counted
}

fn group_counts(component: &SavedComponent) -> impl Iterator<Item = i64> {
    let groups = component
        .groups
        .iter()
        .filter_map(Value::as_array)
        .flatten();
    groups.filter_map(|group| group["replicas"].as_i64())
}

/// Why an instance cannot be upgraded through its resource; empty if it can.
pub(crate) fn refusals(resource: &Milvus, upgrades: &[MilvusUpgrade]) -> Vec<String> {
    let mut reasons = Vec::new();
    let saved = save(resource);
    for (name, component) in &saved.components {
        let mut counts = component
            .replicas
            .into_iter()
            .chain(group_counts(component));
        if counts.any(|count| count < 0) {
            reasons.push(format!(
                "component {name} has replicas -1: an autoscaler owns the count. Set a number first"
            ));
        }
    }
    if components(resource).and_then(|all| all.get("enableManualMode")) == Some(&json!(true)) {
        reasons
            .push("enableManualMode is on: the Milvus Operator does not track counts".to_owned());
    }
    if resource.metadata.deletion_timestamp.is_some() {
        reasons.push("the custom resource is being deleted".to_owned());
    }
    if is_paused(resource) {
        reasons.push(format!("the Milvus Operator is paused for it ({PAUSE})"));
    }
    reasons.extend(processed(resource).err());
    for upgrade in upgrades {
        let target = text(&upgrade.content, "/spec/milvus/name");
        let state = text(&upgrade.content, "/status/state");
        if target == resource.name_any() && !is_over(upgrade) {
            reasons.push(format!(
                "MilvusUpgrade {} is in progress (state {state:?})",
                upgrade.name_any()
            ));
        }
    }
    reasons
}

/// Whether the Milvus Operator is paused for this instance.
pub(crate) fn is_paused(resource: &Milvus) -> bool {
    let pause = resource.annotations().get(PAUSE);
    pause.is_some_and(|pause| pause == "true")
}

/// A merge patch that sets every count to 0 and saves the previous state as an annotation.
pub(crate) fn stop_patch(saved: &SavedResource) -> Value {
    let mut components = Map::new();
    for (name, component) in &saved.components {
        let mut change = json!({"replicas": 0});
        if let Some(groups) = &component.groups {
            change["groups"] = with_counts(groups, 0);
        }
        components.insert(name.clone(), change);
    }
    let notes = annotations::on_resource(saved);
    json!({"metadata": {"annotations": notes}, "spec": {"components": components}})
}

fn with_counts(groups: &Value, count: i64) -> Value {
    let mut groups = groups.clone();
    for group in groups.as_array_mut().into_iter().flatten() {
        group["replicas"] = json!(count);
    }
    groups
}

/// A merge patch that sets images and the saved counts at once; `None` means the saved images.
pub(crate) fn start_patch(saved: &SavedResource, image: Option<&str>) -> Value {
    let mut components = Map::new();
    for (name, component) in &saved.components {
        if component.absent {
            components.insert(name.clone(), Value::Null);
            continue;
        }
        // null removes what was absent before.
        let mut change = json!({"replicas": component.replicas});
        if let Some(groups) = &component.groups {
            change["groups"] = groups.clone();
        }
        if let Some(own) = &component.image {
            change["image"] = json!(image.unwrap_or(own));
        }
        components.insert(name.clone(), change);
    }
    let image = image.map_or_else(|| json!(saved.image), |image| json!(image));
    components.insert("image".to_owned(), image);
    json!({"spec": {"components": components}})
}

fn condition<'r>(resource: &'r Milvus, name: &str) -> Option<&'r Value> {
    let content = &resource.content;
    let mut conditions = content.pointer("/status/conditions")?.as_array()?.iter();
    conditions.find(|condition| condition["type"] == name)
}

/// Whether the Milvus Operator has processed the last change; versions without `observedGeneration`
/// count as yes.
fn processed(resource: &Milvus) -> Result<(), Unmet> {
    let observed = resource.content.pointer("/status/observedGeneration");
    match observed.and_then(Value::as_i64) {
        Some(observed) if observed < resource.metadata.generation.unwrap_or(0) => {
            Err("the Milvus Operator has not processed the last change".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the Milvus Operator reports that all pods ended. Its status `Stopped` is not used: it is
/// set as soon as the counts are 0.
pub(crate) fn stopped(resource: &Milvus) -> Result<(), Unmet> {
    processed(resource)?;
    let Some(ready) = condition(resource, "MilvusReady") else {
        return Err("condition MilvusReady is missing".to_owned());
    };
    match ready["reason"].as_str().unwrap_or_default() {
        "MilvusStopped" => Ok(()),
        reason => Err(format!(
            "condition MilvusReady says {reason:?}, not MilvusStopped"
        )),
    }
}

/// Whether the Milvus Operator reports that everything is healthy.
pub(crate) fn healthy(resource: &Milvus) -> Result<(), Unmet> {
    processed(resource)?;
    for (name, may_be_absent) in [("MilvusUpdated", true), ("MilvusReady", false)] {
        match condition(resource, name) {
            Some(found) if found["status"] == "True" => {}
            Some(found) => {
                return Err(format!(
                    "condition {name} is {}: {}",
                    text(found, "/status"),
                    text(found, "/message")
                ));
            }
            None if may_be_absent => {}
            None => return Err(format!("condition {name} is missing")),
        }
    }
    match text(&resource.content, "/status/status") {
        "Healthy" => Ok(()),
        other => Err(format!("its status is {other:?}, not Healthy")),
    }
}

pub(crate) fn is_stopped(saved: &SavedResource) -> bool {
    let mut all = saved.components.values();
    all.all(|one| one.replicas == Some(0))
}

/// The saved state in the annotation of a stopped custom resource.
pub(crate) fn saved_on(resource: &Milvus) -> Option<SavedResource> {
    let text = resource.annotations().get(annotations::RESOURCE)?;
    if !is_stopped(&save(resource)) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Whether a stopped workload has another image than its annotation says. An upgrade sets the image
/// only after it compared the metadata with the backup.
pub(crate) fn was_restarted(deployments: &[Deployment], resource: Option<&Milvus>) -> bool {
    let has = |deployment: &Deployment, image: &str| {
        let mut all = containers(deployment).iter();
        all.any(|one| one.image.as_deref() == Some(image))
    };
    let has_another = |deployment: &Deployment| {
        annotations::of_deployment(deployment).is_some_and(|(_, image)| !has(deployment, &image))
    };
    let resource_has_another =
        |live: &Milvus| saved_on(live).is_some_and(|before| save(live).image != before.image);
    deployments.iter().any(has_another) || resource.is_some_and(resource_has_another)
}

#[cfg(test)]
mod tests;
