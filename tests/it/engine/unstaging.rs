//! Rollback of a run that only staged: deletes exactly the keys of the recorded plan, and none if
//! the journal is outdated.

use meta_migrate::journal::{Journal, Phase};
use meta_migrate::{EngineErrorKind, ErrorClass, RestoreCommand};
use meta_report::{RestoreOutcome, RestoreReport};
use meta_store::Op;
use meta_testing::memory::Fault;
use milvus_meta::keys::MetaRoot;

use super::instance::{Image, Instance, plain};
use crate::rules::FORMS;
use crate::support::metadata::{Metadata, root};

/// A migration that was killed after staging, and the initial keys of 2.1.
async fn staged(form: milvus_meta::transform::CollectionForm) -> (Image, Instance) {
    let killed = Instance::small(form);
    let before = killed.image();
    killed.kill_after(Phase::Staged, 0);
    killed.migrate().await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    (before, next)
}

async fn accepting(instance: &Instance) -> RestoreReport {
    let mut options = instance.restore_options(RestoreCommand::Rollback);
    options.accept_loss = true;
    instance.restore_with(&options).await.unwrap()
}

#[tokio::test]
async fn unstaging_is_verified_only_with_the_backup() {
    for form in FORMS {
        let (before, next) = staged(form).await;
        let report = next.roll_back().await.unwrap();
        assert_eq!(report.outcome, RestoreOutcome::Restored);
        assert!(report.verified, "{form}");
        assert_eq!((next.image(), next.journal()), (before.clone(), None));

        let (_, next) = staged(form).await;
        std::fs::remove_file(next.backup()).unwrap();
        let report = next.roll_back().await.unwrap();
        assert!(!report.verified, "{form}: nothing was compared");
        assert_eq!(next.image(), before);

        // Not part of the plan, but different from the backup.
        let (_, next) = staged(form).await;
        next.put("root-coord/credential/users/new", b"{}");
        let report = next.roll_back().await.unwrap();
        assert!(!report.verified, "{form}: 2.1 was changed");
        assert!(next.get("root-coord/credential/users/new").is_some());
    }
}

/// 2.2 was started by mistake on staged metadata, and created a collection.
#[tokio::test]
async fn unstaging_asks_before_deleting_unstaged_keys() {
    let foreign = [
        "root-coord/fields/77/1",
        "root-coord/partitions/77/2",
        "field-index/77/3",
    ];
    for form in FORMS {
        let (before, next) = staged(form).await;
        for key in foreign {
            next.put(key, b"written by 2.2");
        }
        let running = plain(&next.store.dump());
        for dry_run in [true, false] {
            let mut options = next.restore_options(RestoreCommand::Rollback);
            options.dry_run = dry_run;
            let refused = next.restore_with(&options).await.unwrap_err();
            let EngineErrorKind::NotStaged { keys, examples } = &*refused.failure else {
                panic!("{form}: {refused:?}");
            };
            assert_eq!((*keys, examples.len()), (3, 3), "{form}");
            assert_eq!(refused.kind(), ErrorClass::Refused);
            assert!(refused.diff.is_some(), "the difference is shown");
            assert_eq!(plain(&next.store.dump()), running, "{form}");
        }
        accepting(&next).await;
        assert_eq!(next.image(), before);
    }
}

/// A staged key with another value belongs to another program.
#[tokio::test]
async fn unstaging_asks_before_deleting_a_changed_key() {
    for form in FORMS {
        let (before, next) = staged(form).await;
        let image = next.image();
        let mut keys = image.keys().filter(|key| !before.contains_key(*key));
        let key = keys.next().unwrap();
        next.put(key, b"another value");
        let refused = next.roll_back().await.unwrap_err();
        assert!(
            matches!(
                &*refused.failure,
                EngineErrorKind::NotStaged { keys: 1, .. }
            ),
            "{form}: {refused:?}"
        );
        assert_eq!(next.get(key).unwrap(), b"another value");
    }
}

/// The journal was reset to an earlier phase; the metadata was not.
#[tokio::test]
async fn an_outdated_journal_unstages_nothing() {
    for form in FORMS {
        for phase in [Phase::Staging, Phase::Staged] {
            let instance = Instance::small(form);
            let before = instance.image();
            instance.migrate().await.unwrap();
            let journal = Journal {
                phase,
                committed_revision: 0,
                ..instance.journal().unwrap()
            };
            instance.store.change(|state| {
                state.put(&root().journal_key(), &journal.encode());
            });
            let migrated = instance.image();
            let refused = instance.roll_back().await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::StagedFromOther { .. }),
                "{form}: {refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::Refused);
            assert!(refused.backup.is_some(), "the backup is named");
            assert_eq!(instance.image(), migrated, "{form}");
            let mut options = instance.restore_options(RestoreCommand::Restore);
            options.accept_loss = true;
            assert!(instance.restore_with(&options).await.unwrap().verified);
            assert_eq!(instance.image(), before, "{form}");
        }
    }
}

/// A restore, like a rollback, does not lose writes of 2.1 since staging.
#[tokio::test]
async fn a_restore_over_staged_keys_asks_before_a_loss() {
    for form in FORMS {
        let (_, next) = staged(form).await;
        next.put("datacoord-meta/s/1/10/99", b"written by 2.1");
        let options = next.restore_options(RestoreCommand::Restore);
        let refused = next.restore_with(&options).await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::WouldLose { .. }),
            "{form}: {refused:?}"
        );
        assert!(next.get("datacoord-meta/s/1/10/99").is_some());
    }
}

/// Two instances below one root path.
#[tokio::test]
async fn each_meta_root_has_a_separate_journal() {
    let other_root = || MetaRoot::new("by-dev", "meta2", "kv").unwrap();
    for form in FORMS {
        let (before, next) = staged(form).await;
        next.store.change(|state| {
            for (key, value) in &Metadata::small().entries {
                state.put(&other_root().join(key.as_bytes()), value);
            }
        });
        let mut options = next.options();
        options.root = other_root();
        options.backup.as_mut().unwrap().path = next.folder.path().join("second.mmb");
        let journal_key = other_root().journal_key();
        next.store.fault_when(move |request| {
            let is_staged = |op: &Op| match op {
                Op::Put { key, value, .. } if **key == *journal_key => {
                    Journal::decode(value).is_ok_and(|journal| journal.phase == Phase::Staged)
                }
                Op::Put { .. } | Op::Delete(_) => false,
            };
            if request.txn.is_some_and(|txn| txn.ops.iter().any(is_staged)) {
                vec![Fault::CrashAfter]
            } else {
                Vec::new()
            }
        });
        let silent = meta_migrate::Environment::silent();
        meta_migrate::migrate(&next.store, &options, &silent)
            .await
            .unwrap_err();
        let next = next.next();
        next.store.change(|state| {
            if let Some(lock) = state.get(&other_root().lock_key()) {
                state.revoke_lease(lock.lease);
            }
        });
        let second = || {
            let entries = next.store.dump().into_iter();
            let is_second = |key: &[u8]| {
                other_root().range().contains(key) || key == other_root().journal_key()
            };
            let entries = entries.filter(|entry| is_second(&entry.key));
            plain(&entries.collect::<Vec<_>>())
        };
        let untouched = second();
        assert!(untouched.len() > Metadata::small().entries.len() + 5);
        assert!(next.roll_back().await.unwrap().verified);
        assert_eq!((next.image(), next.journal()), (before, None), "{form}");
        assert_eq!(second(), untouched, "{form}");
    }
}

/// A mirror with another prefix copies a journal.
#[tokio::test]
async fn a_journal_of_another_meta_root_is_not_used() {
    let (_, next) = staged(FORMS[0]).await;
    let journal = Journal {
        meta_root: "elsewhere/meta".to_owned(),
        ..next.journal().unwrap()
    };
    next.store.change(|state| {
        state.put(&root().journal_key(), &journal.encode());
    });
    let before = plain(&next.store.dump());
    for refused in [
        next.roll_back().await.unwrap_err(),
        next.migrate().await.unwrap_err(),
    ] {
        let EngineErrorKind::Journal { source, .. } = &*refused.failure else {
            panic!("{refused:?}");
        };
        assert!(source.to_string().contains("elsewhere/meta"), "{source}");
    }
    assert_eq!(plain(&next.store.dump()), before);
}
