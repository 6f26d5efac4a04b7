//! The pod status that a kubelet writes.

use serde_json::{Value, json};

use super::process::items;

/// The state of a running container.
pub(super) fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

/// The status of a pod whose containers all have the same state.
pub(super) fn status(phase: &str, ready: bool, object: &Value, state: &Value) -> Value {
    let now = if ready { "True" } else { "False" };
    let of = |list: &Value, ready: bool, state: &Value| -> Vec<Value> {
        let statuses = items(list).iter().map(|container| {
            json!({
                "name": container["name"], "image": container["image"],
                "imageID": container["image"], "ready": ready, "restartCount": 0, "state": state,
            })
        });
        statuses.collect()
    };
    // A missing image is that of an init container first, if there are any.
    let waits = !state["waiting"].is_null();
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    let first = if waits { state } else { &done };
    let kinds = ["Initialized", "PodScheduled", "ContainersReady", "Ready"];
    let conditions = kinds.map(|kind| {
        let own = if kind.ends_with("eady") { now } else { "True" };
        json!({"type": kind, "status": own, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    });
    json!({
        "phase": phase,
        "hostIP": "127.0.0.1",
        "podIP": "10.0.0.1",
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": conditions,
        "initContainerStatuses": of(&object["spec"]["initContainers"], !waits, first),
        "containerStatuses": of(&object["spec"]["containers"], ready, state),
    })
}
