//! Interrupted runs: resume and rollback from every phase.

use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, ErrorClass, RestoreCommand, WriteState};
use meta_report::{MigrateOutcome, RestoreOutcome};
use milvus_meta::keys::KeyRange;
use milvus_meta::transform::CollectionForm;

use super::instance::{Image, Instance};
use crate::rules::FORMS;
use crate::support::metadata::{COLLECTION, Metadata, collection, definition, root};

const KILLS: [(Phase, u32); 6] = [
    (Phase::Staging, 0),
    (Phase::Staging, 2),
    (Phase::Staged, 0),
    (Phase::Committed, 0),
    (Phase::Tidying, 0),
    (Phase::Tidying, 1),
];

#[tokio::test]
async fn d5_a_killed_run_resumes_and_rolls_back() {
    for form in FORMS {
        let complete = Instance::small(form);
        complete.migrate().await.unwrap();
        for (phase, more) in KILLS {
            let note = format!("{form}, killed in {}", phase.name());
            for goes_on in [true, false] {
                let killed = Instance::small(form);
                let before = killed.image();
                killed.kill_after(phase, more);
                killed.migrate().await.unwrap_err();
                assert!(killed.store.is_crashed(), "{note}");
                let next = killed.next();
                next.end_lock();
                assert_eq!(next.journal().unwrap().phase, phase, "{note}");
                if goes_on {
                    let report = next.migrate().await.unwrap();
                    assert_eq!(report.outcome, MigrateOutcome::Migrated, "{note}");
                    assert!(report.resumed && report.verified, "{note}");
                    assert_eq!(next.image(), complete.image(), "{note}");
                    next.expect_complete();
                } else {
                    let report = next.roll_back().await.unwrap();
                    assert_eq!(report.outcome, RestoreOutcome::Restored, "{note}");
                    assert!(report.verified, "{note}");
                    assert_eq!(next.image(), before, "{note}");
                    assert_eq!(next.journal(), None, "{note}");
                }
            }
        }
    }
}

/// The initial keys, and an instance whose run was killed after staging.
async fn killed_when_staged(form: CollectionForm) -> (Image, Instance) {
    let killed = Instance::small(form);
    let before = killed.image();
    killed.kill_after(Phase::Staged, 0);
    killed.migrate().await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    (before, next)
}

/// Such an instance, and the staged keys.
async fn staged(form: CollectionForm) -> (Instance, Vec<String>) {
    let (before, next) = killed_when_staged(form).await;
    let keys = next.image().into_keys();
    let keys = keys.filter(|key| !before.contains_key(key)).collect();
    (next, keys)
}

#[tokio::test]
async fn lost_staged_keys_are_staged_again() {
    for form in FORMS {
        let complete = Instance::small(form);
        complete.migrate().await.unwrap();
        let (_, keys) = staged(form).await;
        assert!(keys.len() > 2, "{form}");
        for key in keys {
            let (next, _) = staged(form).await;
            let range = KeyRange::single(root().join(key.as_bytes()));
            next.store.change(|state| {
                state.delete(&range);
            });
            let report = next.migrate().await.unwrap();
            assert!(report.resumed && report.verified, "{form}: {key}");
            assert_eq!(next.image(), complete.image(), "{form}: {key}");
        }
    }
}

#[tokio::test]
async fn changed_staged_keys_are_not_overwritten() {
    for form in FORMS {
        let (next, keys) = staged(form).await;
        let key = &keys[0];
        next.put(key, b"another value");
        let refused = next.migrate().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::StagedDiffers(_)),
            "{refused:?}"
        );
        assert_eq!(next.get(key).unwrap(), b"another value");
    }
}

#[tokio::test]
async fn staged_keys_are_removed_without_the_backup() {
    for form in FORMS {
        let (before, next) = killed_when_staged(form).await;
        std::fs::remove_file(next.backup()).unwrap();
        next.roll_back().await.unwrap();
        assert_eq!(next.image(), before);
    }
}

#[tokio::test]
async fn another_plan_than_the_staged_one_is_rejected() {
    for form in FORMS {
        let killed = Instance::small(form);
        killed.kill_after(Phase::Staging, 2);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        let mut index = definition(7);
        index.index_name = "renamed".into();
        next.put(
            "root-coord/index/1/7",
            &prost::Message::encode_to_vec(&index),
        );
        let before = next.image();
        let refused = next.migrate().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::PlanChanged { recorded, now } if recorded != now),
            "{refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::PartWay);
        assert_eq!(refused.written, WriteState::Nothing);
        assert_eq!(next.image(), before);
        // A rollback does not trust the journal then either, unless the loss is accepted.
        let refused = next.roll_back().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::StagedFromOther { .. }),
            "{refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::Refused);
        assert!(refused.backup.is_some());
        assert_eq!(next.image(), before);
        let mut options = next.restore_options(RestoreCommand::Rollback);
        options.accept_loss = true;
        let report = next.restore_with(&options).await.unwrap();
        assert!(!report.verified, "the metadata differs from the backup");
        let report = next.migrate().await.unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated);
    }
}

#[tokio::test]
async fn the_second_backup_has_writes_between_two_runs() {
    for form in FORMS {
        let killed = Instance::small(form);
        killed.kill_after(Phase::Staged, 0);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        // Not part of the plan: the digest is the same.
        next.put("root-coord/credential/users/new", b"{}");
        let before: Vec<_> = next
            .image()
            .into_iter()
            .filter(|(key, _)| Metadata::small().entries.contains_key(key) || key.ends_with("new"))
            .collect();
        next.migrate().await.unwrap();
        next.roll_back().await.unwrap();
        assert_eq!(next.image().into_iter().collect::<Vec<_>>(), before);
    }
}

#[tokio::test]
async fn a_run_without_a_backup_names_no_older_one() {
    for (changed, kept) in [(false, true), (true, false)] {
        let killed = Instance::small(FORMS[0]);
        killed.kill_after(Phase::Staged, 0);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        if changed {
            next.put("root-coord/credential/users/new", b"{}");
        }
        let mut options = next.options();
        options.backup = None;
        let silent = meta_migrate::Environment::silent();
        meta_migrate::migrate(&next.store, &options, &silent)
            .await
            .unwrap();
        assert_eq!(next.journal().unwrap().backup.is_some(), kept);
    }
}

#[tokio::test]
async fn an_interrupted_restore_is_finished_by_either_command() {
    for form in FORMS {
        for goes_on in [true, false] {
            let done = Instance::small(form);
            let before = done.image();
            done.migrate().await.unwrap();
            let after = done.image();
            let killed = done.next();
            killed.kill_after(Phase::Restoring, 1);
            killed.roll_back().await.unwrap_err();
            let next = killed.next();
            next.end_lock();
            assert_eq!(next.journal().unwrap().phase, Phase::Restoring);
            if goes_on {
                next.migrate().await.unwrap();
                assert_eq!(next.image(), after);
            } else {
                next.roll_back().await.unwrap();
                assert_eq!(next.image(), before);
            }
        }
    }
}

#[tokio::test]
async fn a_resumed_restore_keeps_extra_keys() {
    let killed = Instance::small(FORMS[0]);
    super::saved(&killed.store, &killed.backup()).await;
    killed.put("datacoord-meta/s/1/10/51", b"changed");
    killed.put("datacoord-meta/s/9/9/9", b"not in the backup");
    let mut options = killed.restore_options(RestoreCommand::Restore);
    options.keep_extra = true;
    killed.kill_after(Phase::Restoring, 1);
    killed.restore_with(&options).await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    next.roll_back().await.unwrap();
    assert!(next.get("datacoord-meta/s/9/9/9").is_some());
}

/// A restore of 2.2 metadata that was killed after its last write has nothing left to restore.
#[tokio::test]
async fn restore_with_nothing_left_to_do_ends_its_journal() {
    let killed = Instance::small(FORMS[0]);
    killed.migrate().await.unwrap();
    std::fs::remove_file(killed.backup()).unwrap();
    super::saved(&killed.store, &killed.backup()).await;
    killed.put("datacoord-meta/s/1/10/51", b"changed");
    let mut options = killed.restore_options(RestoreCommand::Restore);
    options.accept_loss = true;
    killed.kill_after(Phase::Restoring, 1);
    killed.restore_with(&options).await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().phase, Phase::Restoring);
    let again = next.restore_with(&options).await.unwrap();
    assert_eq!((again.put, again.delete), (0, 0));
    assert_eq!(next.journal(), None);
}

#[tokio::test]
async fn a_done_run_is_recognised_in_equal_layouts() {
    let mut bare = Metadata::default();
    let mut record = collection(COLLECTION);
    record.field_indexes.clear();
    bare.put("root-coord/collection/1", &record);
    bare.raw("root-coord/dd-operation", b"{}");
    let instance = Instance::of(&bare, milvus_meta::transform::CollectionForm::Embedded);
    let first = instance.migrate().await.unwrap();
    assert_eq!(first.outcome, MigrateOutcome::Migrated);
    let second = instance.migrate().await.unwrap();
    assert_eq!(second.outcome, MigrateOutcome::AlreadyMigrated);
    assert_eq!(second.backup, first.backup);
}
