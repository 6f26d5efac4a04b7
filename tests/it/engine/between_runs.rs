//! Changes between two runs (writes, swapped files, deletions) are not mistaken for the run's own.

use std::path::{Path, PathBuf};

use meta_backup::WriteOptions;
use meta_migrate::journal::Phase;
use meta_migrate::{
    BackupOptions, BackupTarget, EngineErrorKind, Environment, ErrorClass, MigrateOptions,
    NextCommand, Observer, RestoreCommand, RestoreOptions, RunKind, Waits, WriteState, backup,
    migrate, restore,
};
use meta_report::{MigrateOutcome, RestoreOutcome, RestoreReport};
use milvus_meta::keys::KeyRange;
use milvus_meta::transform::CollectionForm;
use milvus_meta::transform::PlanReport;
use prost::Message as _;

use super::instance::{Image, Instance, limits};
use crate::rules::FORMS;
use crate::support::metadata::{collection, root};
use crate::support::migration::watched;

/// A key of the data coordinator, equal in both layouts.
const SEGMENT: &str = "datacoord-meta/s/1/10/999";

/// Saves the current metadata in a separate file.
async fn save(instance: &Instance, name: &str) -> PathBuf {
    let path = instance.folder.path().join(name);
    let options = BackupOptions {
        root: root(),
        target: BackupTarget {
            path: path.clone(),
            options: WriteOptions::default(),
            source_version: None,
            allow_ephemeral: true,
            stream: None,
        },
        refuse_sessions: false,
        waits: Waits::default(),
        limits: limits(),
    };
    backup(&instance.store, &options, &Environment::silent())
        .await
        .unwrap();
    path
}

/// Replaces the backup that the journal names.
fn swap_backup(instance: &Instance, other: &Path) {
    std::fs::rename(other, instance.backup()).unwrap();
}

fn restore_options_from(
    instance: &Instance,
    command: RestoreCommand,
    file: &Path,
) -> RestoreOptions {
    RestoreOptions {
        backup: Some(file.to_owned()),
        ..instance.restore_options(command)
    }
}

/// An instance whose rollback was killed right after it recorded its start.
async fn killed_rollback() -> (Image, Instance) {
    let instance = Instance::small(CollectionForm::Split);
    let before = instance.image();
    instance.migrate().await.unwrap();
    instance.kill_after(Phase::Restoring, 1);
    instance.roll_back().await.unwrap_err();
    let next = instance.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().phase, Phase::Restoring);
    (before, next)
}

#[tokio::test]
async fn a_2_1_collection_made_after_the_commit_is_kept() {
    let killed = Instance::small(CollectionForm::Split);
    killed.kill_after(Phase::Committed, 0);
    killed.migrate().await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    let record = collection(77).encode_to_vec();
    next.put("root-coord/collection/77", &record);
    let refused = next.migrate().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::SourceChanged { what, .. }
            if what.contains("root-coord/collection/77")),
        "{refused:?}"
    );
    let refused = next.roll_back().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::WouldLose { what } if what.contains("collection/77")),
        "{refused:?}"
    );
    assert_eq!(next.get("root-coord/collection/77").unwrap(), record);
}

#[tokio::test]
async fn a_rollback_does_not_restore_2_2() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        let (migrated, journal) = (instance.image(), instance.journal());
        let after = save(&instance, "after.mmb").await;
        let refused = instance
            .restore_with(&restore_options_from(
                &instance,
                RestoreCommand::Rollback,
                &after,
            ))
            .await
            .unwrap_err();
        // Embedded collections are equal in both layouts; indexes and aliases are not.
        assert_eq!(refused.kind(), ErrorClass::Usage, "{form}: {refused:?}");
        let unchanged = instance
            .restore_with(&restore_options_from(
                &instance,
                RestoreCommand::Restore,
                &after,
            ))
            .await
            .unwrap();
        assert_eq!(unchanged.outcome, RestoreOutcome::Unchanged);
        assert_eq!(instance.image(), migrated);
        assert_eq!(
            instance.journal(),
            journal,
            "the journal still names the rollback"
        );
        instance.roll_back().await.unwrap();
    }
}

#[tokio::test]
async fn a_swapped_backup_file_is_rejected() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.put("root-coord/credential/users/more", b"{}");
        let with_user = save(&instance, "with-user.mmb").await;
        instance.migrate().await.unwrap();
        let migrated = instance.image();
        let good = instance.folder.path().join("good.mmb");
        std::fs::rename(instance.backup(), &good).unwrap();
        let other = Instance::small(form);
        swap_backup(&instance, &save(&other, "without-user.mmb").await);
        let refused = instance.roll_back().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::OtherBackup { .. }),
            "{form}: {refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::Failed);
        assert_eq!(instance.image(), migrated);
        // The same content in another file is the same backup.
        swap_backup(&instance, &with_user);
        instance.roll_back().await.unwrap();
        assert!(instance.get("root-coord/credential/users/more").is_some());
    }
}

#[tokio::test]
async fn a_rollback_to_another_backup_than_the_saved_one_needs_acceptance() {
    for form in FORMS {
        let instance = Instance::small(form);
        let without_user = save(&instance, "without-user.mmb").await;
        let before = instance.image();
        instance.put("root-coord/credential/users/more", b"{}");
        let with_user = save(&instance, "with-user.mmb").await;
        instance.migrate().await.unwrap();
        let migrated = instance.image();
        let rollback = restore_options_from(&instance, RestoreCommand::Rollback, &without_user);
        let refused = instance.restore_with(&rollback).await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::NotSaved { path, .. } if path.ends_with("without-user.mmb")),
            "{form}: {refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::Refused);
        let hints: Vec<_> = refused.hints(RunKind::Restore);
        assert!(
            matches!(&hints[1].command, Some(NextCommand::Rollback { backup: Some(path), .. }) if *path == instance.backup().display().to_string()),
            "{hints:?}"
        );
        assert_eq!(instance.image(), migrated);
        // The same content in another file is the same backup.
        let same = restore_options_from(&instance, RestoreCommand::Rollback, &with_user);
        let next = RestoreOptions {
            dry_run: true,
            ..same
        };
        instance.restore_with(&next).await.unwrap();
        let accepted = RestoreOptions {
            accept_loss: true,
            ..rollback
        };
        instance.restore_with(&accepted).await.unwrap();
        assert_eq!(instance.image(), before);
    }
}

#[tokio::test]
async fn a_rollback_whose_backup_is_missing_names_no_command_that_fails_again() {
    let instance = Instance::small(CollectionForm::Split);
    instance.kill_after(Phase::Committed, 1);
    instance.migrate().await.unwrap_err();
    let next = instance.next();
    next.end_lock();
    std::fs::remove_file(next.backup()).unwrap();
    let failed = next.roll_back().await.unwrap_err();
    assert!(
        matches!(&*failed.failure, EngineErrorKind::Backup(_)),
        "{failed:?}"
    );
    assert_eq!(failed.hints(RunKind::Restore), []);
}

#[tokio::test]
async fn a_rollback_to_existing_2_1_discards_nothing() {
    let instance = Instance::small(CollectionForm::Database);
    let file = save(&instance, "named.mmb").await;
    let rollback = restore_options_from(&instance, RestoreCommand::Rollback, &file);
    let before = instance.image();
    instance.put(SEGMENT, b"written since");
    let refused = instance.restore_with(&rollback).await.unwrap_err();
    assert!(
        matches!(
            &*refused.failure,
            EngineErrorKind::UnknownLoss {
                extra: 1,
                different: 0,
                examples,
                ..
            } if examples == &[format!("{}/{SEGMENT}", root().meta_root())]
        ),
        "{refused:?}"
    );
    assert!(refused.to_string().contains(SEGMENT), "{refused}");
    assert!(instance.get(SEGMENT).is_some());
    let accepted = RestoreOptions {
        accept_loss: true,
        ..rollback.clone()
    };
    instance.restore_with(&accepted).await.unwrap();
    assert_eq!(instance.image(), before);

    // A failed run of the official tool leaves only part of 2.1 (D1), and nothing new.
    let deleted = root().range_below("root-coord/");
    instance.store.change(|state| {
        state.delete(&deleted);
    });
    let back = instance.restore_with(&rollback).await.unwrap();
    assert_eq!(back.outcome, RestoreOutcome::Restored);
    assert_eq!(instance.image(), before);
}

#[tokio::test]
async fn migrate_finishes_a_restore_from_its_backup() {
    let (_, next) = killed_rollback().await;
    let unchanged = next.image();
    let other = Instance::small(CollectionForm::Split);
    other.put(SEGMENT, b"another content");
    swap_backup(&next, &save(&other, "other.mmb").await);
    let refused = next.migrate().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::OtherBackup { .. }),
        "{refused:?}"
    );
    assert_eq!(next.image(), unchanged);
}

#[tokio::test]
async fn writes_during_an_unfinished_restore_are_kept() {
    let (before, next) = killed_rollback().await;
    next.put(SEGMENT, b"written since");
    for refused in [
        next.migrate().await.unwrap_err(),
        next.roll_back().await.unwrap_err(),
    ] {
        assert!(
            matches!(
                &*refused.failure,
                EngineErrorKind::ChangedWhileRestoring { keys: 1 }
            ),
            "{refused:?}"
        );
    }
    assert!(next.get(SEGMENT).is_some());
    let accepted = RestoreOptions {
        accept_loss: true,
        ..next.restore_options(RestoreCommand::Rollback)
    };
    next.restore_with(&accepted).await.unwrap();
    assert_eq!(next.image(), before);
}

struct Declines;

impl Observer for Declines {
    fn confirm_migration(&self, _: &PlanReport) -> bool {
        false
    }
}

#[tokio::test]
async fn declining_after_a_finished_restore_is_a_success() {
    let (before, next) = killed_rollback().await;
    let declined = migrate(&next.store, &next.options(), &watched(Declines))
        .await
        .unwrap_err();
    assert!(matches!(&*declined.failure, EngineErrorKind::Declined));
    assert_eq!(declined.written, WriteState::Restored);
    assert_eq!(
        declined.backup, None,
        "the restored metadata is not the 2.1 backup"
    );
    assert_eq!(next.image(), before);
    assert_eq!(next.journal(), None);
}

#[tokio::test]
async fn a_leased_key_in_the_backup_keeps_its_lease() {
    let instance = Instance::small(CollectionForm::Split);
    instance.put("some/key", b"1");
    let file = save(&instance, "named.mmb").await;
    let key = root().join(b"some/key");
    instance.store.change(|state| {
        let hour = std::time::Duration::from_secs(3600);
        state.put_leased(&key, b"2", hour);
        state.delete(&root().range_below("root-coord/"));
    });
    instance
        .restore_with(&restore_options_from(
            &instance,
            RestoreCommand::Restore,
            &file,
        ))
        .await
        .unwrap();
    let entry = instance.store.look(|state| state.get(&key)).unwrap();
    assert_eq!(&*entry.value, b"2");
    assert_ne!(entry.lease, 0);
}

#[tokio::test]
async fn a_done_migration_with_lost_metadata_is_rejected() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        instance.store.change(|state| {
            state.delete(&root().range());
        });
        let refused = instance.migrate().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::Findings(plan)
                if plan.findings.iter().any(|finding| finding.code == "metadata-gone")),
            "{form}: {refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::Unmigratable);
        instance.roll_back().await.unwrap_err();
        let accepted = RestoreOptions {
            accept_loss: true,
            ..instance.restore_options(RestoreCommand::Rollback)
        };
        instance.restore_with(&accepted).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_finishes_after_2_2_was_started() {
    for form in FORMS {
        let killed = Instance::small(form);
        killed.kill_after(Phase::Tidying, 0);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        next.put(
            "queryCoord-ResourceGroup/__default_resource_group",
            b"\x0a\x01x",
        );
        let options: MigrateOptions = next.options();
        let report = migrate(&next.store, &options, &Environment::silent())
            .await
            .unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated, "{form}");
        assert_eq!(next.journal().unwrap().phase, Phase::Done);
        // A rollback would discard the writes of 2.2.
        let refused = next.roll_back().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::WouldLose { .. }),
            "{refused:?}"
        );
    }
}

/// Another client writes while the prompt is open.
struct WritesDuringPrompt(meta_testing::memory::MemoryStore);

impl Observer for WritesDuringPrompt {
    fn confirm_restore(&self, _: &RestoreReport) -> bool {
        self.0.change(|state| {
            state.put(&root().join(SEGMENT.as_bytes()), b"written in between");
        });
        true
    }
}

#[tokio::test]
async fn writes_during_the_prompt_are_kept() {
    // Only the loss that was shown is accepted.
    for accept_loss in [false, true] {
        let instance = Instance::small(CollectionForm::Split);
        instance.migrate().await.unwrap();
        let migrated = instance.image();
        let environment = watched(WritesDuringPrompt(instance.store.clone()));
        let mut options = instance.restore_options(RestoreCommand::Rollback);
        options.accept_loss = accept_loss;
        let refused = restore(&instance.store, &options, &environment)
            .await
            .unwrap_err();
        assert_eq!(refused.written, WriteState::Nothing);
        assert!(instance.get(SEGMENT).is_some());
        let mut after = instance.image();
        after.remove(SEGMENT);
        assert_eq!(after, migrated);
    }
}

/// Collects the notes of a run.
#[derive(Clone, Default)]
pub(super) struct Notes(pub(super) std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Observer for Notes {
    fn note(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

#[tokio::test]
async fn an_unfinished_2_2_layout_is_rejected() {
    for broken in [true, false] {
        let instance = Instance::small(CollectionForm::Database);
        instance.migrate().await.unwrap();
        instance.store.change(|state| {
            state.delete(&KeyRange::single(root().journal_key()));
            if broken {
                state.delete(&root().range_below("snapshots/root-coord/fields/"));
            }
        });
        let answer = instance.migrate().await;
        if broken {
            let refused = answer.unwrap_err();
            assert!(matches!(&*refused.failure, EngineErrorKind::Findings(plan)
                if plan.findings.iter().any(|finding| finding.is_error())));
        } else {
            assert_eq!(answer.unwrap().outcome, MigrateOutcome::AlreadyMigrated);
        }
    }
}
