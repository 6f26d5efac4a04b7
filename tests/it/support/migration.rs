//! Complete runs on any store, below a separate root path.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meta_migrate::journal::Journal;
use meta_migrate::{
    EngineError, Environment, Limits, MigrateOptions, RestoreOptions, Waits, migrate, restore,
};
use meta_report::{MigrateReport, RestoreReport};
use meta_store::{Op, RangeRequest, Store, Txn};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::transform::{CollectionForm, OnBrokenRecord, Options, SegmentForm, Source, Task};

use super::dump::read_dump;
use super::etcd::own_root;
use super::metadata::target_of;
use super::options;

/// Keys and values.
pub(crate) type Image = BTreeMap<Bytes, Bytes>;

/// Whether the key is the history, which every run that writes extends.
pub(crate) fn is_history(key: &[u8]) -> bool {
    let marker = b"migration/history";
    key.windows(marker.len()).any(|part| part == marker)
}

/// The metadata of one instance, and the expected result.
pub(crate) struct Case {
    pub(crate) root: MetaRoot,
    pub(crate) form: CollectionForm,
    pub(crate) entries: Vec<Entry>,
    pub(crate) before: Image,
    pub(crate) after: Image,
}

impl Case {
    /// A 2.1 dump below a separate root path, without leased keys.
    pub(crate) fn new(dump: &str, form: CollectionForm) -> Self {
        let below = b"by-dev/meta/";
        let relative = read_dump(dump).into_iter().filter_map(|entry| {
            let key = entry.key.strip_prefix(below)?.to_vec();
            (entry.lease == 0).then_some((key, entry.value.into()))
        });
        Self::of(relative.collect(), form)
    }

    /// Metadata by keys relative to the meta root, below a separate root path.
    pub(crate) fn of(relative: Vec<(Vec<u8>, Vec<u8>)>, form: CollectionForm) -> Self {
        let root = MetaRoot::new(&own_root(), "meta", "kv").unwrap();
        let mut entries: Vec<_> = relative
            .into_iter()
            .map(|(key, value)| Entry::new(root.join(&key), value))
            .collect();
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let mut source = Source::new(
            root.clone(),
            Options {
                form,
                task: Task::Migration,
                segment_form: SegmentForm::Auto,
                on_broken_record: OnBrokenRecord::Fail,
                schemas: None,
                target: target_of(form).parse().unwrap(),
            },
        );
        entries.iter().for_each(|entry| source.push(entry));
        let migration = source.finish();
        assert!(!migration.has_errors(), "{:?}", migration.findings);
        let after = migration
            .apply(
                entries
                    .iter()
                    .cloned()
                    .map(Ok::<_, std::convert::Infallible>),
            )
            .map(|entry| {
                let Ok(entry) = entry;
                (entry.key, entry.value)
            })
            .collect();
        let before = entries.iter().cloned();
        Self {
            before: before.map(|entry| (entry.key, entry.value)).collect(),
            root,
            form,
            entries,
            after,
        }
    }

    /// The release that reads the form.
    pub(crate) fn target(&self) -> &'static str {
        target_of(self.form)
    }

    /// Writes the metadata into a store.
    pub(crate) async fn load(&self, store: &impl Store) {
        self.load_in_chunks(store, 100).await;
    }

    /// Writes the metadata one key per transaction.
    pub(crate) async fn load_one_by_one(&self, store: &impl Store) {
        self.load_in_chunks(store, 1).await;
    }

    async fn load_in_chunks(&self, store: &impl Store, size: usize) {
        for chunk in self.entries.chunks(size) {
            let put = |entry: &Entry| Op::put(entry.key.clone(), entry.value.clone());
            put_all(store, chunk.iter().map(put).collect()).await;
        }
    }

    /// Everything below the meta root without a lease.
    pub(crate) async fn image(&self, store: &impl Store) -> Image {
        let entries = read_until_success(store, RangeRequest::new(self.root.range())).await;
        let metadata = entries.into_iter().filter(|entry| entry.lease == 0);
        metadata.map(|entry| (entry.key, entry.value)).collect()
    }

    /// Everything below the root path: metadata, sessions, lock, journal.
    pub(crate) async fn all(&self, store: &impl Store) -> Vec<Entry> {
        read_until_success(store, RangeRequest::new(self.everything())).await
    }

    pub(crate) fn everything(&self) -> KeyRange {
        let meta_root = self.root.meta_root();
        let root_path = meta_root.strip_suffix("meta").unwrap();
        KeyRange::prefix(root_path.as_bytes().to_vec())
    }

    pub(crate) async fn journal(&self, store: &impl Store) -> Option<Journal> {
        let request = RangeRequest::key(self.root.journal_key());
        let entries = read_until_success(store, request).await;
        entries
            .first()
            .map(|entry| Journal::decode(&entry.value).unwrap())
    }

    /// Fails unless everything is as in 2.1, without journal and lock.
    pub(crate) async fn expect_before(&self, store: &impl Store, note: &str) {
        self.expect(&self.before, store, note).await;
        assert!(self.journal(store).await.is_none(), "{note}: a journal");
    }

    /// Fails unless everything is as after the migration, with a journal that says done.
    pub(crate) async fn expect_after(&self, store: &impl Store, note: &str) {
        self.expect(&self.after, store, note).await;
        let journal = self.journal(store).await.expect("a journal");
        assert_eq!(journal.phase.name(), "done", "{note}");
    }

    async fn expect(&self, wanted: &Image, store: &impl Store, note: &str) {
        let found = self.image(store).await;
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        let differing: Vec<_> = wanted
            .keys()
            .chain(found.keys())
            .filter(|key| wanted.get(*key) != found.get(*key))
            .map(text)
            .collect();
        assert!(differing.is_empty(), "{note}: {differing:?}");
        let lock = read_until_success(store, RangeRequest::key(self.root.lock_key())).await;
        assert!(lock.is_empty(), "{note}: the lock is held");
    }

    pub(crate) fn options(&self, backup: &Path) -> MigrateOptions {
        MigrateOptions {
            source_version: Some("2.1.4".parse().unwrap()),
            waits: waits(),
            limits: small_limits(),
            ..options::migrate(self.root.clone(), self.form, backup.to_owned())
        }
    }

    pub(crate) async fn migrate(
        &self,
        store: &impl Store,
        backup: &Path,
        environment: &Environment,
    ) -> Result<MigrateReport, EngineError> {
        migrate(store, &self.options(backup), environment).await
    }

    pub(crate) async fn roll_back(
        &self,
        store: &impl Store,
        environment: &Environment,
    ) -> Result<RestoreReport, EngineError> {
        restore(store, &self.rollback_options(), environment).await
    }

    /// The options of `rollback`.
    pub(crate) fn rollback_options(&self) -> RestoreOptions {
        RestoreOptions {
            waits: waits(),
            limits: small_limits(),
            ..options::rollback(self.root.clone())
        }
    }
}

/// Waits for a lock but not for a component.
pub(crate) fn waits() -> Waits {
    Waits {
        sessions: Duration::ZERO,
        lock: Duration::from_secs(60),
    }
}

/// Limits under which small metadata takes dozens of transactions.
fn small_limits() -> Limits {
    Limits {
        txn_ops_max: 6,
        in_flight: 2,
        delete_keys_max: 8,
        ..Limits::default()
    }
}

/// An environment with only `observer`.
pub(crate) fn watched(observer: impl meta_migrate::Observer + 'static) -> Environment {
    Environment {
        observer: Arc::new(observer),
        ..Environment::silent()
    }
}

pub(crate) async fn put_all(store: &impl Store, ops: Vec<Op>) {
    let compares = Vec::new();
    let done = store.txn(Txn { compares, ops }).await.unwrap();
    assert!(done.succeeded);
}

/// Reads until the store answers again.
async fn read_until_success(store: &impl Store, request: RangeRequest) -> Vec<Entry> {
    let limit = Duration::from_secs(60);
    let read = tokio::time::timeout(limit, async {
        loop {
            match store.range(request.clone()).await {
                Ok(response) => return response.entries,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    });
    read.await.expect("the store does not respond")
}
