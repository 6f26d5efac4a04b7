//! One suite for every store: the one in memory and a real etcd behave the same.

use std::time::Duration;

use meta_migration::entry::Entry;
use meta_migration::keys::KeyRange;
use meta_migration::store::memory::{Limits, MemoryStore};
use meta_migration::store::{
    Applied, Compare, Op, RangeRequest, RangeResponse, Store, StoreError, StoreErrorKind, Txn,
};

use crate::support::etcd;

/// Runs each case on both stores, below a root path of its own.
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
    a_range_gives_its_keys_in_order_and_no_neighbours,
    a_limit_cuts_the_entries_but_not_the_count,
    an_old_revision_is_read_as_it_was,
    revisions_tell_when_a_key_appeared_and_when_it_changed,
    only_the_latest_changes_are_asked_for,
    the_count_ignores_the_filter_by_revision,
    keys_only_leaves_the_values_out,
    a_range_without_keys_is_empty,
    a_transaction_is_one_revision,
    a_transaction_whose_comparison_fails_changes_nothing,
    absent_compares_a_whole_range,
    changed_before_compares_a_whole_range,
    revisions_are_compared_to_the_number,
    deleting_nothing_takes_no_revision,
    a_key_put_twice_is_refused,
    a_key_put_and_deleted_is_refused,
    overlapping_deletes_are_fine,
    comparisons_and_operations_are_limited_each_for_itself,
    a_request_too_large_is_refused,
    a_key_needs_a_lease_that_exists,
    revoking_a_lease_deletes_its_keys_at_one_revision,
    a_put_without_lease_frees_the_key,
    a_lease_is_renewed_while_it_lives,
    a_waiter_hears_of_a_put,
    a_waiter_hears_of_what_happened_before_it_asked,
    a_waiter_hears_of_a_deletion,
    a_waiter_is_not_woken_by_a_neighbour,
    a_future_revision_is_refused,
    the_status_tells_version_and_size,
);

// A compaction concerns the whole server, so this one has a server of its own.
#[tokio::test]
async fn memory_refuses_a_compacted_revision() {
    a_compacted_revision_is_refused(MemoryStore::new()).await;
}

#[tokio::test]
async fn etcd_refuses_a_compacted_revision() {
    let etcd = etcd::Etcd::start(etcd::Settings::default());
    a_compacted_revision_is_refused(etcd.connect().await).await;
}

// Small limits need a server of their own.
#[tokio::test]
async fn memory_runs_out_of_room() {
    let limits = Limits {
        quota_bytes: Some(64 << 10),
        ..Limits::default()
    };
    the_alarm_refuses_puts_and_leases_but_no_reads(MemoryStore::with_limits(limits)).await;
}

#[tokio::test]
async fn etcd_runs_out_of_room() {
    let etcd = etcd::Etcd::start(etcd::Settings {
        quota_bytes: Some(4 << 20),
        ..etcd::Settings::default()
    });
    the_alarm_refuses_puts_and_leases_but_no_reads(etcd.connect().await).await;
}

#[tokio::test(start_paused = true)]
async fn memory_lets_a_lease_run_out() {
    a_lease_that_runs_out_takes_its_keys_along(MemoryStore::new(), "root".to_owned()).await;
}

#[tokio::test]
async fn etcd_lets_a_lease_run_out() {
    let store = etcd::shared().connect().await;
    a_lease_that_runs_out_takes_its_keys_along(store, etcd::own_root()).await;
}

async fn put(store: &impl Store, key: &str, value: &str) -> i64 {
    apply(store, vec![Op::put(key, value)]).await
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

/// Whether a transaction of this one comparison succeeds.
async fn holds(store: &impl Store, compare: Compare) -> bool {
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

async fn a_range_gives_its_keys_in_order_and_no_neighbours(store: impl Store, root: String) {
    for key in ["b/2", "b/1", "b", "b/", "b0", "a/1", "b-x/1"] {
        put(&store, &format!("{root}/{key}"), key).await;
    }
    let range = KeyRange::prefix(format!("{root}/b/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(
        keys(&response.entries),
        ["b/", "b/1", "b/2"].map(|key| format!("{root}/{key}"))
    );
    assert_eq!((response.count, response.more), (3, false));
    let single = read(&store, RangeRequest::key(format!("{root}/b"))).await;
    assert_eq!(
        texts(&single.entries),
        [(format!("{root}/b"), "b".to_owned())]
    );
}

async fn a_limit_cuts_the_entries_but_not_the_count(store: impl Store, root: String) {
    for number in 0..5 {
        put(&store, &format!("{root}/{number}"), "v").await;
    }
    let range = KeyRange::prefix(format!("{root}/"));
    let page = read(&store, RangeRequest::new(range.clone()).limit(2)).await;
    assert_eq!(
        keys(&page.entries),
        [format!("{root}/0"), format!("{root}/1")]
    );
    assert_eq!((page.count, page.more), (5, true));
    let rest = range.after(&page.entries[1].key);
    let rest = read(&store, RangeRequest::new(rest).limit(3)).await;
    assert_eq!((rest.entries.len(), rest.count, rest.more), (3, 3, false));
    let count = read(&store, RangeRequest::new(range).count_only()).await;
    assert_eq!((count.entries.len(), count.count), (0, 5));
}

async fn an_old_revision_is_read_as_it_was(store: impl Store, root: String) {
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let first = put(&store, &a, "1").await;
    put(&store, &a, "2").await;
    put(&store, &b, "1").await;
    let third = apply(&store, vec![Op::Delete(KeyRange::single(a.clone()))]).await;
    put(&store, &a, "3").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let old = read(&store, RangeRequest::new(range.clone()).at(first)).await;
    assert_eq!(texts(&old.entries), [(a.clone(), "1".to_owned())]);
    assert_eq!(old.count, 1);
    assert!(old.revision > first, "the store's own revision is told");
    let without = read(&store, RangeRequest::new(range).at(third)).await;
    assert_eq!(keys(&without.entries), [b]);
}

async fn revisions_tell_when_a_key_appeared_and_when_it_changed(store: impl Store, root: String) {
    let key = format!("{root}/k");
    let created = put(&store, &key, "1").await;
    let changed = put(&store, &key, "2").await;
    let entry = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(
        (entry[0].create_revision, entry[0].mod_revision),
        (created, changed)
    );
    apply(&store, vec![Op::Delete(KeyRange::single(key.clone()))]).await;
    let again = put(&store, &key, "3").await;
    let entry = read(&store, RangeRequest::key(key)).await.entries;
    assert_eq!(
        (entry[0].create_revision, entry[0].mod_revision),
        (again, again)
    );
}

async fn only_the_latest_changes_are_asked_for(store: impl Store, root: String) {
    put(&store, &format!("{root}/old"), "v").await;
    let since = put(&store, &format!("{root}/new"), "v").await;
    put(&store, &format!("{root}/newer"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let changed = read(
        &store,
        RangeRequest::new(range.clone()).changed_since(since),
    )
    .await;
    assert_eq!(
        keys(&changed.entries),
        [format!("{root}/new"), format!("{root}/newer")]
    );
    let one = RangeRequest::new(range).changed_since(since).limit(1);
    let one = read(&store, one).await;
    assert_eq!(keys(&one.entries), [format!("{root}/new")]);
    assert!(one.more);
}

async fn the_count_ignores_the_filter_by_revision(store: impl Store, root: String) {
    put(&store, &format!("{root}/old"), "v").await;
    let since = put(&store, &format!("{root}/new"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let request = RangeRequest::new(range).changed_since(since);
    assert_eq!(read(&store, request.clone()).await.count, 2);
    assert_eq!(read(&store, request.count_only()).await.count, 2);
}

async fn keys_only_leaves_the_values_out(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range).keys_only()).await;
    assert_eq!(
        texts(&response.entries),
        [(format!("{root}/k"), String::new())]
    );
}

async fn a_range_without_keys_is_empty(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let turned = KeyRange::new(format!("{root}/z"), format!("{root}/a"));
    let endless = KeyRange::new(format!("{root}/k"), "");
    for range in [turned, endless, KeyRange::new("", "")] {
        let response = read(&store, RangeRequest::new(range.clone())).await;
        assert_eq!(
            (response.entries.len(), response.count),
            (0, 0),
            "{range:?}"
        );
        assert!(holds(&store, Compare::Absent(range.clone())).await);
        apply(&store, vec![Op::Delete(range)]).await;
    }
    let key = RangeRequest::key(format!("{root}/k"));
    assert_eq!(read(&store, key).await.count, 1);
}

async fn a_transaction_is_one_revision(store: impl Store, root: String) {
    let doomed = format!("{root}/doomed");
    put(&store, &doomed, "v").await;
    let ops = vec![
        Op::put(format!("{root}/a"), "1"),
        Op::put(format!("{root}/b"), ""),
        Op::Delete(KeyRange::single(doomed)),
    ];
    let revision = apply(&store, ops).await;
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(
        texts(&response.entries),
        [
            (format!("{root}/a"), "1".to_owned()),
            (format!("{root}/b"), String::new())
        ]
    );
    for entry in response.entries {
        assert_eq!(entry.mod_revision, revision);
    }
}

async fn a_transaction_whose_comparison_fails_changes_nothing(store: impl Store, root: String) {
    let key = format!("{root}/k");
    put(&store, &key, "v").await;
    let txn = Txn {
        compares: vec![
            Compare::Absent(KeyRange::single(format!("{root}/other"))),
            Compare::CreateRevision(key.clone().into_bytes(), 0),
        ],
        ops: vec![
            Op::put(key.clone(), "changed"),
            Op::put(format!("{root}/x"), ""),
        ],
    };
    assert!(!store.txn(txn).await.unwrap().succeeded);
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(texts(&response.entries), [(key, "v".to_owned())]);
}

async fn absent_compares_a_whole_range(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/session/"));
    assert!(holds(&store, Compare::Absent(range.clone())).await);
    put(&store, &format!("{root}/session0"), "v").await;
    assert!(holds(&store, Compare::Absent(range.clone())).await);
    put(&store, &format!("{root}/session/proxy-1"), "v").await;
    assert!(!holds(&store, Compare::Absent(range.clone())).await);
    apply(&store, vec![Op::Delete(range.clone())]).await;
    assert!(holds(&store, Compare::Absent(range)).await);
}

async fn changed_before_compares_a_whole_range(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    assert!(holds(&store, Compare::ChangedBefore(range.clone(), 1)).await);
    put(&store, &format!("{root}/a"), "v").await;
    let newest = put(&store, &format!("{root}/b"), "v").await;
    assert!(!holds(&store, Compare::ChangedBefore(range.clone(), newest)).await);
    assert!(holds(&store, Compare::ChangedBefore(range, newest + 1)).await);
}

async fn revisions_are_compared_to_the_number(store: impl Store, root: String) {
    let key = format!("{root}/k").into_bytes();
    assert!(holds(&store, Compare::CreateRevision(key.clone(), 0)).await);
    assert!(holds(&store, Compare::ModRevision(key.clone(), 0)).await);
    let created = apply(&store, vec![Op::put(key.clone(), "1")]).await;
    let changed = apply(&store, vec![Op::put(key.clone(), "2")]).await;
    assert!(holds(&store, Compare::CreateRevision(key.clone(), created)).await);
    assert!(!holds(&store, Compare::CreateRevision(key.clone(), changed)).await);
    assert!(holds(&store, Compare::ModRevision(key.clone(), changed)).await);
    assert!(!holds(&store, Compare::ModRevision(key, created)).await);
}

async fn deleting_nothing_takes_no_revision(store: impl Store, root: String) {
    let key = format!("{root}/k");
    put(&store, &key, "v").await;
    apply(
        &store,
        vec![Op::Delete(KeyRange::prefix(format!("{root}/none/")))],
    )
    .await;
    // Other tests write to the same server, so only this can be said: the key is as it was.
    let entry = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(texts(&entry), [(key, "v".to_owned())]);
}

async fn a_key_put_twice_is_refused(store: impl Store, root: String) {
    let key = format!("{root}/k");
    let error = refused(
        &store,
        vec![Op::put(key.clone(), "1"), Op::put(key.clone(), "2")],
    )
    .await;
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Other, Applied::No)
    );
    assert_eq!(read(&store, RangeRequest::key(key)).await.count, 0);
}

async fn a_key_put_and_deleted_is_refused(store: impl Store, root: String) {
    let put = Op::put(format!("{root}/k"), "1");
    let delete = Op::Delete(KeyRange::prefix(format!("{root}/")));
    for ops in [vec![put.clone(), delete.clone()], vec![delete, put]] {
        let error = refused(&store, ops).await;
        assert_eq!(
            (error.kind, error.applied),
            (StoreErrorKind::Other, Applied::No)
        );
    }
}

async fn overlapping_deletes_are_fine(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    put(&store, &format!("{root}/k"), "1").await;
    let single = KeyRange::single(format!("{root}/k"));
    apply(&store, vec![Op::Delete(range.clone()), Op::Delete(single)]).await;
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
}

async fn comparisons_and_operations_are_limited_each_for_itself(store: impl Store, root: String) {
    let puts = |count: usize| -> Vec<Op> {
        let keys = 0..count;
        keys.map(|key| Op::put(format!("{root}/{key}"), "v"))
            .collect()
    };
    let compares = |count: usize| -> Vec<Compare> {
        let keys = 0..count;
        keys.map(|key| Compare::ModRevision(format!("{root}/none/{key}").into_bytes(), 0))
            .collect()
    };
    for (compares, ops) in [(compares(0), puts(129)), (compares(129), puts(1))] {
        let error = store.txn(Txn { compares, ops }).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::TooManyOps);
        assert_eq!(error.applied, Applied::No);
        assert!(!error.is_transient());
    }
    let txn = Txn {
        compares: compares(128),
        ops: puts(128),
    };
    assert!(store.txn(txn).await.unwrap().succeeded);
}

async fn a_request_too_large_is_refused(store: impl Store, root: String) {
    let key = format!("{root}/k");
    for bytes in [1_600_000, 3_000_000] {
        let error = refused(&store, vec![Op::put(key.clone(), vec![b'x'; bytes])]).await;
        assert_eq!(
            (error.kind, error.applied),
            (StoreErrorKind::TooLarge, Applied::No)
        );
    }
    apply(&store, vec![Op::put(key.clone(), vec![b'x'; 1_500_000])]).await;
    let entries = read(&store, RangeRequest::key(key)).await.entries;
    assert_eq!(entries[0].value.len(), 1_500_000);
}

async fn a_key_needs_a_lease_that_exists(store: impl Store, root: String) {
    let put = Op::Put {
        key: format!("{root}/k").into_bytes(),
        value: Vec::new(),
        lease: 0x7fff_0000_0001,
    };
    let other = Op::put(format!("{root}/other"), "v");
    let error = refused(&store, vec![other, put]).await;
    assert_eq!(error.kind, StoreErrorKind::LeaseNotFound);
    assert_eq!(error.applied, Applied::No);
    let range = KeyRange::prefix(format!("{root}/"));
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
}

async fn put_on_lease(store: &impl Store, key: &str, lease: i64) {
    let put = Op::Put {
        key: key.as_bytes().to_vec(),
        value: b"v".to_vec(),
        lease,
    };
    apply(store, vec![put]).await;
}

async fn revoking_a_lease_deletes_its_keys_at_one_revision(store: impl Store, root: String) {
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    put_on_lease(&store, &a, lease).await;
    put_on_lease(&store, &b, lease).await;
    let before = read(&store, RangeRequest::key(a.clone())).await;
    assert_eq!(before.entries[0].lease, lease);
    store.lease_revoke(lease).await.unwrap();
    let range = KeyRange::prefix(format!("{root}/"));
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(store.lease_remaining(lease).await.unwrap(), None);
    assert!(!store.lease_keep_alive(lease).await.unwrap());
}

async fn a_put_without_lease_frees_the_key(store: impl Store, root: String) {
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let key = format!("{root}/k");
    put_on_lease(&store, &key, lease).await;
    put(&store, &key, "free").await;
    store.lease_revoke(lease).await.unwrap();
    let entries = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(texts(&entries), [(key, "free".to_owned())]);
}

async fn a_lease_is_renewed_while_it_lives(store: impl Store, _root: String) {
    let lease = store
        .lease_grant(Duration::from_millis(29_500))
        .await
        .unwrap();
    assert!(store.lease_keep_alive(lease).await.unwrap());
    let remaining = store.lease_remaining(lease).await.unwrap().unwrap();
    assert!(remaining <= Duration::from_secs(30), "{remaining:?}");
    assert!(remaining >= Duration::from_secs(20), "{remaining:?}");
    store.lease_revoke(lease).await.unwrap();
}

async fn a_lease_that_runs_out_takes_its_keys_along(store: impl Store, root: String) {
    let lease = store.lease_grant(Duration::from_secs(2)).await.unwrap();
    let key = format!("{root}/k");
    put_on_lease(&store, &key, lease).await;
    let request = RangeRequest::key(key.clone());
    let there = read(&store, request.clone()).await;
    assert_eq!(there.count, 1);
    let range = KeyRange::single(key);
    let revision = there.entries[0].mod_revision;
    let gone = store.wait_for_change(range, revision);
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read(&store, request).await.count, 0);
    assert_eq!(store.lease_remaining(lease).await.unwrap(), None);
    assert!(!store.lease_keep_alive(lease).await.unwrap());
}

/// Waits while `change` is made, and proves that the wait ends.
async fn woken<S: Store>(store: &S, range: KeyRange, since: i64, change: Vec<Op>) {
    let (waiting, changing) = (store.clone(), store.clone());
    let wait = waiting.wait_for_change(range, since);
    let woken = tokio::time::timeout(Duration::from_secs(30), wait);
    let (woken, _) = tokio::join!(woken, apply(&changing, change));
    woken.expect("not woken").unwrap();
}

async fn a_waiter_hears_of_a_put(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    let since = read(&store, RangeRequest::new(range.clone()))
        .await
        .revision;
    woken(
        &store,
        range,
        since,
        vec![Op::put(format!("{root}/k"), "v")],
    )
    .await;
}

async fn a_waiter_hears_of_what_happened_before_it_asked(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    let since = read(&store, RangeRequest::new(range.clone()))
        .await
        .revision;
    put(&store, &format!("{root}/k"), "v").await;
    apply(&store, vec![Op::Delete(range.clone())]).await;
    woken(&store, range, since, Vec::new()).await;
}

async fn a_waiter_hears_of_a_deletion(store: impl Store, root: String) {
    let since = put(&store, &format!("{root}/k"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    woken(&store, range.clone(), since, vec![Op::Delete(range)]).await;
}

async fn a_waiter_is_not_woken_by_a_neighbour(store: impl Store, root: String) {
    let since = put(&store, &format!("{root}/session/id"), "v").await;
    let range = KeyRange::prefix(format!("{root}/session/"));
    put(&store, &format!("{root}/session0"), "v").await;
    let waiting = store.clone();
    let mut wait = std::pin::pin!(waiting.wait_for_change(range.clone(), since));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut wait).await;
    assert!(early.is_err(), "woken by a neighbour");
    put(&store, &format!("{root}/session/id"), "w").await;
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap()
        .unwrap();
}

async fn a_future_revision_is_refused(store: impl Store, root: String) {
    let request = RangeRequest::key(format!("{root}/k")).at(i64::MAX / 2);
    let error = store.range(request).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Other, Applied::No)
    );
}

async fn the_status_tells_version_and_size(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let status = store.status().await.unwrap();
    assert!(status.unreachable.is_empty() && status.alarms.is_empty());
    let member = &status.members[0];
    assert!(member.version.starts_with("3."), "{}", member.version);
    assert!(member.db_size > 0 && member.db_size_in_use > 0);
    assert!(member.db_size_in_use <= member.db_size);
    assert_eq!(member.leader_id, member.member_id);
}

async fn a_compacted_revision_is_refused(store: impl Store) {
    let first = put(&store, "k", "1").await;
    put(&store, "gone", "1").await;
    let kept = apply(
        &store,
        vec![Op::put("k", "2"), Op::Delete(KeyRange::single("gone"))],
    )
    .await;
    let newest = put(&store, "k", "3").await;
    store.compact(kept).await.unwrap();
    store.compact(first).await.unwrap();
    let error = store
        .range(RangeRequest::key("k").at(first))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Compacted, Applied::No)
    );
    let at_kept = read(&store, RangeRequest::new(KeyRange::prefix("")).at(kept)).await;
    assert_eq!(texts(&at_kept.entries), [("k".to_owned(), "2".to_owned())]);
    let error = store.compact(newest + 1000).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    // What changed since is no longer known: whoever waits has to look again.
    let wait = store.wait_for_change(KeyRange::single("never"), first - 1);
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap()
        .unwrap();
    let endpoint = store.status().await.unwrap().members[0].endpoint.clone();
    store.defragment(&endpoint).await.unwrap();
    store.defragment("http://nobody:1").await.unwrap_err();
    assert_eq!(read(&store, RangeRequest::key("k")).await.count, 1);
}

async fn the_alarm_refuses_puts_and_leases_but_no_reads(store: impl Store) {
    put(&store, "small", "v").await;
    let value = vec![b'x'; 16 << 10];
    let mut error = None;
    for number in 0..1000 {
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![Op::put(format!("k{number}"), value.clone())],
        };
        if let Err(refused) = store.txn(txn).await {
            error = Some(refused);
            break;
        }
    }
    let error = error.expect("the quota is not held");
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::NoSpace, Applied::Unknown)
    );
    assert_eq!(store.status().await.unwrap().alarms, ["NOSPACE"]);
    let error = refused(&store, vec![Op::put("tiny", "")]).await;
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    let error = store
        .lease_grant(Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    // Whether a transaction that only deletes is refused too differs between releases of etcd.
    assert_eq!(read(&store, RangeRequest::key("small")).await.count, 1);
}
