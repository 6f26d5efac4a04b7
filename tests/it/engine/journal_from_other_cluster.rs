//! A journal copied from another etcd: its revisions are not trusted.

use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, ErrorClass, RestoreCommand, RestoreOptions, status};
use meta_report::{MigrateOutcome, RestoreOutcome};
use meta_testing::memory::MemoryStore;
use milvus_meta::transform::CollectionForm;

use super::between_runs::Notes;
use super::instance::{Instance, limits};
use crate::rules::FORMS;
use crate::support::metadata::root;
use crate::support::migration::watched;

/// A key that 2.2 writes.
const SEGMENT: &str = "datacoord-meta/s/1/10/51";

/// An instance in an etcd with far higher revisions than a new one has.
fn with_high_revisions(form: CollectionForm) -> Instance {
    let instance = Instance::small(form);
    instance.store.change(|state| {
        state.set_cluster(0xc1);
        (0..500).for_each(|_| state.put(b"other/key", b""));
    });
    instance
}

/// The same keys and values in another etcd, written in key order as by `etcdctl make-mirror`.
fn mirrored(mut instance: Instance, cluster: u64) -> Instance {
    instance.end_lock();
    let entries = instance.store.dump();
    instance.store = MemoryStore::with_entries(&entries);
    instance.store.change(|state| state.set_cluster(cluster));
    instance
}

fn accepting(instance: &Instance) -> RestoreOptions {
    RestoreOptions {
        accept_loss: true,
        ..instance.restore_options(RestoreCommand::Rollback)
    }
}

#[tokio::test]
async fn writes_of_2_2_in_another_etcd_need_acceptance() {
    // Another cluster id, the same id as for a new cluster with the same members, and none.
    for cluster in [0xc2, 0xc1, 0] {
        for form in FORMS {
            let instance = with_high_revisions(form);
            let before = instance.image();
            instance.migrate().await.unwrap();
            instance.put(SEGMENT, b"written by 2.2");
            let mirror = mirrored(instance, cluster);
            let running = mirror.image();
            let refused = mirror.roll_back().await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::OtherEtcd { .. }),
                "{form}, {cluster}: {refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::Refused);
            assert_eq!(mirror.image(), running);
            let notes = Notes::default();
            status(&mirror.store, &root(), &limits(), &watched(notes.clone()))
                .await
                .unwrap();
            let messages = notes.0.lock().unwrap().join("\n");
            assert!(messages.contains("the journal"), "{messages}");
            let again = mirror.migrate().await.unwrap();
            assert_eq!(again.outcome, MigrateOutcome::AlreadyMigrated);
            let back = mirror.restore_with(&accepting(&mirror)).await.unwrap();
            assert_eq!(back.outcome, RestoreOutcome::Restored);
            assert_eq!(mirror.image(), before);
            assert_eq!(mirror.journal(), None);
        }
    }
}

#[tokio::test]
async fn a_mirrored_committed_run_deletes_nothing() {
    for phase in [Phase::Committed, Phase::Tidying] {
        for form in FORMS {
            let killed = with_high_revisions(form);
            let before = killed.image();
            killed.kill_after(phase, 0);
            killed.migrate().await.unwrap_err();
            let mirror = mirrored(killed, 0xc2);
            mirror.put("root-coord/index/99", b"of 2.1, and in no plan");
            let refused = mirror.migrate().await.unwrap_err();
            assert!(
                matches!(&*refused.failure, EngineErrorKind::OtherEtcd { .. }),
                "{form}, {phase:?}: {refused:?}"
            );
            assert_eq!(refused.kind(), ErrorClass::PartWay);
            assert!(mirror.get("root-coord/index/99").is_some());
            mirror.restore_with(&accepting(&mirror)).await.unwrap();
            assert_eq!(mirror.image(), before, "{form}, {phase:?}");
            mirror.migrate().await.unwrap();
            mirror.roll_back().await.unwrap();
            assert_eq!(mirror.image(), before, "{form}, {phase:?}");
        }
    }
}

#[tokio::test]
async fn a_mirrored_staged_run_resumes() {
    for form in FORMS {
        let complete = Instance::small(form);
        complete.migrate().await.unwrap();
        let killed = with_high_revisions(form);
        killed.kill_after(Phase::Staged, 0);
        killed.migrate().await.unwrap_err();
        let mirror = mirrored(killed, 0xc2);
        mirror.migrate().await.unwrap();
        assert_eq!(mirror.image(), complete.image(), "{form}");
        assert_eq!(mirror.journal().unwrap().cluster_id, "c2");
        mirror.roll_back().await.unwrap();
    }
}

#[tokio::test]
async fn a_mirrored_restore_asks_before_it_resumes() {
    let killed = with_high_revisions(CollectionForm::Split);
    let before = killed.image();
    killed.migrate().await.unwrap();
    killed.kill_after(Phase::Restoring, 1);
    killed.roll_back().await.unwrap_err();
    let mirror = mirrored(killed, 0xc2);
    let unchanged = mirror.image();
    for refused in [
        mirror.migrate().await.unwrap_err(),
        mirror.roll_back().await.unwrap_err(),
    ] {
        assert!(
            matches!(&*refused.failure, EngineErrorKind::OtherEtcd { .. }),
            "{refused:?}"
        );
    }
    assert_eq!(mirror.image(), unchanged);
    mirror.restore_with(&accepting(&mirror)).await.unwrap();
    assert_eq!(mirror.image(), before);
}
