//! `rolling-update`: from 2.2.3 on, without a migration.

use meta_kube::lease_name;
use serde_json::json;

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Event;
use crate::support::kubernetes::helm::Helm;
use crate::support::kubernetes::{Ended, ended};

fn command<'a>(scenario: &'a Scenario, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec![
        "rolling-update",
        "-i",
        &scenario.helm.release,
        "-n",
        &scenario.bed.namespace,
        "-t",
        "2.2.16",
        "-w",
        NEW_IMAGE,
    ];
    words.extend_from_slice(more);
    words
}

async fn update(scenario: &Scenario, more: &[&str]) -> Ended {
    scenario.bed.run(&command(scenario, more)).await
}

fn cluster() -> Helm {
    let mut helm = Helm::cluster("my-release").of_2_2("2.2.3", "4.0.7");
    helm.active_standby = true;
    helm.attu = true;
    helm.with_replicas("querynode", 2)
}

/// Components in the order in which their first pod with the new image started.
fn order(scenario: &Scenario) -> Vec<String> {
    let mut order = Vec::new();
    for event in scenario.bed.shared.events() {
        if let Event::MilvusStarted {
            component, image, ..
        } = event
            && image == NEW_IMAGE
            && !order.contains(&component)
        {
            order.push(component);
        }
    }
    order
}

#[tokio::test]
async fn rolling_update_updates_coordinators_first() {
    let scenario = Scenario::without_metadata(cluster()).await;
    update(&scenario, &["-o", "update"]).await.expect(0);
    scenario.bed.wait_until_settled().await;
    let deployments = scenario.bed.deployments().await;
    for component in scenario.helm.components() {
        let count = i64::from(scenario.helm.count(component));
        let found = &deployments[&scenario.helm.deployment(component)];
        assert_eq!(found, &(NEW_IMAGE.to_owned(), count), "{component}");
    }
    let attu = &deployments["my-release-milvus-attu"];
    assert_eq!(attu.0, "zilliz/attu:v2.1.1");
    let order = order(&scenario);
    assert_eq!(order.len(), 8);
    assert!(
        order[..4].iter().all(|one| one.ends_with("coord")),
        "{order:?}"
    );
    assert_eq!(order[0], "rootcoord");
    assert_eq!(order[7], "proxy");
    // A second run has nothing to do.
    update(&scenario, &[]).await.expect(0);
}

#[tokio::test]
async fn rolling_update_ends_at_an_unhealthy_deployment() {
    let scenario = Scenario::without_metadata(cluster()).await;
    scenario.bed.fail_pulls_of(NEW_IMAGE);
    let ended = update(&scenario, &["--timeout", "6s"]).await;
    assert_ne!(ended.code, 0);
    ended
        .says("my-release-milvus-rootcoord")
        .says("ImagePullBackOff");
    let deployments = scenario.bed.deployments().await;
    let new = deployments.values().filter(|found| found.0 == NEW_IMAGE);
    assert_eq!(new.count(), 1, "{deployments:?}");
    // Once the cause is fixed, the same command resumes.
    scenario.bed.shared.behaviour().missing_images.clear();
    update(&scenario, &[]).await.expect(0);
    assert_eq!(order(&scenario).len(), 8);
}

#[tokio::test]
async fn rolling_update_refuses_unsupported_instances() {
    let standalone = Helm::standalone("my-release").of_2_2("2.2.3", "4.0.7");
    let mut alone = cluster();
    alone.active_standby = false;
    let old = Helm::cluster("my-release");
    for (helm, reason) in [
        (standalone, "RocksMQ"),
        (alone, "enableActiveStandby"),
        (old, "2.1.4 cannot"),
    ] {
        let scenario = Scenario::without_metadata(helm).await;
        let ended = update(&scenario, &[]).await;
        ended.expect(3).says(reason);
        assert_eq!(order(&scenario), Vec::<String>::new(), "{reason}");
    }
}

#[tokio::test]
async fn rolling_update_refuses_an_unknown_release() {
    let mut helm = Helm::standalone("my-release");
    helm.message_queue = "pulsar";
    helm.image = "registry.example.com/milvus:production".to_owned();
    let scenario = Scenario::new(helm).await;
    update(&scenario, &[])
        .await
        .expect(3)
        .says("--source-version");
    update(&scenario, &["-s", "2.1.4"])
        .await
        .expect(3)
        .says("2.1.4 cannot");
    assert!(order(&scenario).is_empty());
}

#[tokio::test]
async fn rolling_update_refuses_gitops_until_accepted() {
    let mut helm = Helm::standalone("my-release").of_2_2("2.2.3", "4.0.7");
    helm.message_queue = "pulsar";
    let scenario = Scenario::without_metadata(helm).await;
    let name = scenario.helm.deployment("standalone");
    let mark = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}});
    scenario.bed.merge("deployments", &name, &mark).await;
    let ended = update(&scenario, &[]).await;
    ended.expect(3).says("--accept gitops");
    assert!(order(&scenario).is_empty());
    let accepting = ["--accept", "gitops"];
    update(&scenario, &accepting).await.expect(0).says("gitops");
    assert_eq!(order(&scenario), ["standalone"]);
}

#[tokio::test]
async fn rolling_update_without_its_lease_changes_nothing() {
    let scenario = Scenario::without_metadata(cluster()).await;
    let bed = &scenario.bed;
    bed.keep_unready(NEW_IMAGE);
    let child = bed.start("upgrader", &command(&scenario, &["--timeout", "40s"]));
    bed.wait("the first to be updated", async || {
        (order(&scenario).len() == 1).then_some(())
    })
    .await;
    let other = json!({"spec": {"holderIdentity": "another-one"}});
    bed.merge("leases", &lease_name("my-release"), &other).await;
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(5).says("the Lease was lost");
    assert_eq!(order(&scenario), ["rootcoord"]);
    let lease = bed.get("leases", &lease_name("my-release")).await.unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "another-one");
}
