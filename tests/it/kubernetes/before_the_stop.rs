//! Problems that are found before Milvus is stopped.

use std::time::Duration;

use serde_json::json;

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::{Behaviour, Event};
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

/// Fails if any component of Milvus was stopped.
pub(super) fn assert_never_stopped(scenario: &Scenario) {
    let events = scenario.bed.shared.events();
    let stopped = |event: &Event| matches!(event, Event::MilvusStopped { .. });
    assert!(!events.iter().any(stopped), "{events:#?}");
}

#[tokio::test]
async fn a_read_only_volume_is_found_before_the_stop() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let claims = scenario.bed.claims();
    std::fs::create_dir_all(&claims).unwrap();
    let volume = claims.join("meta-migration-backup-my-release");
    // No user can create a file there, not even root.
    std::os::unix::fs::symlink("/proc/sys/kernel", &volume).unwrap();
    let ended = scenario.upgrade(&[]).await;
    ended.expect(1).says("/milvus/data").says("cannot create");
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;

    std::fs::remove_file(&volume).unwrap();
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let left = std::fs::read_dir(&volume).unwrap();
    let left: Vec<_> = left.map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "the backup and nothing else: {left:?}");
}

/// Kills the upgrade in the first Job of a step before the stop.
async fn kill_in(scenario: &Scenario, step: &str) {
    let bed = &scenario.bed;
    let held = format!("-{step}-");
    bed.shared.behaviour().held_tools.insert(held.clone());
    let mut child = bed.start(USER, &scenario.command(&[]));
    bed.wait(step, async || {
        let pods = bed.list("pods").await;
        let mut names = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        names.any(|name| name.contains(&held)).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    *bed.shared.behaviour() = Behaviour::default();
}

#[tokio::test]
async fn an_upgrade_killed_before_the_stop_is_checked_again() {
    for step in ["status", "plan"] {
        let scenario = Scenario::new(Helm::standalone("my-release")).await;
        kill_in(&scenario, step).await;
        let name = scenario.helm.deployment("standalone");
        let mark = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}});
        scenario.bed.merge("deployments", &name, &mark).await;
        for more in [&[][..], &["-o", "resume"]] {
            scenario.upgrade(more).await.expect(3).says("Argo CD");
        }
        assert_never_stopped(&scenario);
        scenario
            .upgrade(&["-o", "resume", "--accept", "gitops"])
            .await
            .expect(0);
        scenario.assert_runs(NEW_IMAGE).await;
    }
}

#[tokio::test]
async fn an_upgrade_skips_broken_records_on_request() {
    let mut scenario = Scenario::new(Helm::standalone("my-release")).await;
    let broken = "root-coord/collection/4711";
    scenario.bed.metadata.put(broken, b"\xff\xff").await;
    scenario.before = scenario.bed.metadata.dump().await;
    scenario
        .upgrade(&[])
        .await
        .expect(1)
        .says("--on-broken-record skip");
    assert_never_stopped(&scenario);
    let skip = ["--on-broken-record", "skip"];
    scenario.upgrade(&skip).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn another_storage_root_is_found_before_the_stop() {
    let mut helm = Helm::standalone("my-release");
    helm.user_storage_root = Some("file/");
    let scenario = Scenario::without_metadata(helm).await;
    let real = "../milvus-2.1.0/metadata.jsonl";
    scenario.bed.metadata.load(real).await;
    let mut preflight = scenario.command(&[]);
    preflight[0] = "preflight";
    for (command, code) in [(preflight, 3), (scenario.command(&[]), 1)] {
        let ended = scenario.bed.run(&command).await;
        ended
            .expect(code)
            .says("storage-root")
            .says("storage root \"files\", but minio.rootPath is \"file/\"")
            .says("Set minio.rootPath to \"files\"");
    }
    assert_never_stopped(&scenario);
    scenario
        .upgrade(&["--accept", "storage-root"])
        .await
        .expect(0)
        .says("warning storage-root");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn job_pods_fit_the_limit_ranges_of_the_namespace() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tight"},
        "spec": {"limits": [
            {"type": "Pod", "max": {"memory": "512Mi"}, "maxLimitRequestRatio": {"memory": "1500m"}},
            {"type": "Container", "min": {"cpu": "200m"}, "default": {"memory": "512Mi"},
             "defaultRequest": {"memory": "512Mi"}},
        ]},
    });
    scenario.bed.create("limitranges", &range).await;
    let ended = scenario.upgrade(&["--job-limits", "memory=1Gi"]).await;
    ended
        .expect(3)
        .says("LimitRange tight refuses the pods of the Jobs")
        .says("memory limit of 1Gi is above the maximum of 512Mi");
    assert_never_stopped(&scenario);
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn an_upgrade_waits_for_a_rollout_to_end() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.bed.shared.behaviour().start_delay = Duration::from_secs(4);
    let name = scenario.helm.deployment("standalone");
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "now"}}}}});
    scenario.bed.merge("deployments", &name, &change).await;
    let ended = scenario.upgrade(&[]).await;
    ended
        .expect(0)
        .says(&format!("waiting: Deployment {name}: "));
    scenario.assert_runs(NEW_IMAGE).await;
}
