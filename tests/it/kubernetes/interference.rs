//! Events during an upgrade: an outage of etcd, a concurrent writer, deleted objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meta_kube::{lease_name, state_name};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario, role};
use crate::support::etcd;
use crate::support::kubernetes::behaviour::Behaviour;
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const USER: &str = "upgrader";

/// A proxy to etcd that can be closed.
struct Gate {
    address: String,
    open: Arc<AtomicBool>,
}

impl Gate {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(AtomicBool::new(true));
        let passes = open.clone();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let passes = passes.clone();
                tokio::spawn(async move {
                    if passes.load(Ordering::SeqCst) {
                        let etcd = etcd::shared().address();
                        let mut outside = TcpStream::connect(etcd).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
        Self { address, open }
    }
}

#[tokio::test]
async fn an_etcd_outage_after_the_stop_is_awaited() {
    let gate = Gate::start().await;
    let helm = Helm::standalone("my-release");
    let scenario = Scenario::behind(helm, role(), &gate.address).await;
    hold(&scenario, "-backup-");
    let child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-backup-").await;
    gate.open.store(false, Ordering::SeqCst);
    *scenario.bed.shared.behaviour() = Behaviour::default();
    let second = |name: &str| name.contains("-backup-") && name.ends_with("-2");
    scenario
        .bed
        .wait("a second attempt", async || {
            let jobs = scenario.bed.list("jobs").await;
            let mut names = jobs
                .iter()
                .filter_map(|job| job["metadata"]["name"].as_str());
            names.any(second).then_some(())
        })
        .await;
    gate.open.store(true, Ordering::SeqCst);
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("trying again");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn milvus_started_by_another_tool_is_stopped_again() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-verify-");
    let child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-verify-").await;
    let name = scenario.helm.deployment("standalone");
    // Its image cannot be pulled: no process uses the metadata.
    let missing = OLD_IMAGE.to_owned();
    bed.shared.behaviour().missing_images.insert(missing);
    bed.merge("deployments", &name, &json!({"spec": {"replicas": 1}}))
        .await;
    bed.shared.behaviour().held_tools.clear();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("another tool started Milvus");
    scenario.assert_runs(NEW_IMAGE).await;
}

/// Adds a Deployment of Milvus to the instance, as another chart or a user would; returns its name.
async fn add_a_deployment(scenario: &Scenario) -> String {
    let bed = &scenario.bed;
    let name = scenario.helm.deployment("standalone");
    let mut added = bed.get("deployments", &name).await.unwrap();
    let name = scenario.helm.deployment("mixcoord");
    added["metadata"] = json!({"name": name, "labels": added["metadata"]["labels"]});
    added["spec"]["replicas"] = json!(1);
    for pointer in [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        added.pointer_mut(pointer).unwrap()["component"] = json!("mixcoord");
    }
    let containers = added.pointer_mut("/spec/template/spec/containers").unwrap();
    // Its image cannot be pulled: nothing runs on the metadata.
    containers[0]["image"] = json!("milvusdb/milvus:v2.1.3");
    containers[0]["name"] = json!("mixcoord");
    containers[0]["args"] = json!(["milvus", "run", "mixcoord"]);
    let image = "milvusdb/milvus:v2.1.3".to_owned();
    bed.shared.behaviour().missing_images.insert(image);
    bed.create("deployments", &added).await;
    name
}

#[tokio::test]
async fn a_deployment_added_after_the_stop_halts_the_upgrade() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-verify-");
    let child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-verify-").await;
    let added = add_a_deployment(&scenario).await;
    bed.shared.behaviour().held_tools.clear();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended
        .expect(5)
        .says("was not there when the upgrade began")
        .says(&format!("scale deployment {added} --replicas=0"));
    let none = json!({"spec": {"replicas": 0}});
    bed.merge("deployments", &added, &none).await;
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_rollback_refuses_a_deployment_added_since() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let added = add_a_deployment(&scenario).await;
    let refused = scenario.upgrade(&["-o", "rollback"]).await;
    refused
        .expect(3)
        .says(&format!("scale deployment {added} --replicas=0"));
    scenario.bed.delete("deployments", &added).await;
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn an_old_image_set_during_the_start_is_replaced() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let new = NEW_IMAGE.to_owned();
    bed.shared.behaviour().unready_images.insert(new);
    let child = bed.start(USER, &scenario.command(&[]));
    let name = scenario.helm.deployment("standalone");
    let runs_new = async || {
        let deployments = bed.deployments().await;
        (deployments[&name] == (NEW_IMAGE.to_owned(), 1)).then_some(())
    };
    bed.wait("the new image", runs_new).await;
    // Its image cannot be pulled: nothing runs on the metadata.
    let missing = OLD_IMAGE.to_owned();
    bed.shared.behaviour().missing_images.insert(missing);
    let template = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "standalone", "image": OLD_IMAGE},
    ]}}}});
    let path = format!("{}/{name}", bed.path("deployments"));
    bed.admin.strategic(&path, &template).await;
    bed.wait("the new image again", runs_new).await;
    bed.shared.behaviour().unready_images.clear();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended
        .expect(0)
        .says("another tool started Milvus")
        .says(&format!("{name} with {OLD_IMAGE}"));
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_corrupt_upgrade_state_is_named_with_a_command() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let map = state_name("my-release");
    let corrupt = json!({"data": {"state.json": "{"}});
    scenario.bed.merge("configmaps", &map, &corrupt).await;
    for operation in ["status", "resume", "rollback"] {
        let halted = scenario.upgrade(&["-o", operation]).await;
        halted
            .expect(5)
            .says("cannot be read")
            .says(&format!("delete configmap {map}"));
    }
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.bed.delete("configmaps", &map).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_deleted_lease_is_acquired_again() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-backup-");
    let child = bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-backup-").await;
    let lease = lease_name("my-release");
    bed.delete("leases", &lease).await;
    bed.wait("the Lease", async || bed.get("leases", &lease).await)
        .await;
    *bed.shared.behaviour() = Behaviour::default();
    let ended = ended(child.wait_with_output().await.unwrap());
    ended.expect(0).says("acquiring it again");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_rollback_starts_another_image_of_the_old_line() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let older = "milvusdb/milvus:v2.1.1";
    let more = ["-o", "rollback", "-w", older];
    scenario.upgrade(&more).await.expect(0);
    scenario.bed.wait_until_settled().await;
    let deployments = scenario.bed.deployments().await;
    assert_eq!(
        deployments[&scenario.helm.deployment("standalone")].0,
        older
    );
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn status_reports_an_old_image_set_by_helm() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let bed = &scenario.bed;
    let name = scenario.helm.deployment("standalone");
    let missing = OLD_IMAGE.to_owned();
    bed.shared.behaviour().missing_images.insert(missing);
    let template = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "standalone", "image": OLD_IMAGE},
    ]}}}});
    bed.admin
        .strategic(&format!("{}/{name}", bed.path("deployments")), &template)
        .await;
    let status = scenario.upgrade(&["-o", "status"]).await;
    status.expect(0).says("2.1.4 runs on 2.2 metadata");
}

#[tokio::test]
async fn a_finished_upgrade_without_state_rolls_back() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let saved_state = state_name("my-release");
    scenario.bed.delete("configmaps", &saved_state).await;
    let place = ["upgrade", "-i", "my-release", "-o", "rollback"];
    let without_versions = scenario.bed.run(&place).await;
    without_versions
        .expect(3)
        .says("meta-migration-backup-my-release")
        .says("-s 2.1.4 -t 2.2.16 -o rollback");
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn sighup_ends_an_upgrade_like_sigterm() {
    // An ignored signal stays ignored in child processes: bit 0 of this mask is SIGHUP.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    assert_eq!(
        mask & 1,
        0,
        "SIGHUP is ignored: run the tests without nohup"
    );
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    hold(&scenario, "-plan-");
    let child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-plan-").await;
    let pid = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status();
    assert!(sent.unwrap().success());
    let ended = ended(child.wait_with_output().await.unwrap());
    ended
        .expect(143)
        .says("ended by a signal")
        .says("-o resume");
    // The Lease is released: the next command does not wait for it to expire.
    *scenario.bed.shared.behaviour() = Behaviour::default();
    scenario.upgrade(&["-o", "resume"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}
