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
    let blind = scenario.bed.run(&place).await;
    blind
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
