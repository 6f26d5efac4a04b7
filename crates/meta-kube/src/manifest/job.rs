//! The Job of one attempt at one step.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, LocalObjectReference, NodeAffinity, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments::arguments;
use crate::job_kind::JobKind;
use crate::options::PodUser;
use crate::pod_resources::REQUESTS;
use crate::state::{EtcdTarget, PodShape, UpgradeState};
use crate::{
    BACKUP_FOLDER, CONFIG_FOLDER, CONTAINER, LABEL_ATTEMPT, LABEL_OPERATION, LABEL_STEP, PROGRAM,
    TERMINATION_VARIABLE, TLS_FOLDER, config_name, job_name,
};

/// Where the kubelet looks for the termination message.
const TERMINATION_FILE: &str = "/dev/termination-log";
/// The container that proves the new release's image.
pub(crate) const NEW_IMAGE_CONTAINER: &str = "new-release";
/// The code of the finding about an image that cannot be tried.
pub(crate) const NEW_IMAGE_CODE: &str = "new-image";
/// Who the program runs as, where the Milvus pods do not say.
const USER: i64 = 1000;

fn mounts_claim(state: &UpgradeState) -> bool {
    !state.claim.is_empty() && state.stage.row().needs_volume
}

/// The Job.
///
/// One pod, no second try by itself: whether to try again is decided outside, where the reason of the
/// failure is known. No deadline either: it would kill a migration in the middle of writing.
pub(crate) fn job(state: &UpgradeState, step: JobKind, attempt: u32) -> Job {
    let mut labels = super::labels(&state.instance);
    labels.insert(LABEL_OPERATION.to_owned(), state.operation.clone());
    labels.insert(LABEL_STEP.to_owned(), step.name().to_owned());
    labels.insert(LABEL_ATTEMPT.to_owned(), attempt.to_string());
    // A sidecar would keep the pod from ending.
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let quiet = BTreeMap::from([
        ("sidecar.istio.io/inject".to_owned(), "false".to_owned()),
        ("linkerd.io/inject".to_owned(), "disabled".to_owned()),
    ]);
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(step.name(), &state.operation, attempt)),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            // Older servers drop this field; the lock in etcd is what really keeps two apart.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(quiet),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(state, step)),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

fn pod(state: &UpgradeState, step: JobKind) -> PodSpec {
    let shape = &state.shape;
    PodSpec {
        init_containers: new_image(state, step).map(|container| vec![container]),
        containers: vec![container(state, step)],
        volumes: Some(volumes(state)),
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: shape.service_account.clone(),
        image_pull_secrets: some(
            shape
                .pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect(),
        ),
        node_selector: (!shape.node_selector.is_empty()).then(|| shape.node_selector.clone()),
        tolerations: some(shape.tolerations.iter().filter_map(typed).collect()),
        affinity: shape
            .node_affinity
            .as_ref()
            .and_then(typed::<NodeAffinity>)
            .map(|node_affinity| Affinity {
                node_affinity: Some(node_affinity),
                ..Affinity::default()
            }),
        security_context: Some(security(shape)),
        ..PodSpec::default()
    }
}

/// The security context of the Milvus pods, where they have one, held to a user that is not root.
fn security(shape: &PodShape) -> PodSecurityContext {
    let given: PodSecurityContext = shape.security.as_ref().and_then(typed).unwrap_or_default();
    let not_root = |id: Option<i64>| id.filter(|id| *id != 0);
    let (user, group, fs_group) = match shape.user {
        Some(PodUser::Namespace) => (None, None, None),
        Some(PodUser::Id(id)) => (Some(id), Some(id), Some(id)),
        None => {
            let user = not_root(given.run_as_user).unwrap_or(USER);
            let group = not_root(given.run_as_group).unwrap_or(user);
            // The volume has to be writable for that user.
            (
                Some(user),
                Some(group),
                Some(given.fs_group.unwrap_or(user)),
            )
        }
    };
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: group,
        fs_group,
        seccomp_profile: given.seccomp_profile.clone().or_else(|| {
            Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            })
        }),
        ..given
    }
}

/// Before Milvus is stopped, the new release's image has to be one that a node can pull and run: its
/// shell does nothing, before the Job's own work.
fn new_image(state: &UpgradeState, step: JobKind) -> Option<Container> {
    let proves = state.stage.row().proves && step == JobKind::Status;
    let accepted = state.accepted.iter().any(|code| code == NEW_IMAGE_CODE);
    (proves && !accepted && !state.image.is_empty()).then(|| Container {
        name: NEW_IMAGE_CONTAINER.to_owned(),
        image: Some(state.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(["/bin/sh", "-c", "exit 0"].map(str::to_owned).to_vec()),
        security_context: Some(confined()),
        resources: Some(resources(&state.shape)),
        ..Container::default()
    })
}

/// What a container requests and may use: as given, else the default within the limits.
fn resources(shape: &PodShape) -> ResourceRequirements {
    let amounts = |given: &BTreeMap<String, String>| {
        let all = given
            .iter()
            .map(|(name, amount)| (name.clone(), Quantity(amount.clone())));
        all.collect::<BTreeMap<_, _>>()
    };
    let limits = amounts(&shape.limits);
    let mut requests = amounts(&shape.requests);
    for (name, amount) in REQUESTS {
        // Without a request the limit is one.
        if !limits.contains_key(name) {
            requests
                .entry(name.to_owned())
                .or_insert_with(|| Quantity(amount.to_owned()));
        }
    }
    ResourceRequirements {
        requests: Some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        ..ResourceRequirements::default()
    }
}

/// What no container of ours may do.
fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

fn container(state: &UpgradeState, step: JobKind) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(state.tool_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(arguments(step, state)),
        env: Some(environment(&state.etcd)),
        volume_mounts: Some(mounts(state)),
        termination_message_path: Some(TERMINATION_FILE.to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(confined()),
        resources: Some(resources(&state.shape)),
        ..Container::default()
    }
}

fn environment(etcd: &EtcdTarget) -> Vec<EnvVar> {
    let mut variables = vec![EnvVar {
        name: TERMINATION_VARIABLE.to_owned(),
        value: Some(TERMINATION_FILE.to_owned()),
        ..EnvVar::default()
    }];
    let Some(secret) = &etcd.credentials else {
        return variables;
    };
    for (name, key) in [
        ("META_MIGRATION_USER", "user"),
        ("META_MIGRATION_PASSWORD", "password"),
    ] {
        variables.push(EnvVar {
            name: name.to_owned(),
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: secret.clone(),
                    key: key.to_owned(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        });
    }
    variables
}

fn volumes(state: &UpgradeState) -> Vec<Volume> {
    let mut volumes = vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: config_name(&state.operation),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "scratch".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ];
    if mounts_claim(state) {
        volumes.push(Volume {
            name: "backup".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: state.claim.clone(),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    if let Some(tls) = &state.etcd.tls {
        volumes.push(Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(tls.name.clone()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

fn mounts(state: &UpgradeState) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("config", CONFIG_FOLDER, true),
        mount("scratch", "/tmp", false),
    ];
    if mounts_claim(state) {
        mounts.push(mount("backup", BACKUP_FOLDER, false));
    }
    if state.etcd.tls.is_some() {
        mounts.push(mount("tls", TLS_FOLDER, true));
    }
    mounts
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// What a live object of the same cluster said; a form that this program does not know is left out.
fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::state::TlsSecret;
    use crate::state::tests::example;
    use serde_json::json;

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
            let expected = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}});
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
        assert_eq!(security.run_as_user, Some(1000), "root is not taken over");
        assert_eq!(security.fs_group, Some(77));
        assert_eq!(security.supplemental_groups, Some(vec![5]));
    }

    #[test]
    fn the_new_image_is_tried_before_the_stop() {
        let mut state = example();
        state.stage = Stage::PROBE;
        let proof = |state: &UpgradeState, step| spec(state, step).init_containers;
        let made = proof(&state, JobKind::Status).unwrap();
        assert_eq!(made[0].image.as_deref(), Some("milvusdb/milvus:v2.2.16"));
        assert_eq!(proof(&state, JobKind::Plan), None);
        state.accepted = vec![NEW_IMAGE_CODE.to_owned()];
        assert_eq!(proof(&state, JobKind::Status), None);
        state.accepted.clear();
        state.stage = Stage::DRAIN;
        assert_eq!(
            proof(&state, JobKind::Status),
            None,
            "no time is lost later"
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
