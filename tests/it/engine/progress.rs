//! Progress events that observers of a run receive.

use std::sync::{Arc, Mutex};

use meta_migrate::journal::Phase;
use meta_migrate::{Environment, Observer, RestoreCommand, migrate, restore};

use meta_testing::memory::MemoryStore;

use super::instance::Instance;
use crate::rules::FORMS;
use crate::support::migration::watched;

/// One phase: its name, the announced number of keys, and the reported number.
type PhaseReport = (String, Option<u64>, u64);

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<PhaseReport>>>);

impl Listener {
    fn environment(&self) -> Environment {
        watched(self.clone())
    }

    /// The phases reported since the last call, each with as many keys as announced.
    fn names(&self) -> Vec<String> {
        let reports = std::mem::take(&mut *self.0.lock().unwrap());
        for (name, total, done) in &reports {
            assert!(
                total.is_none_or(|total| total == *done),
                "{name}: {reports:?}"
            );
        }
        reports.into_iter().map(|(name, ..)| name).collect()
    }
}

impl Observer for Listener {
    fn phase_started(&self, name: &str, total: Option<u64>) {
        self.0.lock().unwrap().push((name.to_owned(), total, 0));
    }

    fn advanced(&self, keys: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 += keys;
    }
}

async fn roll_back(instance: &Instance, environment: &Environment) {
    let options = instance.restore_options(RestoreCommand::Rollback);
    restore(&instance.store, &options, environment)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_phase_reports_as_many_keys_as_announced() {
    for form in FORMS {
        let listener = Listener::default();
        let environment = listener.environment();
        let instance = Instance::small(form);
        migrate(&instance.store, &instance.options(), &environment)
            .await
            .unwrap();
        let forward = listener.names();
        assert!(forward.contains(&"stage".to_owned()), "{forward:?}");
        assert!(forward.contains(&"clean up".to_owned()), "{forward:?}");
        roll_back(&instance, &environment).await;
        assert_eq!(listener.names(), ["compare", "put", "delete"]);
    }
}

/// The backup is read even if etcd has no keys to compare with it.
#[tokio::test]
async fn comparison_counts_the_keys_of_the_backup() {
    let saved = Instance::small(FORMS[0]);
    let entries = super::saved(&saved.store, &saved.backup()).await.len();
    let empty = Instance {
        store: MemoryStore::with_entries(&[]),
        ..saved
    };
    let listener = Listener::default();
    let options = empty.restore_options(RestoreCommand::Restore);
    restore(&empty.store, &options, &listener.environment())
        .await
        .unwrap();
    let (_, total, _) = listener.0.lock().unwrap()[0].clone();
    // Includes the lock.
    assert_eq!(total, Some(entries as u64 + 1));
    assert_eq!(listener.names(), ["compare", "put", "delete"]);
}

#[tokio::test]
async fn discarded_keys_are_counted() {
    for form in FORMS {
        let listener = Listener::default();
        let killed = Instance::small(form);
        killed.kill_after(Phase::Staged, 0);
        killed.migrate().await.unwrap_err();
        let instance = killed.next();
        instance.end_lock();
        roll_back(&instance, &listener.environment()).await;
        assert_eq!(listener.names(), ["read", "compare", "discard", "compare"]);
    }
}
