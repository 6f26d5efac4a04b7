//! State left by an earlier process or the user: no release starts on metadata that it cannot read.

use std::time::Duration;

use serde_json::json;

use super::{NEW_IMAGE, Scenario};
use crate::support::etcd;
use crate::support::kubernetes::behaviour::{Behaviour, Event, TOOL_IMAGE};
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

/// Waits for a pod whose name contains `part`; returns its name.
pub(super) async fn wait_for_pod(scenario: &Scenario, part: &str) -> String {
    let bed = &scenario.bed;
    let find = async || {
        let pods = bed.list("pods").await;
        let mut names = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        names.find(|name| name.contains(part)).map(str::to_owned)
    };
    bed.wait(part, find).await
}

/// Pods whose names contain `step` do not start until `held_tools` is cleared.
pub(super) fn hold(scenario: &Scenario, step: &str) {
    let mut behaviour = scenario.bed.shared.behaviour();
    behaviour.held_tools.insert(step.to_owned());
}

/// Kills the upgrade while the pod of a step waits to start.
pub(super) async fn kill_before(scenario: &Scenario, step: &str) {
    hold(scenario, step);
    let mut child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(scenario, step).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
}

#[tokio::test]
async fn a_pending_migrate_job_is_deleted_before_a_rollback() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_before(&scenario, "-migrate-").await;
    // The old release has no session for a while.
    scenario.bed.fail_pulls_of(OLD_IMAGE);
    let rollback = scenario.command(&["-o", "rollback"]);
    let child = scenario.bed.start(USER, &rollback);
    scenario
        .bed
        .wait("the old release", async || {
            scenario.stage().await.filter(|stage| stage == "settle-old")
        })
        .await;
    // The pod of the migration could start now.
    scenario.bed.shared.behaviour().held_tools.clear();
    tokio::time::sleep(Duration::from_secs(4)).await;
    *scenario.bed.shared.behaviour() = Behaviour::default();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("deleting it");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

/// Migrates without the orchestrator.
pub(super) fn migrate_by_hand(scenario: &Scenario) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.mmb");
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_meta-migration"))
        .args(["migrate", "--endpoints", etcd::shared().address()])
        .args(["--root-path", &scenario.bed.root])
        .args(["--source-version", "2.1.4", "--target-version", "2.2.16"])
        .args(["--backup-file", file.to_str().unwrap(), "--yes"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Rolls back without the orchestrator, with the configuration and backup of the unfinished
/// upgrade.
async fn roll_back_by_hand(scenario: &Scenario) {
    let saved_state = scenario.saved_state().await.unwrap();
    let config = format!(
        "meta-migration-config-{}",
        saved_state["operation"].as_str().unwrap()
    );
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "by-hand"},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "meta-migration", "image": TOOL_IMAGE,
                "command": ["/milvus/bin/meta-migration"],
                "args": ["-config=/milvus/configs/rollback.yaml"],
                "volumeMounts": [{"name": "config", "mountPath": "/milvus/configs"},
                    {"name": "data", "mountPath": "/milvus/data"}]}],
            "volumes": [{"name": "config", "configMap": {"name": config}},
                {"name": "data", "persistentVolumeClaim": {"claimName": saved_state["claim"]}}]}}}});
    scenario.bed.create("jobs", &job).await;
    assert!(scenario.bed.wait_for_job("by-hand").await);
}

/// Waits until the program runs in a pod.
async fn wait_until_it_runs(scenario: &Scenario, part: &str) {
    let began =
        |event: &Event| matches!(event, Event::ToolStarted { pod, .. } if pod.contains(part));
    scenario
        .bed
        .wait(part, async || {
            let events = scenario.bed.shared.events();
            events.iter().any(began).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_rollback_waits_for_a_running_migration() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-migrate-");
    let mut child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-migrate-").await;
    // Another lock holder keeps the migration running for a while.
    take_the_lock(&scenario).await;
    *bed.shared.behaviour() = Behaviour::default();
    wait_until_it_runs(&scenario, "-migrate-").await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;

    // Eight times the timeout is too short: nothing is decided, and nothing is started.
    let short_timeout = ["-o", "rollback", "--timeout", "500ms"];
    scenario
        .upgrade(&short_timeout)
        .await
        .expect(5)
        .says("must end first");
    assert_down(&scenario).await;

    let rollback = scenario.command(&["-o", "rollback"]);
    let child = bed.start(USER, &rollback);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_down(&scenario).await;
    release_the_lock(&scenario).await;
    ended(child.wait_with_output().await.unwrap())
        .expect(0)
        .says("-1 to end");
    let migrated = bed.shared.events().into_iter().any(
        |event| matches!(event, Event::ToolEnded { pod, code: 0 } if pod.contains("-migrate-")),
    );
    assert!(migrated, "the migration finished by itself");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

async fn release_the_lock(scenario: &Scenario) {
    let key = format!("{}/meta/session/migration", scenario.bed.root);
    let mut client = etcd_client().await;
    client.delete(key, None).await.unwrap();
}

async fn etcd_client() -> etcd_client::Client {
    let address = etcd::shared().address();
    etcd_client::Client::connect([address], None).await.unwrap()
}

async fn take_the_lock(scenario: &Scenario) {
    let mut client = etcd_client().await;
    let lease = client.lease_grant(900, None).await.unwrap().id();
    let value = json!({"ServerID": 7, "ServerName": "migration", "Address": "10.0.0.9",
        "Exclusive": true, "TriggerKill": true});
    let key = format!("{}/meta/session/migration", scenario.bed.root);
    let options = etcd_client::PutOptions::new().with_lease(lease);
    client
        .put(key, value.to_string(), Some(options))
        .await
        .unwrap();
}

/// Fails if any component of Milvus was started.
pub(super) async fn assert_down(scenario: &Scenario) {
    for (name, (_, count)) in scenario.bed.deployments().await {
        assert_eq!(count, 0, "{name}");
    }
    scenario.bed.assert_no_breach();
}

#[tokio::test]
async fn resume_after_a_manual_rollback_starts_no_new_release() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-verify-");
    let child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-verify-").await;
    let name = scenario.helm.deployment("standalone");
    bed.merge("deployments", &name, &json!({"spec": {"paused": true}}))
        .await;
    *bed.shared.behaviour() = Behaviour::default();
    ended(child.wait_with_output().await.unwrap())
        .expect(5)
        .says("is paused");
    roll_back_by_hand(&scenario).await;
    bed.merge("deployments", &name, &json!({"spec": {"paused": false}}))
        .await;
    scenario.upgrade(&["-o", "resume"]).await.expect(5);
    assert_down(&scenario).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
}

#[tokio::test]
async fn rollback_after_manual_migration_keeps_2_1_stopped() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_before(&scenario, "-backup-").await;
    migrate_by_hand(&scenario);
    *scenario.bed.shared.behaviour() = Behaviour::default();
    scenario.upgrade(&["-o", "rollback"]).await.expect(5);
    assert_down(&scenario).await;
}

async fn a_held_lock_keeps_milvus_stopped(step: &str) {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    hold(&scenario, step);
    let child = scenario
        .bed
        .start(USER, &scenario.command(&["--timeout", "20s"]));
    wait_for_pod(&scenario, step).await;
    take_the_lock(&scenario).await;
    *scenario.bed.shared.behaviour() = Behaviour::default();
    ended(child.wait_with_output().await.unwrap())
        .expect(5)
        .says("another migration holds the lock");
    assert_down(&scenario).await;
    release_the_lock(&scenario).await;
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_backup_under_a_held_lock_starts_nothing() {
    a_held_lock_keeps_milvus_stopped("-backup-").await;
}

#[tokio::test]
async fn a_migration_under_a_held_lock_starts_nothing() {
    a_held_lock_keeps_milvus_stopped("-migrate-").await;
}

#[tokio::test]
async fn accept_loss_of_an_unstarted_rollback_is_not_kept() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    bed.fail_pulls_of(TOOL_IMAGE);
    let more = ["-o", "rollback", "--accept-loss", "--timeout", "6s"];
    scenario.upgrade(&more).await.expect(3);
    *bed.shared.behaviour() = Behaviour::default();
    let saved_state = scenario.saved_state().await.unwrap();
    assert_eq!(saved_state["policy"]["accept_loss"], false);
    let checkpoint = "datacoord-meta/checkpoint/x";
    bed.metadata.put(checkpoint, b"written weeks later").await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(3);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn an_upgrade_that_finishes_a_rollback_is_no_success() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    bed.keep_terminating("standalone");
    let mut child = bed.start(USER, &scenario.command(&["-o", "rollback"]));
    bed.wait("drain-new", async || {
        scenario.stage().await.filter(|stage| stage == "drain-new")
    })
    .await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    *bed.shared.behaviour() = Behaviour::default();
    scenario
        .upgrade(&[])
        .await
        .expect(1)
        .says("no upgrade was started");
    scenario.assert_runs(OLD_IMAGE).await;
}

#[tokio::test]
async fn a_resumed_requested_rollback_is_a_success() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    bed.keep_terminating("standalone");
    let more = ["-o", "rollback", "--timeout", "6s"];
    scenario.upgrade(&more).await.expect(5);
    *bed.shared.behaviour() = Behaviour::default();
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
}

#[tokio::test]
async fn cleanup_keeps_the_jobs_of_a_failed_upgrade() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let broken = "root-coord/collection/4711";
    scenario.bed.metadata.put(broken, b"\xff\xff").await;
    scenario.upgrade(&["-d"]).await.expect(1);
    let jobs = scenario.bed.list("jobs").await;
    let mut names = jobs
        .iter()
        .filter_map(|job| job["metadata"]["name"].as_str());
    assert!(names.any(|name| name.contains("-plan-")), "{jobs:#?}");
}
