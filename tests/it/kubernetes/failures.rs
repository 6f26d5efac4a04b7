//! Failing upgrades lose nothing and report the reason.

use std::time::Duration;

use serde_json::json;

use super::before_the_stop::assert_never_stopped;
use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario, role};
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

#[tokio::test]
async fn w13_w19_a_missing_tool_image_is_found_in_time() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.bed.fail_pulls_of(TOOL_IMAGE);
    let ended = scenario.upgrade(&["--timeout", "12s"]).await;
    assert_ne!(ended.code, 0);
    ended.says("ImagePullBackOff").says(TOOL_IMAGE);
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;
    scenario.bed.shared.behaviour().missing_images.clear();
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn w13_w19_a_missing_new_image_is_found_before_the_stop() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.bed.fail_pulls_of(NEW_IMAGE);
    let ended = scenario.upgrade(&["--timeout", "12s"]).await;
    assert_ne!(ended.code, 0);
    ended.says("ImagePullBackOff").says(NEW_IMAGE);
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w13_w19_an_unbound_claim_is_found_before_the_stop() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.bed.shared.behaviour().bind_claims = false;
    let ended = scenario.upgrade(&["--timeout", "12s"]).await;
    assert_ne!(ended.code, 0);
    ended.says("claim");
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w01_w02_nothing_is_written_while_a_pod_terminates() {
    let scenario = Scenario::new(Helm::cluster("my-release")).await;
    // Not the first pod in alphabetical order, which is the only one that the official script
    // checked.
    scenario.bed.keep_terminating("querynode");
    let ended = scenario.upgrade(&["--timeout", "12s"]).await;
    assert_ne!(ended.code, 0);
    ended.says("querynode");
    scenario.assert_untouched().await;
    scenario.bed.shared.behaviour().hanging_components.clear();
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn w03_a_live_session_prevents_all_writes() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario
        .bed
        .shared
        .behaviour()
        .lingering_sessions
        .insert("standalone".to_owned());
    let ended = scenario.upgrade(&["--timeout", "15s"]).await;
    assert_ne!(ended.code, 0);
    ended.says("session");
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w03_an_expiring_session_is_awaited() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let mut changed = scenario.bed.shared.behaviour().clone();
    changed.lingering_sessions.insert("standalone".to_owned());
    changed.lingering_ttl = Some(Duration::from_secs(4));
    *scenario.bed.shared.behaviour() = changed;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn w10_an_unready_release_is_rolled_back_on_request() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.bed.keep_unready(NEW_IMAGE);
    let ended = scenario
        .upgrade(&["--rollback-on-failure", "--timeout", "15s"])
        .await;
    assert_ne!(ended.code, 0, "the upgrade did not succeed");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w22_a_second_orchestrator_is_rejected() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    hold(&scenario, "-status-");
    let first = scenario.bed.start("upgrader", &scenario.command(&[]));
    scenario
        .bed
        .wait("the first to work", async || scenario.stage().await)
        .await;
    let second = scenario.upgrade(&[]).await;
    assert_ne!(second.code, 0);
    second.says("another orchestrator");
    scenario.bed.shared.behaviour().held_tools.clear();
    ended(first.wait_with_output().await.unwrap()).expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn w11_a_renamed_container_gets_the_image() {
    let mut helm = Helm::standalone("my-release");
    helm.container_names
        .insert("standalone".to_owned(), "engine".to_owned());
    let scenario = Scenario::new(helm).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let name = scenario.helm.deployment("standalone");
    let deployment = scenario.bed.get("deployments", &name).await.unwrap();
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    assert_eq!(containers[0]["name"], "engine");
}

#[tokio::test]
async fn w21_a_source_version_that_does_not_run_is_refused() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let name = scenario.helm.deployment("standalone");
    let change = json!({"spec": {"template": {"spec": {"containers": [{
        "name": "standalone", "image": "milvusdb/milvus:v2.2.3", "args": ["idle"],
    }]}}}});
    scenario.bed.merge("deployments", &name, &change).await;
    scenario.bed.wait_until_settled().await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn metadata_in_a_relational_database_is_refused() {
    let mut helm = Helm::standalone("my-release");
    helm.metastore = "mysql".to_owned();
    let scenario = Scenario::new(helm).await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    ended.says("mysql");
    assert_never_stopped(&scenario);
}

#[tokio::test]
async fn w24_a_pending_helm_operation_is_found_in_time() {
    let mut helm = Helm::standalone("my-release");
    helm.status = "pending-upgrade".to_owned();
    // Helm's record is a Secret, which the rights in `deploy/` do not allow to read.
    let mut role = role();
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]});
    role["rules"].as_array_mut().unwrap().push(secrets);
    let scenario = Scenario::with_role(helm, role).await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    ended.says("pending-upgrade");
    assert_never_stopped(&scenario);
}

#[tokio::test]
async fn w19_broken_metadata_is_found_before_the_stop() {
    let mut scenario = Scenario::new(Helm::standalone("my-release")).await;
    let broken = "root-coord/collection/4711";
    scenario.bed.metadata.put(broken, b"\xff\xff").await;
    scenario.before = scenario.bed.metadata.dump().await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    ended.says("exit code 4").says(broken);
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w11_ambiguous_containers_are_refused() {
    let mut helm = Helm::standalone("my-release");
    helm.container_names
        .insert("standalone".to_owned(), "engine".to_owned());
    let scenario = Scenario::new(helm).await;
    let name = scenario.helm.deployment("standalone");
    let containers = ["engine", "engine-too"].map(
        |name| json!({"name": name, "image": OLD_IMAGE, "args": ["milvus", "run", "standalone"]}),
    );
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    scenario.bed.merge("deployments", &name, &change).await;
    scenario.bed.wait_until_settled().await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    ended.says("engine-too");
    assert_eq!(scenario.bed.deployments().await[&name].1, 1);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn an_evicted_job_pod_is_retried() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-migrate-");
    let child = bed.start("upgrader", &scenario.command(&[]));
    let pod = wait_for_pod(&scenario, "-migrate-").await;
    let status = json!({"status": {
        "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
    }});
    let path = format!("{}/{pod}/status", bed.path("pods"));
    bed.admin.merge(&path, &status).await;
    bed.shared.behaviour().held_tools.clear();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("evicted").says("trying again");
    scenario.assert_runs(NEW_IMAGE).await;
}
