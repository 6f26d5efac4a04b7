//! What was deleted, or never was where it is looked for: nobody is left at a dead end.

use serde_json::json;

use super::left_behind::{hold, migrate_by_hand, wait_for_pod};
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";
const CLAIM: &str = "meta-migration-backup-my-release";
const RECORD: &str = "meta-migration-record-my-release";

/// Deletes the claim with everything in its volume.
async fn delete_the_claim(scenario: &Scenario) {
    let bed = &scenario.bed;
    // The plane keeps a claim while a pod of a Job that ended is there.
    let change = json!({"metadata": {"finalizers": null}});
    bed.merge("persistentvolumeclaims", CLAIM, &change).await;
    bed.delete("persistentvolumeclaims", CLAIM).await;
    bed.empty_volume(CLAIM);
}

#[tokio::test]
async fn a_backup_that_was_made_by_hand_elsewhere_is_not_looked_for_in_the_volume() {
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
    let record = scenario.record().await.unwrap();
    assert_eq!(record["has_backup"], false, "what was saved was 2.2");
    scenario
        .upgrade(&["-o", "rollback"])
        .await
        .expect(3)
        .says("nothing to go back to");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_backup_of_an_earlier_volume_is_not_taken_for_one_in_this_volume() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    scenario.upgrade(&["-d"]).await.expect(0);
    delete_the_claim(&scenario).await;
    bed.delete("configmaps", RECORD).await;
    // The new release without a session, as if the old one stood there.
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
    let record = scenario.record().await.unwrap();
    assert_eq!(record["has_backup"], false);
}
