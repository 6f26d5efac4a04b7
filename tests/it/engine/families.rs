//! `restore --family`: some families are restored, and nothing else is changed.

use meta_migrate::journal::Phase;
use meta_migrate::{ErrorClass, RestoreCommand, RestoreOptions};
use meta_report::RestoreOutcome;
use milvus_meta::keys::Family;

use super::instance::Instance;
use crate::rules::FORMS;

const SEGMENT: &str = "datacoord-meta/s/1/10/51";
const NEW_SEGMENT: &str = "datacoord-meta/s/9/9/9";
const INDEX: &str = "indexes/1";

fn of(instance: &Instance, families: &[Family]) -> RestoreOptions {
    RestoreOptions {
        families: families.to_vec(),
        ..instance.restore_options(RestoreCommand::Restore)
    }
}

/// An instance that was saved, and changed in two families since.
async fn changed() -> (Instance, Vec<u8>) {
    let instance = Instance::small(FORMS[0]);
    super::saved(&instance.store, &instance.backup()).await;
    let segment = instance.get(SEGMENT).unwrap();
    instance.put(SEGMENT, b"changed");
    instance.put(NEW_SEGMENT, b"not in the backup");
    instance.put(INDEX, b"changed");
    (instance, segment)
}

fn expect_only_segments(instance: &Instance, segment: &[u8]) {
    assert_eq!(instance.get(SEGMENT).unwrap(), segment);
    assert_eq!(instance.get(NEW_SEGMENT), None);
    assert_eq!(instance.get(INDEX).unwrap(), b"changed");
}

#[tokio::test]
async fn restore_of_a_family_changes_nothing_else() {
    let (instance, segment) = changed().await;
    let options = of(&instance, &[Family::Segment]);
    let done = instance.restore_with(&options).await.unwrap();
    assert_eq!((done.put, done.delete), (1, 1));
    assert_eq!(done.families, ["datacoord-meta/s"]);
    expect_only_segments(&instance, &segment);
    assert_eq!(instance.journal(), None);
    let again = instance.restore_with(&options).await.unwrap();
    assert_eq!(again.outcome, RestoreOutcome::Unchanged);
}

#[tokio::test]
async fn interrupted_restore_of_a_family_resumes_with_it() {
    let (killed, segment) = changed().await;
    killed.kill_after(Phase::Restoring, 1);
    let options = of(&killed, &[Family::Segment]);
    killed.restore_with(&options).await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    let journal = next.journal().unwrap();
    assert_eq!(journal.families, ["datacoord-meta/s"]);
    for refused in [
        next.roll_back().await,
        next.restore_with(&of(&next, &[Family::IndexBuild])).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorClass::Usage);
    }
    assert_eq!(next.journal(), Some(journal));
    next.restore_with(&of(&next, &[])).await.unwrap();
    expect_only_segments(&next, &segment);
    assert_eq!(next.journal(), None);
}

/// Each family of the 2.1 backup is refused after the migration, or the 2.2 metadata is as complete
/// as before.
#[tokio::test]
async fn family_is_not_restored_into_the_other_layout() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.migrate().await.unwrap();
        let (image, journal) = (instance.image(), instance.journal());
        for family in [
            Family::LegacyIndex,
            Family::LegacySegmentIndex,
            Family::IndexBuild,
            Family::Collection,
            Family::LegacyAlias,
            Family::QueryCollection,
            Family::CollectionSnapshot,
        ] {
            let options = RestoreOptions {
                accept_loss: true,
                ..of(&instance, &[family])
            };
            let refused = instance.restore_with(&options).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorClass::Usage, "{form}: {refused:?}");
        }
        assert_eq!((instance.image(), instance.journal()), (image, journal));
    }
}

#[tokio::test]
async fn family_of_an_unfinished_migration_is_not_restored() {
    for phase in [Phase::Staged, Phase::Committed, Phase::Tidying] {
        let killed = Instance::small(FORMS[0]);
        killed.kill_after(phase, 0);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        let (image, journal) = (next.image(), next.journal());
        let options = of(&next, &[Family::Segment]);
        let refused = next.restore_with(&options).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorClass::Usage, "{phase:?}: {refused:?}");
        assert_eq!((next.image(), next.journal()), (image, journal));
    }
}

/// Only what the restore overwrites can be lost.
#[tokio::test]
async fn restore_of_a_family_refuses_only_its_own_losses() {
    const USER: &str = "root-coord/credential/users/new";
    let instance = Instance::small(FORMS[0]);
    instance.migrate().await.unwrap();
    instance.put(USER, b"{}");
    let options = of(&instance, &[Family::Credential]);
    let refused = instance.restore_with(&options).await.unwrap_err();
    assert!(
        refused
            .failure
            .to_string()
            .contains("1 key was written since"),
        "{refused:?}"
    );
    let options = of(&instance, &[Family::Segment]);
    instance.restore_with(&options).await.unwrap();
    assert_eq!(instance.get(USER).unwrap(), b"{}");
}

/// A restore that was killed between its last write and the end of its journal leaves nothing to restore.
#[tokio::test]
async fn restore_with_nothing_left_to_do_ends_its_journal() {
    let saved = Instance::small(FORMS[0]);
    saved.migrate().await.unwrap();
    std::fs::remove_file(saved.backup()).unwrap();
    super::saved(&saved.store, &saved.backup()).await;
    saved.put(SEGMENT, b"changed");
    let options = RestoreOptions {
        accept_loss: true,
        ..saved.restore_options(RestoreCommand::Restore)
    };
    saved.kill_after(Phase::Restoring, 1);
    saved.restore_with(&options).await.unwrap_err();
    let next = saved.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().phase, Phase::Restoring);
    next.restore_with(&options).await.unwrap();
    assert_eq!(next.journal(), None);
}
