//! Builds the objects that we create and the patches that we send: pure functions.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::object::ResourceExt;
use super::state::{UpgradeState, Workload};
use super::{
    LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_OPERATION, STATE_KEY, TOOL, annotations, config_name,
    state_name,
};

pub(crate) mod arguments;
pub(crate) mod job;
pub(crate) mod job_config;

/// The labels of all objects that belong to an instance.
pub(crate) fn labels(instance: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), TOOL.to_owned()),
        (LABEL_INSTANCE.to_owned(), instance.to_owned()),
    ])
}

fn metadata(name: String, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// The `ConfigMap` with the state; `resource_version` is that of the state it replaces.
pub(crate) fn state_map(state: &UpgradeState, resource_version: Option<String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            resource_version,
            ..metadata(state_name(&state.instance), labels(&state.instance))
        },
        data: Some(BTreeMap::from([(STATE_KEY.to_owned(), state.render())])),
        ..ConfigMap::default()
    }
}

/// The `ConfigMap` with the drop-in YAML.
pub(crate) fn config_map(state: &UpgradeState) -> ConfigMap {
    let mut labels = labels(&state.instance);
    labels.insert(LABEL_OPERATION.to_owned(), state.operation.clone());
    ConfigMap {
        metadata: metadata(config_name(&state.operation), labels),
        data: Some(job_config::files(state)),
        ..ConfigMap::default()
    }
}

/// The backup claim. Without a storage class the cluster's default applies.
pub(crate) fn claim(state: &UpgradeState) -> Value {
    without_nulls(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": state.claim, "labels": labels(&state.instance)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": state.storage_class,
            "resources": {"requests": {"storage": state.size()}},
        },
    }))
}

/// Limits a patch to the version of the object that was read.
pub(crate) fn if_unchanged(mut patch: Value, read: &impl ResourceExt) -> Value {
    patch["metadata"]["resourceVersion"] = json!(read.resource_version());
    patch
}

/// Scales to 0 and saves the previous state in annotations.
pub(crate) fn stop_patch(workload: &Workload) -> Value {
    let notes = annotations::on_deployment(workload);
    json!({"metadata": {"annotations": notes}, "spec": {"replicas": 0}})
}

/// Sets image and replicas in one patch.
///
/// The container must exist in the Deployment: a strategic merge with an unknown name would add one.
pub(crate) fn start_patch(workload: &Workload, image: &str) -> Value {
    let container = json!({"name": workload.container, "image": image});
    let template = json!({"spec": {"containers": [container]}});
    json!({"spec": {"replicas": workload.replicas, "template": template}})
}

/// Removes members that are null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            let present = present.map(|(name, value)| (name, without_nulls(value)));
            Value::Object(present.collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::example;
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;

    #[test]
    fn w12_image_and_count_go_in_one_patch() {
        let state = example();
        assert_eq!(
            start_patch(&state.workloads[0], "milvusdb/milvus:v2.2.16"),
            json!({
                "spec": {
                    "replicas": 3,
                    "template": {"spec": {"containers": [
                        {"name": "querynode", "image": "milvusdb/milvus:v2.2.16"}
                    ]}},
                },
            })
        );
    }

    #[test]
    fn the_stop_patch_annotates_count_and_image() {
        let mut read = ConfigMap::default();
        read.metadata.resource_version = Some("7".to_owned());
        assert_eq!(
            if_unchanged(stop_patch(&example().workloads[0]), &read),
            json!({
                "metadata": {"resourceVersion": "7", "annotations": {
                    "meta-migration/replicas": "3",
                    "meta-migration/image": "milvusdb/milvus:v2.1.4",
                }},
                "spec": {"replicas": 0},
            })
        );
    }

    #[test]
    fn w23_a_given_storage_class_needs_no_list() {
        let mut state = example();
        let spec = |state: &UpgradeState| {
            let claim: PersistentVolumeClaim = serde_json::from_value(claim(state)).unwrap();
            claim.spec.unwrap()
        };
        assert_eq!(spec(&state).storage_class_name, None);
        state.storage_class = Some("fast".to_owned());
        assert_eq!(spec(&state).storage_class_name.as_deref(), Some("fast"));
        let requests = spec(&state).resources.unwrap().requests.unwrap();
        assert_eq!(requests["storage"].0, "10Gi");
    }

    #[test]
    fn no_object_matches_the_services_of_etcd_or_milvus() {
        let state = example();
        for labels in [
            state_map(&state, None).metadata.labels.unwrap(),
            config_map(&state).metadata.labels.unwrap(),
            serde_json::from_value(claim(&state)["metadata"]["labels"].clone()).unwrap(),
        ] {
            assert!(!labels.contains_key("app.kubernetes.io/name"), "{labels:?}");
            assert!(
                !labels.contains_key("app.kubernetes.io/instance"),
                "{labels:?}"
            );
            assert_eq!(labels[LABEL_INSTANCE], "prod");
        }
    }
}
