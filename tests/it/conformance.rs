//! One suite for every store: the one in memory and a real etcd behave the same.

use std::time::Duration;

use bytes::Bytes;
use meta_store::{Compare, Op, RangeRequest, RangeResponse, Store, StoreError, Txn};
use meta_testing::memory::{Limits, MemoryStore};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

use crate::support::etcd;

mod leases_and_waits;
mod reading;
mod writing;

use leases_and_waits::*;
use reading::*;
use writing::*;

/// Runs each case on both stores, below a separate root path.
macro_rules! on_both_stores {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::MemoryStore::new(), "root".to_owned()).await;
                }
            )*
        }
        mod real {
            $(
                #[tokio::test]
                async fn $case() {
                    let store = super::etcd::shared().connect().await;
                    super::$case(store, super::etcd::own_root()).await;
                }
            )*
        }
    };
}

on_both_stores!(
    a_range_returns_its_keys_in_order,
    a_limit_truncates_entries_but_not_the_count,
    an_old_revision_is_read_as_it_was,
    revisions_record_creation_and_last_change,
    keys_only_omits_the_values,
    a_range_without_keys_is_empty,
    a_transaction_is_one_revision,
    a_failed_comparison_changes_nothing,
    absent_compares_a_whole_range,
    changed_before_compares_a_whole_range,
    revisions_are_compared_exactly,
    deleting_nothing_uses_no_revision,
    a_transaction_counts_deleted_keys,
    a_key_put_twice_is_rejected,
    a_key_put_and_deleted_is_rejected,
    overlapping_deletes_are_accepted,
    comparisons_and_operations_have_separate_limits,
    a_request_too_large_is_rejected,
    a_key_requires_an_existing_lease,
    revoking_a_lease_deletes_its_keys_at_one_revision,
    a_put_without_lease_detaches_the_key,
    a_lease_is_renewed_while_it_lives,
    a_waiter_is_notified_of_a_put,
    a_waiter_is_notified_of_an_earlier_change,
    a_waiter_is_notified_of_a_deletion,
    a_waiter_is_not_notified_of_a_neighbour,
    a_future_revision_is_rejected,
    the_status_reports_version_and_size,
);

// A compaction affects the entire server, so these tests use a separate one.
#[tokio::test]
async fn memory_rejects_a_compacted_revision() {
    a_compacted_revision_is_rejected(MemoryStore::new()).await;
}

#[tokio::test]
async fn etcd_rejects_a_compacted_revision() {
    let etcd = etcd::Etcd::start(etcd::Settings::default());
    a_compacted_revision_is_rejected(etcd.connect().await).await;
}

// Small limits need a separate server.
#[tokio::test]
async fn memory_runs_out_of_space() {
    let limits = Limits {
        quota_bytes: Some(64 << 10),
        ..Limits::default()
    };
    the_alarm_blocks_puts_and_leases_but_not_reads(MemoryStore::with_limits(limits)).await;
}

#[tokio::test]
async fn etcd_runs_out_of_space() {
    let etcd = etcd::Etcd::start(etcd::Settings {
        quota_bytes: Some(4 << 20),
        ..etcd::Settings::default()
    });
    the_alarm_blocks_puts_and_leases_but_not_reads(etcd.connect().await).await;
}

#[tokio::test(start_paused = true)]
async fn memory_expires_a_lease() {
    an_expired_lease_deletes_its_keys(MemoryStore::new(), "root".to_owned()).await;
}

#[tokio::test]
async fn etcd_expires_a_lease() {
    let store = etcd::shared().connect().await;
    an_expired_lease_deletes_its_keys(store, etcd::own_root()).await;
}

async fn put(store: &impl Store, key: &str, value: &str) -> i64 {
    apply(store, vec![Op::put(key.to_owned(), value.to_owned())]).await
}

async fn apply(store: &impl Store, ops: Vec<Op>) -> i64 {
    let txn = Txn {
        compares: Vec::new(),
        ops,
    };
    let response = store.txn(txn).await.unwrap();
    assert!(response.succeeded);
    response.revision
}

async fn refused(store: &impl Store, ops: Vec<Op>) -> StoreError {
    let compares = Vec::new();
    store.txn(Txn { compares, ops }).await.unwrap_err()
}

/// Whether a transaction with only this comparison succeeds.
async fn succeeds(store: &impl Store, compare: Compare) -> bool {
    let txn = Txn {
        compares: vec![compare],
        ops: Vec::new(),
    };
    store.txn(txn).await.unwrap().succeeded
}

async fn read(store: &impl Store, request: RangeRequest) -> RangeResponse {
    store.range(request).await.unwrap()
}

fn texts(entries: &[Entry]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entries = entries.iter();
    entries
        .map(|entry| (text(&entry.key), text(&entry.value)))
        .collect()
}

fn keys(entries: &[Entry]) -> Vec<String> {
    texts(entries).into_iter().map(|(key, _)| key).collect()
}

async fn put_on_lease(store: &impl Store, key: &str, lease: i64) {
    let put = Op::Put {
        key: key.to_owned().into(),
        value: Bytes::from_static(b"v"),
        lease,
    };
    apply(store, vec![put]).await;
}

/// Waits while `change` is applied, and asserts that the wait ends.
async fn assert_notified<S: Store>(store: &S, range: KeyRange, since: i64, change: Vec<Op>) {
    let (waiting, changing) = (store.clone(), store.clone());
    let wait = waiting.wait_for_change(range, since);
    let assert_notified = tokio::time::timeout(Duration::from_secs(30), wait);
    let (assert_notified, _) = tokio::join!(assert_notified, apply(&changing, change));
    assert_notified.expect("not woken").unwrap();
}
