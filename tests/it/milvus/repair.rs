//! Collections in the form of the official tool: lost after an alteration, and complete again after
//! a repair.

use super::bed::Bed;
use super::compare::assert_same;

/// A release runs on the embedded form, and a client renames a collection, which has no fields
/// after the next start. The repair restores it from its snapshots and converts the others; the
/// `later` releases find everything as well.
async fn repaired_for(release: &str, later: &[&str]) {
    let bed = Bed::copy().await;
    bed.run(&[
        "migrate",
        "--target-version",
        release,
        "--collection-form=embedded",
    ]);
    let server = bed.start_as_2_1(release).await;
    server.client(&["rename"]);
    let mut seen = server.describe();
    bed.stop(server).await;
    let server = bed.start(release);
    let found = server.new_client().run(&["fields", "final"]);
    // Its log may contain errors about the lost collection.
    drop(server);
    bed.end_sessions().await;
    assert!(
        found.as_deref().map(str::trim) != Ok("2"),
        "Milvus {release} does not lose the embedded form"
    );
    let report = bed.run(&["repair", "--target-version", release]);
    assert!(report.contains("\"final\""), "{report}");
    bed.run(&["verify", "--target-version", release]);
    let server = bed.start(release);
    assert_same(&seen, &server.describe(), release, "after a repair");
    server.client(&["work", release]);
    seen = server.describe();
    bed.stop(server).await;
    for release in [release].iter().chain(later) {
        let server = bed.start(release);
        assert_same(&seen, &server.describe(), release, "later");
        bed.stop(server).await;
    }
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_2_16_finds_repaired_collections() {
    repaired_for("2.2.16", &["2.3.5"]).await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_3_5_finds_repaired_collections() {
    repaired_for("2.3.5", &[]).await;
}
