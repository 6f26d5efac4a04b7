//! From 2.1.0 to one release.

use super::bed::Bed;
use super::compare::assert_same;
use crate::support::milvus::SOURCE;

/// First start, further work, second start.
async fn upgrade_to(release: &'static str) {
    let bed = Bed::copy().await;
    bed.migrate(release);
    let server = bed.start_as_2_1(release).await;
    // T17, T20: 2.2 builds skipped indexes only when the client creates them again, as done here.
    if release < "2.3" {
        assert!(!bed.missing_indexes().is_empty());
    }
    server.client(&["work", release]);
    let seen = server.describe();
    bed.wait_for_indexes(release);
    bed.stop(server).await;
    let server = bed.start(release);
    assert_same(&seen, &server.describe(), release, "second start");
    bed.stop(server).await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_2_4_finds_everything_of_2_1_0() {
    upgrade_to("2.2.4").await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_2_9_finds_everything_of_2_1_0() {
    upgrade_to("2.2.9").await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_2_16_finds_everything_of_2_1_0() {
    upgrade_to("2.2.16").await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_3_5_finds_everything_of_2_1_0() {
    upgrade_to("2.3.5").await;
}

/// The sessions of the killed server stay registered until their leases expire.
#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn a_killed_milvus_2_1_0_is_migrated_without_loss() {
    let bed = Bed::copy().await;
    bed.start_as_2_1(SOURCE).await.kill();
    bed.run(&["migrate", "--target-version=2.2.16", "--wait-sessions=120s"]);
    let server = bed.start_as_2_1("2.2.16").await;
    bed.stop(server).await;
}

/// T14. 2.3.5 seals a segment with a record without the logs that 2.1 kept in it, so with
/// `--segment-form inline` the rows of a growing segment are lost here.
#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_3_5_keeps_rows_after_compaction() {
    let bed = Bed::copy().await;
    bed.migrate("2.3.5");
    let server = bed.start("2.3.5");
    server.client(&["compact"]);
    let mut seen = server.describe();
    server.client(&["seal"]);
    bed.kill(server).await;
    let server = bed.start("2.3.5");
    let mut found = server.describe();
    assert_eq!(found["growing"].take()["answers"]["rows"], 2600);
    seen["growing"].take();
    assert_same(&seen, &found, "2.3.5", "start after the crash");
    bed.stop(server).await;
}
