//! The table, walked from every side.

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

/// The stages from `stage` on when everything goes well; `layout` is what each look finds.
fn walk(stage: Stage, layout: impl Fn(Stage) -> Layout) -> Vec<Stage> {
    let mut path = vec![stage];
    let mut stage = stage;
    while !stage.is_final() {
        let looks = matches!(
            stage,
            Stage::Probe | Stage::Recheck | Stage::Check | Stage::Assess
        );
        let outcome = if looks {
            Outcome::Metadata(layout(stage))
        } else {
            Outcome::Done
        };
        match next(stage, outcome, Some(Layout::V2_1), EVERYBODY_STAYS) {
            Next::Go(following) => stage = following,
            Next::Halt => break,
        }
        path.push(stage);
        assert!(path.len() < 30, "goes round in circles: {path:?}");
    }
    path
}

#[test]
fn the_way_forward_and_the_way_back() {
    assert_eq!(
        walk(Stage::Probe, |_| Layout::V2_1),
        [
            Stage::Probe,
            Stage::Plan,
            Stage::Stop,
            Stage::Drain,
            Stage::Backup,
            Stage::Migrate,
            Stage::Verify,
            Stage::Start,
            Stage::Settle,
            Stage::Upgraded,
        ]
    );
    assert_eq!(
        walk(Stage::LookBack, |_| Layout::V2_1),
        [
            Stage::LookBack,
            Stage::StopNew,
            Stage::DrainNew,
            Stage::SaveNew,
            Stage::RollBack,
            Stage::Check,
            Stage::StartOld,
            Stage::SettleOld,
            Stage::RolledBack,
        ]
    );
}

#[test]
fn w9_the_metadata_decides_and_never_a_leftover_object() {
    for layout in LAYOUTS {
        let expected = match layout {
            Layout::V2_1 | Layout::Staged => Next::Go(Stage::Plan),
            Layout::V2_2 | Layout::Empty => Next::Go(Stage::Stop),
            Layout::Mixed => Next::Go(Stage::Abandoned),
        };
        let outcome = Outcome::Metadata(layout);
        assert_eq!(
            next(Stage::Probe, outcome, None, EVERYBODY_STAYS),
            expected,
            "{layout:?}"
        );
    }
}

#[test]
fn the_old_release_starts_only_on_old_metadata() {
    for policy in policies() {
        for stage in Stage::ALL {
            for layout in [Layout::V2_2, Layout::Mixed, Layout::Staged] {
                let after = next(stage, Outcome::Metadata(layout), Some(Layout::V2_1), policy);
                assert_ne!(after, Next::Go(Stage::StartOld), "{stage:?} {layout:?}");
            }
            for before in LAYOUTS.map(Some).into_iter().chain([None]) {
                let after = next(stage, Outcome::Failed, before, policy);
                assert_ne!(after, Next::Go(Stage::StartOld), "{stage:?} {before:?}");
            }
        }
    }
}

#[test]
fn the_new_release_starts_only_after_a_verification_or_a_look() {
    for policy in policies() {
        for stage in Stage::ALL {
            let outcomes = [Outcome::Done, Outcome::Failed]
                .into_iter()
                .chain(LAYOUTS.map(Outcome::Metadata));
            for outcome in outcomes {
                let after = next(stage, outcome, Some(Layout::V2_1), policy);
                if after == Next::Go(Stage::Start) {
                    let verified = (stage, outcome) == (Stage::Verify, Outcome::Done);
                    let seen = matches!(
                        (stage, outcome),
                        (
                            Stage::Recheck,
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
fn w10_a_failure_before_the_switch_starts_the_old_release_again() {
    for stage in [Stage::Stop, Stage::Drain, Stage::Backup] {
        let before = Some(Layout::V2_1);
        let after = next(stage, Outcome::Failed, before, EVERYBODY_STAYS);
        assert_eq!(after, Next::Go(Stage::Assess), "{stage:?}");
        let told_otherwise = Policy {
            stay_down: true,
            ..EVERYBODY_STAYS
        };
        assert_eq!(
            next(stage, Outcome::Failed, before, told_otherwise),
            Next::Halt
        );
    }
    let assessed = |layout, policy| {
        let looked = Outcome::Metadata(layout);
        next(Stage::Assess, looked, Some(Layout::V2_1), policy)
    };
    assert_eq!(
        next(Stage::Migrate, Outcome::Failed, Some(Layout::V2_1), BACK),
        Next::Go(Stage::Assess)
    );
    assert_eq!(
        assessed(Layout::V2_1, EVERYBODY_STAYS),
        Next::Go(Stage::StartOld)
    );
    assert_eq!(
        assessed(Layout::Staged, EVERYBODY_STAYS),
        Next::Go(Stage::RollBack)
    );
    assert_eq!(assessed(Layout::V2_2, EVERYBODY_STAYS), Next::Halt);
    assert_eq!(assessed(Layout::Mixed, EVERYBODY_STAYS), Next::Halt);
    assert_eq!(assessed(Layout::V2_2, BACK), Next::Go(Stage::StopNew));
}

#[test]
fn w19_what_fails_before_the_stop_leaves_milvus_alone() {
    for stage in [Stage::Probe, Stage::Plan] {
        for policy in policies() {
            let after = next(stage, Outcome::Failed, None, policy);
            assert_eq!(after, Next::Go(Stage::Abandoned), "{stage:?}");
        }
        assert_eq!(turned_back(stage, None, false), Some(Stage::Abandoned));
    }
    let first_touch = walk(Stage::Probe, |_| Layout::V2_1)
        .into_iter()
        .find(|stage| !stage.is_before_the_stop());
    assert_eq!(first_touch, Some(Stage::Stop));
}

#[test]
fn after_the_switch_it_goes_back_by_itself_only_when_told() {
    for stage in [Stage::Verify, Stage::Start, Stage::Settle] {
        let before = Some(Layout::V2_1);
        assert_eq!(
            next(stage, Outcome::Failed, before, EVERYBODY_STAYS),
            Next::Halt
        );
        assert_eq!(
            next(stage, Outcome::Failed, before, BACK),
            Next::Go(Stage::StopNew)
        );
    }
}

#[test]
fn w7_every_stage_that_touched_something_has_a_way_back() {
    for stage in Stage::ALL {
        let Some(begin) = turned_back(stage, Some(Layout::V2_1), false) else {
            assert!(matches!(stage, Stage::RolledBack | Stage::Abandoned));
            continue;
        };
        let end = walk(begin, |_| Layout::V2_1).pop();
        let expected = if stage.is_before_the_stop() {
            Stage::Abandoned
        } else {
            Stage::RolledBack
        };
        assert_eq!(end, Some(expected), "{stage:?}");
    }
}

#[test]
fn a_crash_after_each_step_reaches_the_same_end() {
    let found = |stage| {
        if stage == Stage::Recheck {
            Layout::V2_2
        } else {
            Layout::V2_1
        }
    };
    for (begin, end) in [
        (Stage::Probe, Stage::Upgraded),
        (Stage::LookBack, Stage::RolledBack),
    ] {
        for recorded in walk(begin, |_| Layout::V2_1) {
            // What the cluster holds is all that survives.
            let text = serde_json::to_string(&recorded).unwrap();
            let read: Stage = serde_json::from_str(&text).unwrap();
            let path = walk(resumed(read), found);
            assert_eq!(path.last(), Some(&end), "killed in {recorded:?}: {path:?}");
            assert!(path.contains(&recorded), "repeats what was begun: {path:?}");
        }
    }
}

#[test]
fn a_way_back_that_is_not_open_stops_nothing() {
    for policy in policies() {
        let after = next(Stage::LookBack, Outcome::Failed, Some(Layout::V2_1), policy);
        assert_eq!(after, Next::Go(Stage::Upgraded));
    }
    assert_eq!(
        turned_back(Stage::Upgraded, Some(Layout::V2_1), true),
        Some(Stage::LookBack)
    );
}

#[test]
fn a_halted_assessment_resumes_from_the_stop_on() {
    let path = walk(resumed(Stage::Assess), |_| Layout::V2_1);
    assert_eq!(path.first(), Some(&Stage::Stop));
    assert_eq!(path.last(), Some(&Stage::Upgraded));
}

#[test]
fn a_look_without_an_answer_never_goes_on() {
    for stage in [Stage::Probe, Stage::Recheck, Stage::Assess, Stage::Check] {
        assert_eq!(next(stage, Outcome::Done, None, BACK), Next::Halt);
    }
}

#[test]
fn no_release_is_started_on_what_an_earlier_process_found() {
    for stage in Stage::ALL {
        for before in LAYOUTS.map(Some).into_iter().chain([None]) {
            let begins = [Some(resumed(stage)), turned_back(stage, before, false)];
            for begin in begins.into_iter().flatten() {
                let starts = matches!(
                    begin,
                    Stage::Start | Stage::Settle | Stage::StartOld | Stage::SettleOld
                );
                assert!(!starts, "{stage:?} goes on with {begin:?}");
            }
        }
    }
    for layout in [Layout::V2_1, Layout::Mixed, Layout::Staged] {
        let after = next(
            Stage::Recheck,
            Outcome::Metadata(layout),
            Some(Layout::V2_1),
            BACK,
        );
        assert_eq!(after, Next::Halt, "{layout:?}");
    }
}

#[test]
fn what_was_staged_beside_the_running_release_does_not_keep_it_down() {
    for stage in [Stage::Assess, Stage::Check] {
        let staged = Outcome::Metadata(Layout::Staged);
        let after = next(stage, staged, Some(Layout::Staged), EVERYBODY_STAYS);
        assert_eq!(after, Next::Go(Stage::StartOld), "{stage:?}");
    }
}

#[test]
fn what_was_made_anew_is_stopped_before_the_metadata_is_touched() {
    for stage in Stage::ALL {
        let again = stopped_again(stage);
        assert_eq!(again.is_way_back(), stage.is_way_back(), "{stage:?}");
        let touches = matches!(stage, Stage::Backup | Stage::Migrate | Stage::RollBack);
        let stops = matches!(again, Stage::Stop | Stage::StopNew);
        assert!(stops || !touches, "{stage:?}");
    }
    assert_eq!(stopped_again(Stage::Recheck), Stage::Stop);
    assert_eq!(
        stopped_again(Stage::Check),
        Stage::Check,
        "nothing undoes what the old release wrote since"
    );
}
