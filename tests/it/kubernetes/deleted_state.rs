//! A deleted upgrade state, and backups in other places: each case names a next command.

use serde_json::json;

use super::missing_objects::{CLAIM, delete_the_claim};
use super::stale_state::{hold, kill_before, migrate_by_hand, wait_for_pod};
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::{Behaviour, TOOL_IMAGE};
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};
use crate::support::kubernetes::{Ended, ended};

const USER: &str = "upgrader";
const RECORD: &str = "meta-migration-state-my-release";

#[tokio::test]
async fn a_manual_backup_outside_the_volume_is_not_used() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    hold(&scenario, "-backup-");
    let child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-backup-").await;
    migrate_by_hand(&scenario);
    *scenario.bed.shared.behaviour() = Behaviour::default();
    ended(child.wait_with_output().await.unwrap())
        .expect(0)
        .says("is not in volume claim");
    scenario.assert_runs(NEW_IMAGE).await;
    let saved_state = scenario.saved_state().await.unwrap();
    assert_eq!(saved_state["has_backup"], false, "what was saved was 2.2");
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(3)
        .says("nothing to roll back to");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_backup_of_an_earlier_volume_is_not_used() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let labels =
        json!({"meta-migration/instance": "my-release", "meta-migration/operation": "0badcafe"});
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "meta-migration-config-0badcafe", "labels": labels},
    });
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "meta-migration-plan-0badcafe-1", "labels": labels},
        "spec": {"parallelism": 0, "template": {"spec": pod}},
    });
    scenario.bed.create("configmaps", &config).await;
    scenario.bed.create("jobs", &job).await;
    scenario.upgrade(&["-d"]).await.expect(0);
    assert!(
        scenario.bed.list("jobs").await.is_empty(),
        "those of earlier operations, too"
    );
    let config = scenario
        .bed
        .get("configmaps", "meta-migration-config-0badcafe")
        .await;
    assert!(config.is_none());
    delete_the_claim(&scenario).await;
    bed.empty_volume(CLAIM);
    bed.delete("configmaps", RECORD).await;
    // The new release without a session, as if the old one were deployed.
    let change = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "standalone", "image": OLD_IMAGE, "args": ["idle"]}]}}}});
    let name = scenario.helm.deployment("standalone");
    bed.merge("deployments", &name, &change).await;
    bed.wait_until_settled().await;
    scenario
        .upgrade(&["--accept", "no-sessions"])
        .await
        .expect(0)
        .says("is not in volume claim");
    assert_eq!(scenario.stage().await.as_deref(), Some("upgraded"));
    let saved_state = scenario.saved_state().await.unwrap();
    assert_eq!(saved_state["has_backup"], false);
}

async fn preflight(scenario: &Scenario) -> Ended {
    let bed = &scenario.bed;
    let place = ["preflight", "-i", "my-release", "-n", &bed.namespace];
    let aim = ["-t", "2.2.16", "-r", &bed.root, "-m", TOOL_IMAGE];
    bed.run(&[&place[..], &aim[..]].concat()).await
}

/// Fails if a Deployment still has annotations of the upgrade.
async fn assert_no_annotations(scenario: &Scenario) {
    for deployment in scenario.bed.list("deployments").await {
        let annotations = &deployment["metadata"]["annotations"];
        assert!(
            annotations["meta-migration/replicas"].is_null()
                && annotations["meta-migration/image"].is_null(),
            "{annotations}"
        );
    }
}

#[tokio::test]
async fn a_deleted_upgrade_state_is_written_again() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 3);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    hold(&scenario, "-migrate-");
    let child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-migrate-").await;
    bed.delete("configmaps", RECORD).await;
    *bed.shared.behaviour() = Behaviour::default();
    ended(child.wait_with_output().await.unwrap())
        .expect(0)
        .says("writing it again");
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_from_annotations() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 3);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    kill_before(&scenario, "-verify-").await;
    *bed.shared.behaviour() = Behaviour::default();
    preflight(&scenario)
        .await
        .expect(3)
        .says("error unfinished")
        .says("-o resume")
        .says("-o rollback");
    bed.delete("configmaps", RECORD).await;
    preflight(&scenario).await.says("notice noted");
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(3)
        .says("run the first command again");
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    assert_no_annotations(&scenario).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
    assert_no_annotations(&scenario).await;
}

#[tokio::test]
async fn without_its_state_a_started_release_is_resumed_too() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 2);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    let unready = NEW_IMAGE.to_owned();
    bed.shared.behaviour().unready_images.insert(unready);
    let mut child = bed.start(USER, &scenario.command(&[]));
    bed.wait("settle", async || {
        scenario.stage().await.filter(|stage| stage == "settle")
    })
    .await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    *bed.shared.behaviour() = Behaviour::default();
    bed.delete("configmaps", RECORD).await;
    bed.wait_until_settled().await;
    scenario
        .upgrade(&[])
        .await
        .expect(3)
        .says("scale it to 0, then run the same command");
    let checkpoint = "datacoord-meta/checkpoint/x";
    bed.metadata.put(checkpoint, b"written in between").await;
    for name in bed.deployments().await.keys() {
        bed.merge("deployments", name, &json!({"spec": {"replicas": 0}}))
            .await;
    }
    bed.wait_until_settled().await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let back = ["-o", "rollback", "--accept-loss"];
    scenario.upgrade(&back).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_stale_migrate_job_ends_before_the_next_upgrade() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    kill_before(&scenario, "-migrate-").await;
    bed.delete("configmaps", RECORD).await;
    let child = bed.start(USER, &scenario.command(&[]));
    bed.wait("the first migration to be deleted", async || {
        let pods = bed.list("pods").await;
        let mut names = pods.iter().map(|pod| pod["metadata"]["name"].to_string());
        (!names.any(|name| name.contains("-migrate-"))).then_some(())
    })
    .await;
    *bed.shared.behaviour() = Behaviour::default();
    ended(child.wait_with_output().await.unwrap()).expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn preflight_says_what_may_start_on_stopped_instances() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let name = scenario.helm.deployment("standalone");
    bed.merge("deployments", &name, &json!({"spec": {"replicas": 0}}))
        .await;
    bed.wait_until_settled().await;
    preflight(&scenario)
        .await
        .expect(3)
        .says("scale them up with an image of 2.1");
    migrate_by_hand(&scenario);
    preflight(&scenario)
        .await
        .expect(3)
        .says("2.1 must not be started on it");
    scenario
        .upgrade(&[])
        .await
        .expect(3)
        .says("run preflight or meta-migration status");
}
