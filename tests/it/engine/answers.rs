//! Whenever the program says migrated or verified, the metadata is complete.
//!
//! What is complete is judged here by a check of its own: every segment that is not dropped finds its collection,
//! every index of 2.1 its definition, and every loaded collection its load state.

use std::time::Duration;

use meta_migration::engine::{
    Environment, Failure, FailureKind, MigrateOptions, VerifyOptions, migrate, plan, status, verify,
};
use meta_migration::finding::{Finding, Severity};
use meta_migration::journal::Phase;
use meta_migration::keys::TOMBSTONE;
use meta_migration::proto::v2_1::{data, etcd};
use meta_migration::report::{Layout, MigrateOutcome, VerifyReport};
use meta_migration::store::memory::Fault;
use meta_migration::transform::{CollectionForm, OnBrokenRecord, Options, SegmentForm};
use prost::Message as _;

use super::instance::{Image, Instance, limits, plain};
use crate::golden;
use crate::rules::FORMS;
use crate::support::metadata::{
    CREATED, Metadata, collection, definition, replica, root, segment, target_of,
};
use crate::support::official;

fn read(case: &str, file: &str) -> Image {
    let entries = golden::entries(&golden::load(case, file)).into_iter();
    entries
        .filter(|entry| entry.lease == 0)
        .filter_map(|entry| {
            let relative = root().strip(&entry.key)?.to_vec();
            Some((String::from_utf8(relative).unwrap(), entry.value.into()))
        })
        .collect()
}

fn verify_options(target: Option<&str>) -> VerifyOptions {
    VerifyOptions {
        root: root(),
        backup: None,
        options: None,
        target: target.map(|target| target.parse().unwrap()),
        limits: limits(),
    }
}

async fn verified(instance: &Instance, target: Option<&str>) -> VerifyReport {
    let options = verify_options(target);
    verify(&instance.store, &options, &Environment::silent())
        .await
        .unwrap()
}

fn options(instance: &Instance, target: &str) -> MigrateOptions {
    MigrateOptions {
        target_version: target.parse().unwrap(),
        ..instance.options()
    }
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.is_error());
    errors.map(|finding| finding.code.as_str()).collect()
}

/// Whether every segment that is not dropped belongs to a collection that lives, and every index that 2.1
/// had to a definition.
fn is_whole(before: &Image, now: &Image) -> bool {
    const DROPPED: i32 = 6;
    let lives = |key: &str| now.get(key).is_some_and(|value| value != TOMBSTONE);
    let segments = now
        .iter()
        .filter(|(key, _)| key.starts_with("datacoord-meta/s/"));
    let held = segments
        .map(|(_, value)| data::SegmentInfo::decode(value.as_slice()).unwrap())
        .filter(|segment| segment.state != DROPPED)
        .all(|segment| {
            let id = segment.collection_id;
            let was = before.get(&format!("root-coord/collection/{id}"));
            was.is_some_and(|value| value == TOMBSTONE)
                || lives(&format!("root-coord/collection/{id}"))
                || lives(&format!("root-coord/database/collection-info/1/{id}"))
        });
    let live_before = |id: &str| {
        let record = before.get(&format!("root-coord/collection/{id}"));
        record.is_some_and(|value| value != TOMBSTONE)
    };
    let indexed = before
        .keys()
        .filter_map(|key| key.strip_prefix("root-coord/index/"))
        .filter(|rest| live_before(rest.split('/').next().unwrap()))
        .all(|rest| lives(&format!("field-index/{rest}")));
    held && indexed
}

#[tokio::test]
async fn an_official_run_killed_at_any_write_is_never_called_done() {
    for (case, step) in [("base", 1), ("dropped", 3), ("unicode", 1)] {
        let (before, after) = (read(case, "in.jsonl"), read(case, "out.jsonl"));
        let states = official::states(&before, &after);
        let last = states.len() - 1;
        for (number, state) in states.into_iter().enumerate() {
            if number % step != 0 && number != last {
                continue;
            }
            let metadata = Metadata { entries: state };
            let instance = Instance::of(&metadata, CollectionForm::Database);
            let bytes = plain(&instance.store.dump());
            let answer = instance.migrate().await;
            let checked = verified(&instance, Some("2.2.16")).await;
            if number == last {
                assert_eq!(answer.unwrap().outcome, MigrateOutcome::AlreadyMigrated);
                assert!(checked.ok, "{case}: {:?}", checked.findings);
                assert!(is_whole(&before, &metadata.entries), "{case}");
                continue;
            }
            let refused = answer.expect_err(&format!("{case}: killed at request {number}"));
            assert_eq!(refused.kind(), FailureKind::Unmigratable);
            assert!(!checked.ok, "{case}: killed at request {number}");
            assert_eq!(plain(&instance.store.dump()), bytes);
        }
    }
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_never_answered_with_done() {
    let small = Metadata::small();
    let migrated = Metadata {
        entries: small.after(&small.migrate(CollectionForm::Database)),
    };
    for metadata in [&small, &migrated, &Metadata::default()] {
        let instance = Instance::of(metadata, CollectionForm::Database);
        instance.store.change(|world| {
            let value = br#"{"ServerName":"migration","Address":"10.0.0.9"}"#;
            world.put_leased(&root().lock_key(), value, Duration::from_secs(60));
        });
        for with_session in [false, true] {
            if with_session {
                let minute = Duration::from_secs(60);
                let key = root().join(b"session/rootcoord");
                instance
                    .store
                    .change(|world| world.put_leased(&key, b"{}", minute));
            }
            let refused = instance.migrate().await.unwrap_err();
            assert_eq!(refused.kind(), FailureKind::Refused, "{refused:?}");
            let options = verify_options(None);
            let refused = verify(&instance.store, &options, &Environment::silent())
                .await
                .unwrap_err();
            assert!(
                matches!(&*refused.failure, Failure::Locked(_)),
                "{refused:?}"
            );
            assert_eq!(refused.kind(), FailureKind::Refused);
        }
    }
}

#[tokio::test]
async fn a_running_cluster_is_migrated_only_if_the_target_reads_it() {
    let small = Metadata::small();
    let embedded = Metadata {
        entries: small.after(&small.migrate(CollectionForm::Embedded)),
    };
    let instance = Instance::of(&embedded, CollectionForm::Database);
    // Milvus 2.2 ran, so that nothing looks like an interrupted run of the official tool.
    instance.put("datacoord-meta/channel-cp/v0", b"\x0a\x02v0");
    let key = root().join(b"session/rootcoord");
    let minute = Duration::from_secs(60);
    instance
        .store
        .change(|world| world.put_leased(&key, b"{}", minute));
    let environment = Environment::silent();
    let done = migrate(&instance.store, &options(&instance, "2.2.16"), &environment).await;
    assert_eq!(done.unwrap().outcome, MigrateOutcome::AlreadyMigrated);
    for target in ["2.3.22", "2.4.5"] {
        let refused = migrate(&instance.store, &options(&instance, target), &environment)
            .await
            .unwrap_err();
        assert!(
            matches!(&*refused.failure, Failure::Findings(plan) if codes(&plan.findings) == ["embedded-form"]),
            "{refused:?}"
        );
    }
    let report = verified(&instance, Some("2.3.21")).await;
    assert_eq!(codes(&report.findings), ["embedded-form"]);
    assert!(verified(&instance, Some("2.2.16")).await.ok);
}

#[tokio::test]
async fn traces_of_2_2_are_a_warning_and_stay_when_staging_is_undone() {
    let mut metadata = Metadata::small();
    metadata.put("datacoord-meta/s/1/10/50", &segment(50, 9));
    metadata.raw("datacoord-meta/channel-cp/v0", b"\x0a\x02v0");
    metadata.raw("queryCoord-ResourceGroup/__default", b"");
    metadata.raw("flushed-segment/1/10/50", b"50");
    metadata.raw(
        "root-coord/database/db-info/1",
        b"\x12\x07default\x18\x01\x20\x01\x28\x07",
    );
    metadata.raw(
        &format!("snapshots/root-coord/database/db-info/1_ts{}", CREATED + 99),
        b"\x12\x07default\x18\x01\x20\x01\x28\x07",
    );
    for form in FORMS {
        let instance = Instance::of(&metadata, form);
        let before = plain(&instance.store.dump());
        let wanted = Options {
            form,
            on_broken_record: OnBrokenRecord::Fail,
            segment_form: SegmentForm::Auto,
            target: target_of(form).parse().unwrap(),
        };
        let environment = Environment::silent();
        let limits = limits();
        let around = (&limits, &environment);
        let planned = plan(&instance.store, &root(), &wanted, around)
            .await
            .unwrap();
        assert_eq!(planned.layout, Layout::V2_1);
        let warning = planned
            .findings
            .iter()
            .find(|it| it.code == "2.2-ran")
            .unwrap();
        assert_eq!(warning.severity, Severity::Warning);
        for family in ["channel-cp", "ResourceGroup", "flushed-segment", "db-info"] {
            assert!(warning.message.contains(family), "{}", warning.message);
        }
        // Undone while it is staged, and after it was committed, every byte is back.
        instance.kill_after(Phase::Staging, 2);
        drop(instance.migrate().await);
        assert!(instance.store.is_crashed());
        let instance = instance.next();
        instance.end_lock();
        instance.roll_back().await.unwrap();
        assert_eq!(plain(&instance.store.dump()), before, "{form}");
        assert_eq!(
            instance.migrate().await.unwrap().outcome,
            MigrateOutcome::Migrated
        );
        assert!(verified(&instance, None).await.ok, "{form}");
        let again = instance.migrate().await.unwrap();
        assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
        instance.roll_back().await.unwrap();
        assert_eq!(plain(&instance.store.dump()), before, "{form}");
    }
}

#[tokio::test]
async fn what_2_1_wrote_on_migrated_metadata_is_named() {
    for form in [CollectionForm::Split, CollectionForm::Database] {
        for indexed in [false, true] {
            let instance = Instance::small(form);
            instance.migrate().await.unwrap();
            let mut made: etcd::CollectionInfo = collection(5);
            made.schema.as_mut().unwrap().name = "new_books".into();
            if indexed {
                instance.put("root-coord/index/5/7", &definition(7).encode_to_vec());
            } else {
                made.field_indexes.clear();
            }
            instance.put("root-coord/collection/5", &made.encode_to_vec());
            let snapshot = format!("snapshots/root-coord/collection/5_ts{}", CREATED + 50);
            instance.put(&snapshot, &made.encode_to_vec());
            let refused = instance.migrate().await.unwrap_err();
            let Failure::Findings(plan) = &*refused.failure else {
                panic!("{refused:?}");
            };
            let report = verified(&instance, None).await;
            for findings in [&plan.findings, &report.findings] {
                let found = findings.iter().find(|it| it.code == "2.1-ran").unwrap();
                assert!(found.is_error());
                for part in ["finished migration", "\"new_books\" (5)", "--accept-loss"] {
                    assert!(found.message.contains(part), "{}", found.message);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_unfinished_run_is_one_finding_that_names_both_ways() {
    for (phase, words) in [
        (
            Phase::Staging,
            ["meta-migration migrate", "meta-migration rollback"],
        ),
        (
            Phase::Committed,
            ["meta-migration migrate", "meta-migration rollback"],
        ),
        (
            Phase::Tidying,
            ["meta-migration migrate", "meta-migration rollback"],
        ),
        (Phase::Restoring, ["restore --backup-file", "migrate"]),
    ] {
        let instance = Instance::small(CollectionForm::Database);
        if phase == Phase::Restoring {
            instance.migrate().await.unwrap();
        }
        instance.kill_after(phase, 1);
        if phase == Phase::Restoring {
            drop(instance.roll_back().await);
        } else {
            drop(instance.migrate().await);
        }
        assert!(instance.store.is_crashed());
        let instance = instance.next();
        instance.end_lock();
        let report = verified(&instance, None).await;
        assert!(!report.ok);
        let [finding] = report.findings.as_slice() else {
            panic!("{:?}", report.findings);
        };
        assert_eq!(finding.code, "unfinished");
        for word in words {
            assert!(finding.message.contains(word), "{}", finding.message);
        }
    }
}

#[tokio::test]
async fn status_says_what_is_missing_and_does_not_call_it_mixed() {
    let small = Metadata::small();
    let mut entries = small.after(&small.migrate(CollectionForm::Split));
    entries.insert(
        "queryCoord-ReplicaMeta/30".into(),
        replica(30, 1).encode_to_vec(),
    );
    let instance = Instance::of(&Metadata { entries }, CollectionForm::Split);
    let environment = Environment::silent();
    let limits = limits();
    let found = status(&instance.store, &root(), (&limits, &environment))
        .await
        .unwrap();
    assert_eq!(found.layout, Layout::V2_2);
    assert_eq!(codes(&found.findings), Vec::<&str>::new());
    let lost = root().join(b"root-coord/collection/1");
    instance.store.change(|world| world.put(&lost, TOMBSTONE));
    let found = status(&instance.store, &root(), (&limits, &environment))
        .await
        .unwrap();
    assert!(!codes(&found.findings).is_empty());
}

/// Every request of `migrate` on each of these starts is the last one of a killed process; then it is run again.
#[tokio::test]
async fn an_answer_after_any_crash_on_touched_metadata_is_true() {
    let mut ran = Metadata::small();
    ran.put("datacoord-meta/s/1/10/50", &segment(50, 9));
    let whole = ran.clone();
    ran.raw("datacoord-meta/channel-cp/v0", b"\x0a\x02v0");
    ran.raw(
        "root-coord/database/db-info/1",
        b"\x12\x07default\x18\x01\x20\x01\x28\x07",
    );
    let after = whole.after(&whole.migrate(CollectionForm::Embedded));
    let official = official_result(&whole.entries, after);
    let mut starts = official::states(&whole.entries, &official);
    starts.push(ran.entries.clone());
    for start in starts {
        let metadata = Metadata { entries: start };
        for crash in (1..60).step_by(7) {
            let instance = Instance::of(&metadata, CollectionForm::Database);
            instance.store.fault_when(move |request| {
                if request.ordinal == crash {
                    vec![Fault::CrashAfter]
                } else {
                    Vec::new()
                }
            });
            drop(instance.migrate().await);
            let instance = instance.next();
            instance.end_lock();
            let answered = instance.migrate().await.is_ok();
            let is_verified = verified(&instance, Some("2.2.16")).await.ok;
            if answered || is_verified {
                assert!(
                    is_whole(&whole.entries, &instance.image()),
                    "crash at {crash}"
                );
            }
        }
    }
}

/// Our embedded form as the official tool leaves it: load state and replicas of 2.1 stay.
fn official_result(before: &Image, mut after: Image) -> Image {
    after.retain(|key, _| !key.starts_with("querycoord-replica/"));
    for (key, value) in before {
        if key.starts_with("queryCoord-") {
            after.insert(key.clone(), value.clone());
        }
    }
    after
}

#[test]
fn the_independent_check_finds_what_is_missing() {
    let mut whole = Metadata::small();
    whole.put("datacoord-meta/s/1/10/50", &segment(50, 9));
    let after = whole.after(&whole.migrate(CollectionForm::Database));
    assert!(is_whole(&whole.entries, &after));
    for key in ["root-coord/database/collection-info/1/1", "field-index/1/7"] {
        let mut lost = after.clone();
        assert!(lost.remove(key).is_some());
        assert!(!is_whole(&whole.entries, &lost), "{key}");
    }
}
