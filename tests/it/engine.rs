//! The use cases on the store in memory: whole runs, their ends, and the way back.

use std::path::Path;

mod instance;
mod limits;
mod refusals;
mod restoring;
mod resuming;

use meta_migration::backup::WriteOptions;
use meta_migration::engine::{
    BackupTarget, Environment, Limits, MigrateOptions, RestoreOptions, VerifyOptions, Waits, Way,
    migrate, restore, verify,
};
use meta_migration::entry::Entry;
use meta_migration::keys::MetaRoot;
use meta_migration::report::{MigrateOutcome, RestoreOutcome};
use meta_migration::store::memory::MemoryStore;
use meta_migration::transform::{CollectionForm, OnBrokenRecord};

use crate::support::dump::read_dump;

fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

fn options(form: CollectionForm, backup: &Path) -> MigrateOptions {
    MigrateOptions {
        root: root(),
        source_version: Some("2.1.4".parse().unwrap()),
        target_version: "2.2.16".parse().unwrap(),
        form,
        on_broken_record: OnBrokenRecord::Fail,
        backup: Some(BackupTarget {
            path: backup.to_owned(),
            options: WriteOptions::default(),
            source_version: None,
        }),
        waits: Waits::default(),
        limits: Limits::default(),
    }
}

fn plain(entries: &[Entry]) -> Vec<(Vec<u8>, Vec<u8>)> {
    entries
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect()
}

#[tokio::test]
async fn migrate_verify_and_roll_back_give_back_every_byte() {
    for form in [
        CollectionForm::Split,
        CollectionForm::Database,
        CollectionForm::Embedded,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("b.mmb");
        let store = MemoryStore::with_entries(&read_dump("dropped/in.jsonl"));
        let before = plain(&store.dump());
        let environment = Environment::silent();
        let report = migrate(&store, &options(form, &backup), &environment)
            .await
            .unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated);
        assert!(report.verified);
        let verified = verify(
            &store,
            &VerifyOptions {
                root: root(),
                backup: Some(backup.clone()),
                options: None,
                limits: Limits::default(),
            },
            &environment,
        )
        .await
        .unwrap();
        assert!(verified.ok, "{verified:?}");
        let again = migrate(&store, &options(form, &backup), &environment)
            .await
            .unwrap();
        assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
        let back = restore(
            &store,
            &RestoreOptions {
                root: root(),
                way: Way::Rollback,
                backup: None,
                any_root: false,
                keep_extra: false,
                accept_loss: false,
                dry_run: false,
                waits: Waits::default(),
                limits: Limits::default(),
            },
            &environment,
        )
        .await
        .unwrap();
        assert_eq!(back.outcome, RestoreOutcome::Restored);
        assert_eq!(plain(&store.dump()), before, "{form}");
    }
}
