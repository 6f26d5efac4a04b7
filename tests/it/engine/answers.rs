//! Whenever the program reports success, the metadata is complete. The simulation checks the same
//! with faults at every request.

use std::time::Duration;

use meta_migrate::journal::Phase;
use meta_migrate::{
    EngineErrorKind, Environment, ErrorClass, MigrateOptions, VerifyOptions, migrate, plan, status,
    verify,
};
use meta_report::{MigrateOutcome, VerifyReport};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::layout::Layout;
use milvus_meta::proto::v2_1::etcd;
use milvus_meta::transform::CollectionForm;
use prost::Message as _;

use super::instance::{Image, Instance, limits, plain};
use crate::golden;
use crate::rules::FORMS;
use crate::support::metadata::{
    CREATED, Metadata, alias, build, collection, definition, replica, root, segment, segment_index,
};
use crate::support::official::{self, Order};
use crate::support::{options, oracle};

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

fn keys(image: &Image) -> oracle::Keys {
    let entries = image.iter();
    entries
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect()
}

fn verify_options(target: Option<&str>) -> VerifyOptions {
    VerifyOptions {
        target: target.map(|target| target.parse().unwrap()),
        limits: limits(),
        ..options::verify(root())
    }
}

async fn verified(instance: &Instance, target: Option<&str>) -> VerifyReport {
    let options = verify_options(target);
    verify(&instance.store, &options, &Environment::silent())
        .await
        .unwrap()
}

fn migrate_options(instance: &Instance, target: &str) -> MigrateOptions {
    let mut options = instance.options();
    options.transform.target = target.parse().unwrap();
    options
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.is_error());
    errors.map(|finding| finding.code.as_str()).collect()
}

#[tokio::test]
async fn an_official_run_killed_at_any_write_is_incomplete() {
    for (case, step) in [("base", 1), ("dropped", 3), ("unicode", 1)] {
        let (before, after) = (read(case, "in.jsonl"), read(case, "out.jsonl"));
        let ascending = official::states(&before, &after, Order::Ascending);
        let descending = official::states(&before, &after, Order::Descending);
        let states = ascending.into_iter().chain(descending);
        let states: Vec<_> = states.collect();
        for (number, state) in states.into_iter().enumerate() {
            let is_last = state == after;
            if number % step != 0 && !is_last {
                continue;
            }
            let metadata = Metadata { entries: state };
            let instance = Instance::of(&metadata, CollectionForm::Database);
            let bytes = plain(&instance.store.dump());
            let answer = instance.migrate().await;
            let checked = verified(&instance, Some("2.2.16")).await;
            if is_last {
                assert_eq!(answer.unwrap().outcome, MigrateOutcome::AlreadyMigrated);
                assert!(checked.ok, "{case}: {:?}", checked.findings);
                oracle::found(&keys(&before), &keys(&metadata.entries)).unwrap();
                continue;
            }
            let refused = answer.expect_err(&format!("{case}: killed at request {number}"));
            assert_eq!(refused.kind(), ErrorClass::Unmigratable);
            assert!(!checked.ok, "{case}: killed at request {number}");
            assert_eq!(plain(&instance.store.dump()), bytes);
        }
    }
}

#[tokio::test]
async fn a_held_lock_never_ends_in_success() {
    let small = Metadata::small();
    let migrated = Metadata {
        entries: small.after(&small.migrate(CollectionForm::Database)),
    };
    for metadata in [&small, &migrated, &Metadata::default()] {
        let instance = Instance::of(metadata, CollectionForm::Database);
        instance.store.change(|state| {
            let value = br#"{"ServerName":"migration","Address":"10.0.0.9"}"#;
            state.put_leased(&root().lock_key(), value, Duration::from_secs(60));
        });
        for with_session in [false, true] {
            if with_session {
                let minute = Duration::from_secs(60);
                let key = root().join(b"session/rootcoord");
                instance
                    .store
                    .change(|state| state.put_leased(&key, b"{}", minute));
            }
            let refused = instance.migrate().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorClass::Refused, "{refused:?}");
            let options = verify_options(None);
            let refused = verify(&instance.store, &options, &Environment::silent())
                .await
                .unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::Locked(_)),
                "{refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::Refused);
        }
    }
}

#[tokio::test]
async fn a_running_cluster_must_match_the_target() {
    let small = Metadata::small();
    let embedded = Metadata {
        entries: small.after(&small.migrate(CollectionForm::Embedded)),
    };
    let instance = Instance::of(&embedded, CollectionForm::Database);
    // Milvus 2.2 ran, so the metadata does not look like an interrupted official run.
    instance.put("datacoord-meta/channel-cp/v0", b"\x0a\x02v0");
    let key = root().join(b"session/rootcoord");
    let minute = Duration::from_secs(60);
    instance
        .store
        .change(|state| state.put_leased(&key, b"{}", minute));
    let environment = Environment::silent();
    let done = migrate(
        &instance.store,
        &migrate_options(&instance, "2.2.16"),
        &environment,
    )
    .await;
    assert_eq!(done.unwrap().outcome, MigrateOutcome::AlreadyMigrated);
    for target in ["2.3.22", "2.4.5"] {
        let refused = migrate(
            &instance.store,
            &migrate_options(&instance, target),
            &environment,
        )
        .await
        .unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::Findings(plan) if codes(&plan.findings) == ["embedded-form"]),
            "{refused:?}"
        );
    }
    let report = verified(&instance, Some("2.3.21")).await;
    assert_eq!(codes(&report.findings), ["embedded-form"]);
    assert!(verified(&instance, Some("2.2.16")).await.ok);
}

#[tokio::test]
async fn traces_of_2_2_are_a_warning_and_survive_a_rollback() {
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
        let wanted = options::transform(form);
        let environment = Environment::silent();
        let limits = limits();
        let planned = plan(&instance.store, &root(), &wanted, &limits, &environment).await;
        let planned = planned.unwrap().report;
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
        // A rollback of the staged keys, and one after the commit, restores every byte.
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

/// `verify` names the new records, `migrate` carries them over, and then `verify` passes.
#[tokio::test]
async fn late_2_1_writes_are_carried() {
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
            let report = verified(&instance, None).await;
            let found = report.findings.iter().find(|it| it.code == "2.1-ran");
            let message = &found.unwrap().message;
            let parts = [
                "finished migration",
                "\"new_books\" (5)",
                "meta-migration migrate",
            ];
            for part in parts {
                assert!(message.contains(part), "{message}");
            }
            let report = instance.migrate().await.unwrap();
            assert_eq!(report.outcome, MigrateOutcome::Migrated);
            let findings = report.plan.unwrap().findings;
            let found = findings.iter().find(|it| it.code == "2.1-ran").unwrap();
            assert_eq!(found.severity, Severity::Warning);
            assert!(found.message.contains(parts[1]), "{}", found.message);
            assert!(verified(&instance, None).await.ok, "{form}");
            assert_eq!(instance.get("field-index/5/7").is_some(), indexed);
        }
    }
}

/// For any late write of 2.1, the report names the finished migration and the new records. Records
/// with too little information to be carried are rejected.
#[tokio::test]
async fn any_late_2_1_record_is_named() {
    for form in FORMS {
        for (key, value, name, refused) in [
            (
                "root-coord/index/1/8",
                definition(8).encode_to_vec(),
                "index \"_default_idx\" (8) of collection 1",
                // The collection record of the embedded form shows that no field has the index.
                (form != CollectionForm::Embedded).then_some("index-not-migrated"),
            ),
            (
                "root-coord/segment-index/1/7/10/60",
                segment_index(60, 99).encode_to_vec(),
                "index 7 of segment 60 of collection 1",
                Some("index-build-missing"),
            ),
            (
                "indexes/99",
                build(99, 10, 60).encode_to_vec(),
                "index build 99",
                None,
            ),
            (
                "root-coord/collection-alias/fresh",
                alias("fresh", 1).encode_to_vec(),
                "\"fresh\"",
                None,
            ),
        ] {
            let instance = Instance::small(form);
            instance.migrate().await.unwrap();
            instance.put(key, &value);
            let report = verified(&instance, None).await;
            let found = report.findings.iter().find(|it| it.code == "2.1-ran");
            let found = found.unwrap_or_else(|| panic!("{form}, {key}: {:?}", report.findings));
            for part in ["finished migration", name, "meta-migration migrate"] {
                assert!(found.message.contains(part), "{form}: {}", found.message);
            }
            match (instance.migrate().await, refused) {
                (Ok(report), None) => assert_eq!(report.outcome, MigrateOutcome::Migrated),
                (Err(error), Some(code)) => {
                    let EngineErrorKind::Findings(plan) = &*error.failure else {
                        panic!("{form}, {key}: {error:?}");
                    };
                    let is_found = plan
                        .findings
                        .iter()
                        .any(|it| it.code == code && it.is_error());
                    assert!(is_found, "{form}, {key}: {:?}", plan.findings);
                }
                (outcome, _) => panic!("{form}, {key}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_unfinished_run_is_one_finding_with_commands() {
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
async fn status_names_missing_keys_and_not_both_layouts() {
    let small = Metadata::small();
    let mut entries = small.after(&small.migrate(CollectionForm::Split));
    entries.insert(
        "queryCoord-ReplicaMeta/30".into(),
        replica(30, 1).encode_to_vec(),
    );
    let instance = Instance::of(&Metadata { entries }, CollectionForm::Split);
    let environment = Environment::silent();
    let limits = limits();
    let found = status(&instance.store, &root(), &limits, &environment)
        .await
        .unwrap();
    assert_eq!(found.layout, Layout::V2_2);
    assert_eq!(codes(&found.findings), Vec::<&str>::new());
    let deleted = root().join(b"root-coord/collection/1");
    instance
        .store
        .change(|state| state.put(&deleted, TOMBSTONE));
    let found = status(&instance.store, &root(), &limits, &environment)
        .await
        .unwrap();
    assert!(!codes(&found.findings).is_empty());
}
