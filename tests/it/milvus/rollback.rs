//! 2.1.0 after a rollback, and on the staged keys of an interrupted migration.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bed::Bed;
use crate::support::milvus::SOURCE;
use crate::support::proxy::{Proxy, Verdict};

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_1_0_answers_the_same_after_a_rollback() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.16");
    bed.run(&["rollback"]);
    bed.assert_restored().await;
    let server = bed.start_as_2_1(SOURCE).await;
    bed.stop(server).await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_1_0_answers_the_same_after_2_2_16_ran() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.16");
    let server = bed.start_as_2_1("2.2.16").await;
    server.client(&["add"]);
    bed.stop(server).await;
    bed.run(&["rollback", "--accept-loss"]);
    let server = bed.start_as_2_1(SOURCE).await;
    bed.stop(server).await;
}

/// 2.1 may start again before the commit: it does not read staged keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_1_0_answers_the_same_with_staged_keys() {
    let bed = Bed::copy().await;
    migrate_until_killed(&bed, 20).await;
    bed.end_sessions().await;
    for prefix in [
        "datacoord-meta/binlog/",
        "datacoord-meta/channel-cp/",
        "field-index/",
        "root-coord/collection/",
        "indexes/",
    ] {
        assert!(bed.has_keys(prefix).await, "{prefix}");
    }
    let server = bed.start_as_2_1(SOURCE).await;
    bed.stop(server).await;
    // 2.1 has changed its metadata, so the staged keys are outdated.
    bed.run(&["rollback", "--accept-loss"]);
    assert!(!bed.has_keys("field-index/").await);
    bed.migrate("2.2.16");
    let server = bed.start_as_2_1("2.2.16").await;
    bed.stop(server).await;
}

/// Kills a migration before its `transaction`th transaction reaches etcd.
async fn migrate_until_killed(bed: &Bed, transaction: usize) {
    let proxy = Proxy::start(bed.etcd.address()).await;
    let pid = Arc::new(AtomicU32::new(0));
    let running = Arc::clone(&pid);
    proxy.decide(
        move |number| match number == transaction {
            true => Verdict::Before,
            false => Verdict::Pass,
        },
        move || {
            let pid = running.load(Ordering::SeqCst).to_string();
            let sent = Command::new("kill").args(["-KILL", &pid]).status();
            assert!(sent.unwrap().success());
        },
    );
    let arguments = [
        "migrate",
        "--target-version=2.2.16",
        "--max-txn-ops=16",
        "--in-flight=1",
    ];
    let mut program = bed.program(&arguments, proxy.endpoint());
    let mut child = program.stderr(Stdio::null()).spawn().unwrap();
    pid.store(child.id(), Ordering::SeqCst);
    let ended = tokio::task::block_in_place(|| child.wait().unwrap());
    assert_eq!(ended.code(), None, "the migration was not killed");
}
