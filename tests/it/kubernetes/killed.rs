//! The orchestrator is killed in each stage; the same command continues.

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

/// The user of these tests, with the rights of `deploy/`.
const USER: &str = "upgrader";

/// The stages in order.
const ORDER: [&str; 18] = [
    "probe",
    "plan",
    "stop",
    "drain",
    "backup",
    "migrate",
    "verify",
    "start",
    "settle",
    "upgraded",
    "look-back",
    "stop-new",
    "drain-new",
    "save-new",
    "roll-back",
    "check",
    "start-old",
    "settle-old",
];

/// Pauses the program in a stage, if the cluster can do that.
fn hold(scenario: &Scenario, stage: &str) {
    let mut behaviour = scenario.bed.shared.behaviour();
    let step = match stage {
        "probe" | "check" => "-status-",
        "plan" => "-plan-",
        "backup" => "-backup-",
        "migrate" => "-migrate-",
        "verify" => "-verify-",
        "roll-back" => "-rollback-",
        _ => "",
    };
    if !step.is_empty() {
        behaviour.held_tools.insert(step.to_owned());
    }
    match stage {
        "drain" | "drain-new" => {
            behaviour.hanging_components.insert("standalone".to_owned());
        }
        "settle" => {
            behaviour.unready_images.insert(NEW_IMAGE.to_owned());
        }
        "settle-old" => {
            behaviour.unready_images.insert(OLD_IMAGE.to_owned());
        }
        _ => {}
    }
}

/// Runs the command until the upgrade state has `stage`, and kills it. Stages that only write to
/// the cluster cannot be paused: the program may have reached the next one.
async fn kill_in(scenario: &Scenario, stage: &str, more: &[&str]) {
    let place = |name: &str| ORDER.iter().position(|one| *one == name);
    let wanted = place(stage).unwrap();
    // Two stages check etcd: let the first check pass.
    let first = if stage == "check" { "roll-back" } else { stage };
    hold(scenario, first);
    let mut child = scenario.bed.start(USER, &scenario.command(more));
    for held in [first, stage] {
        scenario
            .bed
            .wait(held, async || {
                let now = scenario.stage().await.and_then(|name| place(&name));
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "the program ended before {held}"
                );
                now.filter(|now| *now >= place(held).unwrap() && *now <= wanted + 1)
            })
            .await;
        if held != stage {
            hold(scenario, stage);
            scenario
                .bed
                .shared
                .behaviour()
                .held_tools
                .remove("-rollback-");
        }
    }
    child.kill().await.unwrap();
    *scenario.bed.shared.behaviour() = Behaviour::default();
}

async fn resumes_after(stage: &str) {
    let helm = Helm::standalone("my-release");
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, stage, &[]).await;
    scenario.delete_lease().await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

async fn rolls_back_after(stage: &str) {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    kill_in(&scenario, stage, &["-o", "rollback"]).await;
    scenario.delete_lease().await;
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

macro_rules! stages {
    ($way:ident: $($name:ident $stage:literal,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $way($stage).await;
            }
        )*
    };
}

stages! { resumes_after:
    an_upgrade_killed_while_probing_resumes "probe",
    an_upgrade_killed_while_planning_resumes "plan",
    w04_an_upgrade_killed_while_stopping_keeps_counts "stop",
    an_upgrade_killed_while_draining_resumes "drain",
    w09_an_upgrade_killed_in_its_backup_resumes "backup",
    an_upgrade_killed_while_migrating_resumes "migrate",
    an_upgrade_killed_while_verifying_resumes "verify",
    an_upgrade_killed_while_starting_resumes "start",
    an_upgrade_killed_while_settling_resumes "settle",
}

stages! { rolls_back_after:
    a_rollback_killed_while_stopping_2_2_resumes "stop-new",
    a_rollback_killed_while_draining_2_2_resumes "drain-new",
    a_rollback_killed_while_restoring_resumes "roll-back",
    a_rollback_killed_while_checking_resumes "check",
    a_rollback_killed_while_starting_2_1_resumes "start-old",
    a_rollback_killed_while_settling_2_1_resumes "settle-old",
}

#[tokio::test]
async fn a_dead_lease_is_acquired_and_w05_counts_are_kept() {
    let helm = Helm::cluster("my-release").with_replicas("proxy", 2);
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, "drain", &[]).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

/// Stages after a failure.
#[tokio::test]
async fn a_rollback_killed_after_a_failed_start_resumes() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    hold(&scenario, "settle");
    hold(&scenario, "roll-back");
    let more = ["--rollback-on-failure", "--timeout", "8s"];
    let mut child = scenario.bed.start(USER, &scenario.command(&more));
    scenario
        .bed
        .wait("the rollback", async || {
            scenario.stage().await.filter(|stage| stage == "roll-back")
        })
        .await;
    child.kill().await.unwrap();
    scenario.bed.shared.behaviour().held_tools.clear();
    scenario.delete_lease().await;
    // The same command: it first completes the started rollback.
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0, "the upgrade did not succeed");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_killed_upgrade_can_be_rolled_back() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_in(&scenario, "migrate", &[]).await;
    let status = scenario.upgrade(&["-o", "status"]).await;
    status.expect(0).says("migrating the metadata");
    scenario.delete_lease().await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}
