//! Free space in etcd: the quota, and the alarm when it is exceeded.

use std::path::PathBuf;

use meta_migrate::{EngineErrorKind, Environment, ErrorClass, Limits, compact, status};
use meta_store::etcd::EtcdStore;
use meta_store::{Op, Store, StoreError, StoreErrorKind, Txn};
use milvus_meta::transform::CollectionForm;

use super::limits::{expect_untouched, migrate_at_full_size};
use crate::support::etcd::{Etcd, Settings, cached};
use crate::support::hooked::{Hooked, Moment};
use crate::support::migration::Case;
use crate::support::process::{Program, end_lock_lease, expect};

const JUNK_BYTES: u64 = 100_000;

/// Writes one key repeatedly: history that a compaction removes.
async fn put_junk(store: &EtcdStore) -> Result<(), StoreError> {
    let ops = vec![Op::put("junk", vec![7; 100_000])];
    let compares = Vec::new();
    store.txn(Txn { compares, ops }).await.map(|_| ())
}

/// Writes until the server rejects a request.
async fn fill(store: &EtcdStore) {
    let full = loop {
        if let Err(error) = put_junk(store).await {
            break error;
        }
    };
    assert_eq!(full.kind, StoreErrorKind::NoSpace);
}

/// Writes until about this many bytes of the quota are left.
async fn fill_up_to(store: &EtcdStore, left: u64) {
    // etcd counts the last writes only after it commits them, which this forces.
    store.defragment(&store.endpoints()[0]).await.unwrap();
    let size = store.status().await.unwrap().members[0].db_size;
    for _ in 0..(QUOTA - left - size) / (JUNK_BYTES + 5_000) {
        put_junk(store).await.unwrap();
    }
    store.defragment(&store.endpoints()[0]).await.unwrap();
}

const QUOTA: u64 = 6 << 20;

fn with_quota(server: Option<PathBuf>) -> Etcd {
    Etcd::start(Settings {
        quota_bytes: Some(QUOTA),
        server,
        ..Settings::default()
    })
}

/// The quota is reported, and a migration that does not fit is rejected with the numbers.
async fn reject_too_little_space(etcd: Etcd) {
    let store = etcd.connect().await;
    let case = Case::new("medium/in.jsonl", CollectionForm::Split);
    case.load(&store).await;
    let environment = Environment::silent();
    let limits = Limits::default();
    let report = status(&store, &case.root, &limits, &environment)
        .await
        .unwrap();
    assert_eq!(report.etcd.quota, QUOTA);
    fill_up_to(&store, 400_000).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let failed = migrate_at_full_size(&case, &store, &backup, &environment).await;
    let failed = failed.unwrap_err();
    let EngineErrorKind::NoRoom {
        needed,
        in_use,
        quota,
        ..
    } = &*failed.failure
    else {
        panic!("{failed:?}");
    };
    assert_eq!(*quota, QUOTA);
    assert!(in_use + needed > QUOTA && *needed > 150_000, "{failed:?}");
    assert_eq!(failed.kind(), ErrorClass::Failed);
    expect_untouched(&case, &store, &failed).await;
    assert!(!backup.exists());
    // The recommended remedy.
    compact(&store, &case.root, &limits).await.unwrap();
    let done = migrate_at_full_size(&case, &store, &backup, &environment).await;
    done.unwrap();
    case.expect_after(&store, "room was made").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_free_space_is_rejected_on_etcd_3_5() {
    reject_too_little_space(with_quota(None)).await;
}

/// The older release line, if `scripts/etcd 3.4` has fetched one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_free_space_is_rejected_on_etcd_3_4() {
    if let Some(server) = cached("3.4") {
        reject_too_little_space(with_quota(Some(server))).await;
    }
}

/// Clears every alarm.
async fn disarm(etcd: &Etcd) {
    let client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    let mut maintenance = client.maintenance_client();
    let (get, none) = (etcd_client::AlarmAction::Get, etcd_client::AlarmType::None);
    let raised = maintenance.alarm(get, none, None).await.unwrap();
    for alarm in raised.alarms() {
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(alarm.member_id());
        let off = etcd_client::AlarmAction::Deactivate;
        maintenance
            .alarm(off, alarm.alarm(), Some(options))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_resumes_after_an_alarm_is_cleared() {
    let etcd = with_quota(None);
    let store = etcd.connect().await;
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    // In the middle of staging, at the commit and after it.
    for number in [6, 10, 14, 18] {
        let filler = store.clone();
        let hooked = Hooked::new(store.clone(), move |count, moment, _| {
            let filler = filler.clone();
            async move {
                if count == number && moment == Moment::Before {
                    fill(&filler).await;
                }
            }
        });
        let failed = case.migrate(&hooked, &backup, &Environment::silent()).await;
        let failed = failed.unwrap_err();
        assert!(
            matches!(&*failed.failure, EngineErrorKind::Alarm(alarms) if alarms == &["NOSPACE"]),
            "{failed:?}"
        );
        assert_eq!(failed.kind(), ErrorClass::PartWay, "{failed:?}");
        // With an alarm raised, a new run is rejected before any write.
        let again = case.migrate(&store, &backup, &Environment::silent()).await;
        assert!(again.is_err());
        compact(&store, &case.root, &Limits::default())
            .await
            .unwrap();
        disarm(&etcd).await;
        case.migrate(&store, &backup, &Environment::silent())
            .await
            .unwrap();
        case.expect_after(&store, &format!("full at {number}"))
            .await;
        case.roll_back(&store, &Environment::silent())
            .await
            .unwrap();
        case.expect_before(&store, &format!("full at {number}"))
            .await;
    }
}

/// The report of an alarm names the commands that clear it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_found_before_any_write() {
    let etcd = with_quota(None);
    let store = etcd.connect().await;
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    case.load(&store).await;
    fill(&store).await;
    let program = Program::new(&case, etcd.endpoint());
    let ended = program.migrate().await;
    expect(1, &ended, "an alarm is raised");
    let said = String::from_utf8_lossy(&ended.stderr);
    for text in [
        "NOSPACE",
        "compact",
        "defrag",
        "alarm disarm",
        "nothing was changed",
    ] {
        assert!(said.contains(text), "{text} not in {said}");
    }
    end_lock_lease(&case, &store).await;
    case.expect_before(&store, "an alarm is raised").await;
}
