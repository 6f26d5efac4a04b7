//! `backup` during a migration, which is detected by reading, since nothing is written.

use std::sync::Arc;
use std::time::Duration;

use meta_backup::WriteOptions;
use meta_migrate::journal::Phase;
use meta_migrate::{
    BackupOptions, BackupTarget, EngineError, EngineErrorKind, Environment, ErrorClass, Observer,
    Waits, backup,
};
use meta_report::BackupReport;
use meta_testing::memory::{MemoryState, MemoryStore};
use milvus_meta::transform::CollectionForm;

use super::between_runs::Notes;
use super::instance::{Instance, limits};
use crate::support::metadata::root;

/// Changes the store when the scan starts.
struct AtCapture<F> {
    store: MemoryStore,
    change: F,
}

impl<F: Fn(&mut MemoryState) + Send + Sync> Observer for AtCapture<F> {
    fn phase_started(&self, name: &str, _total: Option<u64>) {
        assert_eq!(name, "backup");
        self.store.change(|state| (self.change)(state));
    }
}

fn options(it: &Instance, file: &str, waits: Waits) -> BackupOptions {
    BackupOptions {
        root: root(),
        target: BackupTarget {
            path: it.folder.path().join(file),
            options: WriteOptions::default(),
            source_version: None,
            allow_ephemeral: true,
            stream: None,
        },
        refuse_sessions: false,
        waits,
        limits: limits(),
    }
}

async fn save(
    it: &Instance,
    waits: Waits,
    change: impl Fn(&mut MemoryState) + Send + Sync + 'static,
) -> Result<BackupReport, EngineError> {
    let options = options(it, "b.mmb", waits);
    let observer = AtCapture {
        store: it.store.clone(),
        change,
    };
    let environment = Environment {
        observer: Arc::new(observer),
        ..Environment::silent()
    };
    backup(&it.store, &options, &environment).await
}

/// Fails if there is any file, including hidden ones.
fn no_file_is_left(it: &Instance) {
    assert_eq!(it.folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn backup_writes_nothing_to_etcd() {
    let it = Instance::small(CollectionForm::Split);
    let before = it.store.change(|state| state.revision());
    save(&it, Waits::default(), |_| {}).await.unwrap();
    assert_eq!(it.store.change(|state| state.revision()), before);
}

#[tokio::test]
async fn backup_rejects_a_migration_started_during_it() {
    let it = Instance::small(CollectionForm::Split);
    let lock = root().lock_key();
    let refused = save(&it, Waits::default(), move |state| {
        state.put_leased(&lock, b"{}", Duration::from_secs(20));
    })
    .await
    .unwrap_err();
    assert!(
        matches!(*refused.failure, EngineErrorKind::Locked(_)),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Refused);
    no_file_is_left(&it);
}

/// The lock was taken and released between the two checks: the journal shows it.
#[tokio::test]
async fn backup_rejects_a_migration_run_during_it() {
    let it = Instance::small(CollectionForm::Split);
    let journal = root().journal_key();
    let refused = save(&it, Waits::default(), move |state| {
        state.put(&journal, b"{}");
    })
    .await
    .unwrap_err();
    assert!(
        matches!(*refused.failure, EngineErrorKind::JournalChanged { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Refused);
    no_file_is_left(&it);
}

#[tokio::test]
async fn backup_waits_for_a_held_lock_and_rejects_it() {
    let it = Instance::small(CollectionForm::Split);
    let lock = root().lock_key();
    it.store
        .change(|state| state.put_leased(&lock, b"{}", Duration::from_millis(300)));
    let refused = save(&it, Waits::default(), |_| {}).await.unwrap_err();
    assert!(matches!(*refused.failure, EngineErrorKind::Locked(_)));
    no_file_is_left(&it);
    let waits = Waits {
        lock: Duration::from_secs(60),
        ..Waits::default()
    };
    save(&it, waits, |_| {}).await.unwrap();
}

/// Such a backup contains keys of both layouts, which a restore must report.
#[tokio::test]
async fn backup_of_an_unfinished_run_names_its_phase() {
    for phase in [
        Phase::Staging,
        Phase::Staged,
        Phase::Committed,
        Phase::Tidying,
    ] {
        let it = Instance::small(CollectionForm::Database);
        it.kill_after(phase, 0);
        drop(it.migrate().await);
        let it = it.next();
        it.end_lock();
        let notes = Notes::default();
        let environment = Environment {
            observer: Arc::new(notes.clone()),
            ..Environment::silent()
        };
        let options = options(&it, "c.mmb", Waits::default());
        backup(&it.store, &options, &environment).await.unwrap();
        let notes = notes.0.lock().unwrap().join("\n");
        assert!(notes.contains("not of one layout"), "{notes}");
        assert!(notes.contains(&format!("({})", phase.name())), "{notes}");
        assert!(notes.contains("meta-migration rollback"), "{notes}");
    }
    let it = Instance::small(CollectionForm::Database);
    it.migrate().await.unwrap();
    let notes = Notes::default();
    let environment = Environment {
        observer: Arc::new(notes.clone()),
        ..Environment::silent()
    };
    let options = options(&it, "c.mmb", Waits::default());
    backup(&it.store, &options, &environment).await.unwrap();
    assert_eq!(*notes.0.lock().unwrap(), Vec::<String>::new());
}
