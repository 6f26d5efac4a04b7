//! The orchestrator is killed in each stage; the same command goes on.

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

/// Who runs the program in these tests: a user with the rights of `deploy/`.
const USER: &str = "upgrader";

/// The stages in the order in which they follow each other.
const ORDER: [&str; 16] = [
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
    "stop-new",
    "drain-new",
    "roll-back",
    "check",
    "start-old",
    "settle-old",
];

/// Runs the command until the record shows `stage`, or one that follows it closely, and kills it there.
async fn kill_in(scenario: &Scenario, stage: &str, more: &[&str]) {
    let place = |name: &str| ORDER.iter().position(|one| *one == name);
    let wanted = place(stage).unwrap();
    let mut child = scenario.bed.start(USER, &scenario.command(more));
    loop {
        let now = scenario.stage().await.and_then(|name| place(&name));
        if now.is_some_and(|now| now >= wanted) {
            child.kill().await.unwrap();
            return;
        }
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().await.unwrap();
            panic!("it was never seen in {stage}: {:?}", ended(output));
        }
    }
}

async fn goes_on_after(stage: &str) {
    let helm = Helm::standalone("my-release");
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, stage, &[]).await;
    scenario.forget_lease().await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

async fn goes_back_after(stage: &str) {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    kill_in(&scenario, stage, &["-o", "rollback"]).await;
    scenario.forget_lease().await;
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
    killed_while_rolling_back_it_goes_back "roll-back",
    killed_while_starting_the_old_it_goes_back "start-old",
}

#[tokio::test]
async fn a_dead_orchestrators_lease_is_taken_over_and_w05_counts_are_those_of_the_first_run() {
    let helm = Helm::cluster("my-release").with_replicas("proxy", 2);
    let scenario = Scenario::new(helm).await;
    kill_in(&scenario, "drain", &[]).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn the_way_back_is_open_from_the_middle() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_in(&scenario, "migrate", &[]).await;
    scenario.forget_lease().await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}
