//! Saving, stopping and starting a custom resource.

use super::*;

fn resource() -> Value {
    json!({
        "metadata": {"name": "mine", "uid": "u", "generation": 4},
        "spec": {
            "mode": "cluster",
            "components": {
                "image": "milvusdb/milvus:v2.1.4",
                "proxy": {"replicas": 2, "image": "mirror/milvus:v2.1.4"},
                "queryNode": {"groups": [{"name": "a", "replicas": 3}, {"name": "b", "replicas": 1}]},
                "mixCoord": {"replicas": 0},
            },
        },
        "status": {"observedGeneration": 4, "status": "Healthy", "conditions": [
            {"type": "MilvusReady", "status": "True", "reason": "ReasonMilvusHealthy"},
        ]},
    })
}

fn read(resource: &Value) -> Milvus {
    serde_json::from_value(resource.clone()).unwrap()
}

// The functions under test, for resources that the tests change as JSON.

fn save(resource: &Value) -> SavedResource {
    super::save(&read(resource))
}

fn with_current_counts(saved: &SavedResource, live: &Value) -> SavedResource {
    super::with_current_counts(saved, &read(live))
}

fn refusals(resource: &Value, upgrades: &[MilvusUpgrade]) -> Vec<String> {
    super::refusals(&read(resource), upgrades)
}

fn stopped(resource: &Value) -> Result<(), Unmet> {
    super::stopped(&read(resource))
}

fn healthy(resource: &Value) -> Result<(), Unmet> {
    super::healthy(&read(resource))
}

/// RFC 7386, as the API server applies it.
fn merge(target: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().unwrap();
    for (key, value) in members {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn changed_counts_are_saved_and_our_stop_is_not() {
    let saved = save(&resource());
    assert_eq!(with_current_counts(&saved, &resource()), saved);
    let mut live = resource();
    merge(
        &mut live,
        &json!({"spec": {"components": {
            "proxy": {"replicas": 5, "image": "other/milvus:v2.1.4"},
            "indexNode": {"replicas": 4},
            "queryNode": {"groups": [{"name": "a", "replicas": 6}]},
            "streamingNode": {"replicas": 1},
        }}}),
    );
    let counted = with_current_counts(&saved, &live);
    let component = |name: &str| &counted.components[name];
    assert_eq!(component("proxy").replicas, Some(5));
    assert_eq!(component("proxy").image, saved.components["proxy"].image);
    assert_eq!(component("indexNode").replicas, Some(4));
    let groups = json!([{"name": "a", "replicas": 6}]);
    assert_eq!(component("queryNode").groups, Some(groups));
    assert_eq!(component("streamingNode").replicas, Some(1));
    // The process died after the stop, and a user has scaled one component since.
    merge(&mut live, &stop_patch(&counted));
    assert_eq!(with_current_counts(&counted, &live), counted);
    let one = json!({"spec": {"components": {"proxy": {"replicas": 1}}}});
    merge(&mut live, &one);
    let again = with_current_counts(&counted, &live);
    assert_eq!(again.components["proxy"].replicas, Some(1));
    assert_eq!(again.components["indexNode"].replicas, Some(4));
}

#[test]
fn counts_are_restored_present_or_absent() {
    let before = resource();
    let saved = save(&before);
    let mut live = before.clone();
    merge(&mut live, &stop_patch(&saved));
    let components = live["spec"]["components"].as_object().unwrap();
    for name in CLUSTER {
        assert_eq!(components[name]["replicas"], 0, "{name}");
    }
    assert_eq!(components["queryNode"]["groups"][0]["replicas"], 0);
    assert_eq!(components["queryNode"]["groups"][0]["name"], "a");
    merge(&mut live, &start_patch(&saved, None));
    for (name, component) in before["spec"]["components"].as_object().unwrap() {
        assert_eq!(&live["spec"]["components"][name], component, "{name}");
    }
    // Components that the resource did not contain are removed again.
    let components = live["spec"]["components"].as_object().unwrap();
    assert!(!components.contains_key("rootCoord"), "{components:?}");
}

#[test]
fn images_and_counts_go_in_one_patch() {
    let saved = save(&resource());
    let patch = start_patch(&saved, Some("milvusdb/milvus:v2.2.16"));
    let components = &patch["spec"]["components"];
    assert_eq!(components["image"], "milvusdb/milvus:v2.2.16");
    assert_eq!(components["proxy"]["image"], "milvusdb/milvus:v2.2.16");
    assert_eq!(components["proxy"]["replicas"], 2);
    assert_eq!(components["rootCoord"].get("image"), None);
}

#[test]
fn unsupported_custom_resources_are_refused() {
    assert_eq!(refusals(&resource(), &[]), Vec::<String>::new());
    for (pointer, value, expected) in [
        ("/spec/components/proxy/replicas", json!(-1), "autoscaler"),
        (
            "/spec/components/queryNode/groups/1/replicas",
            json!(-1),
            "autoscaler",
        ),
        ("/status/observedGeneration", json!(3), "not processed"),
    ] {
        let mut changed = resource();
        *changed.pointer_mut(pointer).unwrap() = value;
        let reasons = refusals(&changed, &[]);
        assert!(reasons[0].contains(expected), "{pointer}: {reasons:?}");
    }
    let mut manual = resource();
    manual["spec"]["components"]["enableManualMode"] = json!(true);
    assert!(refusals(&manual, &[])[0].contains("enableManualMode"));
    let mut deleted = resource();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(refusals(&deleted, &[])[0].contains("deleted"));
    let upgrade = |state: &str| -> MilvusUpgrade {
        let spec = json!({"milvus": {"name": "mine"}});
        let status = json!({"state": state});
        let upgrade = json!({"metadata": {"name": "up"}, "spec": spec, "status": status});
        serde_json::from_value(upgrade).unwrap()
    };
    assert!(refusals(&resource(), &[upgrade("BackupMeta")])[0].contains("MilvusUpgrade up"));
    assert!(refusals(&resource(), &[upgrade("Succeeded")]).is_empty());
}

#[test]
fn stopped_is_the_condition_and_not_the_status() {
    let mut live = resource();
    live["status"]["status"] = json!("Stopped");
    live["status"]["conditions"][0]["reason"] = json!("MilvusStopping");
    assert!(stopped(&live).unwrap_err().contains("MilvusStopping"));
    live["status"]["conditions"][0]["reason"] = json!("MilvusStopped");
    assert_eq!(stopped(&live), Ok(()));
    live["metadata"]["generation"] = json!(5);
    assert!(stopped(&live).unwrap_err().contains("not processed"));
}

#[test]
fn healthy_requires_conditions_of_the_generation() {
    assert_eq!(healthy(&resource()), Ok(()));
    let mut live = resource();
    live["metadata"]["generation"] = json!(5);
    assert!(healthy(&live).is_err());
    live["metadata"]["generation"] = json!(4);
    live["status"]["conditions"] = json!([
        {"type": "MilvusReady", "status": "True"},
        {"type": "MilvusUpdated", "status": "False", "message": "3 of 8"},
    ]);
    assert!(healthy(&live).unwrap_err().contains("3 of 8"));
    live["status"]["conditions"] = json!([]);
    assert!(healthy(&live).is_err());
}
