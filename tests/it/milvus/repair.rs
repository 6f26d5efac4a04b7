//! Collections in the form that the official tool writes: lost after an alteration, and kept after a repair.

use super::bed::Bed;
use super::compare::assert_same;

/// What the collection has.
const FIELDS: &str = "2";

/// Fields of the collection `draft`, which a client renames to `final`.
async fn fields_after_a_rename(bed: &Bed, release: &str) -> Result<String, String> {
    let server = bed.start_as_2_1(release).await;
    assert_eq!(server.client(&["fields", "draft"]).trim(), FIELDS);
    server.client(&["rename"]);
    bed.stop(server).await;
    let server = bed.start(release);
    let found = server.new_client().run(&["fields", "final"]);
    // What it logs about a collection that it lost does not matter.
    drop(server);
    bed.end_sessions().await;
    found
}

async fn embedded(release: &str) -> Bed {
    let bed = Bed::copy().await;
    bed.run(&[
        "migrate",
        "--target-version",
        release,
        "--collection-form=embedded",
    ]);
    bed
}

/// A repair for a release; `later` is started after it.
async fn repaired_for(release: &str, later: Option<&str>) {
    let bed = embedded(release).await;
    let lost = fields_after_a_rename(&bed, release).await;
    assert!(
        lost.as_deref().map(str::trim) != Ok(FIELDS),
        "Milvus {release} does not lose the embedded form"
    );
    let bed = embedded(release).await;
    bed.run(&["repair", "--target-version", release]);
    bed.run(&["verify", "--target-version", release]);
    let server = bed.start_as_2_1(release).await;
    server.client(&["work", release]);
    let seen = server.describe();
    bed.stop(server).await;
    for release in [release].into_iter().chain(later) {
        let server = bed.start(release);
        assert_same(&seen, &server.describe(), release, "after a repair");
        bed.stop(server).await;
    }
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_2_16_keeps_what_was_repaired() {
    repaired_for("2.2.16", Some("2.3.5")).await;
}

#[tokio::test]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn milvus_2_3_5_keeps_what_was_repaired() {
    repaired_for("2.3.5", None).await;
}
