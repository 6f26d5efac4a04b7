//! From release to release after the migration.

use super::bed::{Bed, assert_same, seen_by};

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn each_release_of_a_chain_finds_everything() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.4");
    let server = bed.start("2.2.4");
    let first = "first start of 2.2.4";
    assert_same(&seen_by("2.2.4").await, &server.describe(), first);
    server.client(&["work", "2.2.4"]);
    let seen = server.describe();
    bed.stop(server).await;
    for release in ["2.2.9", "2.2.16", "2.3.5"] {
        let server = bed.start(release);
        assert_same(&seen, &server.describe(), &format!("{release} in a chain"));
        bed.stop(server).await;
    }
}
