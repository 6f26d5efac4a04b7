//! From release to release after the migration.

use super::bed::Bed;
use super::compare::assert_same;

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn each_release_of_a_chain_finds_everything() {
    let bed = Bed::copy().await;
    bed.migrate("2.2.4");
    let server = bed.start_as_2_1("2.2.4").await;
    server.client(&["work", "2.2.4"]);
    let seen = server.describe();
    bed.stop(server).await;
    for release in ["2.2.9", "2.2.16", "2.3.5"] {
        let server = bed.start(release);
        assert_same(&seen, &server.describe(), release, "in a chain");
        bed.stop(server).await;
    }
}
