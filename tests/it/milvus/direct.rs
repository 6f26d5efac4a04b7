//! From 2.1.0 to one release.

use super::bed::{Bed, assert_same, seen_by};
use crate::support::milvus::SOURCE;

/// First start, further work, second start.
async fn upgrade_to(release: &'static str) {
    let bed = Bed::copy().await;
    bed.migrate(release);
    let server = bed.start(release);
    let first = format!("first start of {release}");
    assert_same(&seen_by(release).await, &server.describe(), &first);
    server.client(&["work", release]);
    let seen = server.describe();
    bed.stop(server).await;
    let server = bed.start(release);
    let second = format!("second start of {release}");
    assert_same(&seen, &server.describe(), &second);
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

/// Its sessions stay registered until their leases expire.
#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn a_killed_2_1_0_is_migrated_without_loss() {
    let bed = Bed::copy().await;
    let server = bed.start(SOURCE);
    let second = "second start of 2.1.0";
    assert_same(&seen_by(SOURCE).await, &server.describe(), second);
    server.kill();
    bed.run(&["migrate", "--target-version=2.2.16", "--wait-sessions=120s"]);
    let server = bed.start("2.2.16");
    let first = "first start of 2.2.16";
    assert_same(&seen_by("2.2.16").await, &server.describe(), first);
    bed.stop(server).await;
}

/// Releases from 2.3 on write segment records without the logs that 2.1 kept inside them.
#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_3_5_keeps_rows_when_deletes_are_compacted() {
    let bed = Bed::copy().await;
    bed.migrate("2.3.5");
    let server = bed.start("2.3.5");
    server.client(&["compact"]);
    let seen = server.describe();
    bed.stop(server).await;
    let server = bed.start("2.3.5");
    assert_same(&seen, &server.describe(), "start after the compaction");
    bed.stop(server).await;
}
