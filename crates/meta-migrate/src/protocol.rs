//! The protocol of a safe migration as a state machine: which step comes next, and nothing else.
//!
//! | journal | steps from here | if it stops here |
//! | --- | --- | --- |
//! | – | record `staging` | nothing was written |
//! | `staging` | stage, record `staged` | 2.1 is intact; some 2.2 keys are staged |
//! | `staged` | put what is missing of it anyway, check what was staged, commit (records `committed`) | as above |
//! | `committed` | write history, rewrite, record `tidying` | 2.2 can start |
//! | `tidying` | clean up, record `tidying` again, verify, record `done` | 2.2 can start |
//! | `done` | – | already migrated |
//! | `restoring` | restore first | rollback first, then a new migration |
//!
//! A phase is recorded after everything that was written before it. As etcd can lose only the newest writes,
//! a transaction that compares the journal's revision also shows that all of those are still there.
//!
//! The machine knows no store and no clock. The engine asks for a step, carries it out, and reports
//! it completed; a new run starts the machine from the journal it finds. Every step may be carried
//! out twice.

use crate::journal::Phase;

/// One thing to do on the way from 2.1 to 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Restore the backup before continuing: a rollback was interrupted.
    FinishRestore,
    /// Write the journal with phase `staging`.
    RecordStaging,
    /// Put all keys of the new families.
    Stage,
    /// Write the journal with phase `staged`.
    RecordStaged,
    /// Read the new families back and compare; see that no source key changed since the capture.
    CheckStaged,
    /// The one transaction that commits; it records `committed`.
    Commit,
    /// Put the snapshots added to an old family that did not fit into the commit.
    WriteHistory,
    /// Rewrite collection records in place.
    Rewrite,
    /// Write the journal with phase `tidying`.
    RecordCleanup,
    /// Delete the old families.
    Cleanup,
    /// Write the journal with phase `tidying` once more, behind what was deleted.
    RecordCleanupEnd,
    /// Read everything back and compare.
    Verify,
    /// Write the journal with phase `done`.
    RecordDone,
    /// Nothing is left to do.
    Finished,
}

impl Step {
    /// Whether 2.1 could still start if the program ended before this step.
    #[must_use]
    pub(crate) fn is_before_commit(self) -> bool {
        match self {
            Self::RecordStaging
            | Self::Stage
            | Self::RecordStaged
            | Self::CheckStaged
            | Self::Commit => true,
            Self::FinishRestore
            | Self::WriteHistory
            | Self::Rewrite
            | Self::RecordCleanup
            | Self::Cleanup
            | Self::RecordCleanupEnd
            | Self::Verify
            | Self::RecordDone
            | Self::Finished => false,
        }
    }
}

impl Step {
    /// Whether the step writes what the commit left to be written.
    #[must_use]
    pub(crate) fn is_writing_after_commit(self) -> bool {
        matches!(self, Self::WriteHistory | Self::Rewrite | Self::Cleanup)
    }
}

/// The step after which a journal phase was written, or from which a run with that phase continues.
fn first_step(phase: Option<Phase>) -> Step {
    match phase {
        None => Step::RecordStaging,
        // What was staged may be gone: some versions of etcd lose writes when they are killed.
        Some(Phase::Staging | Phase::Staged) => Step::Stage,
        Some(Phase::Committed) => Step::WriteHistory,
        Some(Phase::Tidying) => Step::Cleanup,
        Some(Phase::Done) => Step::Finished,
        Some(Phase::Restoring) => Step::FinishRestore,
    }
}

fn step_after(step: Step) -> Step {
    match step {
        Step::FinishRestore => Step::RecordStaging,
        Step::RecordStaging => Step::Stage,
        Step::Stage => Step::RecordStaged,
        Step::RecordStaged => Step::CheckStaged,
        Step::CheckStaged => Step::Commit,
        Step::Commit => Step::WriteHistory,
        Step::WriteHistory => Step::Rewrite,
        Step::Rewrite => Step::RecordCleanup,
        Step::RecordCleanup => Step::Cleanup,
        Step::Cleanup => Step::RecordCleanupEnd,
        Step::RecordCleanupEnd => Step::Verify,
        Step::Verify => Step::RecordDone,
        Step::RecordDone | Step::Finished => Step::Finished,
    }
}

/// The phase that the journal shows once `step` is completed; `None` when the step records nothing.
#[must_use]
#[cfg(test)]
pub(crate) fn recorded_by(step: Step) -> Option<Phase> {
    match step {
        Step::RecordStaging => Some(Phase::Staging),
        Step::RecordStaged => Some(Phase::Staged),
        Step::Commit => Some(Phase::Committed),
        Step::RecordCleanup | Step::RecordCleanupEnd => Some(Phase::Tidying),
        Step::RecordDone => Some(Phase::Done),
        Step::FinishRestore
        | Step::Stage
        | Step::CheckStaged
        | Step::WriteHistory
        | Step::Rewrite
        | Step::Cleanup
        | Step::Verify
        | Step::Finished => None,
    }
}

/// The way from 2.1 to 2.2, one step at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    step: Step,
}

impl Forward {
    /// The machine for a run that finds this phase in the journal (`None`: no journal).
    #[must_use]
    pub(crate) fn from_journal(phase: Option<Phase>) -> Self {
        Self {
            step: first_step(phase),
        }
    }

    /// What to do now.
    #[must_use]
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// Notes that the current step was carried out.
    pub(crate) fn completed(&mut self) {
        self.step = step_after(self.step);
    }
}

/// The rollback to 2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backward {
    /// Delete what was staged and drop the journal; no backup is needed.
    DiscardStaged,
    /// Restore the backup, whatever is there now.
    RestoreBackup,
}

/// Which rollback a run has that finds this phase in the journal.
#[must_use]
pub(crate) fn backward(phase: Option<Phase>) -> Backward {
    match phase {
        Some(Phase::Staging | Phase::Staged) => Backward::DiscardStaged,
        None | Some(Phase::Committed | Phase::Tidying | Phase::Done | Phase::Restoring) => {
            Backward::RestoreBackup
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(from: Option<Phase>) -> Vec<Step> {
        let mut machine = Forward::from_journal(from);
        let mut steps = Vec::new();
        while machine.step() != Step::Finished && steps.len() < 100 {
            steps.push(machine.step());
            machine.completed();
        }
        steps
    }

    #[test]
    fn a_full_run_stages_checks_commits_and_only_then_touches_what_is_old() {
        assert_eq!(
            walk(None),
            [
                Step::RecordStaging,
                Step::Stage,
                Step::RecordStaged,
                Step::CheckStaged,
                Step::Commit,
                Step::WriteHistory,
                Step::Rewrite,
                Step::RecordCleanup,
                Step::Cleanup,
                Step::RecordCleanupEnd,
                Step::Verify,
                Step::RecordDone,
            ]
        );
    }

    #[test]
    fn a_run_stopped_before_any_step_resumes_to_the_same_end() {
        let whole = walk(None);
        for stop in 0..whole.len() {
            let recorded = whole[..stop]
                .iter()
                .rev()
                .find_map(|step| recorded_by(*step));
            let rest = walk(recorded);
            assert!(
                whole.ends_with(&rest),
                "stopped before {:?}: {rest:?}",
                whole[stop]
            );
            assert!(
                rest.contains(&whole[stop]),
                "{:?} would be left out",
                whole[stop]
            );
        }
    }

    #[test]
    fn nothing_old_is_touched_before_the_staged_keys_were_checked() {
        for phase in [None, Some(Phase::Staging), Some(Phase::Staged)] {
            let steps = walk(phase);
            let check = steps.iter().position(|step| *step == Step::CheckStaged);
            let commit = steps.iter().position(|step| *step == Step::Commit);
            assert!(check < commit && check.is_some(), "{phase:?}");
        }
    }

    #[test]
    fn before_the_commit_the_rollback_needs_no_backup() {
        for phase in [Phase::Staging, Phase::Staged] {
            assert!(phase.is_before_commit());
            assert_eq!(backward(Some(phase)), Backward::DiscardStaged);
        }
        for phase in [
            Phase::Committed,
            Phase::Tidying,
            Phase::Done,
            Phase::Restoring,
        ] {
            assert!(!phase.is_before_commit());
            assert_eq!(backward(Some(phase)), Backward::RestoreBackup);
        }
    }

    #[test]
    fn an_interrupted_undoing_is_finished_first() {
        assert_eq!(
            walk(Some(Phase::Restoring))[..2],
            [Step::FinishRestore, Step::RecordStaging]
        );
    }
}
