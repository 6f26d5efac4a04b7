//! What is found while Milvus still runs, and would have been found too late.

use std::time::Duration;

use serde_json::json;

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::{Behaviour, Event};
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

fn assert_never_stopped(scenario: &Scenario) {
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
    // Nobody can make a file there, not even root.
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
