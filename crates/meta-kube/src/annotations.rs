//! The annotations that the stop patch sets: replica count and image survive a deleted upgrade state.
//!
//! They apply only while the workload has 0 replicas, and are removed when a release runs again.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::condition::replicas;
use super::state::{SavedResource, Workload};
use crate::object::ResourceExt;

/// The replica count of a Deployment before the stop.
pub(crate) const REPLICAS: &str = "meta-migration/replicas";
/// The image of a Deployment before the upgrade.
pub(crate) const IMAGE: &str = "meta-migration/image";
/// The fields of a custom resource before the stop.
pub(crate) const RESOURCE: &str = "meta-migration/before";

pub(crate) fn on_deployment(workload: &Workload) -> Value {
    json!({REPLICAS: workload.replicas.to_string(), IMAGE: workload.image})
}

pub(crate) fn on_resource(saved: &SavedResource) -> Value {
    // A map with text keys always serializes.
    json!({RESOURCE: serde_json::to_string(saved).unwrap_or_default()})
}

pub(crate) fn removal_patch() -> Value {
    json!({"metadata": {"annotations": {REPLICAS: null, IMAGE: null, RESOURCE: null}}})
}

pub(crate) fn is_annotated(deployment: &Deployment) -> bool {
    deployment.annotations().contains_key(REPLICAS)
}

/// The replica count and image of a stopped Deployment.
pub(crate) fn of_deployment(deployment: &Deployment) -> Option<(i32, String)> {
    let annotations = deployment.annotations();
    let count = annotations
        .get(REPLICAS)
        .filter(|_| replicas(deployment) == 0);
    Some((count?.parse().ok()?, annotations.get(IMAGE)?.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milvus_resource::{self, saved_on, was_restarted};
    use crate::object::Milvus;
    use crate::state::tests::example;

    fn deployment(replicas: i32, annotations: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "prod-milvus-querynode", "annotations": annotations},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    #[test]
    fn annotations_apply_only_at_zero_replicas() {
        let notes = on_deployment(&example().workloads[0]);
        let reported = Some((3, "milvusdb/milvus:v2.1.4".to_owned()));
        assert_eq!(of_deployment(&deployment(0, &notes)), reported);
        assert_eq!(of_deployment(&deployment(2, &notes)), None, "started since");
        assert_eq!(of_deployment(&deployment(0, &json!({}))), None);
        let broken = json!({REPLICAS: "many", IMAGE: "i"});
        assert_eq!(of_deployment(&deployment(0, &broken)), None);
    }

    #[test]
    fn an_image_other_than_annotated_was_started() {
        let notes = on_deployment(&example().workloads[0]);
        let with = |image: &str| {
            let mut stopped = serde_json::to_value(deployment(0, &notes)).unwrap();
            stopped["spec"]["template"]["spec"] =
                json!({"containers": [{"name": "querynode", "image": image}]});
            serde_json::from_value::<Deployment>(stopped).unwrap()
        };
        assert!(!was_restarted(&[with("milvusdb/milvus:v2.1.4")], None));
        assert!(was_restarted(&[with("milvusdb/milvus:v2.2.16")], None));
        assert!(!was_restarted(&[deployment(0, &json!({}))], None));
    }

    #[test]
    fn a_custom_resource_is_saved_completely() {
        let before = json!({
            "metadata": {"uid": "u"},
            "spec": {"components": {"standalone": {"replicas": 1, "image": "own"}}},
        });
        let read = |value: &Value| -> Milvus { serde_json::from_value(value.clone()).unwrap() };
        let saved = milvus_resource::save(&read(&before));
        let mut stopped = before.clone();
        stopped["spec"]["components"]["standalone"]["replicas"] = json!(0);
        stopped["metadata"]["annotations"] = on_resource(&saved);
        assert_eq!(saved_on(&read(&stopped)), Some(saved));
        stopped["spec"]["components"]["standalone"]["replicas"] = json!(1);
        assert_eq!(saved_on(&read(&stopped)), None, "started since");
    }
}
