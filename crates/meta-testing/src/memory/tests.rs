use super::*;
use meta_store::Applied;
use meta_store::{Compare, Op};

fn put(key: &str, value: &str) -> Txn {
    Txn {
        compares: Vec::new(),
        ops: vec![Op::put(key.to_owned(), value.to_owned())],
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_changes_nothing_and_later_ones_work() {
    let store = MemoryStore::new();
    store.fault_at(1, Fault::unreachable());
    let error = store.txn(put("k", "v")).await.unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(store.dump().is_empty());
    assert!(store.txn(put("k", "v")).await.unwrap().succeeded);
    assert_eq!(store.requests(), 2);
    assert_eq!(store.counts()[&RequestKind::Txn], 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_lost_reply_is_applied() {
    let store = MemoryStore::new();
    store.fault_at(1, Fault::LoseReply);
    let error = store.txn(put("k", "v")).await.unwrap_err();
    assert_eq!(error.applied, Applied::Unknown);
    assert!(error.is_transient());
    assert_eq!(store.dump().len(), 1);
    assert_eq!(store.transactions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_affects_one_process_only() {
    for (fault, keys) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1)] {
        let store = MemoryStore::new();
        store.fault_at(1, fault);
        let error = store.clone().txn(put("k", "v")).await.unwrap_err();
        assert!(!error.is_transient());
        assert_eq!(store.dump().len(), keys);
        store.range(RangeRequest::key("k")).await.unwrap_err();
        store.crashed().await;
        let next = store.reopen();
        assert!(next.txn(put("other", "v")).await.unwrap().succeeded);
        assert_eq!(next.requests(), 1);
        assert_eq!(store.dump().len(), keys + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_request_is_not_applied() {
    let store = MemoryStore::new();
    store.fault_at(1, Fault::Hang);
    let hung = tokio::time::timeout(Duration::from_secs(3600), store.txn(put("k", "v"))).await;
    assert!(hung.is_err());
    assert!(store.dump().is_empty());
    assert!(store.range(RangeRequest::key("k")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn faults_can_change_data_before_or_after_a_request() {
    let store = MemoryStore::new();
    store.fault_when(|request| {
        if request.txn.is_none() {
            return Vec::new();
        }
        vec![
            Fault::before(|state| state.put(b"before", b"1")),
            Fault::after(|state| state.put(b"after", b"2")),
        ]
    });
    let guarded = Txn {
        compares: vec![Compare::Absent(KeyRange::prefix("before"))],
        ops: vec![Op::put("k", "v")],
    };
    let response = store.txn(guarded).await.unwrap();
    assert!(!response.succeeded);
    assert!(response.revision < store.look(MemoryState::revision));
    let keys: Vec<_> = store.dump().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [b"after".to_vec(), b"before".to_vec()]);
}

#[tokio::test(start_paused = true)]
async fn a_fork_is_independent() {
    let store = MemoryStore::with_entries(&[Entry::new("a", "1")]);
    let fork = store.fork();
    fork.txn(put("b", "2")).await.unwrap();
    assert_eq!(store.dump().len(), 1);
    assert_eq!(fork.dump().len(), 2);
    assert!(store.transactions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_expiry_wakes_a_waiter() {
    let store = MemoryStore::new();
    let revision = store.change(|state| {
        state.put_leased(b"session/proxy", b"{}", Duration::from_secs(60));
        state.revision()
    });
    let started = Instant::now();
    store
        .wait_for_change(KeyRange::prefix("session/"), revision)
        .await
        .unwrap();
    assert_eq!(started.elapsed().as_secs(), 60);
    assert!(store.dump().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_raises_the_alarm_for_puts() {
    let store = MemoryStore::with_limits(Limits {
        quota_bytes: Some(500),
        ..Limits::default()
    });
    store.txn(put("a", &"x".repeat(300))).await.unwrap();
    let error = store.txn(put("b", &"x".repeat(300))).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    assert_eq!(store.status().await.unwrap().alarms, ["NOSPACE"]);
    let error = store.txn(put("c", "small")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    let delete = Txn {
        compares: Vec::new(),
        ops: vec![Op::Delete(KeyRange::single("a"))],
    };
    assert!(store.txn(delete).await.unwrap().succeeded);
    let revision = store.look(MemoryState::revision);
    store.compact(revision).await.unwrap();
    store.defragment(MEMORY_ENDPOINT).await.unwrap();
    store.change(MemoryState::clear_no_space);
    assert!(store.txn(put("c", "small")).await.unwrap().succeeded);
}
