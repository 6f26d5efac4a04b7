//! A missing PVC or Deployment is named; once recreated, the same command resumes in both
//! directions.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::stale_state::kill_before;
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

pub(super) const CLAIM: &str = "meta-migration-backup-my-release";

pub(super) async fn delete_the_claim(scenario: &Scenario) {
    let bed = &scenario.bed;
    // A PVC is protected while a Job's pod exists, even after it has ended.
    let change = json!({"metadata": {"finalizers": null}});
    bed.merge("persistentvolumeclaims", CLAIM, &change).await;
    bed.delete("persistentvolumeclaims", CLAIM).await;
}

pub(super) async fn create_a_claim(scenario: &Scenario, name: &str) {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    scenario.bed.create("persistentvolumeclaims", &claim).await;
}

async fn delete_the_jobs(scenario: &Scenario) {
    let bed = &scenario.bed;
    for job in bed.list("jobs").await {
        bed.delete("jobs", job["metadata"]["name"].as_str().unwrap())
            .await;
    }
    bed.wait("the pods of Jobs to go", async || {
        let pods = bed.list("pods").await;
        let of_a_job = |pod: &Value| !pod["metadata"]["labels"]["job-name"].is_null();
        (!pods.iter().any(of_a_job)).then_some(())
    })
    .await;
}

/// An upgrade killed before a step, whose Jobs and PVC were deleted, and the former content of the
/// volume.
pub(super) async fn without_its_claim(step: &str) -> (Scenario, TempDir) {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_before(&scenario, step).await;
    delete_the_jobs(&scenario).await;
    delete_the_claim(&scenario).await;
    *scenario.bed.shared.behaviour() = Behaviour::default();
    for operation in ["resume", "rollback"] {
        scenario
            .upgrade(&["-o", operation])
            .await
            .expect(3)
            .says(CLAIM)
            .says("--backup-pvc");
    }
    let kept = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(scenario.bed.volume(CLAIM)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), kept.path().join(file.file_name())).unwrap();
    }
    scenario.bed.empty_volume(CLAIM);
    (scenario, kept)
}

#[tokio::test]
async fn before_the_commit_an_empty_claim_is_replaced() {
    let (scenario, _) = without_its_claim("-migrate-").await;
    create_a_claim(&scenario, CLAIM).await;
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn before_the_commit_rollback_needs_no_backup() {
    let (scenario, _) = without_its_claim("-migrate-").await;
    create_a_claim(&scenario, CLAIM).await;
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(0)
        .says("is not needed");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

/// Copies the content of the deleted PVC's volume into the volume of another one.
fn copy_volume(scenario: &Scenario, kept: &TempDir, claim: &str) {
    for file in std::fs::read_dir(kept.path()).unwrap() {
        let file = file.unwrap();
        let to = scenario.bed.volume(claim).join(file.file_name());
        std::fs::copy(file.path(), to).unwrap();
    }
}

#[tokio::test]
async fn after_the_commit_rollback_needs_the_backup() {
    let (scenario, kept) = without_its_claim("-verify-").await;
    create_a_claim(&scenario, "spare").await;
    scenario
        .upgrade(&["-o", "resume", "--backup-pvc", "spare"])
        .await
        .expect(0)
        .says("is no longer in volume claim spare");
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(3);
    scenario.assert_runs(NEW_IMAGE).await;
    copy_volume(&scenario, &kept, "spare");
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn after_the_commit_rollback_stops_without_it() {
    let (scenario, kept) = without_its_claim("-verify-").await;
    create_a_claim(&scenario, "spare").await;
    scenario
        .upgrade(&["-o", "rollback", "--backup-pvc", "spare"])
        .await
        .expect(5)
        .says("copy the file there");
    copy_volume(&scenario, &kept, "spare");
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

/// Deletes a Deployment; returns its last state.
async fn delete_a_deployment(scenario: &Scenario, name: &str) -> Value {
    let bed = &scenario.bed;
    let mut object = bed.get("deployments", name).await.unwrap();
    bed.delete("deployments", name).await;
    bed.wait("its pods to go", async || {
        let pods = bed.list("pods").await;
        let mut names = pods.iter().map(|pod| pod["metadata"]["name"].to_string());
        (!names.any(|pod| pod.contains(name))).then_some(())
    })
    .await;
    let labels = object["metadata"]["labels"].take();
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels}, "spec": object["spec"]})
}

#[tokio::test]
async fn a_missing_deployment_is_found_before_a_rollback() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 2);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    let name = scenario.helm.deployment("querynode");
    let mut object = delete_a_deployment(&scenario, &name).await;
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(3)
        .says(&format!("{name} is missing"));
    for (name, (_, count)) in bed.deployments().await {
        assert_eq!(count, 1, "{name} was not stopped");
    }
    object["spec"]["replicas"] = json!(1);
    bed.create("deployments", &object).await;
    bed.wait_until_settled().await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

/// An upgrade killed before the migration, and a Deployment that was deleted and recreated.
async fn with_a_recreated_deployment() -> Scenario {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 3);
    let scenario = Scenario::new(helm).await;
    kill_before(&scenario, "-migrate-").await;
    delete_the_jobs(&scenario).await;
    *scenario.bed.shared.behaviour() = Behaviour::default();
    let name = scenario.helm.deployment("querynode");
    let mut object = delete_a_deployment(&scenario, &name).await;
    for operation in ["resume", "rollback"] {
        scenario
            .upgrade(&["-o", operation])
            .await
            .expect(5)
            .says(&format!("{name} is missing"));
    }
    // As a chart would create it.
    object["spec"]["replicas"] = json!(1);
    scenario.bed.create("deployments", &object).await;
    scenario.bed.wait_until_settled().await;
    scenario
}

#[tokio::test]
async fn a_recreated_deployment_upgrades_with_its_count() {
    let scenario = with_a_recreated_deployment().await;
    scenario
        .upgrade(&["-o", "resume"])
        .await
        .expect(0)
        .says("its saved count is 3");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_recreated_deployment_rolls_back_with_its_count() {
    let scenario = with_a_recreated_deployment().await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_deployment_recreated_during_the_start_upgrades() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 2);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    bed.keep_unready(NEW_IMAGE);
    scenario.upgrade(&["--timeout", "8s"]).await.expect(5);
    let checkpoint = "datacoord-meta/checkpoint/x";
    bed.metadata
        .put(checkpoint, b"written while it started")
        .await;
    let name = scenario.helm.deployment("querynode");
    let object = delete_a_deployment(&scenario, &name).await;
    bed.create("deployments", &object).await;
    *bed.shared.behaviour() = Behaviour::default();
    scenario
        .upgrade(&["-o", "resume"])
        .await
        .expect(0)
        .says("was recreated");
    scenario.assert_runs(NEW_IMAGE).await;
}
