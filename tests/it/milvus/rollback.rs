//! Back to 2.1.0.

use super::bed::{Bed, assert_same, seen_by};
use crate::support::milvus::SOURCE;

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_1_0_answers_the_same_after_a_rollback() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.16");
    bed.run(&["rollback"]);
    bed.assert_restored().await;
    let server = bed.start(SOURCE);
    let when = "2.1.0 after a rollback";
    assert_same(&seen_by(SOURCE).await, &server.describe(), when);
    bed.stop(server).await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_1_0_answers_the_same_after_2_2_16_ran() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.16");
    let server = bed.start("2.2.16");
    let first = "first start of 2.2.16";
    assert_same(&seen_by("2.2.16").await, &server.describe(), first);
    server.client(&["add"]);
    bed.stop(server).await;
    bed.run(&["rollback", "--accept-loss"]);
    let server = bed.start(SOURCE);
    let when = "2.1.0 after 2.2.16 ran";
    assert_same(&seen_by(SOURCE).await, &server.describe(), when);
    bed.stop(server).await;
}
