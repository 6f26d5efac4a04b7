//! Limits of the server: operations, sizes, space, history, and missing responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meta_migrate::{
    BackupOptions, BackupTarget, CommitSize, EngineError, EngineErrorKind, Environment, ErrorClass,
    Limits, Observer, WriteState, backup, migrate, restore,
};
use meta_report::MigrateOutcome;
use meta_store::etcd::{EtcdStore, Options};
use meta_store::{Op, RangeRequest, Store, StoreErrorKind, Txn};
use milvus_meta::transform::CollectionForm;

use crate::support::etcd::{Etcd, Settings};
use crate::support::hooked::{Hooked, Moment};
use crate::support::metadata::Metadata;
use crate::support::migration::{Case, put_all, waits, watched};
use crate::support::process::{Program, end_lock_lease, expect};

/// Migrates with the default limits instead of small ones.
pub(super) async fn migrate_at_full_size(
    case: &Case,
    store: &impl Store,
    backup: &std::path::Path,
    environment: &Environment,
) -> Result<MigrateOutcome, EngineError> {
    let mut options = case.options(backup);
    options.limits = Limits::default();
    let done = migrate(store, &options, environment).await?;
    Ok(done.outcome)
}

async fn roll_back_at_full_size(case: &Case, store: &impl Store) {
    let mut options = case.rollback_options();
    options.limits = Limits::default();
    let back = restore(store, &options, &Environment::silent()).await;
    back.unwrap();
}

/// Fails if anything below the root path was written.
pub(super) async fn expect_untouched(case: &Case, store: &impl Store, failed: &EngineError) {
    assert_eq!(failed.written, WriteState::Nothing, "{failed:?}");
    case.expect_before(store, "refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_operation_limit_gets_smaller_transactions() {
    for operations in [16, 8] {
        let etcd = Etcd::start(Settings {
            max_txn_ops: Some(operations),
            ..Settings::default()
        });
        let store = etcd.connect().await;
        for form in [CollectionForm::Split, CollectionForm::Database] {
            let case = Case::new("base/in.jsonl", form);
            case.load_one_by_one(&store).await;
            let folder = tempfile::tempdir().unwrap();
            let backup = folder.path().join("b");
            let done = migrate_at_full_size(&case, &store, &backup, &Environment::silent()).await;
            assert_eq!(done.unwrap(), MigrateOutcome::Migrated);
            case.expect_after(&store, &format!("{operations} operations"))
                .await;
            roll_back_at_full_size(&case, &store).await;
            case.expect_before(&store, &format!("{operations} operations"))
                .await;
        }
    }
}

#[tokio::test]
async fn a_commit_too_large_is_found_before_any_write() {
    let etcd = Etcd::start(Settings {
        max_txn_ops: Some(5),
        ..Settings::default()
    });
    let store = etcd.connect().await;
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    case.load_one_by_one(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let failed = migrate_at_full_size(&case, &store, &backup, &Environment::silent()).await;
    let failed = failed.unwrap_err();
    assert!(
        matches!(*failed.failure, EngineErrorKind::CommitTooLarge(CommitSize::Operations(operations)) if operations > 5),
        "{failed:?}"
    );
    expect_untouched(&case, &store, &failed).await;
    assert!(!backup.exists());
}

/// Metadata with one collection whose description has this many bytes.
fn metadata_described(bytes: usize) -> Metadata {
    let mut metadata = Metadata::small();
    metadata.change_collection(|collection| {
        collection.schema.as_mut().unwrap().description = "x".repeat(bytes);
    });
    metadata
}

fn described(bytes: usize, form: CollectionForm) -> Case {
    let entries = metadata_described(bytes).entries.into_iter();
    let relative = entries.map(|(key, value)| (key.into_bytes(), value));
    Case::of(relative.collect(), form)
}

/// The longest description whose record etcd accepts as the only part of a request.
async fn longest_description(store: &EtcdStore) -> usize {
    // As long as the longest key of a collection.
    let key = "k".repeat(80);
    let mut bytes = 3 << 19;
    loop {
        let mut metadata = metadata_described(bytes);
        let record = metadata.entries.remove("root-coord/collection/1").unwrap();
        let ops = vec![Op::put(key.clone(), record)];
        let compares = Vec::new();
        match store.txn(Txn { compares, ops }).await {
            Ok(_) => return bytes,
            Err(error) => assert_eq!(error.kind, StoreErrorKind::TooLarge),
        }
        bytes -= 16;
    }
}

#[tokio::test]
async fn an_entry_too_large_is_named_before_any_write() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    // The record alone fits into 1.5 MiB; with the comparisons of the run it does not.
    let longest = longest_description(&store).await;
    let case = described(longest, CollectionForm::Embedded);
    case.load_one_by_one(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    let failed = migrate_at_full_size(&case, &store, &path, &Environment::silent()).await;
    let failed = failed.unwrap_err();
    let EngineErrorKind::EntryTooLarge { key, bytes } = &*failed.failure else {
        panic!("{failed:?}");
    };
    assert!(String::from_utf8_lossy(key).contains("root-coord/collection/1"));
    assert!(*bytes > 1_500_000);
    assert_eq!(failed.kind(), ErrorClass::Unmigratable);
    expect_untouched(&case, &store, &failed).await;
    assert!(!path.exists());
}

/// Migrates and rolls back with transactions of full size, and checks both results.
async fn assert_round_trip(case: &Case, store: &EtcdStore, label: &str) {
    case.load_one_by_one(store).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    let done = migrate_at_full_size(case, store, &path, &Environment::silent()).await;
    done.unwrap();
    case.expect_after(store, label).await;
    roll_back_at_full_size(case, store).await;
    case.expect_before(store, label).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_just_fits_makes_the_round_trip() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let longest = longest_description(&store).await;
    for form in [CollectionForm::Split, CollectionForm::Database] {
        let case = described(longest - 1_000, form);
        assert_round_trip(&case, &store, "just fits").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_request_limit_allows_larger_entries() {
    let etcd = Etcd::start(Settings {
        max_request_bytes: Some(8 << 20),
        ..Settings::default()
    });
    let store = etcd.connect().await;
    let case = described(3 << 20, CollectionForm::Database);
    assert_round_trip(&case, &store, "large").await;
}

/// Compacts the store after the first page of a scan, as many times as given.
struct Compactor {
    store: EtcdStore,
    left: AtomicU64,
    reading: Arc<AtomicU64>,
}

impl Observer for Compactor {
    fn phase_started(&self, name: &str, _: Option<u64>) {
        let reads = matches!(name, "read" | "backup");
        self.reading.store(u64::from(reads), Ordering::SeqCst);
    }

    fn advanced(&self, _: u64) {
        let first = self.reading.swap(0, Ordering::SeqCst) == 1;
        if !first || self.left.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        let store = self.store.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                put_all(&store, vec![Op::put("other", "1")]).await;
                let newest = store.range(RangeRequest::key("other")).await.unwrap();
                store.compact(newest.revision).await.unwrap();
            });
        });
    }
}

fn compactor(store: &EtcdStore, times: u64) -> Environment {
    watched(Compactor {
        store: store.clone(),
        left: AtomicU64::new(times),
        reading: Arc::default(),
    })
}

/// More keys than fit into a few pages.
fn many_pages() -> Case {
    let mut metadata = Metadata::small();
    for number in 0..9_000 {
        metadata.raw(&format!("root-coord/credential/users/u{number:05}"), b"{}");
    }
    let entries = metadata.entries.into_iter();
    let relative = entries.map(|(key, value)| (key.into_bytes(), value));
    Case::of(relative.collect(), CollectionForm::Database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_a_compacted_scan_is_repeated() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let case = many_pages();
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    let target = BackupTarget {
        path: path.clone(),
        options: meta_backup::WriteOptions::default(),
        source_version: None,
        allow_ephemeral: true,
        stream: None,
    };
    let options = BackupOptions {
        root: case.root.clone(),
        target,
        refuse_sessions: true,
        waits: waits(),
        limits: Limits::default(),
    };
    let written = backup(&store, &options, &compactor(&store, 2))
        .await
        .unwrap();
    assert_eq!(written.entries, case.before.len() as u64);
    let second = folder.path().join("c");
    let environment = compactor(&store, 2);
    let done = migrate_at_full_size(&case, &store, &second, &environment).await;
    assert_eq!(done.unwrap(), MigrateOutcome::Migrated);
    case.expect_after(&store, "compacted while reading").await;
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "failed attempts left files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_compacted_each_time_changes_nothing() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let case = many_pages();
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    let environment = compactor(&store, 1_000);
    let failed = migrate_at_full_size(&case, &store, &path, &environment).await;
    let failed = failed.unwrap_err();
    let EngineErrorKind::Store { source, .. } = &*failed.failure else {
        panic!("{failed:?}");
    };
    assert_eq!(source.kind, StoreErrorKind::Compacted);
    assert_eq!(failed.kind(), ErrorClass::Failed);
    expect_untouched(&case, &store, &failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d21_a_run_ends_in_time_when_etcd_hangs() {
    let etcd = Etcd::start(Settings::default());
    let options = Options {
        request_timeout: Duration::from_millis(500),
        ..Options::for_endpoint(etcd.endpoint())
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    let case = Case::new("base/in.jsonl", CollectionForm::Split);
    case.load(&store).await;
    let etcd = Arc::new(std::sync::Mutex::new(etcd));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    for number in [2, 6, 12, 16] {
        let stopped = Arc::clone(&etcd);
        let hooked = Hooked::new(store.clone(), move |count, moment, _| {
            if count == number && moment == Moment::Before {
                stopped.lock().unwrap().stop();
            }
            std::future::ready(())
        });
        let mut options = case.options(&path);
        options.limits = Limits {
            retry_timeout: Duration::from_secs(1),
            ..options.limits
        };
        let started = Instant::now();
        let failed = migrate(&hooked, &options, &Environment::silent()).await;
        let failed = failed.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(20));
        etcd.lock().unwrap().resume();
        let EngineErrorKind::Store { action, source } = &*failed.failure else {
            panic!("{failed:?}");
        };
        assert_eq!(source.kind, StoreErrorKind::Timeout);
        assert!(source.message.contains(&store.endpoints()[0]), "{source}");
        assert!(!action.is_empty());
        end_lock_lease(&case, &store).await;
        case.migrate(&store, &path, &Environment::silent())
            .await
            .unwrap();
        case.expect_after(&store, &format!("hung at {number}"))
            .await;
        case.roll_back(&store, &Environment::silent())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d26_an_etcd_that_hangs_is_named_in_seconds() {
    let mut etcd = Etcd::start(Settings::default());
    let case = Case::new("base/in.jsonl", CollectionForm::Split);
    etcd.stop();
    let mut program = Program::new(&case, etcd.endpoint());
    program.extra.push("--timeout=1s".to_owned());
    for command in ["status", "plan", "backup", "migrate", "verify", "rollback"] {
        let started = Instant::now();
        let ended = program.run(&[command]).await;
        assert!(started.elapsed() < Duration::from_secs(10), "{command}");
        expect(1, &ended, command);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains(etcd.endpoint()), "{said}");
        assert!(said.contains("no answer"), "{said}");
    }
    etcd.resume();
}
