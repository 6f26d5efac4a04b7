use std::time::Duration;

use proptest::prelude::*;

use meta_store::scan::{PageLimits, Scan};
use meta_store::{Op, Txn};
use meta_store::{Store as _, StoreError, StoreErrorKind};
use meta_testing::memory::{Fault, MemoryStore, RequestKind};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

const SMALL: PageLimits = PageLimits {
    bytes: 600,
    first_count: 16,
    max_count: 32,
    keys_only: false,
};

async fn read_all(mut capture: Scan<MemoryStore>) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(page) = capture.next_page().await.unwrap() {
        assert!(!page.is_empty());
        entries.extend(page);
    }
    entries
}

fn filled(keys: impl IntoIterator<Item = String>) -> MemoryStore {
    let entries: Vec<Entry> = keys.into_iter().map(|key| Entry::new(key, "v")).collect();
    MemoryStore::with_entries(&entries)
}

#[tokio::test(start_paused = true)]
async fn d20_all_pages_have_the_revision_of_the_first() {
    let store = filled((0..200).map(|number| format!("root/{number:03}")));
    let before = store.dump();
    let range = KeyRange::prefix("root/");
    let mut capture = Scan::new(store.clone(), range.clone(), None, SMALL)
        .await
        .unwrap();
    assert_eq!(capture.revision(), store.look(|state| state.revision()));
    let mut entries = capture.next_page().await.unwrap().unwrap();
    store.change(|state| {
        state.delete(&range);
        state.put(b"root/0", b"new");
    });
    entries.extend(read_all(capture).await);
    assert_eq!(entries, before);
}

#[tokio::test(start_paused = true)]
async fn a_given_revision_is_read() {
    let store = filled((0..100).map(|number| format!("root/{number:03}")));
    let before = store.dump();
    let revision = store.look(|state| state.revision());
    let range = KeyRange::prefix("root/");
    store.change(|state| state.delete(&range));
    let capture = Scan::new(store, range, Some(revision), SMALL)
        .await
        .unwrap();
    assert_eq!(read_all(capture).await, before);
}

#[tokio::test(start_paused = true)]
async fn neighbours_and_empty_ranges_are_not_read() {
    let store = filled(["root/a", "root0", "root", "roo"].map(str::to_owned));
    let range = KeyRange::prefix("root/");
    let capture = Scan::new(store.clone(), range, None, SMALL).await.unwrap();
    assert_eq!(read_all(capture).await.len(), 1);
    let none = Scan::new(store, KeyRange::prefix("none/"), None, SMALL).await;
    let none = none.unwrap();
    assert!(none.revision() > 0);
    assert!(read_all(none).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_compaction_ends_the_scan() {
    let store = filled((0..200).map(|number| format!("root/{number:03}")));
    let range = KeyRange::prefix("root/");
    let mut capture = Scan::new(store.clone(), range, None, SMALL).await.unwrap();
    store.change(|state| {
        state.put(b"root/000", b"new");
        state.compact(state.revision()).unwrap();
    });
    capture.next_page().await.unwrap();
    let error = capture.next_page().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Compacted);
    assert_eq!(capture.next_page().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn pages_are_bounded_by_bytes() {
    let entries: Vec<Entry> = (0..400)
        .map(|number| Entry::new(format!("root/{number:03}"), vec![b'x'; 292]))
        .collect();
    let store = MemoryStore::with_entries(&entries);
    let limits = PageLimits {
        bytes: 3_000,
        first_count: 4,
        max_count: 1_000,
        keys_only: false,
    };
    let range = KeyRange::prefix("root/");
    let mut capture = Scan::new(store, range, None, limits).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(page) = capture.next_page().await.unwrap() {
        sizes.push(page.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 400);
    assert_eq!(sizes[0], 4);
    assert!(sizes.iter().all(|size| *size <= 10), "{sizes:?}");
    assert!(sizes.len() < 60, "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_too_large_for_a_reply_is_split() {
    let store = filled((0..200).map(|number| format!("root/{number:03}")));
    let before = store.dump();
    store.fault_when(|request| {
        let limit = request.range.map_or(0, |range| range.limit);
        if limit > 3 {
            let error = StoreError::unknown(StoreErrorKind::TooLarge, "too large (scripted)");
            return vec![Fault::Refuse(error)];
        }
        Vec::new()
    });
    let range = KeyRange::prefix("root/");
    let capture = Scan::new(store, range, None, SMALL).await.unwrap();
    assert_eq!(read_all(capture).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_scan_with_a_wrong_key_count_fails() {
    let store = filled((0..200).map(|number| format!("root/{number:03}")));
    let revision = store.look(|state| state.revision());
    let range = KeyRange::prefix("root/");
    let mut capture = Scan::new(store.clone(), range, Some(revision), SMALL)
        .await
        .unwrap();
    assert_eq!(capture.keys(), 200);
    store.change(|state| state.lose(b"root/199"));
    let error = loop {
        match capture.next_page().await {
            Ok(page) => assert!(page.is_some(), "the scan ended without an error"),
            Err(error) => break error,
        }
    };
    assert!(error.message.contains("199 keys"), "{error}");
    assert_eq!(capture.next_page().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_next_pages_are_prefetched() {
    let store = filled((0..200).map(|number| format!("root/{number:03}")));
    let range = KeyRange::prefix("root/");
    let mut capture = Scan::new(store.clone(), range, None, SMALL).await.unwrap();
    assert_eq!(store.counts()[&RequestKind::Range], 1);
    // The first page, and three prefetched ones.
    let fetched = 4;
    capture.next_page().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(store.counts()[&RequestKind::Range], fetched);
    drop(capture);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(store.counts()[&RequestKind::Range], fetched);
}

#[tokio::test(start_paused = true)]
async fn a_long_range_is_counted_at_most_twice() {
    // Two families of different depth, ids with gaps, as metadata has them.
    let segments = (0..4_000).map(|n| format!("root/seg/44/{:05}/{:08}", n / 1_000, n * 7));
    let others = (0..2_000).map(|n| format!("root/other/{:09}", n * 31));
    let store = filled(segments.chain(others));
    let total = store.dump().len() as i64;
    let counted = std::sync::Arc::new(std::sync::Mutex::new(0));
    let (sum, data) = (counted.clone(), store.reopen());
    store.fault_when(move |request| {
        if let Some(range) = request.range {
            let keys = data.look(|state| {
                let entries = state.entries();
                entries
                    .iter()
                    .filter(|entry| range.range.contains(&entry.key))
                    .count()
            });
            *sum.lock().unwrap() += keys as i64;
        }
        Vec::new()
    });
    let limits = PageLimits {
        bytes: 1 << 20,
        first_count: 100,
        max_count: 100,
        keys_only: false,
    };
    let range = KeyRange::prefix("root/");
    let capture = Scan::new(store.clone(), range, None, limits).await.unwrap();
    assert_eq!(read_all(capture).await.len() as i64, total);
    let counted = *counted.lock().unwrap();
    let requests = store.requests();
    // Read as one long range, it would take sixty pages and count thirty times the total.
    assert!(counted < 4 * total, "{counted} keys counted for {total}");
    assert!(requests < 100, "{requests} requests for 60 pages");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn each_key_is_read_exactly_once(
        keys in prop::collection::btree_set("[a-c/\\xff]{0,3}[0-9]{0,6}[/\\x00z]{0,2}", 0..400),
        cuts in prop::collection::btree_set("[a-c]{0,2}[0-9]{0,2}", 0..4),
        first_count in 1_i64..40,
        max_count in 16_i64..60,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let ops: Vec<Op> = keys.iter().map(|key| Op::put(format!("r/{key}"), "v")).collect();
            for ops in ops.chunks(128) {
                let txn = Txn { compares: Vec::new(), ops: ops.to_vec() };
                store.txn(txn).await.unwrap();
            }
            let limits = PageLimits { bytes: 1 << 20, first_count, max_count, keys_only: false };
            let cuts = cuts.iter().map(|cut| format!("r/{cut}").into_bytes()).collect::<Vec<_>>();
            for range in [KeyRange::prefix("r/"), KeyRange::prefix("")] {
                let capture = Scan::in_parts(store.clone(), range, &cuts, None, limits).await.unwrap();
                assert_eq!(read_all(capture).await, store.dump());
            }
        });
    }
}
