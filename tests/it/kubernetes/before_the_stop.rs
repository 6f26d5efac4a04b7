//! What is found while Milvus still runs, and would have been found too late.

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Event;
use crate::support::kubernetes::helm::Helm;

fn assert_never_stopped(scenario: &Scenario) {
    let events = scenario.bed.shared.events();
    let stopped = |event: &Event| matches!(event, Event::MilvusStopped { .. });
    assert!(!events.iter().any(stopped), "{events:#?}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_written_is_found_before_milvus_stops() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let claims = scenario.bed.claims();
    std::fs::create_dir_all(&claims).unwrap();
    let volume = claims.join("meta-migration-backup-my-release");
    // Nobody can make a file there, not even root.
    std::os::unix::fs::symlink("/proc/sys/kernel", &volume).unwrap();
    let ended = scenario.upgrade(&[]).await;
    ended
        .expect(1)
        .says("/milvus/data")
        .says("failed to create");
    assert_never_stopped(&scenario);
    scenario.assert_untouched().await;

    std::fs::remove_file(&volume).unwrap();
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let left = std::fs::read_dir(&volume).unwrap();
    let left: Vec<_> = left.map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "the backup and nothing else: {left:?}");
}
