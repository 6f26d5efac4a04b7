//! One instance on a store in memory, and the commands on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use meta_migrate::journal::{Journal, Phase};
use meta_migrate::{
    EngineError, Environment, Limits, MigrateOptions, RestoreCommand, RestoreOptions, migrate,
    restore,
};
use meta_report::{MigrateReport, RestoreReport};
use meta_testing::memory::MemoryStore;
use milvus_meta::entry::Entry;
use milvus_meta::transform::CollectionForm;

use crate::simulation::kill_after;
use crate::support::metadata::{Metadata, root};
use crate::support::migration::is_history;
use crate::support::{options, oracle};

/// Keys relative to the meta root, with their values.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

pub(super) struct Instance {
    pub(super) store: MemoryStore,
    pub(super) form: CollectionForm,
    pub(super) folder: tempfile::TempDir,
}

impl Instance {
    pub(super) fn of(metadata: &Metadata, form: CollectionForm) -> Self {
        Self {
            store: MemoryStore::with_entries(&metadata.list()),
            form,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn small(form: CollectionForm) -> Self {
        Self::of(&Metadata::small(), form)
    }

    pub(super) fn backup(&self) -> PathBuf {
        self.folder.path().join("b.mmb")
    }

    pub(super) fn options(&self) -> MigrateOptions {
        MigrateOptions {
            limits: limits(),
            ..options::migrate(root(), self.form, self.backup())
        }
    }

    pub(super) fn restore_options(&self, command: RestoreCommand) -> RestoreOptions {
        RestoreOptions {
            command,
            backup: match command {
                RestoreCommand::Rollback => None,
                RestoreCommand::Restore => Some(self.backup()),
            },
            limits: limits(),
            ..options::rollback(root())
        }
    }

    pub(super) async fn migrate(&self) -> Result<MigrateReport, EngineError> {
        migrate(&self.store, &self.options(), &Environment::silent()).await
    }

    /// Fails unless everything in [`Metadata::small`] was migrated, according to the independent
    /// oracle.
    pub(super) fn expect_complete(&self) {
        let bytes = |(key, value): (String, Vec<u8>)| (key, Bytes::from(value));
        let before = Metadata::small().entries.into_iter().map(bytes).collect();
        let after = self.image().into_iter().map(bytes).collect();
        oracle::complete(self.form, &before, &after).unwrap();
    }

    pub(super) async fn roll_back(&self) -> Result<RestoreReport, EngineError> {
        self.restore_with(&self.restore_options(RestoreCommand::Rollback))
            .await
    }

    pub(super) async fn restore_with(
        &self,
        options: &RestoreOptions,
    ) -> Result<RestoreReport, EngineError> {
        restore(&self.store, options, &Environment::silent()).await
    }

    /// Another process on the same data.
    pub(super) fn next(mut self) -> Self {
        self.store = self.store.reopen();
        self
    }

    /// Puts a key, by its relative name, as another client would.
    pub(super) fn put(&self, key: &str, value: &[u8]) {
        let key = root().join(key.as_bytes());
        self.store.change(|state| state.put(&key, value));
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let key = root().join(key.as_bytes());
        let entry = self.store.look(|state| state.get(&key))?;
        Some(entry.value.into())
    }

    /// Everything below the meta root except the lock.
    pub(super) fn image(&self) -> Image {
        let entries = self.store.dump().into_iter();
        entries
            .filter(|entry| entry.key != root().lock_key())
            .filter_map(|entry| {
                let relative = root().strip(&entry.key)?.to_vec();
                Some((String::from_utf8(relative).unwrap(), entry.value.into()))
            })
            .collect()
    }

    pub(super) fn journal(&self) -> Option<Journal> {
        let key = root().journal_key();
        let entry = self.store.look(|state| state.get(&key))?;
        Some(Journal::decode(&entry.value).unwrap())
    }

    /// Kills the process after it has written `phase` and `more` further transactions.
    pub(super) fn kill_after(&self, phase: Phase, more: u32) {
        kill_after(&self.store, phase, more);
    }

    /// Ends the lock of a killed process.
    pub(super) fn end_lock(&self) {
        self.store.change(|state| {
            if let Some(lock) = state.get(&root().lock_key()) {
                state.revoke_lease(lock.lease);
            }
        });
    }
}

/// Limits that split little metadata into several transactions.
pub(super) fn limits() -> Limits {
    Limits {
        txn_ops_max: 4,
        in_flight: 2,
        delete_keys_max: 3,
        ..Limits::default()
    }
}

pub(super) fn plain(entries: &[Entry]) -> Vec<(Bytes, Bytes)> {
    entries
        .iter()
        .filter(|entry| !is_history(&entry.key))
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect()
}
