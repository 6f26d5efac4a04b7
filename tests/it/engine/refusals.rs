//! Conditions that a run rejects without any change.

use std::sync::{Arc, Mutex};

use meta_backup::Backup;
use meta_migrate::journal::{FORMAT, JournalError, Phase};
use meta_migrate::{
    EngineErrorKind, Environment, ErrorClass, MigrateOptions, Observer, VerifyOptions, WriteState,
    migrate, plan, status, status_with_journal_error, verify,
};
use meta_report::MigrateOutcome;
use meta_testing::memory::{Fault, RequestKind};
use milvus_meta::finding::Severity;
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord};

use super::instance::{Instance, limits, plain};
use crate::rules::FORMS;
use crate::simulation::records;
use crate::support::metadata::{Metadata, root, segment_index};
use crate::support::migration::watched;
use crate::support::options;

/// Metadata with a segment index whose build record is missing.
fn broken() -> Metadata {
    let mut metadata = Metadata::small();
    metadata.put("root-coord/segment-index/1/7/10/60", &segment_index(60, 99));
    metadata
}

#[tokio::test]
async fn d1_d36_unmigratable_metadata_is_not_changed() {
    for form in FORMS {
        let instance = Instance::of(&broken(), form);
        let before = plain(&instance.store.dump());
        let refused = instance.migrate().await.unwrap_err();
        assert!(matches!(&*refused.failure, EngineErrorKind::Findings(plan)
            if plan.findings.iter().any(|finding| finding.is_error())));
        assert_eq!(refused.kind(), ErrorClass::Unmigratable);
        assert_eq!(refused.written, WriteState::Nothing);
        assert_eq!(plain(&instance.store.dump()), before);
    }
}

#[tokio::test]
async fn d36_a_broken_record_can_be_skipped() {
    for form in FORMS {
        let instance = Instance::of(&broken(), form);
        let mut options = instance.options();
        options.transform.on_broken_record = OnBrokenRecord::Skip;
        let report = migrate(&instance.store, &options, &Environment::silent())
            .await
            .unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated);
        assert!(instance.get("segment-index/1/10/60/99").is_none());
        assert!(instance.get("segment-index/1/10/50/90").is_some());
    }
}

#[tokio::test]
async fn keys_of_both_layouts_are_rejected_with_examples() {
    let instance = Instance::small(FORMS[0]);
    instance.put("field-index/1/7", b"left by the official tool");
    let before = plain(&instance.store.dump());
    let refused = instance.migrate().await.unwrap_err();
    let EngineErrorKind::Findings(plan) = &*refused.failure else {
        panic!("{refused:?}");
    };
    let mixed = plan
        .findings
        .iter()
        .find(|finding| finding.code == "mixed-layout")
        .expect("a finding");
    for evidence in ["2.1: root-coord/index", "2.2: field-index (1 key)"] {
        assert!(mixed.message.contains(evidence), "{}", mixed.message);
    }
    assert_eq!(refused.kind(), ErrorClass::Unmigratable);
    assert_eq!(plain(&instance.store.dump()), before);
}

#[tokio::test]
async fn without_metadata_there_is_nothing_to_do() {
    let mut empty = Metadata::default();
    empty.raw("session/id", b"3");
    empty.raw("root-coord/credential/users/root", b"{}");
    let instance = Instance::of(&empty, FORMS[0]);
    let before = plain(&instance.store.dump());
    let report = instance.migrate().await.unwrap();
    assert_eq!(report.outcome, MigrateOutcome::NothingToDo);
    assert_eq!(plain(&instance.store.dump()), before);
    assert!(!instance.backup().exists());
}

/// Options with an unwritable backup: its folder is a file.
fn with_unwritable_backup(instance: &Instance) -> MigrateOptions {
    let file = instance.folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let mut options = instance.options();
    options.backup.as_mut().unwrap().path = file.join("b.mmb");
    options
}

struct Declines;

impl Observer for Declines {
    fn confirm_migration(&self, _: &PlanReport) -> bool {
        false
    }
}

#[tokio::test]
async fn a_failed_backup_ends_the_run_before_the_plan() {
    for form in FORMS {
        let instance = Instance::small(form);
        let before = plain(&instance.store.dump());
        let options = with_unwritable_backup(&instance);
        // The observer declines, so another error shows that it was not called.
        let failed = migrate(&instance.store, &options, &watched(Declines))
            .await
            .unwrap_err();
        assert!(
            matches!(&*failed.failure, EngineErrorKind::Backup(_)),
            "{failed:?}"
        );
        assert_eq!(failed.kind(), ErrorClass::Failed);
        assert_eq!(failed.written, WriteState::Nothing);
        assert_eq!(plain(&instance.store.dump()), before);
    }
}

#[tokio::test]
async fn a_migrated_instance_needs_no_backup() {
    let instance = Instance::small(FORMS[0]);
    instance.migrate().await.unwrap();
    let options = with_unwritable_backup(&instance);
    let again = migrate(&instance.store, &options, &Environment::silent())
        .await
        .unwrap();
    assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
}

#[tokio::test]
async fn an_empty_root_path_lists_existing_roots() {
    let instance = Instance::of(&Metadata::default(), FORMS[0]);
    let environment = Environment::silent();
    let options = options::transform(instance.form);
    let plan = plan(&instance.store, &root(), &options, &limits(), &environment).await;
    let plan = plan.unwrap().report;
    let checked = verify(
        &instance.store,
        &VerifyOptions {
            limits: limits(),
            ..options::verify(root())
        },
        &environment,
    )
    .await
    .unwrap();
    assert!(checked.ok, "a new instance has no metadata either");
    for findings in [plan.findings, checked.findings] {
        let finding = &findings[0];
        assert_eq!(finding.code, "no-metadata");
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.key, "by-dev/meta");
    }
}

#[tokio::test]
async fn a_newer_journal_stops_migrate_and_rollback() {
    let instance = Instance::small(FORMS[0]);
    let newer = format!("{{\"format\": {}}}", FORMAT + 1);
    instance.store.change(|state| {
        state.put(&root().journal_key(), newer.as_bytes());
    });
    let before = plain(&instance.store.dump());
    let errors = [
        instance.migrate().await.unwrap_err(),
        instance.roll_back().await.unwrap_err(),
    ];
    for refused in errors {
        assert!(matches!(
            &*refused.failure,
            EngineErrorKind::Journal {
                source: JournalError::Newer { .. },
                ..
            }
        ));
        assert_eq!(refused.kind(), ErrorClass::Failed);
    }
    assert_eq!(plain(&instance.store.dump()), before);
}

#[tokio::test]
async fn status_works_with_an_unreadable_journal() {
    let newer = br#"{"format": 2, "phase": "swapped", "tool_version": "9.9.0"}"#;
    for (value, word) in [(&newer[..], "9.9.0"), (b"{cut", "not readable")] {
        let instance = Instance::small(CollectionForm::Split);
        instance.store.change(|state| {
            state.put(&root().journal_key(), value);
            let hour = std::time::Duration::from_secs(3600);
            state.put_leased(&root().join(b"session/proxy-7"), b"{}", hour);
        });
        let (limits, environment) = (limits(), Environment::silent());
        let found =
            status_with_journal_error(&instance.store, &root(), &limits, &environment).await;
        let (report, unusable) = found.unwrap();
        assert_eq!(report.layout, Layout::V2_1);
        assert!(!report.families.is_empty());
        assert_eq!(report.sessions.len(), 1);
        let text = report.journal_error.unwrap();
        assert!(text.contains(word), "{text}");
        assert!(report.journal.is_some(), "the journal is reported");
        assert_eq!(unusable.unwrap().kind(), ErrorClass::Failed);
        status(&instance.store, &root(), &limits, &environment)
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn session_keys_without_a_lease_are_reported() {
    for key in ["session/proxy-7", "session/migration"] {
        let instance = Instance::small(CollectionForm::Split);
        instance.put(key, b"{}");
        let refused = instance.migrate().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorClass::Refused);
        let text = refused.to_string();
        assert!(text.contains(key), "{text}");
        assert!(text.contains("never expires"), "{text}");
    }
}

#[tokio::test]
async fn d52_a_second_run_changes_nothing() {
    for form in FORMS {
        let instance = Instance::small(form);
        let first = instance.migrate().await.unwrap();
        let done = plain(&instance.store.dump());
        let second = instance.migrate().await.unwrap();
        assert_eq!(second.outcome, MigrateOutcome::AlreadyMigrated);
        assert_eq!(second.backup, first.backup);
        assert_eq!(plain(&instance.store.dump()), done);
    }
}

#[tokio::test]
async fn d52_a_running_2_2_cluster_need_not_stop() {
    let instance = Instance::small(CollectionForm::Database);
    instance.migrate().await.unwrap();
    instance.store.change(|state| {
        let hour = std::time::Duration::from_secs(3600);
        state.put_leased(&root().join(b"session/rootcoord"), b"{}", hour);
    });
    let again = instance.migrate().await.unwrap();
    assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
}

#[tokio::test]
async fn d28_nothing_is_written_once_the_lease_is_lost() {
    for form in FORMS {
        let instance = Instance::small(form);
        let lost_at = Arc::new(Mutex::new(0));
        let noted = Arc::clone(&lost_at);
        let mut writes = 0;
        instance.store.fault_when(move |request| {
            writes += u32::from(request.kind == RequestKind::Txn);
            if writes != 6 || request.kind != RequestKind::Txn {
                return Vec::new();
            }
            let noted = Arc::clone(&noted);
            vec![Fault::before(move |state| {
                let lock = state.get(&root().lock_key()).unwrap();
                state.revoke_lease(lock.lease);
                *noted.lock().unwrap() = state.revision();
            })]
        });
        let error = instance.migrate().await.unwrap_err();
        assert!(
            matches!(&*error.failure, EngineErrorKind::LockLost { .. }),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorClass::PartWay);
        let lost_at = *lost_at.lock().unwrap();
        let sent = instance.store.transactions();
        let (before, after): (Vec<_>, Vec<_>) =
            sent.iter().partition(|record| record.revision < lost_at);
        assert!(before.iter().filter(|record| record.succeeded).count() > 2);
        assert!(!after.is_empty() && after.iter().all(|record| !record.succeeded));
        assert_eq!(instance.store.look(|state| state.revision()), lost_at);
    }
}

#[tokio::test]
async fn d20_everything_is_read_at_one_revision() {
    let instance = Instance::small(FORMS[0]);
    let revisions = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&revisions);
    let mut staging = false;
    instance.store.fault_when(move |request| {
        staging |= request.txn.and_then(records) == Some(Phase::Staging);
        let metadata = request
            .range
            .filter(|range| range.range.contains(&root().join(b"indexes/9")));
        if let Some(range) = metadata.filter(|range| !staging && !range.count_only) {
            seen.lock().unwrap().push(range.revision);
            // Written during the scan: part of no plan and no backup.
            return vec![Fault::before(|state| {
                state.put(&root().join(b"root-coord/credential/users/late"), b"{}");
            })];
        }
        Vec::new()
    });
    let changed = instance.migrate().await.unwrap_err();
    assert!(
        matches!(&*changed.failure, EngineErrorKind::SourceChanged { what, .. } if what.contains("users/late")),
        "{changed:?}"
    );
    let revisions = revisions.lock().unwrap().clone();
    assert!(!revisions.is_empty() && revisions[0].is_some());
    assert!(
        revisions.iter().all(|revision| *revision == revisions[0]),
        "{revisions:?}"
    );
    let backup = Backup::open(instance.backup()).unwrap();
    assert_eq!(Some(backup.summary().revision), revisions[0]);
    let late = |entry: &milvus_meta::entry::Entry| entry.key.ends_with(b"late");
    assert!(!backup.entries().unwrap().any(|entry| late(&entry.unwrap())));
}
