//! etcd loses acknowledged writes while a run writes, but the lock still exists. Servers 3.5.0 to
//! 3.5.2 lose them when they are killed; a disk snapshot restored within the lease has the same
//! effect.

use std::sync::{Arc, Mutex};

use meta_migrate::{EngineErrorKind, RestoreCommand};
use meta_testing::memory::{Fault, MemoryState};

use super::instance::{Image, Instance};
use crate::rules::FORMS;

/// Copies etcd right after one transaction of the next run and restores the copy right before a
/// later one. Transactions are counted from 1; the first takes the lock.
fn lose_tail(instance: &Instance, (kept, lost): (u32, u32)) {
    let saved: Arc<Mutex<Option<MemoryState>>> = Arc::default();
    let mut count = 0;
    instance.store.fault_when(move |request| {
        if request.txn.is_none() {
            return Vec::new();
        }
        count += 1;
        let saved = Arc::clone(&saved);
        if count == kept {
            vec![Fault::after(move |state| {
                *saved.lock().unwrap() = Some(state.clone());
            })]
        } else if count == lost {
            vec![Fault::before(move |state| {
                if let Some(earlier) = saved.lock().unwrap().take() {
                    *state = earlier;
                }
            })]
        } else {
            Vec::new()
        }
    });
}

/// A later command ends at `wanted` or fails; no other state may be reported as success.
async fn expect_only_wanted_end(instance: Instance, (before, after): (&Image, &Image), case: &str) {
    let copy = Instance {
        store: instance.store.fork(),
        form: instance.form,
        folder: tempfile::tempdir().unwrap(),
    };
    if copy.migrate().await.is_ok() {
        assert_eq!(copy.image(), *after, "{case}, then migrate");
    }
    match instance.roll_back().await {
        Ok(_) => assert_eq!(instance.image(), *before, "{case}, then rollback"),
        Err(_) => {
            let mut options = instance.restore_options(RestoreCommand::Restore);
            options.accept_loss = true;
            instance.restore_with(&options).await.unwrap();
            assert_eq!(instance.image(), *before, "{case}, then restore");
        }
    }
}

#[tokio::test]
async fn a_run_whose_journal_was_reset_stops_writing() {
    for form in FORMS {
        let complete = Instance::small(form);
        let before = complete.image();
        complete.migrate().await.unwrap();
        let after = complete.image();
        let transactions = complete.store.transactions().len();
        assert!(transactions > 8, "{form}");
        let transactions = u32::try_from(transactions).unwrap();
        for kept in 1..transactions {
            for lost in kept + 1..=transactions {
                let case = format!("{form}: back from {lost} to {kept}");
                let instance = Instance::small(form);
                lose_tail(&instance, (kept, lost));
                match instance.migrate().await {
                    Ok(_) => assert_eq!(instance.image(), after, "{case}"),
                    Err(error) => {
                        let next = instance.next();
                        next.end_lock();
                        let is_known = next.journal().map(|journal| journal.phase) == error.phase
                            || matches!(&*error.failure, EngineErrorKind::JournalChanged { .. });
                        assert!(is_known, "{case}: {error:?}");
                        expect_only_wanted_end(next, (&before, &after), &case).await;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_rollback_whose_journal_was_reset_stops_writing() {
    for form in FORMS {
        let complete = Instance::small(form);
        let before = complete.image();
        complete.migrate().await.unwrap();
        let after = complete.image();
        let done = complete.next();
        let rolled_back = done.store.fork();
        let instance_on = |store| Instance {
            store,
            form,
            folder: tempfile::tempdir().unwrap(),
        };
        let probe = instance_on(rolled_back);
        std::fs::copy(done.backup(), probe.backup()).unwrap();
        let mut options = probe.restore_options(RestoreCommand::Rollback);
        options.backup = Some(done.backup());
        probe.restore_with(&options).await.unwrap();
        let transactions = u32::try_from(probe.store.transactions().len()).unwrap();
        for kept in 1..transactions {
            for lost in kept + 1..=transactions {
                let case = format!("{form}: back from {lost} to {kept}");
                let instance = instance_on(done.store.fork());
                std::fs::copy(done.backup(), instance.backup()).unwrap();
                lose_tail(&instance, (kept, lost));
                match instance.restore_with(&options).await {
                    Ok(_) => assert_eq!(instance.image(), before, "{case}"),
                    Err(_) => {
                        let next = instance.next();
                        next.end_lock();
                        expect_only_wanted_end(next, (&before, &after), &case).await;
                    }
                }
            }
        }
    }
}
