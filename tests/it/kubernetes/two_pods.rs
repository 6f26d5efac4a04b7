//! The pod of a running Job is deleted: an old server starts a second pod at once.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use milvus_meta::layout::Layout;

use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario, role};
use crate::support::etcd;
use crate::support::kubernetes::behaviour::{Event, Shared};
use crate::support::kubernetes::ended;
use crate::support::kubernetes::helm::Helm;
use crate::support::proxy::{Proxy, Verdict};

/// The transaction at which the first pod is suspended: it holds the lock and has written.
const FROZEN_IN: usize = 3;

/// The pods that migrated, and their process ids.
fn migrators(shared: &Shared) -> Vec<(String, u32)> {
    let events = shared.events().into_iter();
    let started = events.filter_map(|event| {
        if let Event::ToolStarted { pod, pid, .. } = event {
            Some((pod, pid))
        } else {
            None
        }
    });
    started
        .filter(|(pod, _)| pod.contains("-migrate-"))
        .collect()
}

/// The exit code of a pod's process.
fn exit_code(shared: &Shared, wanted: &str) -> Option<i32> {
    shared.events().into_iter().find_map(|event| {
        if let Event::ToolEnded { pod, code } = event {
            (pod == wanted).then_some(code)
        } else {
            None
        }
    })
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn is_alive(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap()
}

#[tokio::test]
async fn only_one_of_two_migrate_pods_writes() {
    let proxy = Proxy::start(etcd::shared().address()).await;
    let address = proxy.endpoint().strip_prefix("http://").unwrap();
    let scenario = Scenario::behind(Helm::standalone("my-release"), role(), address).await;
    let bed = &scenario.bed;
    let transactions = Arc::new(AtomicUsize::new(0));
    let (seen, judging) = (transactions.clone(), bed.shared.clone());
    let decide = move |_| {
        let freezes =
            !migrators(&judging).is_empty() && seen.fetch_add(1, Ordering::SeqCst) + 1 == FROZEN_IN;
        if freezes {
            Verdict::Around
        } else {
            Verdict::Pass
        }
    };
    let acting = bed.shared.clone();
    proxy.decide(decide, move || signal("STOP", migrators(&acting)[0].1));
    hold(&scenario, "-verify-");
    let child = bed.start("upgrader", &scenario.command(&[]));
    bed.wait("the first pod to freeze", async || {
        (transactions.load(Ordering::SeqCst) >= FROZEN_IN).then_some(())
    })
    .await;

    // Its node is unreachable, so the process continues.
    bed.shared.behaviour().cut_off = true;
    let (first, pid) = migrators(&bed.shared)[0].clone();
    bed.delete("pods", &first).await;
    bed.wait("a second pod to migrate", async || {
        let (second, _) = migrators(&bed.shared).get(1)?.clone();
        exit_code(&bed.shared, &second).filter(|code| *code == 0)
    })
    .await;
    let after = bed.metadata.dump().await;
    assert_eq!(bed.metadata.layout().await, Layout::V2_2);
    assert!(is_alive(pid), "there were never two pods");

    // The process continues in the middle of its work and must detect that it lost the lock.
    signal("CONT", pid);
    bed.wait("the first to give up", async || {
        (!is_alive(pid)).then_some(())
    })
    .await;
    assert!(bed.metadata.dump().await == after, "the run wrote again");
    bed.shared.behaviour().cut_off = false;
    let code = bed
        .wait("its pod to end", async || exit_code(&bed.shared, &first))
        .await;
    assert_ne!(code, 0);

    bed.shared.behaviour().held_tools.clear();
    ended(child.wait_with_output().await.unwrap()).expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_migrate_pod_drained_from_its_node_is_retried() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    hold(&scenario, "-migrate-");
    let child = bed.start("upgrader", &scenario.command(&[]));
    let pod = wait_for_pod(&scenario, "-migrate-").await;
    bed.delete("pods", &pod).await;
    bed.shared.behaviour().held_tools.clear();
    ended(child.wait_with_output().await.unwrap()).expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}
