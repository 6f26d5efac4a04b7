//! Options given with `-o resume` or `-o rollback` are applied where that is safe, and otherwise
//! rejected by name, never dropped silently.

use std::time::Duration;

use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::Ended;
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";
const OWN_IMAGE: &str = "registry.example.com/milvus:v2.2.16";

/// Kills the upgrade while the pod of its backup waits to start.
async fn an_upgrade_killed_before_the_backup_rolls_back(more: &[&str]) -> Scenario {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-backup-");
    let mut child = bed.start(USER, &scenario.command(more));
    wait_for_pod(&scenario, "-backup-").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    child.kill().await.unwrap();
    scenario.delete_lease().await;
    *bed.shared.behaviour() = Behaviour::default();
    scenario
}

/// Passes only the instance name.
async fn upgrade(scenario: &Scenario, more: &[&str]) -> Ended {
    let mut words = vec!["upgrade", "-i", "my-release", "-n", &scenario.bed.namespace];
    words.extend_from_slice(more);
    scenario.bed.run(&words).await
}

#[tokio::test]
async fn resume_without_an_image_uses_the_saved_one() {
    let scenario = an_upgrade_killed_before_the_backup_rolls_back(&["-w", OWN_IMAGE]).await;
    let missing = NEW_IMAGE.to_owned();
    let bed = &scenario.bed;
    bed.shared.behaviour().missing_images.insert(missing);
    let more = ["-o", "resume", "--timeout", "20s"];
    scenario.upgrade(&more).await.expect(0);
    scenario.assert_runs(OWN_IMAGE).await;
    // Without -w the command refers to the finished upgrade.
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(OWN_IMAGE).await;
}

#[tokio::test]
async fn resume_names_options_that_do_not_match_the_state() {
    let scenario = an_upgrade_killed_before_the_backup_rolls_back(&[]).await;
    let before = scenario.saved_state().await.unwrap();
    let root = scenario.bed.root.as_str();
    for (case, option, value, recorded) in [
        (
            "resume",
            "--etcd-endpoints",
            "nowhere:2379",
            "my-release-etcd:2379",
        ),
        ("resume", "--root-path", "by-dev-of-others", root),
        ("resume", "--meta-sub-path", "other", "meta"),
        ("resume", "--target-version", "2.2.9", "2.2.16"),
        ("resume", "--source-version", "2.1.2", "2.1.4"),
        ("resume", "--image", "milvusdb/milvus:v2.2.9", "2.2.16"),
        ("resume", "--storage-class", "fast", "the cluster's default"),
        ("resume", "--backup-size", "1Gi", "10Gi"),
        (
            "resume",
            "--selector",
            "a=b",
            "app.kubernetes.io/instance=my-release",
        ),
        (
            "rollback",
            "--etcd-endpoints",
            "nowhere:2379",
            "my-release-etcd:2379",
        ),
        ("rollback", "--image", OWN_IMAGE, OLD_IMAGE),
    ] {
        let ended = upgrade(&scenario, &["-o", case, option, value]).await;
        ended.expect(2).says(option).says(recorded);
    }
    let down = upgrade(&scenario, &["-o", "rollback", "--stay-down"]).await;
    down.expect(2).says("--stay-down");
    assert_eq!(scenario.saved_state().await.unwrap(), before);

    // The same values as in the upgrade state are accepted.
    let claim = "meta-migration-backup-my-release";
    let etcd = "my-release-etcd:2379";
    let more = ["-e", etcd, "--backup-pvc", claim, "--backup-size", "10Gi"];
    let same = [&["-o", "resume", "-w", NEW_IMAGE][..], &more].concat();
    scenario.upgrade(&same).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    // As in the official script: the image to start again.
    let back = ["-o", "rollback", "-w", OLD_IMAGE];
    scenario.upgrade(&back).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn stay_down_given_to_resume_is_applied() {
    let scenario = an_upgrade_killed_before_the_backup_rolls_back(&[]).await;
    let broken = "root-coord/collection/4711";
    scenario.bed.metadata.put(broken, b"\xff\xff").await;
    scenario
        .upgrade(&["-o", "resume", "--stay-down"])
        .await
        .expect(5)
        .says("exit code 4");
    for (name, (_, count)) in scenario.bed.deployments().await {
        assert_eq!(count, 0, "{name}");
    }
}

#[tokio::test]
async fn a_secret_given_to_resume_is_applied() {
    let scenario = an_upgrade_killed_before_the_backup_rolls_back(&[]).await;
    let ended = upgrade(
        &scenario,
        &["-o", "resume", "--etcd-secret", "etcd-user", "--dry-run"],
    )
    .await;
    ended.expect(0).says("name: etcd-user");
}
