//! The test bed itself: what the scenarios rely on.

use serde_json::json;

use crate::support::kubernetes::helm::Helm;
use crate::support::kubernetes::{Bed, tool_job};

#[tokio::test]
async fn a_deployment_gets_ready_and_its_session_goes_with_its_pod() {
    let bed = Bed::new("my-release").await;
    let helm = Helm::standalone("my-release");
    helm.install(&bed).await;
    bed.wait_until_settled().await;
    assert_eq!(bed.metadata.session_keys().await.len(), 8);
    let name = helm.deployment("standalone");
    bed.merge("deployments", &name, &json!({"spec": {"replicas": 0}}))
        .await;
    bed.wait_until_settled().await;
    assert!(bed.metadata.session_keys().await.is_empty());
    bed.assert_no_breach();
}

#[tokio::test]
async fn a_job_runs_the_program_and_its_log_can_be_read() {
    let bed = Bed::new("my-release").await;
    bed.metadata.load("base/in.jsonl").await;
    let arguments = [
        "status",
        "--endpoints",
        "my-release-etcd:2379",
        "--root-path",
        &bed.root,
    ];
    bed.create("jobs", &tool_job("works", &arguments)).await;
    bed.create("jobs", &tool_job("fails", &["no-such-command"]))
        .await;
    let done = |name| {
        let bed = &bed;
        async move {
            let conditions = bed.get("jobs", name).await.unwrap()["status"]["conditions"].take();
            conditions[0]["type"].as_str().map(str::to_owned)
        }
    };
    let works = bed
        .wait("the Job that works", async || done("works").await)
        .await;
    assert_eq!(works, "Complete");
    let fails = bed
        .wait("the Job that fails", async || done("fails").await)
        .await;
    assert_eq!(fails, "Failed");
    for pod in bed.list("pods").await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = bed.log(name, "?follow=true&container=tool").await;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        if name.starts_with("works") {
            assert!(log.contains("2.1"), "{log}");
            assert_eq!(ended["exitCode"], 0);
        } else {
            assert!(log.contains("no-such-command"), "{log}");
            assert_eq!(ended["exitCode"], 2);
            let last_line = bed.log(name, "?tailLines=1").await;
            assert_eq!(last_line.lines().count(), 1);
        }
    }
}
