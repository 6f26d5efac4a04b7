//! Runs the table against a small model of a cluster, with a failure and a crash at every point.
//! Checks that the invariants hold and that every run ends.

use super::*;

/// The model of Milvus and its metadata.
#[derive(Debug, Clone, Copy)]
struct Instance {
    metadata: Layout,
    /// Whether some or all pods of the old release run.
    old_runs: bool,
    /// Whether some or all pods of the new release run.
    new_runs: bool,
    has_backup: bool,
}

/// The injected failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The action of this stage always fails; if it writes, it leaves this layout.
    At(Stage, Layout),
    Never,
}

/// The point at which the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// The stage is recorded, its action has not begun.
    Before,
    /// The action is incomplete; if it writes, it leaves this layout.
    Midway(Layout),
    /// The action is complete, the next stage is not recorded.
    After,
}

/// The user's next command after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Resume,
    RollBack,
    Forward,
}

const LAYOUTS: [Layout; 4] = [Layout::V2_1, Layout::Staged, Layout::Mixed, Layout::V2_2];

impl Instance {
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

    /// Performs the action of a stage. With `left`, performs only a part of it, which leaves this layout.
    fn perform(&mut self, stage: Stage, partial: Option<Layout>) -> Outcome {
        match stage.row().action {
            Action::Probe | Action::CheckLayout => return Outcome::Metadata(self.metadata),
            Action::Stop if partial.is_none() => {
                self.old_runs = false;
                self.new_runs = false;
            }
            Action::Drain if !self.is_down() => return Outcome::Failed,
            Action::Backup if partial.is_none() => self.has_backup = true,
            Action::Migrate => {
                assert!(self.is_down(), "migrates while Milvus runs: {self:?}");
                assert!(self.has_backup, "migrates without a backup: {self:?}");
                if self.metadata != Layout::V2_2 {
                    self.metadata = partial.unwrap_or(Layout::V2_2);
                }
            }
            Action::Restore => {
                assert!(self.is_down(), "rolls back while Milvus runs: {self:?}");
                if self.has_backup && self.metadata != Layout::V2_1 {
                    self.metadata = partial.unwrap_or(Layout::V2_1);
                }
            }
            Action::Verify if self.metadata != Layout::V2_2 => return Outcome::Failed,
            Action::Start => self.start(!stage.is_rollback()),
            Action::Plan
            | Action::CheckRollback
            | Action::Stop
            | Action::Drain
            | Action::Backup
            | Action::SaveNew
            | Action::Verify
            | Action::WaitReady
            | Action::Nothing => {}
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
        assert!(!other, "starts while the other release runs: {self:?}");
    }
}

/// The recorded state, and the model that it describes.
#[derive(Debug, Clone, Copy)]
struct Run {
    instance: Instance,
    stage: Stage,
    before: Option<Layout>,
    policy: Policy,
    fault: Fault,
}

impl Run {
    fn new(policy: Policy, fault: Fault) -> Self {
        Self {
            instance: Instance::new(),
            stage: Stage::PROBE,
            before: None,
            policy,
            fault,
        }
    }

    fn perform(&mut self) -> Outcome {
        let outcome = match self.fault {
            Fault::At(stage, partial) if stage == self.stage => {
                self.instance.perform(stage, Some(partial));
                Outcome::Failed
            }
            Fault::At(..) | Fault::Never => self.instance.perform(self.stage, None),
        };
        if let (Stage::PROBE, Outcome::Metadata(layout)) = (self.stage, outcome) {
            self.before = Some(layout);
        }
        outcome
    }

    /// Runs until it ends or halts, or dies at the `death`-th stage from here; returns whether it died.
    fn drive(&mut self, crash: Option<(usize, Crash)>) -> bool {
        for number in 0.. {
            assert!(number < 40, "endless loop: {self:?}");
            if self.stage.is_final() {
                return false;
            }
            match crash.filter(|(place, _)| *place == number) {
                Some((_, Crash::Before)) => return true,
                Some((_, Crash::Midway(partial))) => {
                    self.instance.perform(self.stage, Some(partial));
                    return true;
                }
                Some((_, Crash::After)) => {
                    self.perform();
                    return true;
                }
                None => {}
            }
            let outcome = self.perform();
            match next(self.stage, outcome, self.before, self.policy) {
                Some(following) => self.stage = following,
                None => return false,
            }
        }
        false
    }

    /// Applies the user's next command; returns `false` if there is nothing to roll back.
    fn apply_command(&mut self, command: Command) -> bool {
        let begin = match command {
            Command::Resume => Some(self.stage.row().resume),
            Command::RollBack => rollback_start(self.stage, self.before, self.instance.has_backup),
            Command::Forward => self.stage.row().forward,
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

fn crash_points() -> Vec<Crash> {
    let midway = LAYOUTS.map(Crash::Midway);
    [Crash::Before, Crash::After]
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
            for crash in crash_points() {
                let mut run = Run::new(policy, Fault::Never);
                if run.drive(Some((place, crash))) {
                    died = true;
                    crashes += 1;
                    run.apply_command(Command::Resume);
                    run.drive(None);
                }
                assert_eq!(run.stage, Stage::UPGRADED, "{place} {crash:?}: {run:?}");
                assert!(run.instance.new_runs && !run.instance.old_runs, "{run:?}");
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
            for crash in crash_points() {
                for second in (0..9).map(Some).chain([None]) {
                    let mut run = Run::new(policy, Fault::Never);
                    assert!(run.drive(Some((place, crash))));
                    assert!(run.apply_command(Command::RollBack));
                    // It may be killed once more during the rollback.
                    if let Some(second) = second
                        && run.drive(Some((second, crash)))
                    {
                        run.apply_command(Command::Resume);
                    }
                    run.drive(None);
                    let ended = matches!(run.stage, Stage::ROLLED_BACK | Stage::ABORTED);
                    assert!(ended, "{place} {crash:?} {second:?}: {run:?}");
                    assert_eq!(run.instance.metadata, Layout::V2_1, "{run:?}");
                    assert!(run.instance.old_runs && !run.instance.new_runs, "{run:?}");
                }
            }
        }
    }
}

#[test]
fn a_killed_rollback_turns_forward_until_the_restore() {
    let mut resumed = 0;
    for place in 0..9 {
        for crash in crash_points() {
            let mut run = Run::new(Policy::default(), Fault::Never);
            run.drive(None);
            assert!(run.apply_command(Command::RollBack));
            if run.drive(Some((place, crash))) && run.apply_command(Command::Forward) {
                resumed += 1;
                run.drive(None);
                assert_eq!(run.stage, Stage::UPGRADED, "{place} {crash:?}: {run:?}");
                assert_eq!(run.instance.metadata, Layout::V2_2, "{run:?}");
                assert!(run.instance.new_runs && !run.instance.old_runs, "{run:?}");
            }
        }
    }
    assert_eq!(resumed, 5 * 6, "from the check to the restore");
}

#[test]
fn w10_a_lasting_failure_restarts_milvus_or_halts() {
    for policy in policies() {
        for stage in TABLE
            .iter()
            .map(|row| row.stage)
            .filter(|stage| !stage.is_final())
        {
            for partial in LAYOUTS {
                let mut run = Run::new(policy, Fault::At(stage, partial));
                run.drive(None);
                if run.stage.is_final() {
                    let fits = if run.stage == Stage::UPGRADED {
                        run.instance.new_runs
                    } else {
                        run.instance.old_runs
                    };
                    assert!(fits, "ends with nothing running: {run:?}");
                    continue;
                }
                // Halted. The fault is fixed; both directions are possible.
                for then in [Command::Resume, Command::RollBack] {
                    let mut later = run;
                    later.fault = Fault::Never;
                    assert!(later.apply_command(then), "{run:?}");
                    later.drive(None);
                    assert!(later.stage.is_final(), "{then:?} after {run:?}: {later:?}");
                    let back = later.stage == Stage::ROLLED_BACK;
                    assert!(
                        back || then == Command::Resume,
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
        let mut run = Run::new(Policy::default(), Fault::At(stage, Layout::V2_1));
        run.drive(None);
        assert!(
            matches!(run.stage, Stage::ABORTED | Stage::ROLLED_BACK),
            "{run:?}"
        );
        assert!(run.instance.old_runs, "{run:?}");
    }
}

#[test]
fn a_second_forward_can_be_rolled_back() {
    for policy in policies() {
        for begin in [Stage::STOP, Stage::DRAIN, Stage::BACKUP] {
            for metadata in LAYOUTS {
                for fails in [None, Some(Stage::STOP), Some(Stage::DRAIN)] {
                    let failing = fails.map_or(Fault::Never, |stage| Fault::At(stage, metadata));
                    let mut run = Run::new(policy, failing);
                    run.stage = begin;
                    run.before = Some(Layout::V2_1);
                    run.instance = Instance {
                        metadata,
                        old_runs: false,
                        new_runs: begin == Stage::STOP && metadata == Layout::V2_2,
                        has_backup: true,
                    };
                    if failing != Fault::Never {
                        // A failure in any stage changes no metadata and starts no second release.
                        run.drive(None);
                        run.fault = Fault::Never;
                    }
                    if run.stage.is_final() {
                        continue;
                    }
                    assert!(run.apply_command(Command::RollBack));
                    run.drive(None);
                    assert_eq!(run.stage, Stage::ROLLED_BACK, "{begin:?} {run:?}");
                }
            }
        }
    }
}
