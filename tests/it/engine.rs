//! The use cases on the store in memory: complete runs, their results, and rollbacks.

use std::path::Path;

mod answers;
mod between_runs;
mod concurrent;
mod counting;
mod families;
mod instance;
mod interrupted_official;
mod journal_from_other_cluster;
mod limits;
mod lost_tail;
pub(crate) mod mixed;
mod partial;
mod progress;
mod refusals;
mod repairing;
mod restoring;
mod resuming;
mod saving;
mod segments;
mod unstaging;

use bytes::Bytes;
use meta_backup::Backup;
use meta_migrate::{
    BackupOptions, Environment, Limits, MigrateOptions, RestoreCommand, RestoreOptions,
    VerifyOptions, Waits, backup, migrate, restore, verify,
};
use meta_report::{MigrateOutcome, RestoreOutcome};
use meta_testing::memory::MemoryStore;
use milvus_meta::entry::Entry;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::{CollectionForm, Options};

use crate::support::dump::read_dump;
use crate::support::migration::is_history;
use crate::support::options;

fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

fn migrate_options(form: CollectionForm, backup: &Path) -> MigrateOptions {
    MigrateOptions {
        source_version: Some("2.1.4".parse().unwrap()),
        transform: Options {
            target: "2.2.16".parse().unwrap(),
            ..options::transform(form)
        },
        ..options::migrate(root(), form, backup.to_owned())
    }
}

fn plain(entries: &[Entry]) -> Vec<(Bytes, Bytes)> {
    let kept = entries.iter().filter(|entry| !is_history(&entry.key));
    kept.map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect()
}

#[tokio::test]
async fn migrate_verify_and_roll_back_restore_every_byte() {
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
        let report = migrate(&store, &migrate_options(form, &backup), &environment)
            .await
            .unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated);
        assert!(report.verified);
        let verified = verify(
            &store,
            &VerifyOptions {
                backup: Some(backup.clone()),
                ..options::verify(root())
            },
            &environment,
        )
        .await
        .unwrap();
        assert!(verified.ok, "{verified:?}");
        let again = migrate(&store, &migrate_options(form, &backup), &environment)
            .await
            .unwrap();
        assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
        let back = restore(&store, &options::rollback(root()), &environment)
            .await
            .unwrap();
        assert_eq!(back.outcome, RestoreOutcome::Restored);
        assert_eq!(plain(&store.dump()), before, "{form}");
    }
}

async fn saved(store: &MemoryStore, path: &Path) -> Vec<(Bytes, Bytes)> {
    let options = BackupOptions {
        root: root(),
        target: options::backup_target(path.to_owned()),
        refuse_sessions: false,
        waits: Waits::default(),
        limits: Limits::default(),
    };
    backup(store, &options, &Environment::silent())
        .await
        .unwrap();
    let entries = Backup::open(path).unwrap().entries().unwrap();
    plain(&entries.map(Result::unwrap).collect::<Vec<_>>())
}

#[tokio::test]
async fn d13_keys_after_a_leased_key_are_in_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::with_entries(&read_dump("dropped/in.jsonl"));
    // Leased keys before all other keys, after them, and in each gap.
    let keys: Vec<_> = store.dump().into_iter().map(|entry| entry.key).collect();
    store.change(|state| {
        for key in keys.iter().filter(|key| key.starts_with(b"by-dev/meta/")) {
            let leased = [&key[..], b"~leased"].concat();
            state.put_leased(&leased, b"{}", std::time::Duration::from_secs(60));
        }
        let first = b"by-dev/meta/!first";
        state.put_leased(first, b"{}", std::time::Duration::from_secs(60));
    });
    let expected: Vec<_> = store
        .dump()
        .into_iter()
        .filter(|entry| entry.lease == 0 && entry.key.starts_with(b"by-dev/meta/"))
        .collect();
    assert!(expected.len() > 100);
    let found = saved(&store, &folder.path().join("b.mmb")).await;
    assert_eq!(found, plain(&expected));
}

#[tokio::test]
async fn d18_the_server_id_counter_never_decreases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.mmb");
    let store = MemoryStore::with_entries(&read_dump("dropped/in.jsonl"));
    let counter = root().session_id_key();
    store.change(|state| state.put(&counter, b"5"));
    let before = saved(&store, &path).await;
    store.change(|state| {
        state.put(&counter, b"77");
        state.put(b"by-dev/meta/indexes/1", b"changed");
    });
    let options = RestoreOptions {
        command: RestoreCommand::Restore,
        backup: Some(path),
        accept_loss: true,
        ..options::rollback(root())
    };
    restore(&store, &options, &Environment::silent())
        .await
        .unwrap();
    let after: Vec<_> = plain(&store.dump())
        .into_iter()
        .filter(|(key, _)| key.starts_with(b"by-dev/meta/"))
        .collect();
    let mut expected = before;
    for (key, value) in &mut expected {
        if *key == counter {
            *value = Bytes::from_static(b"77");
        }
    }
    // Leased session keys of the dump are unchanged.
    let leased: Vec<_> = store
        .dump()
        .into_iter()
        .filter(|entry| entry.lease != 0)
        .map(|entry| entry.key)
        .collect();
    let after: Vec<_> = after
        .into_iter()
        .filter(|(key, _)| !leased.contains(key))
        .collect();
    assert_eq!(after, expected);
}
