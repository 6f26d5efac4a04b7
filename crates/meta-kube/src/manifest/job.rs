//! The Job of one attempt at one step.

use serde_json::{Value, json};

use super::arguments::arguments;
use super::without_nulls;
use crate::job_kind::JobKind;
use crate::options::PodUser;
use crate::pod_resources::with_usual_requests;
use crate::state::{EtcdTarget, PodShape, UpgradeState};
use crate::{
    BACKUP_FOLDER, CONFIG_FOLDER, CONTAINER, LABEL_ATTEMPT, LABEL_OPERATION, LABEL_STEP, PROGRAM,
    TERMINATION_VARIABLE, TLS_FOLDER, config_name, job_name,
};

/// The file from which the kubelet reads the termination message.
const TERMINATION_FILE: &str = "/dev/termination-log";
/// The container that tests the new release's image.
pub(crate) const NEW_IMAGE_CONTAINER: &str = "new-release";
/// The code of the finding about an image that cannot be tested.
pub(crate) const NEW_IMAGE_CODE: &str = "new-image";
/// The user of the program if the Milvus pods name none.
const USER: i64 = 1000;

/// Builds the manifest of a Job.
///
/// The Job has one pod and no backoff: whether to retry is decided outside, where the reason of the
/// failure is known. It has no deadline either, which would kill a migration in the middle of
/// writing.
pub(crate) fn job(state: &UpgradeState, step: JobKind, attempt: u32) -> Value {
    let mut labels = super::labels(&state.instance);
    labels.insert(LABEL_OPERATION.to_owned(), state.operation.clone());
    labels.insert(LABEL_STEP.to_owned(), step.name().to_owned());
    labels.insert(LABEL_ATTEMPT.to_owned(), attempt.to_string());
    // A sidecar would keep the pod from ending.
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let quiet = json!({"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"});
    without_nulls(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(step.name(), &state.operation, attempt), "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            // Older servers drop this field; the lock in etcd is what prevents two writers.
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels, "annotations": quiet},
                "spec": pod(state, step),
            },
        },
    }))
}

fn pod(state: &UpgradeState, step: JobKind) -> Value {
    let shape = &state.shape;
    let (volumes, mounts) = volumes(state);
    let secrets = shape.pull_secrets.iter();
    let secrets: Vec<Value> = secrets.map(|name| json!({"name": name})).collect();
    json!({
        "initContainers": new_image(state, step).map(|container| [container]),
        "containers": [container(state, step, &mounts)],
        "volumes": volumes,
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "serviceAccountName": shape.service_account,
        "imagePullSecrets": (!secrets.is_empty()).then_some(secrets),
        "nodeSelector": (!shape.node_selector.is_empty()).then_some(&shape.node_selector),
        "tolerations": (!shape.tolerations.is_empty()).then_some(&shape.tolerations),
        "affinity": shape.node_affinity.as_ref().map(|node| json!({"nodeAffinity": node})),
        "securityContext": security(shape),
    })
}

/// The security context of the Milvus pods, if they have one, restricted to a user other than root.
fn security(shape: &PodShape) -> Value {
    let given = shape.security.clone().filter(Value::is_object);
    let mut context = given.unwrap_or_else(|| json!({}));
    let id = |name: &str| context[name].as_i64();
    let not_root = |name: &str| id(name).filter(|id| *id != 0);
    let ids = match shape.user {
        Some(PodUser::Namespace) => [None; 3],
        Some(PodUser::Id(id)) => [Some(id); 3],
        None => {
            let user = not_root("runAsUser").unwrap_or(USER);
            let group = not_root("runAsGroup").unwrap_or(user);
            // The volume must be writable for that user.
            [user, group, id("fsGroup").unwrap_or(user)].map(Some)
        }
    };
    for (name, id) in ["runAsUser", "runAsGroup", "fsGroup"].into_iter().zip(ids) {
        context[name] = json!(id);
    }
    context["runAsNonRoot"] = json!(true);
    if context["seccompProfile"].is_null() {
        context["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    context
}

/// An init container with the new release's image, used before Milvus is stopped: it proves that a
/// node can pull and run the image. Its shell does nothing.
fn new_image(state: &UpgradeState, step: JobKind) -> Option<Value> {
    let is_probe = state.stage.row().is_probe && step == JobKind::Status;
    let accepted = state.accepted.iter().any(|code| code == NEW_IMAGE_CODE);
    (is_probe && !accepted && !state.image.is_empty()).then(|| {
        json!({
            "name": NEW_IMAGE_CONTAINER,
            "image": state.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", "exit 0"],
            "securityContext": confined(),
            "resources": resources(&state.shape),
        })
    })
}

/// The requests and limits of a container: as given, else the default within the limits.
fn resources(shape: &PodShape) -> Value {
    let requests = with_usual_requests(&shape.requests, &shape.limits);
    let limits = Some(&shape.limits).filter(|limits| !limits.is_empty());
    json!({"requests": requests, "limits": limits})
}

/// The security context of all our containers.
fn confined() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

fn container(state: &UpgradeState, step: JobKind, mounts: &[Value]) -> Value {
    json!({
        "name": CONTAINER,
        "image": state.tool_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [PROGRAM],
        "args": arguments(step, state),
        "env": environment(&state.etcd),
        "volumeMounts": mounts,
        "terminationMessagePath": TERMINATION_FILE,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": confined(),
        "resources": resources(&state.shape),
    })
}

fn environment(etcd: &EtcdTarget) -> Vec<Value> {
    let mut variables = vec![json!({"name": TERMINATION_VARIABLE, "value": TERMINATION_FILE})];
    if let Some(secret) = &etcd.credentials {
        let from = |name: &str, key: &str| {
            let reference = json!({"name": secret, "key": key});
            json!({"name": name, "valueFrom": {"secretKeyRef": reference}})
        };
        variables.push(from("META_MIGRATION_USER", "user"));
        variables.push(from("META_MIGRATION_PASSWORD", "password"));
    }
    variables
}

/// The volumes of the pod, and the mounts of its container.
fn volumes(state: &UpgradeState) -> (Vec<Value>, Vec<Value>) {
    let config = json!({"name": config_name(&state.operation)});
    let mut volumes = vec![
        json!({"name": "config", "configMap": config}),
        json!({"name": "scratch", "emptyDir": {}}),
    ];
    let mut mounts = vec![
        json!({"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": true}),
        json!({"name": "scratch", "mountPath": "/tmp"}),
    ];
    if !state.claim.is_empty() && state.stage.row().needs_volume {
        let claim = json!({"claimName": state.claim});
        volumes.push(json!({"name": "backup", "persistentVolumeClaim": claim}));
        mounts.push(json!({"name": "backup", "mountPath": BACKUP_FOLDER}));
    }
    if let Some(tls) = &state.etcd.tls {
        volumes.push(json!({"name": "tls", "secret": {"secretName": tls.name}}));
        mounts.push(json!({"name": "tls", "mountPath": TLS_FOLDER, "readOnly": true}));
    }
    (volumes, mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::state::TlsSecret;
    use crate::state::tests::example;
    use std::collections::BTreeMap;

    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::PodSpec;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    /// The manifest as the API server reads it; no field is unknown.
    fn job(state: &UpgradeState, step: JobKind, attempt: u32) -> Job {
        let manifest = super::job(state, step, attempt);
        let read: Job = serde_json::from_value(manifest.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), manifest);
        read
    }

    fn spec(state: &UpgradeState, step: JobKind) -> PodSpec {
        job(state, step, 1).spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn w8_every_attempt_is_a_separate_job() {
        let state = example();
        let name = |attempt| {
            job(&state, JobKind::Migrate, attempt)
                .metadata
                .name
                .unwrap()
        };
        assert_eq!(name(1), "meta-migration-migrate-3f9a2c1d-1");
        assert_ne!(name(1), name(2));
        let longest = job_name("rollback", &state.operation, u32::MAX);
        assert!(longest.len() <= 63, "{longest}");
    }

    #[test]
    fn w13_a_job_has_no_backoff_and_no_deadline() {
        let spec = job(&example(), JobKind::Migrate, 1).spec.unwrap();
        assert_eq!(spec.backoff_limit, Some(0));
        assert_eq!(spec.active_deadline_seconds, None);
        assert_eq!(spec.ttl_seconds_after_finished, None);
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    }

    #[test]
    fn a_pod_is_unprivileged_and_writes_to_volumes_only() {
        let pod = spec(&example(), JobKind::Backup);
        assert_eq!(pod.automount_service_account_token, Some(false));
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.run_as_user, Some(1000));
        let security = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
    }

    #[test]
    fn both_containers_get_the_given_requests_and_limits() {
        let mut state = example();
        state.stage = Stage::PROBE;
        state.shape.limits = [("memory".to_owned(), "1Gi".to_owned())].into();
        let pod = spec(&state, JobKind::Status);
        for container in pod
            .containers
            .iter()
            .chain(pod.init_containers.iter().flatten())
        {
            let resources = serde_json::to_value(&container.resources).unwrap();
            let requests = json!({"cpu": "100m", "memory": "256Mi"});
            let expected = json!({"limits": {"memory": "1Gi"}, "requests": requests});
            assert_eq!(resources, expected, "{}", container.name);
        }
        state.shape.requests = [("memory".to_owned(), "64Mi".to_owned())].into();
        let pod = spec(&state, JobKind::Backup);
        let requests = pod.containers[0]
            .resources
            .clone()
            .unwrap()
            .requests
            .unwrap();
        assert_eq!(requests["memory"], Quantity("64Mi".to_owned()));
    }

    #[test]
    fn a_namespace_that_assigns_users_gets_no_user() {
        let mut state = example();
        state.shape.security = Some(json!({"runAsUser": 7, "fsGroup": 77}));
        let ids = |state: &UpgradeState| {
            let security = spec(state, JobKind::Backup).security_context.unwrap();
            let ids = [
                security.run_as_user,
                security.run_as_group,
                security.fs_group,
            ];
            (ids, security.run_as_non_root)
        };
        assert_eq!(ids(&state), ([Some(7), Some(7), Some(77)], Some(true)));
        state.shape.user = Some(PodUser::Id(9));
        assert_eq!(ids(&state), ([Some(9); 3], Some(true)));
        state.shape.user = Some(PodUser::Namespace);
        assert_eq!(ids(&state), ([None; 3], Some(true)));
    }

    #[test]
    fn job_pods_inherit_scheduling_from_milvus() {
        let mut state = example();
        state.shape = PodShape {
            pull_secrets: vec!["registry".to_owned()],
            node_selector: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
            tolerations: vec![json!({"key": "milvus", "operator": "Exists"})],
            node_affinity: None,
            user: None,
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
            security: Some(json!({"runAsUser": 0, "fsGroup": 77, "supplementalGroups": [5]})),
            service_account: Some("milvus".to_owned()),
        };
        let pod = spec(&state, JobKind::Status);
        assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "registry");
        assert_eq!(pod.node_selector.unwrap()["disk"], "ssd");
        assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("milvus"));
        assert_eq!(pod.service_account_name.as_deref(), Some("milvus"));
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_user, Some(1000), "root is not inherited");
        assert_eq!(security.fs_group, Some(77));
        assert_eq!(security.supplemental_groups, Some(vec![5]));
    }

    #[test]
    fn the_new_image_is_tested_before_the_stop() {
        let mut state = example();
        state.stage = Stage::PROBE;
        let image_test = |state: &UpgradeState, step| spec(state, step).init_containers;
        let made = image_test(&state, JobKind::Status).unwrap();
        assert_eq!(made[0].image.as_deref(), Some("milvusdb/milvus:v2.2.16"));
        assert_eq!(image_test(&state, JobKind::Plan), None);
        state.accepted = vec![NEW_IMAGE_CODE.to_owned()];
        assert_eq!(image_test(&state, JobKind::Status), None);
        state.accepted.clear();
        state.stage = Stage::DRAIN;
        assert_eq!(
            image_test(&state, JobKind::Status),
            None,
            "later it would cost time"
        );
    }

    #[test]
    fn secrets_are_only_referenced() {
        let mut state = example();
        state.etcd.credentials = Some("etcd-user".to_owned());
        state.etcd.tls = Some(TlsSecret {
            name: "etcd-tls".to_owned(),
            ca: Some("ca.crt".to_owned()),
            cert: None,
            key: None,
        });
        let pod = spec(&state, JobKind::Migrate);
        let environment = pod.containers[0].env.clone().unwrap();
        let password = environment
            .iter()
            .find(|variable| variable.name == "META_MIGRATION_PASSWORD")
            .unwrap();
        assert_eq!(password.value, None);
        let reference = password.value_from.clone().unwrap().secret_key_ref.unwrap();
        assert_eq!(reference.name, "etcd-user");
        let volumes = pod.volumes.unwrap();
        let tls = volumes.iter().find(|volume| volume.name == "tls").unwrap();
        assert_eq!(
            tls.secret.clone().unwrap().secret_name.as_deref(),
            Some("etcd-tls")
        );
    }

    #[test]
    fn jobs_use_the_arguments_of_the_official_tool() {
        let state = example();
        assert_eq!(
            arguments(JobKind::Migrate, &state)[0],
            "-config=/milvus/configs/migrate.yaml"
        );
        assert_eq!(
            arguments(JobKind::Verify, &state)[..5],
            [
                "verify",
                "--config",
                "/milvus/configs/migrate.yaml",
                "--backup",
                "/milvus/data/3f9a2c1d.mmb",
            ]
        );
    }
}
