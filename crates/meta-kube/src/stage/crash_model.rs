//! The table run against a small world, with a failure and a crash at every place: what must never
//! happen does not, and every way ends.

use super::*;

/// What an operation works on.
#[derive(Debug, Clone, Copy)]
struct MemoryState {
    metadata: Layout,
    /// Whether pods of the old release run, all or some of them.
    old_runs: bool,
    /// Whether pods of the new release run, all or some of them.
    new_runs: bool,
    has_backup: bool,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The work of this stage fails each time, and leaves the metadata so if it writes.
    Fails(Stage, Layout),
    /// Nothing.
    Never,
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The stage is recorded, nothing is done.
    Before,
    /// A part is done; what is written is left so.
    Midway(Layout),
    /// Everything is done, the next stage is not recorded.
    After,
}

/// What the user does after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Resumes,
    GoesBack,
    GoesForward,
}

const LEFT: [Layout; 4] = [Layout::V2_1, Layout::Staged, Layout::Mixed, Layout::V2_2];

impl MemoryState {
    fn new() -> Self {
        Self {
            metadata: Layout::V2_1,
            old_runs: true,
            new_runs: false,
            has_backup: false,
        }
    }

    fn is_down(self) -> bool {
        !self.old_runs && !self.new_runs
    }

    /// Does the work of a stage; with `left` only a part of it, which leaves the metadata so.
    fn work(&mut self, stage: Stage, left: Option<Layout>) -> Outcome {
        match stage.row().work {
            Work::Probe | Work::CheckLayout => return Outcome::Metadata(self.metadata),
            Work::Stop if left.is_none() => {
                self.old_runs = false;
                self.new_runs = false;
            }
            Work::Drain if !self.is_down() => return Outcome::Failed,
            Work::Backup if left.is_none() => self.has_backup = true,
            Work::Migrate => {
                assert!(self.is_down(), "migrates beside Milvus: {self:?}");
                assert!(self.has_backup, "migrates without a backup: {self:?}");
                if self.metadata != Layout::V2_2 {
                    self.metadata = left.unwrap_or(Layout::V2_2);
                }
            }
            Work::Restore => {
                assert!(self.is_down(), "rolls back beside Milvus: {self:?}");
                if self.has_backup && self.metadata != Layout::V2_1 {
                    self.metadata = left.unwrap_or(Layout::V2_1);
                }
            }
            Work::Verify if self.metadata != Layout::V2_2 => return Outcome::Failed,
            Work::Start => self.start(!stage.is_rollback()),
            Work::Plan
            | Work::CheckRollback
            | Work::Stop
            | Work::Drain
            | Work::Backup
            | Work::SaveNew
            | Work::Verify
            | Work::WaitReady
            | Work::Nothing => {}
        }
        Outcome::Done
    }

    fn start(&mut self, new: bool) {
        let (own, other, metadata) = if new {
            (&mut self.new_runs, self.old_runs, Layout::V2_2)
        } else {
            (&mut self.old_runs, self.new_runs, Layout::V2_1)
        };
        *own = true;
        assert_eq!(
            self.metadata, metadata,
            "starts the wrong release: {self:?}"
        );
        assert!(!other, "starts beside the other release: {self:?}");
    }
}

/// A record, and the world that it is about.
#[derive(Debug, Clone, Copy)]
struct Run {
    world: MemoryState,
    stage: Stage,
    before: Option<Layout>,
    policy: Policy,
    fault: Fault,
}

impl Run {
    fn new(policy: Policy, fault: Fault) -> Self {
        Self {
            world: MemoryState::new(),
            stage: Stage::PROBE,
            before: None,
            policy,
            fault,
        }
    }

    fn work(&mut self) -> Outcome {
        let outcome = match self.fault {
            Fault::Fails(stage, left) if stage == self.stage => {
                self.world.work(stage, Some(left));
                Outcome::Failed
            }
            Fault::Fails(..) | Fault::Never => self.world.work(self.stage, None),
        };
        if let (Stage::PROBE, Outcome::Metadata(layout)) = (self.stage, outcome) {
            self.before = Some(layout);
        }
        outcome
    }

    /// Runs until it ends or halts, or dies at the `death`-th stage from here; whether it died.
    fn drive(&mut self, death: Option<(usize, Death)>) -> bool {
        for number in 0.. {
            assert!(number < 40, "goes round in circles: {self:?}");
            if self.stage.is_final() {
                return false;
            }
            match death.filter(|(place, _)| *place == number) {
                Some((_, Death::Before)) => return true,
                Some((_, Death::Midway(left))) => {
                    self.world.work(self.stage, Some(left));
                    return true;
                }
                Some((_, Death::After)) => {
                    self.work();
                    return true;
                }
                None => {}
            }
            let outcome = self.work();
            match next(self.stage, outcome, self.before, self.policy) {
                Some(following) => self.stage = following,
                None => return false,
            }
        }
        false
    }

    /// What the user does next; `false` when there is nothing to go back from.
    fn is_taken_up(&mut self, then: Then) -> bool {
        let begin = match then {
            Then::Resumes => Some(self.stage.row().resume),
            Then::GoesBack => turned_back(self.stage, self.before, self.world.has_backup),
            Then::GoesForward => self.stage.row().turn_forward,
        };
        if let Some(begin) = begin {
            self.stage = begin;
        }
        begin.is_some()
    }
}

fn policies() -> [Policy; 3] {
    let plain = Policy::default();
    let back = Policy {
        rollback_on_failure: true,
        ..plain
    };
    let down = Policy {
        stay_down: true,
        ..plain
    };
    [plain, back, down]
}

fn deaths() -> Vec<Death> {
    let midway = LEFT.map(Death::Midway);
    [Death::Before, Death::After]
        .into_iter()
        .chain(midway)
        .collect()
}

#[test]
fn a_resumed_upgrade_ends_upgraded_after_any_crash() {
    let mut crashes = 0;
    for policy in policies() {
        for place in 0.. {
            let mut died = false;
            for death in deaths() {
                let mut run = Run::new(policy, Fault::Never);
                if run.drive(Some((place, death))) {
                    died = true;
                    crashes += 1;
                    run.is_taken_up(Then::Resumes);
                    run.drive(None);
                }
                assert_eq!(run.stage, Stage::UPGRADED, "{place} {death:?}: {run:?}");
                assert!(run.world.new_runs && !run.world.old_runs, "{run:?}");
            }
            if !died {
                break;
            }
        }
    }
    assert_eq!(crashes, 3 * 9 * 6, "nine stages in which a process can die");
}

#[test]
fn w07_a_rollback_after_any_crash_ends_on_2_1() {
    for policy in policies() {
        for place in 0..9 {
            for death in deaths() {
                for second in (0..9).map(Some).chain([None]) {
                    let mut run = Run::new(policy, Fault::Never);
                    assert!(run.drive(Some((place, death))));
                    assert!(run.is_taken_up(Then::GoesBack));
                    // It may be killed once more during the rollback.
                    if let Some(second) = second
                        && run.drive(Some((second, death)))
                    {
                        run.is_taken_up(Then::Resumes);
                    }
                    run.drive(None);
                    let ended = matches!(run.stage, Stage::ROLLED_BACK | Stage::ABORTED);
                    assert!(ended, "{place} {death:?} {second:?}: {run:?}");
                    assert_eq!(run.world.metadata, Layout::V2_1, "{run:?}");
                    assert!(run.world.old_runs && !run.world.new_runs, "{run:?}");
                }
            }
        }
    }
}

#[test]
fn a_killed_rollback_turns_forward_until_the_restore() {
    let mut turned = 0;
    for place in 0..9 {
        for death in deaths() {
            let mut run = Run::new(Policy::default(), Fault::Never);
            run.drive(None);
            assert!(run.is_taken_up(Then::GoesBack));
            if run.drive(Some((place, death))) && run.is_taken_up(Then::GoesForward) {
                turned += 1;
                run.drive(None);
                assert_eq!(run.stage, Stage::UPGRADED, "{place} {death:?}: {run:?}");
                assert_eq!(run.world.metadata, Layout::V2_2, "{run:?}");
                assert!(run.world.new_runs && !run.world.old_runs, "{run:?}");
            }
        }
    }
    assert_eq!(turned, 5 * 6, "from the look back to the rolling back");
}

#[test]
fn w10_a_lasting_failure_restarts_milvus_or_halts() {
    for policy in policies() {
        for stage in TABLE
            .iter()
            .map(|row| row.stage)
            .filter(|stage| !stage.is_final())
        {
            for left in LEFT {
                let mut run = Run::new(policy, Fault::Fails(stage, left));
                run.drive(None);
                if run.stage.is_final() {
                    let fits = if run.stage == Stage::UPGRADED {
                        run.world.new_runs
                    } else {
                        run.world.old_runs
                    };
                    assert!(fits, "ends with nothing running: {run:?}");
                    continue;
                }
                // Halted. The fault is fixed, and both ways are open.
                for then in [Then::Resumes, Then::GoesBack] {
                    let mut later = run;
                    later.fault = Fault::Never;
                    assert!(later.is_taken_up(then), "{run:?}");
                    later.drive(None);
                    assert!(later.stage.is_final(), "{then:?} after {run:?}: {later:?}");
                    let back = later.stage == Stage::ROLLED_BACK;
                    assert!(
                        back || then == Then::Resumes,
                        "{then:?} after {run:?}: {later:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn before_the_commit_the_old_release_restarts() {
    for stage in [
        Stage::PROBE,
        Stage::PLAN,
        Stage::STOP,
        Stage::DRAIN,
        Stage::BACKUP,
    ] {
        let mut run = Run::new(Policy::default(), Fault::Fails(stage, Layout::V2_1));
        run.drive(None);
        assert!(
            matches!(run.stage, Stage::ABORTED | Stage::ROLLED_BACK),
            "{run:?}"
        );
        assert!(run.world.old_runs, "{run:?}");
    }
}

#[test]
fn a_second_forward_can_be_rolled_back() {
    for policy in policies() {
        for begin in [Stage::STOP, Stage::DRAIN, Stage::BACKUP] {
            for metadata in LEFT {
                for fails in [None, Some(Stage::STOP), Some(Stage::DRAIN)] {
                    let failing = fails.map_or(Fault::Never, |stage| Fault::Fails(stage, metadata));
                    let mut run = Run::new(policy, failing);
                    run.stage = begin;
                    run.before = Some(Layout::V2_1);
                    run.world = MemoryState {
                        metadata,
                        old_runs: false,
                        new_runs: begin == Stage::STOP && metadata == Layout::V2_2,
                        has_backup: true,
                    };
                    if failing != Fault::Never {
                        // Whatever fails, no metadata is touched and no release started beside another.
                        run.drive(None);
                        run.fault = Fault::Never;
                    }
                    if run.stage.is_final() {
                        continue;
                    }
                    assert!(run.is_taken_up(Then::GoesBack));
                    run.drive(None);
                    assert_eq!(run.stage, Stage::ROLLED_BACK, "{begin:?} {run:?}");
                }
            }
        }
    }
}
