//! The protocol of a safe migration as a state machine that decides which step comes next.
//!
//! | journal | next steps | if the run stops here |
//! | --- | --- | --- |
//! | – | record `staging` | nothing was written |
//! | `staging` | stage, record `staged` | 2.1 is intact; some 2.2 keys are staged |
//! | `staged` | stage missing keys again, check the staged keys, commit (records `committed`) | as above |
//! | `committed` | write history, rewrite, record `tidying` | 2.2 can start |
//! | `tidying` | clean up, record `tidying` again, verify, record `done` | 2.2 can start |
//! | `done` | – | already migrated |
//! | `restoring` | restore first | rollback first, then a new migration |
//!
//! A phase is recorded after all writes before it. Because etcd can lose only the newest writes, a
//! transaction that compares the journal's revision also proves that the earlier writes are not
//! lost.
//!
//! The machine has no store and no clock. The engine asks for a step, executes it, and reports it
//! completed; a new run starts the machine from the journal that it finds. Every step is
//! idempotent.

use crate::journal::Phase;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Finish an interrupted restore before the migration.
    FinishRestore,
    /// Write the journal with phase `staging`.
    RecordStaging,
    /// Write all keys of the new families.
    Stage,
    /// Write the journal with phase `staged`.
    RecordStaged,
    /// Read the new families back and compare; check that no source key changed since the capture.
    CheckStaged,
    /// Commit in one transaction, which records `committed`.
    Commit,
    /// Write the snapshots added to an old family that did not fit into the commit.
    WriteHistory,
    /// Rewrite collection records in place.
    Rewrite,
    /// Write the journal with phase `tidying`.
    RecordCleanup,
    /// Delete the old families.
    Cleanup,
    /// Write the journal with phase `tidying` again, after the deletions.
    RecordCleanupEnd,
    /// Read everything back and compare.
    Verify,
    /// Write the journal with phase `done`.
    RecordDone,
    /// Nothing is left to do.
    Finished,
}

impl Step {
    /// Returns whether 2.1 can still start if the program ends before this step.
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

    /// Returns whether the step makes writes that follow the commit.
    #[must_use]
    pub(crate) fn is_writing_after_commit(self) -> bool {
        matches!(self, Self::WriteHistory | Self::Rewrite | Self::Cleanup)
    }
}

/// Returns the step with which a run continues that finds `phase` in the journal.
fn first_step(phase: Option<Phase>) -> Step {
    match phase {
        None => Step::RecordStaging,
        // Staged keys may be missing: some versions of etcd lose writes when they are killed.
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

/// Returns the phase in the journal after `step`; `None` if the step does not change it.
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

/// The steps of a migration from 2.1 to 2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    step: Step,
}

impl Forward {
    /// Returns the machine for a run that finds this phase in the journal (`None`: no journal).
    #[must_use]
    pub(crate) fn from_journal(phase: Option<Phase>) -> Self {
        Self {
            step: first_step(phase),
        }
    }

    #[must_use]
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// Advances to the next step.
    pub(crate) fn completed(&mut self) {
        self.step = step_after(self.step);
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
    fn full_run_touches_old_keys_only_after_the_commit() {
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
    fn interrupted_run_resumes_with_all_remaining_steps() {
        let full = walk(None);
        for stop in 0..full.len() {
            let recorded = full[..stop]
                .iter()
                .rev()
                .find_map(|step| recorded_by(*step));
            let rest = walk(recorded);
            assert!(
                full.ends_with(&rest),
                "stopped before {:?}: {rest:?}",
                full[stop]
            );
            assert!(
                rest.contains(&full[stop]),
                "{:?} would be skipped",
                full[stop]
            );
        }
    }

    #[test]
    fn staged_keys_are_checked_before_the_commit() {
        for phase in [None, Some(Phase::Staging), Some(Phase::Staged)] {
            let steps = walk(phase);
            let check = steps.iter().position(|step| *step == Step::CheckStaged);
            let commit = steps.iter().position(|step| *step == Step::Commit);
            assert!(check < commit && check.is_some(), "{phase:?}");
        }
    }

    #[test]
    fn rollback_before_the_commit_needs_no_backup() {
        for phase in [Phase::Staging, Phase::Staged] {
            assert!(phase.is_before_commit());
        }
        for phase in [
            Phase::Committed,
            Phase::Tidying,
            Phase::Done,
            Phase::Restoring,
        ] {
            assert!(!phase.is_before_commit());
        }
    }

    #[test]
    fn interrupted_restore_is_finished_first() {
        assert_eq!(
            walk(Some(Phase::Restoring))[..2],
            [Step::FinishRestore, Step::RecordStaging]
        );
    }
}
