//! The metadata of a Milvus 2.1 instance in a real etcd, below a separate root path.

use std::time::Duration;

use bytes::Bytes;
use meta_backup::Backup;
use meta_store::etcd::EtcdStore;
use meta_store::{Op, RangeRequest, Store, Txn};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::layout::{Layout, LayoutDetector};

use super::tool::Tool;
use crate::support::etcd::{Etcd, own_root, shared};
use crate::support::metadata::Metadata;

pub(super) struct Instance {
    pub(super) root: MetaRoot,
    pub(super) store: EtcdStore,
    endpoint: String,
}

impl Instance {
    /// No metadata, on the server that all tests share.
    pub(super) async fn empty() -> Self {
        Self::on(shared()).await
    }

    /// No metadata.
    pub(super) async fn on(etcd: &Etcd) -> Self {
        Self::through(etcd.connect().await, etcd)
    }

    /// No metadata, on a server that needs more options than its address.
    pub(super) fn through(store: EtcdStore, etcd: &Etcd) -> Self {
        Self {
            root: MetaRoot::new(&own_root(), "meta", "kv").unwrap(),
            store,
            endpoint: etcd.endpoint().to_owned(),
        }
    }

    /// The small instance of [`Metadata::small`].
    pub(super) async fn small() -> Self {
        let it = Self::empty().await;
        it.load(&Metadata::small()).await;
        it
    }

    /// The sample that `make demo` shows, taken from a real Milvus 2.1.4.
    pub(super) async fn sample() -> Self {
        let it = Self::empty().await;
        it.load_sample().await;
        it
    }

    pub(super) async fn load_sample(&self) {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/demo/milvus-2.1.4.bak"
        );
        let entries = Backup::open(path).unwrap().entries().unwrap();
        let ops: Vec<Op> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let relative = entry.key.strip_prefix(b"by-dev/meta/").unwrap();
                Op::put(self.root.join(relative), entry.value)
            })
            .collect();
        self.write(ops).await;
    }

    pub(super) async fn load(&self, metadata: &Metadata) {
        let puts = metadata.entries.iter();
        let ops = puts.map(|(key, value)| Op::put(self.root.join(key.as_bytes()), value.clone()));
        self.write(ops.collect()).await;
    }

    pub(super) async fn put(&self, relative: &str, value: &[u8]) {
        let key = self.root.join(relative.as_bytes());
        self.write(vec![Op::put(key, value.to_vec())]).await;
    }

    /// Puts a key that may be outside the meta root.
    pub(super) async fn put_absolute(&self, key: &str, value: &[u8]) {
        self.write(vec![Op::put(key.as_bytes().to_vec(), value.to_vec())])
            .await;
    }

    pub(super) async fn delete(&self, relative: &str) {
        let key = self.root.join(relative.as_bytes());
        self.write(vec![Op::Delete(KeyRange::single(key))]).await;
    }

    pub(super) async fn delete_prefix(&self, relative: &str) {
        let key = self.root.join(relative.as_bytes());
        self.write(vec![Op::Delete(KeyRange::prefix(key))]).await;
    }

    /// Registers something below `session/`, as Milvus does, and returns its lease.
    pub(super) async fn register(&self, role: &str, ttl: Duration) -> i64 {
        let lease = self.store.lease_grant(ttl).await.unwrap();
        let put = Op::Put {
            key: self.root.join(format!("session/{role}").as_bytes()).into(),
            value: Bytes::from_static(br#"{"Address":"10.1.2.3:53100","ServerID":7}"#),
            lease,
        };
        self.write(vec![put]).await;
        lease
    }

    /// Everything below the root path, journal included, with revisions and leases.
    pub(super) async fn dump(&self) -> Vec<Entry> {
        let range = KeyRange::prefix(format!("{}/", self.root.root_path()));
        self.store
            .range(RangeRequest::new(range))
            .await
            .unwrap()
            .entries
    }

    /// The metadata for comparisons: keys and values below the meta root.
    pub(super) async fn metadata(&self) -> Vec<(Bytes, Bytes)> {
        let request = RangeRequest::new(self.root.range());
        let entries = self.store.range(request).await.unwrap().entries;
        entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    pub(super) async fn layout(&self) -> Layout {
        let mut detector = LayoutDetector::new(self.root.clone());
        for (key, value) in self.metadata().await {
            detector.push(&Entry::new(key, value));
        }
        detector.layout()
    }

    /// The program with the endpoint and root path of this instance.
    pub(super) fn tool(&self) -> Tool {
        Tool::new()
            .env("META_MIGRATION_ENDPOINTS", &self.endpoint)
            .env("META_MIGRATION_ROOT_PATH", self.root.root_path())
    }

    /// The lines of a YAML file with the endpoint and root path of this instance.
    pub(super) fn yaml(&self) -> String {
        format!(
            "etcd:\n  endpoints: [{}]\n  rootPath: {}\n  metaSubPath: meta\n  kvSubPath: kv\n\
             metastore:\n  type: etcd\n",
            self.endpoint,
            self.root.root_path()
        )
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn write(&self, ops: Vec<Op>) {
        for ops in ops.chunks(100) {
            let txn = Txn {
                compares: Vec::new(),
                ops: ops.to_vec(),
            };
            assert!(self.store.txn(txn).await.unwrap().succeeded);
        }
    }
}
