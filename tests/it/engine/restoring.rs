//! The keys that a rollback or restore writes, and those that it never changes.

use meta_backup::{Header, WriteOptions, Writer};
use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, ErrorClass, RestoreCommand, RestoreOptions, WriteState};
use meta_report::RestoreOutcome;
use meta_store::Op;
use meta_testing::memory::Fault;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::CollectionForm;

use super::instance::{Instance, plain};
use crate::rules::FORMS;
use crate::support::metadata::Metadata;

#[tokio::test]
async fn d2_without_a_valid_backup_nothing_is_deleted() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        let done = plain(&instance.store.dump());
        let intact = std::fs::read(instance.backup()).unwrap();
        let mut flipped = intact.clone();
        flipped[intact.len() / 2] ^= 1;
        for damage in [
            None,
            Some(Vec::new()),
            Some(flipped),
            Some(intact[..intact.len() - 1].to_vec()),
        ] {
            match &damage {
                None => std::fs::remove_file(instance.backup()).unwrap(),
                Some(bytes) => std::fs::write(instance.backup(), bytes).unwrap(),
            }
            let refused = instance.roll_back().await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::Backup(_)),
                "{refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::Failed);
            assert_eq!(refused.written, WriteState::Nothing);
            assert_eq!(plain(&instance.store.dump()), done);
        }
        std::fs::write(instance.backup(), &intact).unwrap();
        instance.roll_back().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_rollback_has_nothing_to_do() {
    let instance = Instance::small(CollectionForm::Database);
    let before = plain(&instance.store.dump());
    instance.migrate().await.unwrap();
    let done = instance.image();
    assert_eq!(
        instance.roll_back().await.unwrap().outcome,
        RestoreOutcome::Restored
    );
    let again = instance.roll_back().await.unwrap();
    assert_eq!(again.outcome, RestoreOutcome::Unchanged);
    assert_eq!((again.put, again.delete, again.kept), (0, 0, 0));
    assert!(!again.verified, "there was nothing to compare with");
    assert_eq!(plain(&instance.store.dump()), before);

    let migrated = Instance::of(&Metadata::default(), CollectionForm::Database);
    for (key, value) in &done {
        migrated.put(key, value);
    }
    let refused = migrated.roll_back().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::NoBackup),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Usage);
}

#[tokio::test]
async fn staged_keys_never_outlive_the_journal() {
    for (phase, more) in [(Phase::Staging, 1), (Phase::Staged, 0)] {
        for form in FORMS {
            let killed = Instance::small(form);
            let before = killed.image();
            killed.kill_after(phase, more);
            killed.migrate().await.unwrap_err();
            let next = killed.next();
            next.end_lock();
            let (staged, journal) = (next.image(), next.journal());
            assert_ne!(staged, before, "{form}");
            let mut options = next.restore_options(RestoreCommand::Restore);
            options.keep_extra = true;
            let refused = next.restore_with(&options).await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::StagedWouldStay { .. }),
                "{form}: {refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::Usage);
            assert_eq!((next.image(), next.journal()), (staged, journal), "{form}");
            // Both reported commands succeed.
            next.roll_back().await.unwrap();
            next.restore_with(&options).await.unwrap();
            assert_eq!((next.image(), next.journal()), (before, None), "{form}");
        }
    }
}

/// Keys that a running 2.2 writes.
fn run_2_2(instance: &Instance) {
    instance.put("root-coord/database/db-info/9", b"a database");
    instance.put("queryCoord-ResourceGroup/rg", b"a group");
    instance.put("datacoord-meta/s/1/10/51", b"changed");
}

#[tokio::test]
async fn d17_2_2_writes_are_reported_and_removed_if_accepted() {
    for form in FORMS {
        let instance = Instance::small(form);
        let before = instance.image();
        instance.migrate().await.unwrap();
        run_2_2(&instance);
        let running = plain(&instance.store.dump());
        let refused = instance.roll_back().await.unwrap_err();
        let EngineErrorKind::WouldLose { what } = &*refused.failure else {
            panic!("{refused:?}");
        };
        assert!(what.contains("3 keys"), "{what}");
        assert!(what.contains("datacoord-meta/s/1/10/51"), "{what}");
        assert_eq!(refused.kind(), ErrorClass::Refused);
        assert_eq!(plain(&instance.store.dump()), running);
        let mut options = instance.restore_options(RestoreCommand::Rollback);
        options.accept_loss = true;
        let report = instance.restore_with(&options).await.unwrap();
        assert!(report.verified);
        assert_eq!(instance.image(), before);
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_diff_despite_a_loss() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        run_2_2(&instance);
        let running = plain(&instance.store.dump());
        let mut options = instance.restore_options(RestoreCommand::Rollback);
        options.dry_run = true;
        let refused = instance.restore_with(&options).await.unwrap_err();
        assert!(matches!(
            &*refused.failure,
            EngineErrorKind::WouldLose { .. }
        ));
        assert_eq!(refused.kind(), ErrorClass::Refused);
        let shown = refused.diff.expect("the difference");
        assert!(shown.put > 0 && shown.delete > 2, "{shown:?}");
        assert_eq!(shown.outcome, RestoreOutcome::WouldRestore);
        options.accept_loss = true;
        let accepted = instance.restore_with(&options).await.unwrap();
        assert_eq!(accepted, *shown);
        let mut options = instance.restore_options(RestoreCommand::Restore);
        options.dry_run = true;
        assert_eq!(instance.restore_with(&options).await.unwrap(), *shown);
        assert_eq!(plain(&instance.store.dump()), running);
    }
}

#[tokio::test]
async fn writes_of_2_2_before_the_end_are_reported() {
    for phase in [Phase::Committed, Phase::Tidying] {
        for form in FORMS {
            let killed = Instance::small(form);
            killed.kill_after(phase, 0);
            killed.migrate().await.unwrap_err();
            let next = killed.next();
            next.end_lock();
            run_2_2(&next);
            let running = plain(&next.store.dump());
            let refused = next.roll_back().await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::WouldLose { what } if what.contains("3 keys")),
                "{refused:?}"
            );
            assert_eq!(plain(&next.store.dump()), running);
        }
    }
}

#[tokio::test]
async fn extra_keys_are_kept_on_request() {
    let instance = Instance::small(FORMS[0]);
    let before = instance.image();
    super::saved(&instance.store, &instance.backup()).await;
    instance.put("datacoord-meta/s/1/10/51", b"changed");
    instance.put("queryCoord-ResourceGroup/rg", b"a group");
    instance.put("datacoord-meta/s/1/10/77", b"new");
    let mut options = instance.restore_options(RestoreCommand::Restore);
    options.keep_extra = true;
    let report = instance.restore_with(&options).await.unwrap();
    assert!(report.kept == 2 && report.delete == 0 && report.verified);
    let after = instance.image();
    assert!(
        before
            .iter()
            .all(|(key, value)| after.get(key) == Some(value))
    );
    assert_eq!(after["queryCoord-ResourceGroup/rg"], b"a group");
}

#[tokio::test]
async fn extra_keys_that_mix_layouts_are_not_kept() {
    for form in FORMS {
        for way in [RestoreCommand::Rollback, RestoreCommand::Restore] {
            let instance = Instance::small(form);
            instance.migrate().await.unwrap();
            let migrated = plain(&instance.store.dump());
            let mut options = instance.restore_options(way);
            options.keep_extra = true;
            options.accept_loss = true;
            for dry_run in [true, false] {
                options.dry_run = dry_run;
                let refused = instance.restore_with(&options).await.unwrap_err();
                assert_eq!(refused.kind(), ErrorClass::Usage, "{form}: {refused:?}");
                assert!(refused.to_string().contains("--keep-extra"), "{refused}");
                assert_eq!(plain(&instance.store.dump()), migrated, "{form}");
            }
        }
    }
}

#[tokio::test]
async fn d18_the_server_id_counter_is_never_reset() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        instance.put("session/id", b"99");
        instance.roll_back().await.unwrap();
        assert_eq!(instance.get("session/id").unwrap(), b"99");
    }
    // If the counter is missing, the value of the backup is used.
    let instance = Instance::small(FORMS[0]);
    instance.migrate().await.unwrap();
    instance.store.change(|state| {
        let key = crate::support::metadata::root().session_id_key();
        state.delete(&milvus_meta::keys::KeyRange::single(key))
    });
    let mut options = instance.restore_options(RestoreCommand::Rollback);
    options.accept_loss = true;
    instance.restore_with(&options).await.unwrap();
    assert_eq!(instance.get("session/id").unwrap(), b"12");
}

#[tokio::test]
async fn d19_a_rollback_restores_the_load_state() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        for (old, new) in [
            (
                "queryCoord-collectionMeta/1",
                "querycoord-collection-loadinfo/1",
            ),
            ("queryCoord-ReplicaMeta/30", "querycoord-replica/1/30"),
        ] {
            assert_eq!(instance.get(old), None);
            assert!(instance.get(new).is_some(), "{new}");
        }
        instance.roll_back().await.unwrap();
        let load_state = Metadata::small().entries["queryCoord-collectionMeta/1"].clone();
        assert_eq!(
            instance.get("queryCoord-collectionMeta/1"),
            Some(load_state)
        );
        assert_eq!(instance.get("querycoord-collection-loadinfo/1"), None);
    }
}

#[tokio::test]
async fn d14_a_neighbour_is_neither_saved_nor_changed() {
    let instance = Instance::small(FORMS[0]);
    let neighbours = [
        "by-dev/meta2/field-index/1/1",
        "by-dev/metadata",
        "by-dev/kv/gid",
    ];
    instance.store.change(|state| {
        for key in neighbours {
            state.put(key.as_bytes(), b"neighbour");
        }
    });
    let revisions = || {
        instance.store.look(|state| {
            neighbours.map(|key| state.get(key.as_bytes()).map(|entry| entry.mod_revision))
        })
    };
    let before = revisions();
    instance.migrate().await.unwrap();
    let backup = meta_backup::Backup::open(instance.backup()).unwrap();
    for entry in backup.entries().unwrap() {
        assert!(entry.unwrap().key.starts_with(b"by-dev/meta/"));
    }
    instance.roll_back().await.unwrap();
    assert_eq!(revisions(), before);
}

fn write_backup(instance: &Instance, meta_root: &str, keys: &[String]) {
    let header = Header {
        meta_root: meta_root.to_owned(),
        created_at: "2026-11-22T18:30:00Z".to_owned(),
        ..Header::default()
    };
    let mut writer = Writer::create(instance.backup(), header, WriteOptions::default()).unwrap();
    for key in keys {
        writer.push(key.as_bytes(), b"from the backup").unwrap();
    }
    writer.finish().unwrap();
}

fn moved(instance: &Instance, root: MetaRoot) -> RestoreOptions {
    RestoreOptions {
        moved_from: Some(root.clone()),
        root,
        ..instance.restore_options(RestoreCommand::Restore)
    }
}

#[tokio::test]
async fn t12_session_lock_journal_keys_are_not_restored() {
    let instance = Instance::of(&Metadata::default(), FORMS[0]);
    // Without a meta sub-path, the journal is below the meta root itself.
    let root = MetaRoot::new("by-dev", "", "../kv").unwrap();
    let keys = [
        "a",
        "migration/journal",
        "session/migration",
        "session/rootcoord",
        "session/rootcoord-7",
    ];
    write_backup(
        &instance,
        "by-dev",
        &keys.map(|key| format!("by-dev/{key}")),
    );
    let report = instance
        .restore_with(&moved(&instance, root))
        .await
        .unwrap();
    assert_eq!((report.put, report.delete), (1, 0));
    assert_eq!(
        plain(&instance.store.dump()),
        [("by-dev/a".into(), "from the backup".into())]
    );
}

#[tokio::test]
async fn a_backup_moves_to_another_root_on_request() {
    let instance = Instance::of(&Metadata::default(), FORMS[0]);
    write_backup(
        &instance,
        "old/meta",
        &["old/meta/a".into(), "old/meta/b".into()],
    );
    let options = instance.restore_options(RestoreCommand::Restore);
    let refused = instance.restore_with(&options).await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::WrongRoot { found, wanted, .. }
            if found == "old/meta" && wanted == "by-dev/meta"),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Usage);
    assert!(instance.store.dump().is_empty());
    let report = instance
        .restore_with(&moved(&instance, crate::support::metadata::root()))
        .await
        .unwrap();
    assert_eq!(report.outcome, RestoreOutcome::Restored);
    let keys: Vec<_> = instance.image().into_keys().collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(
        instance
            .store
            .look(|state| state.get(b"old/meta/a"))
            .is_none()
    );
}

/// Another client writes a key just before the first deletion of the next run.
fn write_before_first_deletion(instance: &Instance, key: &'static [u8]) {
    let mut is_done = false;
    instance.store.fault_when(move |request| {
        let deletes = request.txn.is_some_and(|txn| {
            txn.ops
                .iter()
                .all(|op| matches!(op, Op::Delete(range) if !range.is_open()))
                && txn.ops.len() == 1
        });
        if !deletes || std::mem::replace(&mut is_done, true) {
            return Vec::new();
        }
        vec![Fault::before(move |state| {
            state.put(key, b"from another client");
        })]
    });
}

#[tokio::test]
async fn a_write_during_a_rollback_is_detected() {
    for key in [
        // A key that both layouts have, and a new one.
        &b"by-dev/meta/datacoord-meta/s/1/10/51"[..],
        b"by-dev/meta/indexes/other",
    ] {
        let instance = Instance::small(CollectionForm::Database);
        instance.migrate().await.unwrap();
        write_before_first_deletion(&instance, key);
        let failed = instance.roll_back().await.unwrap_err();
        // Deleted ranges are compared with the values read, other ranges afterwards.
        assert!(
            matches!(
                &*failed.failure,
                EngineErrorKind::Verification(_) | EngineErrorKind::SourceChanged { .. }
            ),
            "{failed:?}"
        );
        assert_eq!(failed.written, WriteState::Restoring);
        let key = instance.store.look(|state| state.get(key));
        assert_eq!(&*key.unwrap().value, b"from another client");
    }
    let instance = Instance::small(CollectionForm::Database);
    let before = instance.image();
    instance.migrate().await.unwrap();
    write_before_first_deletion(&instance, b"elsewhere/key");
    assert!(instance.roll_back().await.unwrap().verified);
    assert_eq!(instance.image(), before);
}

#[tokio::test]
async fn a_write_during_cleanup_is_detected() {
    let instance = Instance::small(CollectionForm::Database);
    write_before_first_deletion(&instance, b"by-dev/meta/segment-index/other");
    let failed = instance.migrate().await.unwrap_err();
    assert!(
        matches!(&*failed.failure, EngineErrorKind::Verification(_)),
        "{failed:?}"
    );
    let instance = Instance::small(CollectionForm::Database);
    write_before_first_deletion(&instance, b"elsewhere/key");
    assert!(instance.migrate().await.unwrap().verified);
}
