//! Properties of the table of stages.

use super::*;

const EVERYBODY_STAYS: Policy = Policy {
    rollback_on_failure: false,
    stay_down: false,
    accept_loss: false,
};
const BACK: Policy = Policy {
    rollback_on_failure: true,
    stay_down: false,
    accept_loss: false,
};
const LAYOUTS: [Layout; 5] = [
    Layout::V2_1,
    Layout::V2_2,
    Layout::Mixed,
    Layout::Staged,
    Layout::Empty,
];

fn policies() -> Vec<Policy> {
    let both = [false, true];
    both.into_iter()
        .flat_map(|rollback_on_failure| {
            both.map(|stay_down| Policy {
                rollback_on_failure,
                stay_down,
                accept_loss: false,
            })
        })
        .collect()
}

/// The stages from `stage` on if everything succeeds; `layout` is what each check finds.
fn walk(stage: Stage, layout: impl Fn(Stage) -> Layout) -> Vec<Stage> {
    let mut path = vec![stage];
    let mut stage = stage;
    while !stage.is_final() {
        let looks = matches!(
            stage,
            Stage::PROBE | Stage::CHECK_NEW | Stage::CHECK_OLD | Stage::DIAGNOSE
        );
        let outcome = if looks {
            Outcome::Metadata(layout(stage))
        } else {
            Outcome::Done
        };
        match next(stage, outcome, Some(Layout::V2_1), EVERYBODY_STAYS) {
            Some(following) => stage = following,
            None => break,
        }
        path.push(stage);
        assert!(path.len() < 30, "endless loop: {path:?}");
    }
    path
}

#[test]
fn stages_of_an_upgrade_and_of_a_rollback() {
    assert_eq!(
        walk(Stage::PROBE, |_| Layout::V2_1),
        [
            Stage::PROBE,
            Stage::PLAN,
            Stage::STOP,
            Stage::DRAIN,
            Stage::BACKUP,
            Stage::MIGRATE,
            Stage::VERIFY,
            Stage::START_NEW,
            Stage::WAIT_NEW,
            Stage::UPGRADED,
        ]
    );
    assert_eq!(
        walk(Stage::CHECK_ROLLBACK, |_| Layout::V2_1),
        [
            Stage::CHECK_ROLLBACK,
            Stage::STOP_BACK,
            Stage::DRAIN_BACK,
            Stage::SAVE_NEW,
            Stage::RESTORE,
            Stage::CHECK_OLD,
            Stage::START_OLD,
            Stage::WAIT_OLD,
            Stage::ROLLED_BACK,
        ]
    );
}

#[test]
fn w9_the_metadata_decides_and_not_leftover_objects() {
    for layout in LAYOUTS {
        let expected = match layout {
            Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::V2_2 => Some(Stage::PLAN),
            Layout::Empty => Some(Stage::STOP),
        };
        let outcome = Outcome::Metadata(layout);
        assert_eq!(
            next(Stage::PROBE, outcome, None, EVERYBODY_STAYS),
            expected,
            "{layout:?}"
        );
    }
}

#[test]
fn the_old_release_starts_only_on_old_metadata() {
    for policy in policies() {
        for stage in TABLE.iter().map(|row| row.stage) {
            for layout in [Layout::V2_2, Layout::Mixed, Layout::Staged] {
                let after = next(stage, Outcome::Metadata(layout), Some(Layout::V2_1), policy);
                assert_ne!(after, Some(Stage::START_OLD), "{stage:?} {layout:?}");
            }
            for before in LAYOUTS.map(Some).into_iter().chain([None]) {
                let after = next(stage, Outcome::Failed, before, policy);
                assert_ne!(after, Some(Stage::START_OLD), "{stage:?} {before:?}");
            }
        }
    }
}

#[test]
fn the_new_release_starts_only_after_a_check() {
    for policy in policies() {
        for stage in TABLE.iter().map(|row| row.stage) {
            let outcomes = [Outcome::Done, Outcome::Failed]
                .into_iter()
                .chain(LAYOUTS.map(Outcome::Metadata));
            for outcome in outcomes {
                let after = next(stage, outcome, Some(Layout::V2_1), policy);
                if after == Some(Stage::START_NEW) {
                    let verified = (stage, outcome) == (Stage::VERIFY, Outcome::Done);
                    let seen = matches!(
                        (stage, outcome),
                        (
                            Stage::CHECK_NEW,
                            Outcome::Metadata(Layout::V2_2 | Layout::Empty)
                        )
                    );
                    assert!(verified || seen, "{stage:?} {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn w10_a_failure_before_the_commit_restarts_2_1() {
    for stage in [Stage::STOP, Stage::DRAIN, Stage::BACKUP] {
        let before = Some(Layout::V2_1);
        let after = next(stage, Outcome::Failed, before, EVERYBODY_STAYS);
        assert_eq!(after, Some(Stage::DIAGNOSE), "{stage:?}");
        let stay_down = Policy {
            stay_down: true,
            ..EVERYBODY_STAYS
        };
        assert_eq!(next(stage, Outcome::Failed, before, stay_down), None);
    }
    let diagnosed = |layout, policy| {
        let looked = Outcome::Metadata(layout);
        next(Stage::DIAGNOSE, looked, Some(Layout::V2_1), policy)
    };
    assert_eq!(
        next(Stage::MIGRATE, Outcome::Failed, Some(Layout::V2_1), BACK),
        Some(Stage::DIAGNOSE)
    );
    assert_eq!(
        diagnosed(Layout::V2_1, EVERYBODY_STAYS),
        Some(Stage::START_OLD)
    );
    assert_eq!(
        diagnosed(Layout::Staged, EVERYBODY_STAYS),
        Some(Stage::RESTORE)
    );
    assert_eq!(diagnosed(Layout::V2_2, EVERYBODY_STAYS), None);
    assert_eq!(diagnosed(Layout::Mixed, EVERYBODY_STAYS), None);
    assert_eq!(diagnosed(Layout::V2_2, BACK), Some(Stage::STOP_BACK));
}

#[test]
fn w19_a_failure_before_the_stop_leaves_milvus_running() {
    for stage in [Stage::PROBE, Stage::PLAN] {
        for policy in policies() {
            let after = next(stage, Outcome::Failed, None, policy);
            assert_eq!(after, Some(Stage::ABORTED), "{stage:?}");
        }
        assert_eq!(rollback_start(stage, None, false), Some(Stage::ABORTED));
    }
    let first_touch = walk(Stage::PROBE, |_| Layout::V2_1)
        .into_iter()
        .find(|stage| !stage.row().untouched);
    assert_eq!(first_touch, Some(Stage::STOP));
}

#[test]
fn after_the_commit_it_rolls_back_only_on_request() {
    for stage in [Stage::VERIFY, Stage::START_NEW, Stage::WAIT_NEW] {
        let before = Some(Layout::V2_1);
        assert_eq!(next(stage, Outcome::Failed, before, EVERYBODY_STAYS), None);
        assert_eq!(
            next(stage, Outcome::Failed, before, BACK),
            Some(Stage::STOP_BACK)
        );
    }
}

#[test]
fn w7_every_stage_with_effects_has_a_rollback() {
    for stage in TABLE.iter().map(|row| row.stage) {
        let Some(begin) = rollback_start(stage, Some(Layout::V2_1), false) else {
            assert!(matches!(stage, Stage::ROLLED_BACK | Stage::ABORTED));
            continue;
        };
        let end = walk(begin, |_| Layout::V2_1).pop();
        let expected = if stage.row().untouched {
            Stage::ABORTED
        } else {
            Stage::ROLLED_BACK
        };
        assert_eq!(end, Some(expected), "{stage:?}");
    }
}

#[test]
fn a_crash_after_each_step_reaches_the_same_end() {
    let found = |stage| {
        if stage == Stage::CHECK_NEW {
            Layout::V2_2
        } else {
            Layout::V2_1
        }
    };
    for (begin, end) in [
        (Stage::PROBE, Stage::UPGRADED),
        (Stage::CHECK_ROLLBACK, Stage::ROLLED_BACK),
    ] {
        for saved_state in walk(begin, |_| Layout::V2_1) {
            // Only the saved state survives.
            let text = serde_json::to_string(&saved_state).unwrap();
            let read: Stage = serde_json::from_str(&text).unwrap();
            let path = walk(read.row().resume, found);
            assert_eq!(
                path.last(),
                Some(&end),
                "killed in {saved_state:?}: {path:?}"
            );
            assert!(
                path.contains(&saved_state),
                "repeats what was begun: {path:?}"
            );
        }
    }
}

#[test]
fn an_impossible_rollback_stops_nothing() {
    for policy in policies() {
        let after = next(
            Stage::CHECK_ROLLBACK,
            Outcome::Failed,
            Some(Layout::V2_1),
            policy,
        );
        assert_eq!(after, Some(Stage::UPGRADED));
    }
    assert_eq!(
        rollback_start(Stage::UPGRADED, Some(Layout::V2_1), true),
        Some(Stage::CHECK_ROLLBACK)
    );
}

#[test]
fn a_halted_diagnosis_resumes_at_the_stop() {
    let path = walk(Stage::DIAGNOSE.row().resume, |_| Layout::V2_1);
    assert_eq!(path.first(), Some(&Stage::STOP));
    assert_eq!(path.last(), Some(&Stage::UPGRADED));
}

#[test]
fn a_check_without_a_layout_halts() {
    for stage in [
        Stage::PROBE,
        Stage::CHECK_NEW,
        Stage::DIAGNOSE,
        Stage::CHECK_OLD,
    ] {
        assert_eq!(next(stage, Outcome::Done, None, BACK), None);
    }
}

#[test]
fn a_resumed_start_checks_the_metadata_again() {
    for stage in TABLE.iter().map(|row| row.stage) {
        for before in LAYOUTS.map(Some).into_iter().chain([None]) {
            let begins = [
                Some(stage.row().resume),
                rollback_start(stage, before, false),
            ];
            for begin in begins.into_iter().flatten() {
                let starts = matches!(
                    begin,
                    Stage::START_NEW | Stage::WAIT_NEW | Stage::START_OLD | Stage::WAIT_OLD
                );
                assert!(!starts, "{stage:?} continues with {begin:?}");
            }
        }
    }
    for layout in [Layout::V2_1, Layout::Mixed, Layout::Staged] {
        let after = next(
            Stage::CHECK_NEW,
            Outcome::Metadata(layout),
            Some(Layout::V2_1),
            BACK,
        );
        assert_eq!(after, None, "{layout:?}");
    }
}

#[test]
fn the_old_release_restarts_on_its_earlier_layout() {
    for stage in [Stage::DIAGNOSE, Stage::CHECK_OLD] {
        for layout in [Layout::Staged, Layout::Mixed] {
            let found = Outcome::Metadata(layout);
            let after = next(stage, found, Some(layout), EVERYBODY_STAYS);
            assert_eq!(after, Some(Stage::START_OLD), "{stage:?} {layout:?}");
            let after = next(stage, found, Some(Layout::V2_1), EVERYBODY_STAYS);
            assert_ne!(after, Some(Stage::START_OLD), "{stage:?} {layout:?}");
        }
    }
}

#[test]
fn a_recreated_deployment_is_stopped_first() {
    for stage in TABLE.iter().map(|row| row.stage) {
        let again = stage.row().stop_again;
        assert_eq!(again.is_rollback(), stage.is_rollback(), "{stage:?}");
        let touches = matches!(stage, Stage::BACKUP | Stage::MIGRATE | Stage::RESTORE);
        let stops = matches!(again, Stage::STOP | Stage::STOP_BACK);
        assert!(stops || !touches, "{stage:?}");
    }
    assert_eq!(Stage::CHECK_NEW.row().stop_again, Stage::STOP);
    assert_eq!(
        Stage::CHECK_OLD.row().stop_again,
        Stage::CHECK_OLD,
        "no restore discards what the old release wrote since"
    );
}

#[test]
fn every_stage_has_one_row_and_a_unique_id() {
    for (place, row) in TABLE.iter().enumerate() {
        let same = TABLE.iter().filter(|other| other.stage.id == row.stage.id);
        assert_eq!(same.count(), 1, "{}", row.stage.id);
        let text = serde_json::to_string(&row.stage).unwrap();
        assert_eq!(text, format!("{:?}", row.stage.id));
        assert_eq!(serde_json::from_str::<Stage>(&text).unwrap(), row.stage);
        let same = TABLE
            .iter()
            .skip(place + 1)
            .filter(|other| other.label == row.label);
        assert_eq!(same.count(), 0, "{}", row.label);
        let following = [row.resume, row.stop_again].into_iter().chain(row.forward);
        for stage in following.chain(row.save_stage) {
            assert_ne!(stage.name(), "unknown", "{}", row.stage.id);
        }
    }
    assert!(serde_json::from_str::<Stage>("\"sideways\"").is_err());
}

#[test]
fn a_restarted_milvus_is_stopped_first() {
    for row in TABLE.iter().filter(|row| row.requires_stop) {
        let after = next(row.stage, Outcome::Restarted, Some(Layout::V2_1), BACK);
        let stops = [Stage::STOP, Stage::STOP_BACK].map(Some);
        assert!(stops.contains(&after), "{}", row.stage.id);
    }
    let converts = TABLE
        .iter()
        .filter(|row| matches!(row.action, Action::Migrate | Action::Restore));
    assert!(
        converts
            .chain([Stage::VERIFY.row()])
            .all(|row| row.requires_stop)
    );
}
