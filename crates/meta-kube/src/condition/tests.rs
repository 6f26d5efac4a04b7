//! Predicates on objects as the API server returns them.

use serde_json::{Value, json};

use super::*;

fn deployment(change: impl FnOnce(&mut Value)) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "d", "generation": 5},
        "spec": {
            "replicas": 2,
            "selector": {},
            "template": {"spec": {"containers": [{"name": "proxy", "image": "m:2"}]}},
        },
        "status": {
            "observedGeneration": 5,
            "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn reason(change: impl FnOnce(&mut Value), replicas: i32) -> String {
    healthy(&deployment(change), "proxy", "m:2", replicas, 5)
        .err()
        .unwrap_or_default()
}

#[test]
fn healthy_requires_all_counts_of_the_generation() {
    assert_eq!(reason(|_| {}, 2), "");
    for (change, expected) in [
        ("observedGeneration", "has not processed"),
        ("replicas", "1 of 2 pods exist"),
        ("updatedReplicas", "1 of 2 pods are updated"),
        ("readyReplicas", "1 of 2 pods are ready"),
        ("availableReplicas", "1 of 2 pods are available"),
    ] {
        let reported = reason(|value| value["status"][change] = json!(1), 2);
        assert!(reported.contains(expected), "{change}: {reported}");
    }
    let reported = reason(|value| value["spec"]["replicas"] = json!(0), 2);
    assert!(reported.contains("scaled it to 0"), "{reported}");
}

#[test]
fn w24_a_count_changed_by_an_autoscaler_is_healthy() {
    let scaled = |value: &mut Value| {
        value["spec"]["replicas"] = json!(3);
        value["status"] = json!({
            "observedGeneration": 5,
            "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        });
    };
    assert_eq!(reason(scaled, 2), "");
    let reported = reason(|value| value["spec"]["replicas"] = json!(3), 2);
    assert!(reported.contains("2 of 3 pods"), "{reported}");
}

#[test]
fn w6_zero_of_zero_replicas_is_healthy() {
    let none = |value: &mut Value| {
        value["spec"]["replicas"] = json!(0);
        value["status"] = json!({"observedGeneration": 5});
    };
    assert_eq!(reason(none, 0), "");
}

#[test]
fn w11_another_image_is_not_healthy() {
    let reported = reason(
        |value| {
            value["spec"]["template"]["spec"]["containers"][0]["image"] = json!("m:1");
        },
        2,
    );
    assert!(reported.contains("has image m:1, not m:2"), "{reported}");
}

#[test]
fn w24_a_rollout_in_progress_is_not_at_rest() {
    assert_eq!(rollout_complete(&deployment(|_| {})), Ok(()));
    for (change, expected) in [
        (json!({"observedGeneration": 4}), "not processed"),
        (
            json!({"observedGeneration": 5, "updatedReplicas": 1, "replicas": 2}),
            "1 of 2",
        ),
        (
            json!({"observedGeneration": 5, "updatedReplicas": 2, "readyReplicas": 2, "replicas": 3}),
            "old pods",
        ),
    ] {
        let reported = rollout_complete(&deployment(|value| value["status"] = change)).unwrap_err();
        assert!(reported.contains(expected), "{reported}");
    }
    let paused = deployment(|value| value["spec"]["paused"] = json!(true));
    assert!(rollout_complete(&paused).unwrap_err().contains("paused"));
}

fn job(conditions: &Value) -> Job {
    serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
}

#[test]
fn a_job_ends_only_with_complete_or_failed() {
    let condition = |name: &str, status: &str| json!([{"type": name, "status": status, "reason": "BackoffLimitExceeded"}]);
    assert_eq!(job_state(&Job::default()), JobState::Running);
    for announced in ["SuccessCriteriaMet", "FailureTarget"] {
        assert_eq!(
            job_state(&job(&condition(announced, "True"))),
            JobState::Running
        );
    }
    assert_eq!(
        job_state(&job(&condition("Complete", "False"))),
        JobState::Running
    );
    assert_eq!(
        job_state(&job(&condition("Complete", "True"))),
        JobState::Complete
    );
    assert_eq!(
        job_state(&job(&condition("Failed", "True"))),
        JobState::Failed("BackoffLimitExceeded".to_owned())
    );
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"status": status})).unwrap()
}

#[test]
fn w13_the_reason_of_a_pod_that_does_not_run_is_reported() {
    let waiting = |reason: &str| {
        json!({"containerStatuses": [{
            "name": "c", "image": "tool:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "because"}},
        }]})
    };
    let reported = problem(&pod(&waiting("ImagePullBackOff"))).unwrap();
    assert_eq!(
        reported,
        "image tool:1 cannot be pulled (ImagePullBackOff: because)"
    );
    assert!(problem(&pod(&waiting("CreateContainerConfigError"))).is_some());
    assert_eq!(problem(&pod(&waiting("ContainerCreating"))), None);
    let unschedulable = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
    }]});
    let reported = problem(&pod(&unschedulable)).unwrap();
    assert_eq!(reported, "the pod cannot be scheduled: 0/3 nodes");
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "disk"});
    assert!(problem(&pod(&evicted)).unwrap().contains("evicted: disk"));
}

#[test]
fn lost_pods_are_retried_and_decisions_are_not() {
    assert!(is_retriable(None));
    assert!(is_retriable(Some(137)));
    for code in 1..=6 {
        assert!(!is_retriable(Some(code)), "{code}");
    }
    let status = json!({"containerStatuses": [{
        "name": "meta-migration", "image": "t", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 4, "message": "why"}},
    }]});
    let pods = [pod(&status), pod(&json!({}))];
    let ended = pods.each_ref().map(|pod| terminated(pod, "meta-migration"));
    assert_eq!(ended[0].unwrap().message.as_deref(), Some("why"));
    assert_eq!(ended[1], None);
}

#[test]
fn a_pending_claim_is_reported() {
    let claim = |phase: &str| -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "b"}, "status": {"phase": phase}}))
            .unwrap()
    };
    assert_eq!(claim_problem(&claim("Bound")), None);
    assert!(
        claim_problem(&claim("Pending"))
            .unwrap()
            .contains("claim b is not bound")
    );
    assert!(claim_problem(&claim("Lost")).unwrap().contains("lost"));
}
