//! Metadata in both layouts, and incomplete 2.2 metadata: `preflight` and `upgrade` decide like the
//! engine.

use std::collections::BTreeMap;

use milvus_meta::layout::Layout;
use milvus_meta::transform::CollectionForm::{self, Database, Embedded};

use super::preflight::{finding_with, findings_with, report};
use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::helm::Helm;
use crate::support::metadata::{Metadata, collection, definition};

/// The keys that Milvus 2.2 wrote for collection 9 with an index.
fn of_2_2(form: CollectionForm) -> BTreeMap<String, Vec<u8>> {
    let mut made = Metadata::default();
    made.put("root-coord/collection/9", &collection(9));
    made.put("root-coord/index/9/7", &definition(7));
    made.after(&made.migrate(form))
}

async fn put(scenario: &mut Scenario, entries: BTreeMap<String, Vec<u8>>) {
    for (key, value) in entries {
        scenario.bed.metadata.put(&key, &value).await;
    }
    scenario.before = scenario.bed.metadata.dump().await;
}

async fn both_layouts() -> Scenario {
    let mut scenario = Scenario::new(Helm::standalone("my-release")).await;
    put(&mut scenario, of_2_2(Database)).await;
    assert_eq!(scenario.bed.metadata.layout().await, Layout::Mixed);
    scenario
}

#[tokio::test]
async fn both_layouts_are_upgraded_and_rolled_back() {
    let scenario = both_layouts().await;
    let document = report(&scenario, 0, &["-t", "2.2.16"]).await;
    let message = finding_with(&document, "mixed-layout");
    assert!(message.starts_with("warning"), "{message}");
    assert!(message.contains("is carried over"), "{message}");
    scenario.upgrade(&["--yes"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    scenario
        .upgrade(&["-o", "rollback", "--yes"])
        .await
        .expect(0);
    scenario.bed.wait_until_settled().await;
    let name = scenario.helm.deployment("standalone");
    let found = &scenario.bed.deployments().await[&name];
    assert_eq!(found, &("milvusdb/milvus:v2.1.4".to_owned(), 1));
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn a_contradiction_is_refused_before_the_stop() {
    let mut scenario = both_layouts().await;
    let mut other = collection(9);
    other.partition_names = vec!["other".into()];
    let record = prost::Message::encode_to_vec(&other);
    put(
        &mut scenario,
        BTreeMap::from([("root-coord/collection/9".to_owned(), record)]),
    )
    .await;
    let document = report(&scenario, 3, &["-t", "2.2.16"]).await;
    let message = finding_with(&document, "contradiction");
    assert!(message.starts_with("error"), "{message}");
    assert!(message.contains("collection_9"), "{message}");
    assert!(
        document["next"]
            .as_str()
            .unwrap()
            .starts_with("fix the errors")
    );
    let refused = scenario.upgrade(&["--yes"]).await;
    refused
        .expect(1)
        .says("collection_9")
        .says("before anything was changed");
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn an_unreadable_form_of_2_2_leads_to_repair() {
    let helm = Helm::standalone("my-release").of_2_2("2.2.16", "4.0.34");
    let mut scenario = Scenario::without_metadata(helm).await;
    let small = Metadata::small();
    put(&mut scenario, small.after(&small.migrate(Embedded))).await;
    let document = report(&scenario, 3, &["-t", "2.3.22"]).await;
    let message = finding_with(&document, "embedded-form");
    assert!(message.contains("meta-migration repair"), "{message}");
    assert_eq!(
        findings_with(&document, "mixed-layout"),
        Vec::<String>::new()
    );
    scenario.assert_untouched().await;
}
