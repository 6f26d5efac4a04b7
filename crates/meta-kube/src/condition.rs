//! Predicates on Kubernetes objects: pure functions that return the reason if they do not hold.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim, Pod,
};

use super::state::Workload;
use crate::object::ResourceExt;

/// Why a condition does not hold.
pub(crate) type Unmet = String;

/// Whether a Deployment runs its desired number of healthy pods of `image` in `container`.
///
/// `replicas` is the number that we set. An autoscaler may have changed it since, but not to 0.
/// `generation` is that of the object that our own write returned; the status of an earlier
/// generation is ignored. The Deployment's own conditions are not used: Available holds with 0 of 0
/// pods, and Progressing may say `NewReplicaSetAvailable` with 0 of 2.
pub(crate) fn healthy(
    deployment: &Deployment,
    container: &str,
    image: &str,
    replicas: i32,
    generation: i64,
) -> Result<(), Unmet> {
    let spec = deployment.spec.as_ref().ok_or("it has no spec")?;
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation.unwrap_or(0) < generation {
        return Err("its controller has not processed the change yet".to_owned());
    }
    let wanted = spec.replicas.unwrap_or(1);
    if wanted == 0 && replicas != 0 {
        return Err(format!("another client scaled it to 0, not to {replicas}"));
    }
    let found = image_of(deployment, container).unwrap_or_default();
    if found != image {
        return Err(format!(
            "container {container} has image {found}, not {image}"
        ));
    }
    check_count(wanted, "exist", status.replicas)?;
    check_count(wanted, "are updated", status.updated_replicas)?;
    check_count(wanted, "are ready", status.ready_replicas)?;
    check_count(wanted, "are available", status.available_replicas)
}

/// Compares a count of the status with the desired one; an absent count is 0.
fn check_count(wanted: i32, what: &str, count: Option<i32>) -> Result<(), Unmet> {
    match count.unwrap_or(0) {
        count if count == wanted => Ok(()),
        count => Err(format!("{count} of {wanted} pods {what}")),
    }
}

/// Why a Deployment and its pods are not healthy, with the reason of a pod; `None` if they are.
pub(crate) fn unhealthy(
    deployment: &Deployment,
    pods: &[Pod],
    workload: &Workload,
    image: &str,
    generation: i64,
) -> Option<Unmet> {
    let (container, count) = (workload.container.as_str(), workload.replicas);
    if let Err(unmet) = healthy(deployment, container, image, count, generation) {
        return Some(match pods.iter().find_map(problem) {
            Some(reason) => format!("{unmet} ({reason})"),
            None => unmet,
        });
    }
    let runs = |pod: &&Pod| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut named = containers.filter(|one| one.name == container);
        named.any(|one| one.image.as_deref() == Some(image))
    };
    let old = pods.iter().find(|pod| !runs(pod))?;
    Some(format!("pod {} has another image", old.name_any()))
}

/// The desired number of pods of a Deployment.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether the rollouts of a Deployment are paused.
pub(crate) fn is_paused(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    spec.is_some_and(|spec| spec.paused == Some(true))
}

/// Whether no rollout is in progress.
pub(crate) fn rollout_complete(deployment: &Deployment) -> Result<(), Unmet> {
    let status = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref().ok_or("it has no spec")?;
    if is_paused(deployment) {
        return Err("it is paused: a new image would not be rolled out".to_owned());
    }
    if deployment.metadata.deletion_timestamp.is_some() {
        return Err("it is being deleted".to_owned());
    }
    let generation = deployment.metadata.generation.unwrap_or(0);
    if status.observed_generation.unwrap_or(0) < generation {
        return Err("its controller has not processed the last change yet".to_owned());
    }
    let wanted = spec.replicas.unwrap_or(1);
    check_count(wanted, "are updated", status.updated_replicas)?;
    check_count(wanted, "are ready", status.ready_replicas)?;
    if status.replicas.unwrap_or(0) != wanted {
        return Err("old pods still exist".to_owned());
    }
    Ok(())
}

/// The containers of a Deployment's template, without init containers.
pub(crate) fn containers(deployment: &Deployment) -> &[Container] {
    deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .map_or(&[], |spec| spec.containers.as_slice())
}

pub(crate) fn container<'d>(deployment: &'d Deployment, name: &str) -> Option<&'d Container> {
    containers(deployment).iter().find(|one| one.name == name)
}

pub(crate) fn image_of<'d>(deployment: &'d Deployment, name: &str) -> Option<&'d str> {
    container(deployment, name)?.image.as_deref()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    Running,
    Complete,
    Failed(String),
}

pub(crate) fn job_state(job: &Job) -> JobState {
    let conditions = || {
        job.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    };
    let holds = |name| conditions().find(|one| one.type_ == name && one.status == "True");
    match (holds("Complete"), holds("Failed")) {
        (Some(_), _) => JobState::Complete,
        (None, Some(failed)) => JobState::Failed(failed.reason.clone().unwrap_or_default()),
        (None, None) => JobState::Running,
    }
}

/// The names of finished Jobs.
pub(crate) fn finished(jobs: &[Job]) -> Vec<&str> {
    let ended = jobs
        .iter()
        .filter(|job| job_state(job) != JobState::Running);
    ended
        .filter_map(|job| job.metadata.name.as_deref())
        .collect()
}

/// How the container of a pod ended; `None` while it runs or if that is unknown.
pub(crate) fn terminated<'p>(
    pod: &'p Pod,
    container: &str,
) -> Option<&'p ContainerStateTerminated> {
    status_of(pod, container)?
        .state
        .as_ref()?
        .terminated
        .as_ref()
}

pub(crate) fn has_started(pod: &Pod, container: &str) -> bool {
    let state = status_of(pod, container).and_then(|status| status.state.as_ref());
    matches!(phase(pod), Some("Running" | "Succeeded" | "Failed"))
        || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

pub(crate) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn status_of<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)
}

/// Why a pod does not run or is not ready, in the terms that a user would search for.
pub(crate) fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.reason.as_deref() == Some("Evicted") {
        return Some(format!(
            "the pod was evicted: {}",
            status.message.clone().unwrap_or_default()
        ));
    }
    let all = status.init_container_statuses.iter().flatten();
    for container in all.chain(status.container_statuses.iter().flatten()) {
        let state = container.state.as_ref();
        let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) else {
            continue;
        };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or_default();
        let reported = |what: String| Some(format!("{what} ({reason}{}{message})", colon(message)));
        match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                return reported(format!("image {} cannot be pulled", container.image));
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return reported(format!("container {} cannot be created", container.name));
            }
            "CrashLoopBackOff" => {
                let last = container.last_state.as_ref();
                let last = last.and_then(|state| state.terminated.as_ref());
                let ended = last.map(|end| {
                    let reason = end.reason.as_deref().unwrap_or("no reason");
                    format!(", last with exit code {} ({reason})", end.exit_code)
                });
                return reported(format!(
                    "container {} keeps crashing{}",
                    container.name,
                    ended.unwrap_or_default()
                ));
            }
            _ => {}
        }
    }
    let mut conditions = status.conditions.iter().flatten();
    let unplaced = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    let why = unplaced.message.as_deref().unwrap_or("no reason given");
    Some(format!("the pod cannot be scheduled: {why}"))
}

fn colon(message: &str) -> &'static str {
    if message.is_empty() { "" } else { ": " }
}

/// Why a claim can never be used.
pub(crate) fn claim_defect(claim: &PersistentVolumeClaim) -> Option<String> {
    let name = claim.name_any();
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(format!("volume claim {name} is being deleted"));
    }
    (claim_phase(claim) == Some("Lost")).then(|| format!("the volume of claim {name} is lost"))
}

fn claim_phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

/// Why a claim that a pod waits for cannot be used now.
pub(crate) fn claim_problem(claim: &PersistentVolumeClaim) -> Option<String> {
    let name = claim.name_any();
    let unbound = || {
        format!(
            "volume claim {name} is not bound to a volume: check the storage class and its free space"
        )
    };
    let is_bound = claim_phase(claim) == Some("Bound");
    claim_defect(claim).or_else(|| (!is_bound).then(unbound))
}

/// The meaning of our program's exit code.
pub(crate) fn exit_code_meaning(code: i32) -> &'static str {
    match code {
        0 => "done",
        1 => "failed, and nothing was changed in etcd",
        2 => "wrong usage or configuration, and nothing was changed",
        3 => "refused; nothing was changed",
        4 => "the metadata cannot be migrated as it is; nothing was changed",
        5 => "stopped part-way",
        6 => "verification found differences",
        126 | 127 => "the image does not contain the program",
        130 | 143 => "ended by a signal",
        137 => "killed: out of memory, or the node was lost",
        _ => "unknown exit code",
    }
}

/// Whether an automatic retry makes sense: the program did not decide to fail, something stopped it.
pub(crate) fn is_retriable(code: Option<i32>) -> bool {
    code.is_none_or(|code| matches!(code, 130 | 137 | 143))
}

pub(crate) fn missing_deployments(names: &[&str]) -> String {
    format!(
        "Deployment {} is missing: recreate it as it was, and nothing else (kubectl apply; not helm upgrade, which \
         starts the others too), then run the same command: its count is saved",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests;
