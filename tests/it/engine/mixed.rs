//! Metadata in both layouts: a migration merges them, resumes after a kill, and is rolled back to
//! the mixed state.

use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, Environment, ErrorClass, plan};
use meta_report::MigrateOutcome;
use meta_testing::memory::MemoryStore;
use milvus_meta::layout::Layout;
use milvus_meta::transform::CollectionForm::{self, Database, Split};
use prost::Message as _;

use super::instance::{Instance, limits, plain};
use crate::support::metadata::{CREATED, Metadata, alias, collection, definition, root};

/// Milvus 2.2 created a collection with an index in unmigrated metadata: before 2.2.9 outside
/// databases, later inside.
pub(crate) fn after_2_2(form: CollectionForm) -> Metadata {
    let mut made = Metadata::default();
    made.put("root-coord/collection/9", &collection(9));
    made.put("root-coord/index/9/7", &definition(7));
    let made = made.after(&made.migrate(form));
    let mut mixed = Metadata::small();
    mixed.entries.extend(made);
    mixed
}

/// 2.1 created a collection, an index and an alias after a finished migration.
async fn after_2_1(form: CollectionForm) -> Instance {
    let instance = Instance::small(form);
    instance.migrate().await.unwrap();
    let record = collection(5).encode_to_vec();
    let snapshot = format!("snapshots/root-coord/collection/5_ts{CREATED}");
    instance.put("root-coord/collection/5", &record);
    instance.put(&snapshot, &record);
    instance.put("root-coord/index/5/7", &definition(7).encode_to_vec());
    instance.put(
        "root-coord/collection-alias/fresh",
        &alias("fresh", 1).encode_to_vec(),
    );
    instance
}

async fn starts() -> Vec<(String, Instance)> {
    let mut starts = Vec::new();
    for (theirs, ours) in [(Split, Split), (Split, Database), (Database, Database)] {
        let name = format!("2.2 created a collection ({theirs}), {ours}");
        starts.push((name, Instance::of(&after_2_2(theirs), ours)));
    }
    for form in [Split, Database] {
        starts.push((
            format!("2.1 ran after a migration, {form}"),
            after_2_1(form).await,
        ));
    }
    starts
}

/// The metadata without the journal.
fn metadata(store: &MemoryStore) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    let journal = root().journal_key();
    let mut all = plain(&store.dump());
    all.retain(|(key, _)| **key != *journal);
    all
}

#[tokio::test]
async fn both_layouts_are_merged_and_rolled_back() {
    for (name, instance) in starts().await {
        let before = metadata(&instance.store);
        let report = instance.migrate().await.unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated, "{name}");
        assert!(report.verified, "{name}");
        assert_eq!(report.plan.unwrap().layout, Layout::Mixed, "{name}");
        instance.expect_complete();
        let again = instance.migrate().await.unwrap();
        assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated, "{name}");
        instance.roll_back().await.unwrap();
        assert_eq!(metadata(&instance.store), before, "{name}");
    }
}

#[tokio::test]
async fn a_killed_run_is_resumed_or_rolled_back() {
    for phase in [
        Phase::Staging,
        Phase::Staged,
        Phase::Committed,
        Phase::Tidying,
    ] {
        for more in [0, 1] {
            for back in [false, true] {
                for (name, instance) in starts().await {
                    let name = format!("{name}, {phase:?} and {more}, back: {back}");
                    let before = metadata(&instance.store);
                    instance.kill_after(phase, more);
                    drop(instance.migrate().await);
                    assert!(instance.store.is_crashed(), "{name}");
                    let instance = instance.next();
                    instance.end_lock();
                    if back {
                        instance.roll_back().await.unwrap();
                        assert_eq!(metadata(&instance.store), before, "{name}");
                        continue;
                    }
                    let report = instance.migrate().await.unwrap();
                    assert_eq!(report.outcome, MigrateOutcome::Migrated, "{name}");
                    instance.expect_complete();
                }
            }
        }
    }
}

#[tokio::test]
async fn a_plan_matches_the_migration() {
    for (name, instance) in starts().await {
        let environment = Environment::silent();
        let options = instance.options().transform;
        let planned = plan(&instance.store, &root(), &options, &limits(), &environment)
            .await
            .unwrap();
        let report = planned.report;
        assert!(
            !report.findings.iter().any(|it| it.is_error()),
            "{name}: {:?}",
            report.findings
        );
        let migrated = instance.migrate().await.unwrap();
        assert_eq!(migrated.plan.unwrap().digest, report.digest, "{name}");
    }
}

#[tokio::test]
async fn a_contradiction_is_rejected_without_a_write() {
    let instance = after_2_1(Database).await;
    instance.put(
        "root-coord/collection-alias/books",
        &alias("books", 5).encode_to_vec(),
    );
    let taken = "root-coord/database/aliases/1/books";
    let other = milvus_meta::proto::v2_2::etcd::AliasInfo {
        alias_name: "books".into(),
        collection_id: 1,
        db_id: 1,
        ..Default::default()
    };
    instance.put(taken, &other.encode_to_vec());
    instance.put(
        &format!("snapshots/{taken}_ts{CREATED}"),
        &other.encode_to_vec(),
    );
    let before = plain(&instance.store.dump());
    let refused = instance.migrate().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorClass::Unmigratable);
    let EngineErrorKind::Findings(plan) = &*refused.failure else {
        panic!("{refused:?}");
    };
    let found = plan.findings.iter().find(|it| it.code == "contradiction");
    let message = &found.unwrap().message;
    assert!(
        message.contains("(5) in 2.1") && message.contains("(1) in 2.2"),
        "{message}"
    );
    assert_eq!(plain(&instance.store.dump()), before);
}
