//! Segment logs (T14) through interrupted runs: staged before the commit, removed from the records
//! after it.

use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, Environment, VerifyOptions, verify};
use meta_report::{MigrateOutcome, RestoreOutcome};
use milvus_meta::transform::{CollectionForm, SegmentForm};

use super::instance::{Image, Instance, limits};
use crate::rules::FORMS;
use crate::support::metadata::{Metadata, logs, root, segment_with_logs};
use crate::support::options;

const RECORD: &str = "datacoord-meta/s/1/10/51";
/// Log keys that a 2.2 release left.
const LEFT: [&str; 3] = [
    "datacoord-meta/binlog/1/10/40/100",
    "datacoord-meta/deltalog/1/10/40/0",
    "datacoord-meta/statslog/1/10/40/100",
];

/// Enough segments for several transactions; one of them keeps its logs.
fn metadata() -> Metadata {
    let mut it = Metadata::small();
    for id in 51..60 {
        it.put(
            &format!("datacoord-meta/s/1/10/{id}"),
            &segment_with_logs(id, 12),
        );
    }
    let mut unexpected = segment_with_logs(60, 12);
    unexpected.statslogs = vec![logs("stats_log", 59, (100, 9), &[12])];
    it.put("datacoord-meta/s/1/10/60", &unexpected);
    for key in LEFT {
        it.raw(key, b"left");
    }
    it
}

fn instance(form: CollectionForm) -> Instance {
    Instance::of(&metadata(), form)
}

/// Kills a migration and starts the next process.
async fn killed(form: CollectionForm, phase: Phase, more: u32) -> Instance {
    let killed = instance(form);
    killed.kill_after(phase, more);
    killed.migrate().await.unwrap_err();
    let next = killed.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().phase, phase);
    next
}

async fn complete(form: CollectionForm) -> (Image, Image) {
    let complete = instance(form);
    let before = complete.image();
    let report = complete.migrate().await.unwrap();
    assert!(report.verified);
    let plan = report.plan.unwrap();
    let of = |name: &str| plan.families.iter().find(|family| family.name == name);
    assert_eq!(of("datacoord-meta/binlog").unwrap().put, 18);
    assert_eq!(of("datacoord-meta/statslog").unwrap().put, 9);
    assert_eq!(of("datacoord-meta/deltalog").unwrap().put, 9);
    assert_eq!(of("datacoord-meta/s").unwrap().rewrite, 9);
    (before, complete.image())
}

#[tokio::test]
async fn t14_a_killed_run_resumes_and_restores_every_byte() {
    for form in FORMS {
        let (before, after) = complete(form).await;
        assert!(after["datacoord-meta/s/1/10/60"] == before["datacoord-meta/s/1/10/60"]);
        for (phase, more) in [
            (Phase::Staging, 0),
            (Phase::Staging, 2),
            (Phase::Staging, 5),
            (Phase::Staged, 0),
            (Phase::Committed, 0),
            (Phase::Committed, 1),
            (Phase::Committed, 3),
            (Phase::Tidying, 1),
        ] {
            let note = format!("{form}, {phase:?} + {more}");
            let next = killed(form, phase, more).await;
            let report = next.migrate().await.unwrap();
            assert_eq!(report.outcome, MigrateOutcome::Migrated, "{note}");
            assert!(report.verified, "{note}");
            assert_eq!(next.image(), after, "{note}");
            let back = next.roll_back().await.unwrap();
            assert_eq!(back.outcome, RestoreOutcome::Restored, "{note}");
            assert_eq!(next.image(), before, "{note}");

            let next = killed(form, phase, more).await;
            next.roll_back().await.unwrap();
            assert_eq!(next.image(), before, "{note}");
        }
    }
}

#[tokio::test]
async fn t14_a_record_changed_after_the_commit_is_kept() {
    let next = killed(CollectionForm::Database, Phase::Committed, 0).await;
    let value = next.get(RECORD).unwrap();
    next.put(RECORD, &value);
    let refused = next.migrate().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::SourceChanged { .. }),
        "{refused:?}"
    );
    assert_eq!(next.get(RECORD).unwrap(), value);
}

#[tokio::test]
async fn t14_a_record_whose_keys_are_missing_keeps_its_logs() {
    let next = killed(CollectionForm::Database, Phase::Committed, 0).await;
    let value = next.get(RECORD).unwrap();
    let deleted = root().join(b"datacoord-meta/statslog/1/10/51/100");
    next.store
        .change(|state| state.delete(&milvus_meta::keys::KeyRange::single(deleted)));
    next.migrate().await.unwrap_err();
    assert_eq!(next.get(RECORD).unwrap(), value);
}

#[tokio::test]
async fn inline_form_is_recorded_and_kept_by_a_resumed_run() {
    let inline = instance(CollectionForm::Database);
    let before = inline.image();
    let mut options = inline.options();
    options.transform.segment_form = SegmentForm::Inline;
    inline.kill_after(Phase::Committed, 0);
    let environment = Environment::silent();
    meta_migrate::migrate(&inline.store, &options, &environment)
        .await
        .unwrap_err();
    let next = inline.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().segment_form, "inline");
    // The options of the second run differ; those of the first apply.
    next.migrate().await.unwrap();
    assert_eq!(next.get(RECORD).as_ref(), before.get(RECORD));
    let verified = verify(&next.store, &against_backup(&next), &environment).await;
    let verified = verified.unwrap();
    assert!(verified.ok, "{:?}", verified.findings);
}

fn against_backup(instance: &Instance) -> VerifyOptions {
    VerifyOptions {
        backup: Some(instance.backup()),
        limits: limits(),
        ..options::verify(root())
    }
}

#[tokio::test]
async fn verify_against_the_backup_compares_logs_and_records() {
    let instance = instance(CollectionForm::Split);
    instance.migrate().await.unwrap();
    let environment = Environment::silent();
    let options = against_backup(&instance);
    let report = verify(&instance.store, &options, &environment)
        .await
        .unwrap();
    assert!(report.ok, "{:?}", report.findings);
    for key in [RECORD, "datacoord-meta/binlog/1/10/51/100"] {
        let value = instance.get(key).unwrap();
        instance.put(key, b"\x08\x33");
        let report = verify(&instance.store, &options, &environment)
            .await
            .unwrap();
        assert_eq!(report.different, 1, "{key}");
        instance.put(key, &value);
    }
}

#[tokio::test]
async fn too_little_space_for_logs_names_the_segment_form() {
    let instance = instance(CollectionForm::Database);
    let entries = instance.store.dump().into_iter();
    let used: usize = entries
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    instance.store.change(|state| {
        state.set_limits(meta_testing::memory::Limits {
            quota_bytes: Some(used as u64 + 4_000),
            ..Default::default()
        });
    });
    let refused = instance.migrate().await.unwrap_err();
    let message = refused.failure.to_string();
    assert!(
        message.contains("36 of the new keys are logs of segments"),
        "{message}"
    );
    assert!(
        message.contains("--segment-form inline") && message.contains("2.4.0"),
        "{message}"
    );
}
