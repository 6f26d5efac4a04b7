//! What an earlier process, or a person, left behind: no release starts on metadata that is not its own.

use std::time::Duration;

use super::Scenario;
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

async fn wait_for_pod(scenario: &Scenario, part: &str) {
    let bed = &scenario.bed;
    bed.wait(part, async || {
        let pods = bed.list("pods").await;
        let mut names = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        names.any(|name| name.contains(part)).then_some(())
    })
    .await;
}

fn hold(scenario: &Scenario, step: &str) {
    let mut behaviour = scenario.bed.shared.behaviour();
    behaviour.held_tools.insert(step.to_owned());
}

/// Kills the upgrade while the pod of a step waits to start.
async fn kill_before(scenario: &Scenario, step: &str) {
    hold(scenario, step);
    let mut child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(scenario, step).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    child.kill().await.unwrap();
    scenario.forget_lease().await;
}

#[tokio::test]
async fn a_migration_that_did_not_start_yet_never_runs_beside_the_old_release() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    kill_before(&scenario, "-migrate-").await;
    // The old release has no session for a while.
    let old = OLD_IMAGE.to_owned();
    scenario.bed.shared.behaviour().missing_images.insert(old);
    let rollback = scenario.command(&["-o", "rollback"]);
    let child = scenario.bed.start(USER, &rollback);
    scenario
        .bed
        .wait("the old release", async || {
            scenario.stage().await.filter(|stage| stage == "settle-old")
        })
        .await;
    // The pod of the migration would start now.
    scenario.bed.shared.behaviour().held_tools.clear();
    tokio::time::sleep(Duration::from_secs(4)).await;
    *scenario.bed.shared.behaviour() = Behaviour::default();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("is taken away");
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}
