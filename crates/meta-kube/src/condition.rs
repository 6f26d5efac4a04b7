//! What an object says about the world: pure predicates, which give the reason when they do not hold.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim, Pod,
};

use super::state::Workload;
use crate::object::ResourceExt;

/// What keeps a condition from holding, in words.
pub(crate) type Lack = String;

/// Whether a Deployment runs as many healthy pods of `image` in `container` as it wants.
///
/// `replicas` is what was asked for. An autoscaler may want another number by now, which is its right;
/// none where some were asked for is not health.
/// `generation` is that of the object that our own write returned; a status of an earlier one tells
/// nothing. The Deployment's own conditions are not asked: Available holds with 0 of 0, Progressing may
/// say `NewReplicaSetAvailable` with 0 of 2.
pub(crate) fn healthy(
    deployment: &Deployment,
    container: &str,
    image: &str,
    replicas: i32,
    generation: i64,
) -> Result<(), Lack> {
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
    counted(wanted, "exist", status.replicas)?;
    counted(wanted, "are updated", status.updated_replicas)?;
    counted(wanted, "are ready", status.ready_replicas)?;
    counted(wanted, "are available", status.available_replicas)
}

/// Whether a number of a status is the wanted one; a number that is absent is 0.
fn counted(wanted: i32, what: &str, count: Option<i32>) -> Result<(), Lack> {
    match count.unwrap_or(0) {
        count if count == wanted => Ok(()),
        count => Err(format!("{count} of {wanted} pods {what}")),
    }
}

/// What keeps a Deployment and its pods from being healthy, with the reason of a pod; `None` where nothing does.
pub(crate) fn unhealthy(
    deployment: &Deployment,
    pods: &[Pod],
    workload: &Workload,
    image: &str,
    generation: i64,
) -> Option<Lack> {
    let (container, count) = (workload.container.as_str(), workload.replicas);
    if let Err(lack) = healthy(deployment, container, image, count, generation) {
        return Some(match pods.iter().find_map(problem) {
            Some(reason) => format!("{lack} ({reason})"),
            None => lack,
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

/// How many pods a Deployment shall have.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether the rollouts of a Deployment are paused.
pub(crate) fn is_paused(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    spec.is_some_and(|spec| spec.paused == Some(true))
}

/// Whether nothing is being rolled out.
pub(crate) fn at_rest(deployment: &Deployment) -> Result<(), Lack> {
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
    counted(wanted, "are updated", status.updated_replicas)?;
    counted(wanted, "are ready", status.ready_replicas)?;
    if status.replicas.unwrap_or(0) != wanted {
        return Err("old pods are still there".to_owned());
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

/// The names of the Jobs that have ended.
pub(crate) fn finished(jobs: &[Job]) -> Vec<&str> {
    let ended = jobs
        .iter()
        .filter(|job| job_state(job) != JobState::Running);
    ended
        .filter_map(|job| job.metadata.name.as_deref())
        .collect()
}

/// How the container of a pod ended; `None` while it runs, or when nobody saw it end.
pub(crate) fn ended<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStateTerminated> {
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

/// What keeps a pod from running or from being ready, as the user would look for it.
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
                return reported(format!("container {} cannot be made", container.name));
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
    Some(format!("no node takes the pod: {why}"))
}

fn colon(message: &str) -> &'static str {
    if message.is_empty() { "" } else { ": " }
}

/// What keeps a claim from ever being used.
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

/// What keeps a claim from being used now, though a pod waits for it.
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

/// What an exit code of our program means.
pub(crate) fn meaning(code: i32) -> &'static str {
    match code {
        0 => "done",
        1 => "failed, and nothing was changed in etcd",
        2 => "wrong usage or configuration, and nothing was changed",
        3 => "refused; nothing was changed",
        4 => "the metadata cannot be migrated as it is; nothing was changed",
        5 => "stopped part-way",
        6 => "verification found differences",
        126 | 127 => "the image does not hold the program",
        130 | 143 => "ended by a signal",
        137 => "killed: out of memory, or the node went away",
        _ => "an exit code that the program does not have",
    }
}

/// Whether trying again by itself makes sense: the program did not decide to fail, something stopped it.
pub(crate) fn is_worth_another_attempt(code: Option<i32>) -> bool {
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
