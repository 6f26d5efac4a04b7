//! The minimum time of etcd itself: bare loops with its client that do nothing else.
//!
//! The loops know in advance what the program must determine: page boundaries, keys to write, and
//! keys to delete. The exception is `turn_pages`, which pages like a client without this knowledge.

use std::time::{Duration, Instant};

use etcd_client::{Client, DeleteOptions, GetOptions, KvClient, Txn, TxnOp};
use meta_store::etcd::{EtcdStore, Options};
use meta_store::scan::{PageLimits, Scan};
use milvus_meta::keys::KeyRange;
use tokio::task::JoinSet;

/// Operations per transaction: etcd's default limit.
pub(crate) const TXN_OPS: usize = 128;
/// Maximum bytes and keys per page, as in the program.
const PAGE_BYTES: usize = 2 << 20;
const PAGE_KEYS: usize = 10_000;
/// Keys per range deletion.
const DELETE_KEYS: usize = 1_000;

/// A key and a value to write.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// A server, and a bare connection to it.
pub(crate) struct Floor {
    kv: KvClient,
    store: EtcdStore,
}

/// A key range with known page boundaries.
pub(crate) struct Cut {
    /// Ranges of one page each.
    pub(crate) pages: Vec<(Vec<u8>, Vec<u8>)>,
    /// Ranges for one deletion each.
    pub(crate) deletes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl Floor {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let client = Client::connect([endpoint], None).await.unwrap();
        let store = EtcdStore::connect(&Options::for_endpoint(endpoint))
            .await
            .unwrap();
        Self {
            kv: client.kv_client().max_decoding_message_size(256 << 20),
            store,
        }
    }

    pub(crate) fn store(&self) -> &EtcdStore {
        &self.store
    }

    /// Determines the page boundaries of `prefix`.
    pub(crate) async fn cut(&self, prefix: &str) -> Cut {
        let range = KeyRange::prefix(prefix.as_bytes().to_vec());
        let mut cut = Cut {
            pages: Vec::new(),
            deletes: Vec::new(),
            keys: 0,
            bytes: 0,
        };
        let mut page_from = range.start.clone();
        let mut delete_from = range.start.clone();
        let (mut page_bytes, mut page_keys, mut delete_keys) = (0, 0, 0);
        let mut scan = Scan::new(
            self.store.clone(),
            range.clone(),
            None,
            PageLimits::default(),
        )
        .await
        .unwrap();
        while let Some(page) = scan.next_page().await.unwrap() {
            for entry in page {
                if page_bytes >= PAGE_BYTES || page_keys >= PAGE_KEYS {
                    let from = std::mem::replace(&mut page_from, entry.key.to_vec());
                    cut.pages.push((from, entry.key.to_vec()));
                    (page_bytes, page_keys) = (0, 0);
                }
                if delete_keys >= DELETE_KEYS {
                    let from = std::mem::replace(&mut delete_from, entry.key.to_vec());
                    cut.deletes.push((from, entry.key.to_vec()));
                    delete_keys = 0;
                }
                let bytes = entry.key.len() + entry.value.len();
                page_bytes += bytes;
                page_keys += 1;
                delete_keys += 1;
                cut.keys += 1;
                cut.bytes += bytes as u64;
            }
        }
        cut.pages.push((page_from, range.end.clone()));
        cut.deletes.push((delete_from, range.end));
        cut
    }

    /// Reads all pages, at most `in_flight` at a time.
    pub(crate) async fn read(&self, cut: &Cut, in_flight: usize) -> Duration {
        let started = Instant::now();
        let mut requests = JoinSet::new();
        let mut keys = 0;
        for (from, to) in &cut.pages {
            if requests.len() >= in_flight {
                keys += requests.join_next().await.unwrap().unwrap();
            }
            let (mut kv, from, to) = (self.kv.clone(), from.clone(), to.clone());
            requests.spawn(async move {
                let options = GetOptions::new().with_range(to);
                let response = kv.get(from, Some(options)).await.unwrap();
                response.kvs().len()
            });
        }
        while let Some(read) = requests.join_next().await {
            keys += read.unwrap();
        }
        assert_eq!(keys as u64, cut.keys, "another client wrote");
        started.elapsed()
    }

    /// Reads pages of `page_keys` keys; each starts after the last key of the page before.
    pub(crate) async fn turn_pages(&self, prefix: &str, page_keys: i64) -> Duration {
        let started = Instant::now();
        let range = KeyRange::prefix(prefix.as_bytes().to_vec());
        let mut kv = self.kv.clone();
        let mut from = range.start;
        loop {
            let options = GetOptions::new().with_range(range.end.clone());
            let options = options.with_limit(page_keys);
            let page = kv.get(from, Some(options)).await.unwrap();
            match page.kvs().last() {
                Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                _ => return started.elapsed(),
            }
        }
    }

    /// Puts all pairs in transactions of 128 operations, at most `in_flight` at a time.
    pub(crate) async fn write(&self, pairs: &[Pair], in_flight: usize) -> Duration {
        let started = Instant::now();
        let batches = pairs.chunks(TXN_OPS).map(|batch| {
            let puts = batch.iter();
            puts.map(|(key, value)| TxnOp::put(key.clone(), value.clone(), None))
                .collect()
        });
        self.transactions(batches, in_flight).await;
        started.elapsed()
    }

    /// Deletes all keys in ranges of a thousand, at most `in_flight` at a time.
    pub(crate) async fn delete(&self, cut: &Cut, in_flight: usize) -> Duration {
        let started = Instant::now();
        let batches = cut.deletes.iter().map(|(from, to)| {
            let options = DeleteOptions::new().with_range(to.clone());
            vec![TxnOp::delete(from.clone(), Some(options))]
        });
        self.transactions(batches, in_flight).await;
        started.elapsed()
    }

    pub(crate) async fn transactions(
        &self,
        batches: impl Iterator<Item = Vec<TxnOp>>,
        in_flight: usize,
    ) {
        let mut requests = JoinSet::new();
        for batch in batches {
            if requests.len() >= in_flight {
                requests.join_next().await.unwrap().unwrap();
            }
            let mut kv = self.kv.clone();
            requests.spawn(async move {
                kv.txn(Txn::new().and_then(batch)).await.unwrap();
            });
        }
        while let Some(sent) = requests.join_next().await {
            sent.unwrap();
        }
    }

    /// Puts the pairs sequentially, one per request.
    pub(crate) async fn put_singly(&self, pairs: &[Pair]) -> Duration {
        let started = Instant::now();
        let mut kv = self.kv.clone();
        for (key, value) in pairs {
            kv.put(key.clone(), value.clone(), None).await.unwrap();
        }
        started.elapsed()
    }

    /// Reads one key per request, each with the limit 1 and an open end, like the backup of the
    /// official tool.
    pub(crate) async fn get_singly(&self, cut: &Cut, pairs: &[Pair]) -> Duration {
        let end = cut.pages.last().unwrap().1.clone();
        let started = Instant::now();
        let mut kv = self.kv.clone();
        for (key, _) in pairs {
            let options = GetOptions::new().with_range(end.clone()).with_limit(1);
            kv.get(key.clone(), Some(options)).await.unwrap();
        }
        started.elapsed()
    }
}
