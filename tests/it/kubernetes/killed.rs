//! The orchestrator is killed in each stage; the same command continues.

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

/// Who runs the program in these tests: a user with the rights of `deploy/`.
const USER: &str = "upgrader";

/// The stages in the order in which they follow each other.
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

/// Keeps the program in a stage, where something in the cluster can.
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

/// Runs the command until the record shows `stage` and kills it there. What only writes to the cluster
/// cannot be held: there it may have come to the next one.
async fn kill_in(scenario: &Scenario, stage: &str, more: &[&str]) {
    let place = |name: &str| ORDER.iter().position(|one| *one == name);
    let wanted = place(stage).unwrap();
    // A look into etcd is part of two stages: let the first one pass.
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
                    "it ended before {held}"
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

async fn goes_on_after(stage: &str) {
    let helm = Helm::standalone("my-release");
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, stage, &[]).await;
    scenario.delete_lease().await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

async fn goes_back_after(stage: &str) {
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

stages! { goes_on_after:
    killed_while_probing_it_goes_on "probe",
    killed_while_planning_it_goes_on "plan",
    w04_killed_while_stopping_it_goes_on_with_the_counts "stop",
    killed_while_draining_it_goes_on "drain",
    w09_killed_while_backing_up_it_goes_on "backup",
    killed_while_migrating_it_goes_on "migrate",
    killed_while_verifying_it_goes_on "verify",
    killed_while_starting_it_goes_on "start",
    killed_while_settling_it_goes_on "settle",
}

stages! { goes_back_after:
    killed_while_stopping_the_new_it_goes_back "stop-new",
    killed_while_draining_the_new_it_goes_back "drain-new",
    killed_while_rolling_back_it_goes_back "roll-back",
    killed_while_checking_it_goes_back "check",
    killed_while_starting_the_old_it_goes_back "start-old",
    killed_while_settling_the_old_it_goes_back "settle-old",
}

#[tokio::test]
async fn a_dead_lease_is_acquired_and_w05_counts_are_kept() {
    let helm = Helm::cluster("my-release").with_replicas("proxy", 2);
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, "drain", &[]).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

/// Stages that come after a failure.
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
    // The same command, not another one: what was started is finished first.
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0, "it is no upgrade");
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
