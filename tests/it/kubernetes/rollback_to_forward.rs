//! An unfinished rollback that is abandoned to continue the upgrade.

use super::missing_objects::{CLAIM, create_a_claim, without_its_claim};
use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

#[tokio::test]
async fn a_rollback_killed_before_restore_turns_forward() {
    let helm = Helm::cluster("my-release").with_replicas("querynode", 2);
    let scenario = Scenario::new(helm).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    hold(&scenario, "-rollback-");
    let mut child = bed.start(USER, &scenario.command(&["-o", "rollback"]));
    wait_for_pod(&scenario, "-rollback-").await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    scenario
        .upgrade(&["-o", "status"])
        .await
        .expect(0)
        .says("-o forward");
    // The rollback would restore the metadata now, while the new release is deployed.
    scenario
        .upgrade(&["-o", "forward"])
        .await
        .expect(0)
        .says("deleting it");
    *bed.shared.behaviour() = Behaviour::default();
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
    scenario
        .upgrade(&["-o", "forward"])
        .await
        .expect(3)
        .says("no rollback of my-release is unfinished");
}

#[tokio::test]
async fn a_rollback_without_its_backup_turns_forward() {
    let (scenario, _) = without_its_claim("-verify-").await;
    create_a_claim(&scenario, CLAIM).await;
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(5)
        .says("or abandon the rollback with -o forward");
    scenario.upgrade(&["-o", "forward"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_restored_rollback_is_finished_before_an_upgrade() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(&[]).await.expect(0);
    bed.keep_unready(OLD_IMAGE);
    let more = ["-o", "rollback", "--timeout", "8s"];
    scenario.upgrade(&more).await.expect(5);
    *bed.shared.behaviour() = Behaviour::default();
    scenario
        .upgrade(&["-o", "forward"])
        .await
        .expect(3)
        .says("finish the rollback with -o resume, then upgrade again");
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
}

/// A rollback killed just before it restores the metadata.
async fn with_a_rollback_that_died(upgrade: &[&str], written: bool) -> Scenario {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(upgrade).await.expect(0);
    if written {
        let checkpoint = "datacoord-meta/checkpoint/x";
        bed.metadata.put(checkpoint, b"written weeks later").await;
    }
    hold(&scenario, "-rollback-");
    let back = ["-o", "rollback", "--accept-loss"];
    let mut child = bed.start(USER, &scenario.command(&back));
    wait_for_pod(&scenario, "-rollback-").await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    scenario
}

#[tokio::test]
async fn a_forward_killed_before_migration_rolls_back() {
    let scenario = with_a_rollback_that_died(&[], false).await;
    let bed = &scenario.bed;
    hold(&scenario, "-status-");
    let forward = scenario.command(&["-o", "forward"]);
    let mut child = bed.start(USER, &forward);
    // The check before the migration waits.
    bed.wait("migrate", async || {
        scenario.stage().await.filter(|stage| stage == "migrate")
    })
    .await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    *bed.shared.behaviour() = Behaviour::default();
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_forward_keeps_what_the_new_release_wrote() {
    let scenario = with_a_rollback_that_died(&[], true).await;
    let before = scenario.bed.metadata.dump().await;
    scenario.upgrade(&["-o", "forward"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    assert!(scenario.bed.metadata.dump().await == before);
}

#[tokio::test]
async fn a_forward_never_rolls_back_automatically() {
    let scenario = with_a_rollback_that_died(&["--rollback-on-failure"], true).await;
    let bed = &scenario.bed;
    let before = bed.metadata.dump().await;
    bed.keep_unready(NEW_IMAGE);
    let forward = ["-o", "forward", "--timeout", "8s"];
    scenario.upgrade(&forward).await.expect(5);
    *bed.shared.behaviour() = Behaviour::default();
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    assert!(bed.metadata.dump().await == before);
}

#[tokio::test]
async fn a_forward_after_accepted_loss_is_refused() {
    let scenario = with_a_rollback_that_died(&[], true).await;
    let bed = &scenario.bed;
    // The rollback completes in the background.
    *bed.shared.behaviour() = Behaviour::default();
    let jobs = bed.list("jobs").await;
    let mut names = jobs
        .iter()
        .filter_map(|job| job["metadata"]["name"].as_str());
    let name = names.find(|name| name.contains("-rollback-")).unwrap();
    assert!(bed.wait_for_job(name).await);
    scenario
        .upgrade(&["-o", "forward"])
        .await
        .expect(1)
        .says("what the new release wrote is saved in");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}
